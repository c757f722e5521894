#include "compressor/eye_fit.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "compress/gram.h"
#include "compress/repair.h"
#include "compressor/eye_look.h"

static const double RIDGE = 1e-3;

struct fitting {
    const struct eye_record *record;
    size_t n_in, n_out, n_seen;
    struct gram gram;
    float *cross; // [n_out][n_in]: sum of target x^T
    double *target_sum;
    float *targets; // of one view
    size_t targets_capacity;
};

static enum wl_status take_rows(struct fitting *f, const struct eye_sight *sight,
                                struct wl_err *err) {
    size_t n = sight->n_rows;
    if (sight->width != f->n_in || n > f->record->n_learnt_tokens - f->n_seen) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "libmtmd's projector does not work as is known: %zu rows of %zu", n,
                          sight->width);
    }
    if (n > f->targets_capacity) {
        free(f->targets);
        f->targets = calloc(n, f->n_out * sizeof *f->targets);
        f->targets_capacity = f->targets ? n : 0;
        if (!f->targets) {
            return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", n);
        }
    }
    enum wl_status status = states_read(&f->record->tokens, f->n_seen, n, f->targets, err);
    if (status != WL_OK) {
        return status;
    }
    gram_add(&f->gram, sight->x, n, 1);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)f->n_out, (int)f->n_in, (int)n, 1,
                f->targets, (int)f->n_out, sight->x, (int)f->n_in, 1, f->cross, (int)f->n_in);
    for (size_t i = 0; i < n * f->n_out; i++) {
        f->target_sum[i % f->n_out] += (double)f->targets[i];
    }
    f->n_seen += n;
    return WL_OK;
}

static enum wl_status see(void *context, const struct eye_sight *sight, struct wl_err *err) {
    return take_rows(context, sight, err);
}

static enum wl_status look_at_pictures(struct fitting *f, struct eye_look *look,
                                       const struct eye_options *options, struct wl_err *err) {
    size_t n_learnt = options->n_pictures - options->n_held_out;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n_learnt && status == WL_OK; i++) {
        struct mtmd_input_chunks *chunks;
        status = eye_look_picture(look, options->pictures[i], &chunks, err);
        if (status == WL_OK) {
            status = eye_look_encode(look, chunks, err);
            mtmd_input_chunks_free(chunks);
        }
    }
    if (status == WL_OK && f->n_seen != f->record->n_learnt_tokens) {
        status = wl_err_set(err, WL_UNSUPPORTED,
                            "libmtmd's projector does not work as is known: %zu tokens instead of "
                            "%zu",
                            f->n_seen, f->record->n_learnt_tokens);
    }
    return status;
}

// [n_rows][n_columns] into [n_columns][n_rows].
static void turn(const float *from, size_t n_rows, size_t n_columns, float *out) {
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t j = 0; j < n_columns; j++) {
            out[j * n_rows + i] = from[i * n_columns + j];
        }
    }
}

// Moments per token; around the means where a bias takes them up.
static void finish_moments(struct fitting *f, bool has_bias, float *square) {
    double count = f->gram.count;
    gram_square(&f->gram, square);
    for (size_t i = 0; i < f->n_in && has_bias; i++) {
        for (size_t j = 0; j < f->n_in; j++) {
            double mean = f->gram.sum[i] / count * (f->gram.sum[j] / count);
            square[i * f->n_in + j] = (float)((double)square[i * f->n_in + j] - mean);
        }
    }
    for (size_t i = 0; i < f->n_out; i++) {
        double mean = has_bias ? f->target_sum[i] / count : 0;
        for (size_t j = 0; j < f->n_in; j++) {
            double value = (double)f->cross[i * f->n_in + j] / count;
            f->cross[i * f->n_in + j] = (float)(value - mean * (f->gram.sum[j] / count));
        }
    }
}

static void fit_bias(const struct fitting *f, const float *matrix, float *bias) {
    for (size_t i = 0; i < f->n_out; i++) {
        double value = f->target_sum[i];
        for (size_t j = 0; j < f->n_in; j++) {
            value -= (double)matrix[i * f->n_in + j] * f->gram.sum[j];
        }
        bias[i] = (float)(value / f->gram.count);
    }
}

