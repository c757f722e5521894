#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/narrow_unit.h"

static size_t per_group(const struct narrow_unit *unit) { // inputs of attn_output
    return (size_t)unit->was.head_dim * (unit->was.n_head / unit->was.n_head_kv);
}

static enum wl_status choose(struct narrow_unit *unit, struct wl_err *err) {
    const struct narrow_options *o = unit->walk->options;
    struct narrow_choice choice = {.method =
                                       o->method == NARROW_MAGNITUDE ? NARROW_WANDA : o->method,
                                   .ridge = o->ridge,
                                   .group = per_group(unit),
                                   .n_kept = unit->shape.n_head_kv * per_group(unit),
                                   .go_on = narrow_goes_on,
                                   .context = unit->walk};
    size_t n_in = unit->moments.n_in;
    float *diagonal = calloc(n_in, sizeof *diagonal);
    unit->heads = calloc(choice.n_kept, sizeof *unit->heads);
    unit->groups = calloc(unit->shape.n_head_kv, sizeof *unit->groups);
    unit->attention_moments = calloc(choice.n_kept, sizeof *unit->attention_moments);
    if (!diagonal || !unit->heads || !unit->groups || !unit->attention_moments) {
        free(diagonal);
        return narrow_no_memory(unit, err);
    }
    enum wl_status status =
        narrow_choose(&unit->moments, unit->block.weights.wo, &choice, unit->heads, err);
    if (status == WL_OK) {
        gram_diagonal(&unit->moments.gram, diagonal);
        for (size_t i = 0; i < choice.n_kept; i++) {
            unit->groups[i / choice.group] = unit->heads[i] / (uint32_t)choice.group;
            unit->attention_moments[i] = diagonal[unit->heads[i]];
        }
    }
    free(diagonal);
    return status;
}

// Rows of these KV heads (or of their query heads); NULL where there are none, false without
// memory.
static bool take_rows(const struct narrow_unit *unit, const float *from, size_t group, size_t width,
                      float **out) {
    if (!from) {
        return true;
    }
    *out = calloc(unit->shape.n_head_kv * group, width * sizeof **out);
    for (uint32_t i = 0; i < unit->shape.n_head_kv && *out; i++) {
        memcpy(*out + i * group * width, from + unit->groups[i] * group * width,
               group * width * sizeof **out);
    }
    return *out != NULL;
}

static enum wl_status cut(struct narrow_unit *unit, struct wl_err *err) {
    const struct block_weights *w = &unit->block.weights;
    size_t q = per_group(unit), kv = unit->was.head_dim, n_embd = unit->was.n_embd;
    size_t n_in = unit->shape.n_head_kv * q;
    unit->wo_cut = calloc(n_embd, n_in * sizeof *unit->wo_cut);
    if (!unit->wo_cut || !take_rows(unit, w->wq, q, n_embd, &unit->wq) ||
        !take_rows(unit, w->wk, kv, n_embd, &unit->wk) ||
        !take_rows(unit, w->wv, kv, n_embd, &unit->wv) ||
        !take_rows(unit, w->bq, q, 1, &unit->bq) || !take_rows(unit, w->bk, kv, 1, &unit->bk) ||
        !take_rows(unit, w->bv, kv, 1, &unit->bv)) {
        return narrow_no_memory(unit, err);
    }
    narrow_gather_columns(w->wo, n_embd, (size_t)unit->was.n_head * unit->was.head_dim, unit->heads,
                          n_in, unit->wo_cut);
    unit->weights.wq = unit->wq;
    unit->weights.wk = unit->wk;
    unit->weights.wv = unit->wv;
    unit->weights.bq = unit->bq;
    unit->weights.bk = unit->bk;
    unit->weights.bv = unit->bv;
    unit->weights.wo = unit->wo_cut;
    return WL_OK;
}

// What raises the held-out error is taken back.
static enum wl_status repair(struct narrow_unit *unit, struct wl_err *err) {
    struct narrow_layer *result = &unit->result;
    size_t n_in = unit->shape.n_head_kv * per_group(unit);
    unit->wo = calloc(unit->was.n_embd, n_in * sizeof *unit->wo);
    enum wl_status status = unit->wo ? WL_OK : narrow_no_memory(unit, err);
    if (status == WL_OK) {
        status = narrow_repair(&unit->moments, unit->heads, n_in, unit->walk->options->ridge,
                               unit->wo_cut, unit->wo, err);
    }
    if (status == WL_OK) {
        unit->weights.wo = unit->wo;
        status = narrow_judge_attention(unit, &result->attention_error_repaired, err);
    }
    if (status == WL_OK && result->attention_error_repaired > result->attention_error_cut) {
        unit->weights.wo = unit->wo_cut;
        result->attention_error_repaired = result->attention_error_cut;
    }
    return status;
}

enum wl_status narrow_attention_work(struct narrow_unit *unit, struct wl_err *err) {
    struct narrow_layer *result = &unit->result;
    if (unit->shape.n_head_kv == 0) {
        enum wl_status status = narrow_judge_attention(unit, &result->attention_error_cut, err);
        result->attention_error_repaired = result->attention_error_cut;
        return status;
    }
    enum wl_status status = choose(unit, err);
    if (status == WL_OK) {
        status = cut(unit, err);
    }
    if (status == WL_OK) {
        status = narrow_judge_attention(unit, &result->attention_error_cut, err);
        result->attention_error_repaired = result->attention_error_cut;
    }
    if (status == WL_OK && unit->walk->options->method == NARROW_REPAIR) {
        status = repair(unit, err);
    }
    narrow_moments_close(&unit->moments);
    return status;
}

void narrow_attention_release(struct narrow_unit *unit) {
    free(unit->groups);
    free(unit->heads);
    free(unit->wq);
    free(unit->wk);
    free(unit->wv);
    free(unit->bq);
    free(unit->bk);
    free(unit->bv);
    free(unit->wo);
    free(unit->wo_cut);
    free(unit->attention_moments);
}
