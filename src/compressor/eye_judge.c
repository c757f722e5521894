#include "compressor/eye_judge.h"

#include <math.h>
#include <stdlib.h>

#include "compressor/eye_both.h"
#include "compressor/quantile.h"
#include "os/clock.h"

enum { N_TIMED = 3, N_ROUNDS = 5 };

struct judging {
    struct eye_both both;
    size_t n_embd;
    double error, spread, cosines, *sum, *sum_of_squares;
    size_t n_tokens;
    double seconds[2][N_TIMED * N_ROUNDS];
    size_t n_times;
};

// ---- what the text model gets ----

static void add_token(struct judging *j, const float *a, const float *b) {
    double product = 0, of_a = 0, of_b = 0;
    for (size_t i = 0; i < j->n_embd; i++) {
        double x = (double)a[i], y = (double)b[i];
        product += x * y;
        of_a += x * x;
        of_b += y * y;
        j->error += (x - y) * (x - y);
        j->sum[i] += x;
        j->sum_of_squares[i] += x * x;
    }
    j->cosines += of_a > 0 && of_b > 0 ? product / sqrt(of_a * of_b) : 0;
    j->n_tokens++;
}

static enum wl_status compare_picture(struct judging *j, const char *path, struct wl_err *err) {
    enum wl_status status = eye_both_encode(&j->both, path, err);
    for (size_t i = 0; status == WL_OK && i < j->both.n_tokens; i++) {
        add_token(j, j->both.rows[EYE_BEFORE].x + i * j->n_embd,
                  j->both.rows[EYE_AFTER].x + i * j->n_embd);
    }
    return status;
}

// ---- time ----

static enum wl_status time_picture(struct judging *j, const char *path, struct wl_err *err) {
    struct mtmd_input_chunks *chunks[2] = {NULL, NULL};
    enum wl_status status = WL_OK;
    for (int side = 0; side < 2 && status == WL_OK; side++) {
        j->both.looks[side].parts = 0;
        status = eye_look_picture(&j->both.looks[side], path, &chunks[side], err);
    }
    for (int round = -1; round < N_ROUNDS && status == WL_OK; round++) { // the first warms up
        for (int turn = 0; turn < 2 && status == WL_OK; turn++) {
            int side = (turn + round) & 1; // who is first changes
            int64_t begin_ns = os_now_ns();
            status = eye_look_encode(&j->both.looks[side], chunks[side], err);
            if (round >= 0) {
                j->seconds[side][j->n_times] = (double)(os_now_ns() - begin_ns) * 1e-9;
            }
        }
        j->n_times += round >= 0;
    }
    for (int side = 0; side < 2; side++) {
        if (chunks[side]) {
            mtmd_input_chunks_free(chunks[side]);
        }
    }
    return status;
}

// ---- both ----

static enum wl_status open_judging(struct judging *j, const char *before, const char *after,
                                   const struct eye_text *text, const struct eye_options *options,
                                   struct text_watch *watch, struct wl_err *err) {
    struct eye_look_options look_options = {.image_max_tokens = options->image_max_tokens,
                                            .threads = options->threads,
                                            .n_embd_text = text->n_embd_in};
    j->n_embd = text->n_embd_in;
    j->sum = calloc(j->n_embd, sizeof *j->sum);
    j->sum_of_squares = calloc(j->n_embd, sizeof *j->sum_of_squares);
    if (!j->sum || !j->sum_of_squares) {
        return wl_err_set(err, WL_MEMORY, "no memory to compare tokens");
    }
    return eye_both_open(&j->both, before, after, text, &look_options, watch, err);
}

static void finish(const struct judging *j, struct eye_result *result) {
    double n = (double)j->n_tokens, spread = 0;
    for (size_t i = 0; i < j->n_embd; i++) {
        spread += j->sum_of_squares[i] - j->sum[i] * j->sum[i] / n;
    }
    result->error_projected = spread > 0 ? j->error / spread : NAN;
    result->cosine = j->cosines / n;
}

static enum wl_status judge_pictures(struct judging *j, const struct eye_options *options,
                                     struct wl_err *err) {
    size_t first = options->n_pictures - options->n_held_out;
    enum wl_status status = WL_OK;
    for (size_t i = first; i < options->n_pictures && status == WL_OK; i++) {
        status = compare_picture(j, options->pictures[i], err);
    }
    for (size_t i = 0; i < N_TIMED && i < options->n_held_out && status == WL_OK; i++) {
        status = time_picture(j, options->pictures[first + i], err);
    }
    return status;
}

enum wl_status eye_judge(struct eye_result *result, const char *before, const char *after,
                         const struct eye_text *text, const struct eye_options *options,
                         struct text_watch *watch, struct wl_err *err) {
    struct judging j = {0};
    result->error_projected = result->cosine = NAN;
    enum wl_status status = open_judging(&j, before, after, text, options, watch, err);
    if (status == WL_OK) {
        status = judge_pictures(&j, options, err);
    }
    if (status == WL_OK && j.n_tokens > 0) {
        finish(&j, result);
    }
    result->encode_s_before = quantile_in_place(j.seconds[EYE_BEFORE], j.n_times, 0.5);
    result->encode_s_after = quantile_in_place(j.seconds[EYE_AFTER], j.n_times, 0.5);
    eye_both_close(&j.both);
    free(j.sum);
    free(j.sum_of_squares);
    return status;
}
