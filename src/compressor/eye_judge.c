#include "compressor/eye_judge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/quantile.h"
#include "os/clock.h"

enum { N_TIMED = 3, N_ROUNDS = 5, SIDE_BEFORE = 0, SIDE_AFTER = 1 };

struct tokens { // of one picture
    float *x;
    size_t n, width, capacity;
};

struct judging {
    struct eye_look looks[2];
    struct tokens tokens[2];
    size_t n_embd;
    double error, spread, cosines, *sum, *sum_of_squares;
    size_t n_tokens;
    double seconds[2][N_TIMED * N_ROUNDS];
    size_t n_times;
};

static enum wl_status see(void *context, const struct eye_sight *sight, struct wl_err *err) {
    struct tokens *tokens = context;
    size_t n = tokens->n + sight->n_rows;
    if (n > tokens->capacity) {
        float *larger = n <= SIZE_MAX / sizeof(float) / sight->width
                            ? realloc(tokens->x, n * sight->width * sizeof *larger)
                            : NULL;
        if (!larger) {
            return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", n);
        }
        tokens->x = larger;
        tokens->capacity = n;
    }
    memcpy(tokens->x + tokens->n * sight->width, sight->x,
           sight->n_rows * sight->width * sizeof *tokens->x);
    tokens->n = n;
    return WL_OK;
}

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
    enum wl_status status = WL_OK;
    for (int side = 0; side < 2 && status == WL_OK; side++) {
        struct mtmd_input_chunks *chunks;
        j->tokens[side].n = 0;
        j->looks[side].parts = EYE_TOKENS;
        status = eye_look_picture(&j->looks[side], path, &chunks, err);
        if (status == WL_OK) {
            status = eye_look_encode(&j->looks[side], chunks, err);
            mtmd_input_chunks_free(chunks);
        }
    }
    if (status == WL_OK && j->tokens[0].n != j->tokens[1].n) {
        status = wl_err_set(err, WL_FAILED,
                            "picture '%.300s' is %zu tokens to the original encoder and %zu to "
                            "the new one",
                            path, j->tokens[0].n, j->tokens[1].n);
    }
    for (size_t i = 0; status == WL_OK && i < j->tokens[0].n; i++) {
        add_token(j, j->tokens[0].x + i * j->n_embd, j->tokens[1].x + i * j->n_embd);
    }
    return status;
}

// ---- time ----

static enum wl_status time_picture(struct judging *j, const char *path, struct wl_err *err) {
    struct mtmd_input_chunks *chunks[2] = {NULL, NULL};
    enum wl_status status = WL_OK;
    for (int side = 0; side < 2 && status == WL_OK; side++) {
        j->looks[side].parts = 0;
        status = eye_look_picture(&j->looks[side], path, &chunks[side], err);
    }
    for (int round = -1; round < N_ROUNDS && status == WL_OK; round++) { // the first warms up
        for (int turn = 0; turn < 2 && status == WL_OK; turn++) {
            int side = (turn + round) & 1; // who is first changes
            int64_t begin_ns = os_now_ns();
            status = eye_look_encode(&j->looks[side], chunks[side], err);
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
    enum wl_status status = WL_OK;
    for (int side = 0; side < 2 && status == WL_OK; side++) {
        j->looks[side] = (struct eye_look){.path = side == SIDE_BEFORE ? before : after,
                                           .see = see,
                                           .see_context = &j->tokens[side],
                                           .watch = watch};
        status = eye_look_open(&j->looks[side], text->vocabulary, &look_options, err);
    }
    return status;
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
    result->encode_s_before = quantile_in_place(j.seconds[SIDE_BEFORE], j.n_times, 0.5);
    result->encode_s_after = quantile_in_place(j.seconds[SIDE_AFTER], j.n_times, 0.5);
    for (int side = 0; side < 2; side++) {
        eye_look_close(&j.looks[side]);
        free(j.tokens[side].x);
    }
    free(j.sum);
    free(j.sum_of_squares);
    return status;
}
