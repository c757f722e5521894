#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/narrow_unit.h"

// A part that keeps all its neurons keeps its bytes too, unless new ones are better by this share.
static const double LEAST_GAIN = 0.01;

static float largest(const float *row, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(row[i]));
    }
    return most;
}

// What NARROW_MAGNITUDE goes by; NULL without memory.
static float *magnitudes(const struct narrow_unit *unit) {
    size_t n_embd = unit->was.n_embd, n_ff = unit->was.n_ff;
    const struct block_weights *w = &unit->block.weights;
    float *score = calloc(n_ff, sizeof *score);
    for (size_t i = 0; i < n_ff && score; i++) {
        score[i] = largest(w->gate + i * n_embd, n_embd) + largest(w->up + i * n_embd, n_embd);
    }
    return score;
}

// The block as it was goes, so that there is room for what choosing takes; `down` comes in its
// place.
static enum wl_status let_go(struct narrow_unit *unit, struct wl_err *err) {
    size_t n_embd = unit->was.n_embd;
    bool has_bias = unit->block.weights.down_bias, has_norm = unit->block.weights.ffn_post_norm;
    compress_block_release(&unit->block);
    unit->norm = narrow_read(unit, "ffn_norm.weight", NULL, n_embd);
    unit->down = narrow_read(unit, "ffn_down.weight", NULL, n_embd);
    unit->bias = has_bias ? narrow_read(unit, "ffn_down.bias", NULL, n_embd) : NULL;
    unit->post_norm = has_norm ? narrow_read(unit, "post_ffw_norm.weight", NULL, n_embd) : NULL;
    bool has_all =
        unit->norm && unit->down && (unit->bias || !has_bias) && (unit->post_norm || !has_norm);
    unit->weights.ffn_norm = unit->norm;
    unit->weights.gate = unit->weights.up = NULL;
    unit->weights.down = unit->down;
    unit->weights.down_bias = unit->bias;
    unit->weights.ffn_post_norm = unit->post_norm;
    return has_all ? WL_OK : narrow_no_memory(unit, err);
}

static enum wl_status choose(struct narrow_unit *unit, struct wl_err *err) {
    const struct narrow_options *o = unit->walk->options;
    bool has_score = o->method == NARROW_MAGNITUDE;
    float *score = has_score ? magnitudes(unit) : NULL;
    enum wl_status status = let_go(unit, err);
    struct narrow_choice choice = {.method = o->method,
                                   .ridge = o->ridge,
                                   .group = 1,
                                   .n_kept = unit->shape.n_ff,
                                   .score = score,
                                   .go_on = narrow_goes_on,
                                   .context = unit->walk};
    float *diagonal = calloc(unit->was.n_ff, sizeof *diagonal);
    unit->neurons = calloc(unit->shape.n_ff, sizeof *unit->neurons);
    unit->second_moments = calloc(unit->shape.n_ff, sizeof *unit->second_moments);
    if (!diagonal || !unit->neurons || !unit->second_moments || (has_score && !score)) {
        free(diagonal);
        free(score);
        return narrow_no_memory(unit, err);
    }
    if (status == WL_OK) {
        gram_diagonal(&unit->moments.gram, diagonal);
        status = narrow_choose(&unit->moments, unit->down, &choice, unit->neurons, err);
    }
    for (uint32_t i = 0; i < unit->shape.n_ff && status == WL_OK; i++) {
        unit->second_moments[i] = diagonal[unit->neurons[i]];
    }
    free(diagonal);
    free(score);
    return status;
}

static void cut(struct narrow_unit *unit) {
    size_t n_embd = unit->was.n_embd, n_ff = unit->shape.n_ff;
    narrow_gather_columns(unit->down, n_embd, unit->was.n_ff, unit->neurons, n_ff, unit->down);
    float *smaller = realloc(unit->down, n_embd * n_ff * sizeof *smaller);
    unit->down = smaller ? smaller : unit->down;
    unit->weights.down = unit->down;
    unit->is_down_new = n_ff < unit->was.n_ff;
}

// After repair's moments have gone.
static enum wl_status read_inner(struct narrow_unit *unit, struct wl_err *err) {
    unit->gate = narrow_read(unit, "ffn_gate.weight", unit->neurons, unit->shape.n_ff);
    unit->up = narrow_read(unit, "ffn_up.weight", unit->neurons, unit->shape.n_ff);
    unit->weights.gate = unit->gate;
    unit->weights.up = unit->up;
    return unit->gate && unit->up ? WL_OK : narrow_no_memory(unit, err);
}

