#include "compressor/eye_walk.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>

enum wl_status eye_walk_open(struct eye_walk *walk, const struct eye_source *source,
                             const struct eye_record *record, const struct eye_options *options,
                             struct text_watch *watch, struct wl_err *err) {
    size_t n_embd = source->facts.n_embd, n = record->n_patches;
    *walk = (struct eye_walk){.source = source,
                              .record = record,
                              .options = options,
                              .watch = watch,
                              .original.fd = -1,
                              .made.fd = -1,
                              .x = calloc(record->longest, n_embd * sizeof *walk->x),
                              .mid = calloc(record->longest, n_embd * sizeof *walk->mid),
                              .y = calloc(record->longest, n_embd * sizeof *walk->y),
                              .target_sum = calloc(n_embd, sizeof *walk->target_sum)};
    if (!walk->x || !walk->mid || !walk->y || !walk->target_sum) {
        return wl_err_set(err, WL_MEMORY, "no memory for the states of %zu patches",
                          record->longest);
    }
    enum wl_status status = states_open(&walk->original, options->scratch_dir, n, n_embd, err);
    return status == WL_OK ? states_open(&walk->made, options->scratch_dir, n, n_embd, err)
                           : status;
}

static void release_block(struct eye_walk *walk) {
    gram_release(&walk->gram);
    free(walk->h);
    free(walk->cross);
    walk->h = walk->cross = NULL;
}

void eye_walk_close(struct eye_walk *walk) {
    release_block(walk);
    states_close(&walk->original);
    states_close(&walk->made);
    free(walk->x);
    free(walk->mid);
    free(walk->y);
    free(walk->target_sum);
    *walk = (struct eye_walk){.original.fd = -1, .made.fd = -1};
}

static enum wl_status open_block(struct eye_walk *walk, size_t n_ff, bool has_cross,
                                 struct wl_err *err) {
    size_t n_embd = walk->source->facts.n_embd;
    release_block(walk);
    for (size_t i = 0; i < n_embd; i++) {
        walk->target_sum[i] = 0;
    }
    walk->h = calloc(EYE_ROWS, n_ff * sizeof *walk->h);
    walk->cross = has_cross ? calloc(n_embd + 1, n_ff * sizeof *walk->cross) : NULL;
    if (!walk->h || (has_cross && !walk->cross)) {
        return wl_err_set(err, WL_MEMORY, "no memory for the moments of %zu neurons", n_ff);
    }
    return gram_init(&walk->gram, n_ff, err);
}

// ---- views ----

struct eye_view {
    size_t first, n;
    bool is_held_out;
    struct tower_picture picture;
};

typedef enum wl_status view_fn(struct eye_walk *walk, const struct eye_view *view, void *context,
                               struct wl_err *err);

static enum wl_status each_view(struct eye_walk *walk, size_t begin, view_fn *visit, void *context,
                                struct wl_err *err) {
    const struct eye_record *record = walk->record;
    enum wl_status status = WL_OK;
    for (size_t i = begin; i < record->n_views && status == WL_OK; i++) {
        size_t first = record->firsts[i];
        struct eye_view view = {
            .first = first, .n = record->lengths[i], .is_held_out = i >= record->n_learnt_views};
        view.picture =
            (struct tower_picture){.n_tokens = view.n,
                                   .rows = record->rows ? record->rows + first : NULL,
                                   .columns = record->columns ? record->columns + first : NULL};
        status = text_watch_stops(walk->watch) ? wl_err_set(err, WL_INTERRUPTED, "cancelled")
                                               : visit(walk, &view, context, err);
    }
    return status;
}

static size_t rows_at(size_t first, size_t n) {
    return n - first < EYE_ROWS ? n - first : EYE_ROWS;
}

static enum wl_status begin_view(struct eye_walk *walk, const struct eye_view *view, void *context,
                                 struct wl_err *err) {
    (void)context;
    enum wl_status status = states_read(&walk->record->input, view->first, view->n, walk->x, err);
    if (status == WL_OK) {
        status = states_write(&walk->original, view->first, view->n, walk->x, err);
    }
    return status == WL_OK ? states_write(&walk->made, view->first, view->n, walk->x, err) : status;
}

enum wl_status eye_walk_begin(struct eye_walk *walk, struct wl_err *err) {
    return each_view(walk, 0, begin_view, NULL, err);
}

// ---- a feed-forward part ----

