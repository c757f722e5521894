// Rotary positions: pair p of every head turns by position * scale * base^(-2 p / head_dim),
// divided by its factor where a model has factors (ggml_rope_ext). With sections the pairs take
// turns at following position 0, 1, 2 and 3 (ggml_rope_multi, MROPE).
#include <math.h>
#include <stdlib.h>

#include "compress/block_parts.h"

enum wl_status block_turns_init(struct block_turns *turns, const struct block_shape *shape,
                                size_t max_tokens, struct wl_err *err) {
    size_t n_pairs = shape->head_dim / 2;
    turns->frequency = calloc(n_pairs, sizeof *turns->frequency);
    turns->cosine = block_floats(max_tokens, n_pairs, err);
    turns->sine = block_floats(max_tokens, n_pairs, err);
    if (!turns->frequency || !turns->cosine || !turns->sine) {
        block_turns_release(turns);
        return wl_err_set(err, WL_MEMORY, "no memory for the angles of %zu tokens", max_tokens);
    }
    for (size_t pair = 0; pair < n_pairs; pair++) {
        double exponent = -2 * (double)pair / shape->head_dim;
        double factor = shape->rope_factors ? (double)shape->rope_factors[pair] : 1;
        turns->frequency[pair] =
            (double)shape->rope_scale * pow((double)shape->rope_base, exponent) / factor;
    }
    return WL_OK;
}

void block_turns_release(struct block_turns *turns) {
    free(turns->frequency);
    free(turns->cosine);
    free(turns->sine);
    *turns = (struct block_turns){0};
}

static uint64_t sections_total(const struct block_shape *shape) {
    uint64_t total = 0;
    for (size_t section = 0; section < 4; section++) {
        total += shape->rope_sections[section];
    }
    return total;
}

// Which of the four positions a pair follows.
static size_t position_of(const struct block_shape *shape, size_t pair) {
    uint64_t total = sections_total(shape), rest = total ? pair % total : 0;
    size_t section = 0;
    while (section < 3 && rest >= shape->rope_sections[section] && total) {
        rest -= shape->rope_sections[section];
        section++;
    }
    return section;
}

void block_turns_set(struct block_turns *turns, const struct block_shape *shape,
                     const struct block_batch *batch, size_t first_token, size_t n_tokens) {
    size_t n_pairs = shape->head_dim / 2;
    for (size_t pair = 0; pair < n_pairs; pair++) {
        const int32_t *positions =
            batch->positions + position_of(shape, pair) * batch->n_tokens + first_token;
        for (size_t token = 0; token < n_tokens; token++) {
            double angle = positions[token] * turns->frequency[pair];
            turns->cosine[token * n_pairs + pair] = (float)cos(angle);
            turns->sine[token * n_pairs + pair] = (float)sin(angle);
        }
    }
}

static void turn_head(const float *cosine, const float *sine, size_t n_pairs, size_t step,
                      size_t partner, float *x) {
    for (size_t pair = 0; pair < n_pairs; pair++) {
        float a = x[pair * step], b = x[pair * step + partner];
        x[pair * step] = a * cosine[pair] - b * sine[pair];
        x[pair * step + partner] = a * sine[pair] + b * cosine[pair];
    }
}

void block_turns_apply(const struct block_turns *turns, const struct block_shape *shape,
                       size_t n_tokens, size_t n_heads, float *x) {
    size_t n_pairs = shape->head_dim / 2;
    size_t step = shape->rope == BLOCK_ROPE_PAIRS ? 2 : 1;
    size_t partner = shape->rope == BLOCK_ROPE_PAIRS ? 1 : n_pairs;
    for (size_t token = 0; token < n_tokens; token++) {
        for (size_t head = 0; head < n_heads; head++) {
            turn_head(turns->cosine + token * n_pairs, turns->sine + token * n_pairs, n_pairs, step,
                      partner, x + (token * n_heads + head) * shape->head_dim);
        }
    }
}