static enum wl_status solve(struct narrow_unit *unit, struct wl_err *err) {
    size_t n_embd = unit->was.n_embd, n_ff = unit->shape.n_ff;
    unit->down_repaired = calloc(n_embd, n_ff * sizeof *unit->down_repaired);
    if (!unit->down_repaired) {
        return narrow_no_memory(unit, err);
    }
    return narrow_repair(&unit->moments, unit->neurons, n_ff, unit->walk->options->ridge,
                         unit->down, unit->down_repaired, err);
}

// What raises the held-out error is taken back.
static enum wl_status judge_repaired(struct narrow_unit *unit, struct wl_err *err) {
    struct narrow_layer *result = &unit->result;
    double error, image;
    unit->weights.down = unit->down_repaired;
    enum wl_status status = narrow_judge_ffn(unit, &error, &image, err);
    bool is_asked_for = unit->is_down_new || unit->end > unit->layer + 1;
    bool is_better =
        is_asked_for ? !(error > result->error_cut) : error < (1 - LEAST_GAIN) * result->error_cut;
    if (status == WL_OK && is_better) {
        float *loser = unit->down;
        unit->down = unit->down_repaired;
        unit->down_repaired = loser;
        unit->is_down_new = true;
        result->error_repaired = error;
        result->error_image = image;
    }
    free(unit->down_repaired);
    unit->down_repaired = NULL;
    unit->weights.down = unit->down;
    return status;
}

// The mean of what is still missing, E[t] - W E[h], on top of the bias that there may be.
static enum wl_status add_bias(struct narrow_unit *unit, struct wl_err *err) {
    const struct narrow_moments *m = &unit->moments;
    size_t n_embd = unit->was.n_embd, n_ff = unit->shape.n_ff;
    float *bias = calloc(n_embd, sizeof *bias);
    if (!bias) {
        return narrow_no_memory(unit, err);
    }
    for (size_t i = 0; i < n_embd; i++) {
        double sum = m->target_sum[i];
        for (size_t j = 0; j < n_ff; j++) {
            sum -= (double)unit->weights.down[i * n_ff + j] * m->gram.sum[unit->neurons[j]];
        }
        bias[i] = (float)(sum / m->gram.count) + (unit->bias ? unit->bias[i] : 0);
    }
    unit->weights.down_bias = bias;
    double image, before = unit->result.error_repaired;
    enum wl_status status = narrow_judge_ffn(unit, &unit->result.error_bias, &image, err);
    if (status == WL_OK && unit->result.error_bias < before) {
        unit->result.down_bias = bias;
        unit->result.error_image = image;
        free(unit->bias);
        unit->bias = bias;
    } else {
        unit->weights.down_bias = unit->bias;
        free(bias);
    }
    return status;
}

enum wl_status narrow_ffn_work(struct narrow_unit *unit, struct wl_err *err) {
    struct narrow_layer *result = &unit->result;
    const struct narrow_options *o = unit->walk->options;
    bool is_repaired = o->method == NARROW_REPAIR;
    enum wl_status status = choose(unit, err);
    if (status == WL_OK) {
        cut(unit);
        status = is_repaired ? solve(unit, err) : WL_OK;
    }
    if (status == WL_OK) {
        status = read_inner(unit, err);
    }
    if (status == WL_OK) {
        status = narrow_judge_ffn(unit, &result->error_cut, &result->error_image, err);
        result->error_repaired = result->error_cut;
    }
    if (status == WL_OK && is_repaired) {
        status = judge_repaired(unit, err);
    }
    if (status == WL_OK && is_repaired && o->may_add_bias && unit->is_down_new &&
        !unit->weights.ffn_post_norm) {
        status = add_bias(unit, err);
    }
    narrow_moments_close(&unit->moments);
    return status;
}

void narrow_ffn_release(struct narrow_unit *unit) {
    free(unit->neurons);
    free(unit->norm);
    free(unit->gate);
    free(unit->up);
    free(unit->down);
    free(unit->down_repaired);
    free(unit->bias);
    free(unit->post_norm);
    free(unit->second_moments);
}