struct part {
    const struct tower_shape *shape;
    const struct tower_weights *weights;
    bool has_moments;
    double damping;
    double error, size; // sums of squares
    double cosines;
    size_t n_cosines;
};

// out = mid through the part; may be `mid`.
static enum wl_status through_ffn(struct eye_walk *walk, const struct part *part,
                                  const struct eye_view *view, const float *mid, float *out,
                                  struct wl_err *err) {
    size_t n_embd = part->shape->n_embd;
    enum wl_status status = WL_OK;
    for (size_t first = 0; first < view->n && status == WL_OK; first += EYE_ROWS) {
        size_t n = rows_at(first, view->n);
        const float *from = mid + first * n_embd;
        status = tower_ffn_inner(part->shape, part->weights, n, from, walk->h, err);
        if (status == WL_OK && part->has_moments && !view->is_held_out) {
            gram_add(&walk->gram, walk->h, n, 1);
        }
        if (status == WL_OK) {
            status = tower_ffn_out(part->shape, part->weights, n, from, walk->h,
                                   out + first * n_embd, err);
        }
    }
    return status;
}

static void add_cosines(struct part *part, const struct eye_view *view, const float *x,
                        const float *y) {
    int n_embd = (int)part->shape->n_embd;
    for (size_t row = 0; row < view->n; row++, x += n_embd, y += n_embd) {
        double sizes = cblas_dsdot(n_embd, x, 1, x, 1) * cblas_dsdot(n_embd, y, 1, y, 1);
        part->cosines += sizes > 0 ? cblas_dsdot(n_embd, x, 1, y, 1) / sqrt(sizes) : 0;
    }
    part->n_cosines += view->n;
}

static enum wl_status original_view(struct eye_walk *walk, const struct eye_view *view,
                                    void *context, struct wl_err *err) {
    struct part *part = context;
    enum wl_status status = states_read(&walk->original, view->first, view->n, walk->x, err);
    if (status == WL_OK) {
        status =
            tower_attention(part->shape, part->weights, &view->picture, walk->x, walk->mid, err);
    }
    if (status == WL_OK) {
        status = through_ffn(walk, part, view, walk->mid, walk->y, err);
    }
    if (status == WL_OK && !view->is_held_out) {
        add_cosines(part, view, walk->x, walk->y);
    }
    return status == WL_OK ? states_write(&walk->original, view->first, view->n, walk->y, err)
                           : status;
}

enum wl_status eye_walk_original(struct eye_walk *walk, const struct eye_block *block,
                                 bool has_moments, double *influence, struct wl_err *err) {
    struct part part = {
        .shape = &block->shape, .weights = &block->weights, .has_moments = has_moments};
    enum wl_status status = open_block(walk, block->shape.n_ff, false, err);
    if (status == WL_OK) {
        status = each_view(walk, 0, original_view, &part, err);
    }
    *influence = part.n_cosines > 0 ? 1 - part.cosines / (double)part.n_cosines : 0;
    return status;
}

// ---- moments ----

// target = (1 - a) (W h + b) + a (y - mid), in place of y.
static void add_target(struct eye_walk *walk, const struct part *part, size_t n, const float *mid,
                       const float *own, float *y) {
    size_t n_embd = part->shape->n_embd, n_ff = part->shape->n_ff;
    float a = (float)part->damping;
    for (size_t i = 0; i < n * n_embd; i++) {
        y[i] = (1 - a) * (own[i] - mid[i]) + a * (y[i] - mid[i]);
        walk->target_sum[i % n_embd] += (double)y[i];
    }
    gram_add(&walk->gram, walk->h, n, 1);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n_embd, (int)n_ff, (int)n, 1, y,
                (int)n_embd, walk->h, (int)n_ff, 1, walk->cross, (int)n_ff);
}

static enum wl_status moments_view(struct eye_walk *walk, const struct eye_view *view,
                                   void *context, struct wl_err *err) {
    const struct part *part = context;
    size_t n_embd = part->shape->n_embd;
    enum wl_status status = states_read(&walk->made, view->first, view->n, walk->x, err);
    if (status == WL_OK) {
        status =
            tower_attention(part->shape, part->weights, &view->picture, walk->x, walk->mid, err);
    }
    if (status == WL_OK) {
        status = states_write(&walk->made, view->first, view->n, walk->mid, err);
    }
    if (status == WL_OK && !view->is_held_out) {
        status = states_read(&walk->original, view->first, view->n, walk->y, err);
    }
    for (size_t first = 0; !view->is_held_out && first < view->n && status == WL_OK;
         first += EYE_ROWS) {
        size_t n = rows_at(first, view->n), at = first * n_embd;
        status = tower_ffn_inner(part->shape, part->weights, n, walk->mid + at, walk->h, err);
        if (status == WL_OK) {
            status = tower_ffn_out(part->shape, part->weights, n, walk->mid + at, walk->h,
                                   walk->x + at, err);
        }
        if (status == WL_OK) {
            add_target(walk, part, n, walk->mid + at, walk->x + at, walk->y + at);
        }
    }
    return status;
}

