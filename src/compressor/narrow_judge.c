#include <math.h>

#include "compressor/narrow_unit.h"

struct judgement {
    struct narrow_unit *unit;
    double off[2], size[2]; // sums of squares: of text, and of image tokens
};

// Without the first token of each sequence, as in narrow_each_rows.
static void add_chunk(struct judgement *judgement, const struct narrow_chunk *chunk,
                      const float *made, const float *target, const float *before) {
    const struct narrow_walk *walk = judgement->unit->walk;
    size_t at = 0, n_embd = walk->source->n_embd;
    for (size_t s = 0; s < chunk->batch.n_sequences; s++) {
        for (size_t i = at + 1; i < at + chunk->batch.lengths[s]; i++) {
            int kind = narrow_is_image(walk, chunk->first + i);
            for (size_t j = i * n_embd; j < (i + 1) * n_embd; j++) {
                double off = made[j] - target[j], size = target[j] - before[j];
                judgement->off[kind] += off * off;
                judgement->size[kind] += size * size;
            }
        }
        at += chunk->batch.lengths[s];
    }
}

static double ratio(double off, double size) {
    return size > 0 ? off / size : NAN;
}

static enum wl_status attention_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                      void *context, struct wl_err *err) {
    struct judgement *judgement = context;
    struct narrow_unit *unit = judgement->unit;
    size_t first = chunk->first, n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->now.made, first, n, walk->x, err);
    if (status == WL_OK) {
        status =
            narrow_attend(walk, &unit->shape, &unit->weights, chunk, walk->x, walk->mid, NULL, err);
    }
    if (status == WL_OK) {
        status = states_read(&walk->aside, first, n, walk->target, err);
    }
    if (status == WL_OK) {
        add_chunk(judgement, chunk, walk->mid, walk->target, walk->x);
    }
    return status;
}

enum wl_status narrow_judge_attention(struct narrow_unit *unit, double *out, struct wl_err *err) {
    struct judgement judgement = {.unit = unit};
    enum wl_status status = narrow_each_chunk(unit->walk, true, attention_chunk, &judgement, err);
    *out = ratio(judgement.off[0] + judgement.off[1], judgement.size[0] + judgement.size[1]);
    return status;
}

static enum wl_status ffn_chunk(struct narrow_walk *walk, const struct narrow_chunk *chunk,
                                void *context, struct wl_err *err) {
    struct judgement *judgement = context;
    struct narrow_unit *unit = judgement->unit;
    size_t first = chunk->first, n = chunk->n_tokens;
    enum wl_status status = states_read(&walk->next.made, first, n, walk->mid, err);
    if (status == WL_OK) {
        status = states_read(&walk->next.original, first, n, walk->target, err);
    }
    if (status == WL_OK) {
        status =
            narrow_feed_forward(walk, &unit->shape, &unit->weights, n, walk->mid, walk->x, err);
    }
    if (status == WL_OK) {
        add_chunk(judgement, chunk, walk->x, walk->target, walk->mid);
    }
    return status;
}

enum wl_status narrow_judge_ffn(struct narrow_unit *unit, double *out, double *image,
                                struct wl_err *err) {
    struct judgement judgement = {.unit = unit};
    enum wl_status status = narrow_each_chunk(unit->walk, true, ffn_chunk, &judgement, err);
    *out = ratio(judgement.off[0] + judgement.off[1], judgement.size[0] + judgement.size[1]);
    *image = ratio(judgement.off[1], judgement.size[1]);
    return status;
}