// The old matrix is what the fit falls back to where the pictures say nothing.
static enum wl_status solve(struct fitting *f, const struct eye_source *source,
                            struct eye_last *out, struct wl_err *err) {
    const struct gguf_tensor *was = eye_source_named(source, source->family->last_weight);
    bool is_turned = source->family->is_last_transposed;
    bool has_bias = *source->family->last_bias != '\0';
    size_t n = f->n_in * f->n_out;
    float *square = calloc(f->n_in, f->n_in * sizeof *square);
    float *old = calloc(n, sizeof *old), *raw = calloc(n, sizeof *raw);
    out->matrix = calloc(n, sizeof *out->matrix);
    out->bias = has_bias ? calloc(f->n_out, sizeof *out->bias) : NULL;
    enum wl_status status =
        square && old && raw && out->matrix && (out->bias || !has_bias)
            ? WL_OK
            : wl_err_set(err, WL_MEMORY, "no memory for the projector's last matrix");
    if (status == WL_OK) {
        status = eye_source_rows(source, was, 0, was->ne[1], is_turned ? raw : old, err);
    }
    if (status == WL_OK) {
        if (is_turned) {
            turn(raw, f->n_in, f->n_out, old);
        }
        finish_moments(f, has_bias, square);
        status = repair_solve(square, f->cross, old, f->n_out, f->n_in, RIDGE,
                              is_turned ? raw : out->matrix, err);
    }
    if (status == WL_OK && has_bias) {
        fit_bias(f, is_turned ? raw : out->matrix, out->bias);
    }
    if (status == WL_OK && is_turned) {
        turn(raw, f->n_out, f->n_in, out->matrix);
    }
    free(square);
    free(old);
    free(raw);
    return status;
}

static enum wl_status open_fitting(struct fitting *f, struct wl_err *err) {
    f->cross = calloc(f->n_out, f->n_in * sizeof *f->cross);
    f->target_sum = calloc(f->n_out, sizeof *f->target_sum);
    return f->cross && f->target_sum
               ? gram_init(&f->gram, f->n_in, err)
               : wl_err_set(err, WL_MEMORY, "no memory for the projector's last matrix");
}

enum wl_status eye_fit(struct eye_last *out, const struct eye_source *source, const char *path,
                       const struct eye_record *record, const struct eye_text *text,
                       const struct eye_options *options, struct text_watch *watch,
                       struct wl_err *err) {
    const struct gguf_tensor *was = eye_source_named(source, source->family->last_weight);
    bool is_turned = source->family->is_last_transposed;
    struct fitting f = {.record = record,
                        .n_in = (size_t)was->ne[is_turned ? 1 : 0],
                        .n_out = (size_t)was->ne[is_turned ? 0 : 1]};
    *out = (struct eye_last){.n_in = f.n_in, .n_out = f.n_out};
    if (f.n_in > EYE_MAX_FIT || f.n_out != record->tokens.n_embd) {
        return WL_OK;
    }
    struct eye_look look = {.path = path,
                            .parts = EYE_LAST,
                            .last = source->family->last_weight,
                            .see = see,
                            .see_context = &f,
                            .watch = watch};
    struct eye_look_options look_options = {.image_max_tokens = options->image_max_tokens,
                                            .threads = options->threads,
                                            .n_embd_text = text->n_embd_in};
    enum wl_status status = open_fitting(&f, err);
    if (status == WL_OK) {
        status = eye_look_open(&look, text->vocabulary, &look_options, err);
    }
    if (status == WL_OK) {
        status = look_at_pictures(&f, &look, options, err);
    }
    eye_look_close(&look);
    if (status == WL_OK) {
        status = solve(&f, source, out, err);
    }
    gram_release(&f.gram);
    free(f.cross);
    free(f.target_sum);
    free(f.targets);
    return status;
}

void eye_last_release(struct eye_last *last) {
    free(last->matrix);
    free(last->bias);
    *last = (struct eye_last){0};
}