enum wl_status eye_walk_moments(struct eye_walk *walk, const struct eye_block *block,
                                double damping, struct wl_err *err) {
    struct part part = {.shape = &block->shape, .weights = &block->weights, .damping = damping};
    enum wl_status status = open_block(walk, block->shape.n_ff, true, err);
    return status == WL_OK ? each_view(walk, 0, moments_view, &part, err) : status;
}

// ---- the made stream ----

static enum wl_status finish_view(struct eye_walk *walk, const struct eye_view *view, void *context,
                                  struct wl_err *err) {
    const struct part *part = context;
    enum wl_status status = states_read(&walk->made, view->first, view->n, walk->mid, err);
    if (status == WL_OK) {
        status = through_ffn(walk, part, view, walk->mid, walk->mid, err);
    }
    return status == WL_OK ? states_write(&walk->made, view->first, view->n, walk->mid, err)
                           : status;
}

enum wl_status eye_walk_finish(struct eye_walk *walk, const struct tower_shape *shape,
                               const struct tower_weights *weights, struct wl_err *err) {
    struct part part = {.shape = shape, .weights = weights};
    return each_view(walk, 0, finish_view, &part, err);
}

static enum wl_status error_view(struct eye_walk *walk, const struct eye_view *view, void *context,
                                 struct wl_err *err) {
    struct part *part = context;
    enum wl_status status = states_read(&walk->made, view->first, view->n, walk->mid, err);
    if (status == WL_OK) {
        status = states_read(&walk->original, view->first, view->n, walk->y, err);
    }
    if (status == WL_OK) {
        status = through_ffn(walk, part, view, walk->mid, walk->x, err);
    }
    for (size_t i = 0; i < view->n * part->shape->n_embd && status == WL_OK; i++) {
        double off = (double)walk->x[i] - (double)walk->y[i];
        double size = (double)walk->y[i] - (double)walk->mid[i];
        part->error += off * off;
        part->size += size * size;
    }
    return status;
}

enum wl_status eye_walk_error(struct eye_walk *walk, const struct tower_shape *shape,
                              const struct tower_weights *weights, double *out,
                              struct wl_err *err) {
    struct part part = {.shape = shape, .weights = weights};
    enum wl_status status = each_view(walk, walk->record->n_learnt_views, error_view, &part, err);
    *out = part.size > 0 ? part.error / part.size : NAN;
    return status;
}

enum wl_status eye_walk_gather(const struct eye_walk *walk, size_t stride, float *mid,
                               float *target, size_t *n, size_t *n_held_out, struct wl_err *err) {
    const struct eye_record *record = walk->record;
    size_t n_embd = walk->source->facts.n_embd, n_views = record->n_learnt_views;
    size_t n_learnt = n_views < record->n_views ? record->firsts[n_views] : record->n_patches;
    enum wl_status status = WL_OK;
    *n = *n_held_out = 0;
    for (size_t row = 0; row < record->n_patches && status == WL_OK; row += stride) {
        float *from = mid + *n * n_embd, *to = target + *n * n_embd;
        status = states_read(&walk->made, row, 1, from, err);
        if (status == WL_OK) {
            status = states_read(&walk->original, row, 1, to, err);
        }
        for (size_t i = 0; i < n_embd; i++) {
            to[i] -= from[i];
        }
        *n += 1;
        *n_held_out += row >= n_learnt;
    }
    return status;
}

enum wl_status eye_walk_parity(struct eye_walk *walk, double *out, struct wl_err *err) {
    size_t n = walk->record->lengths[0];
    double off = 0, size = 0;
    enum wl_status status = states_read(&walk->original, 0, n, walk->x, err);
    for (size_t i = 0; i < n * walk->source->facts.n_embd && status == WL_OK; i++) {
        double there = (double)walk->record->first_end[i], difference = (double)walk->x[i] - there;
        off += difference * difference;
        size += there * there;
    }
    *out = size > 0 ? sqrt(off / size) : NAN;
    return status;
}
