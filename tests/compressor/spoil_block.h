// Blocks that are wrong on purpose: a comparison that does not notice them proves nothing.
#ifndef WATTLAW_TESTS_COMPRESSOR_SPOIL_BLOCK_H
#define WATTLAW_TESTS_COMPRESSOR_SPOIL_BLOCK_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "compressor/source.h"

enum { SPOILT_WINDOW = 16 };

typedef void (*spoiler)(struct compress_block *block);

static void spoil_rope_base(struct compress_block *b) {
    b->shape.rope_base *= 1.1F;
}
static void spoil_rope_kind(struct compress_block *b) {
    b->shape.rope = b->shape.rope == BLOCK_ROPE_PAIRS ? BLOCK_ROPE_HALVES : BLOCK_ROPE_PAIRS;
}
static void spoil_rope_scale(struct compress_block *b) {
    b->shape.rope_scale = b->shape.rope_scale == 1 ? 0.5F : 1;
}
static void spoil_rope_factors(struct compress_block *b) {
    b->shape.rope_factors = NULL;
}
static void spoil_rope_sections(struct compress_block *b) {
    uint32_t *sections = b->shape.rope_sections, last = sections[3];
    memmove(sections + 1, sections, 3 * sizeof *sections);
    sections[0] = last;
}
static void spoil_window(struct compress_block *b) {
    b->shape.window += b->shape.window ? 1 : 0;
}
static void spoil_no_window(struct compress_block *b) {
    b->shape.window = b->shape.window ? 0 : SPOILT_WINDOW;
}
static void spoil_attention_scale(struct compress_block *b) {
    b->shape.attention_scale = 1.1F / sqrtf((float)b->shape.head_dim);
}
static void spoil_activation(struct compress_block *b) {
    b->shape.is_gelu = !b->shape.is_gelu;
}
static void spoil_eps(struct compress_block *b) {
    b->shape.rms_eps = 1e-3F;
}
static void spoil_head_norm(struct compress_block *b) {
    b->weights.q_norm = NULL;
}
static void spoil_post_norm(struct compress_block *b) {
    b->weights.ffn_post_norm = b->weights.ffn_norm;
}
static void spoil_query_bias(struct compress_block *b) {
    b->weights.bq = NULL;
}
static void spoil_key_bias(struct compress_block *b) {
    b->weights.bk = b->weights.bv;
}
static void spoil_value_bias(struct compress_block *b) {
    b->weights.bv = NULL;
}
static void spoil_output_bias(struct compress_block *b) {
    b->weights.bo = NULL;
}
static void spoil_down_bias(struct compress_block *b) {
    b->weights.down_bias = NULL;
}

struct named_spoiler {
    const char *name;
    spoiler spoil;
};

static const struct named_spoiler SPOILERS[] = {
    {"rope base", spoil_rope_base},         {"kind of rope", spoil_rope_kind},
    {"rope scale", spoil_rope_scale},       {"rope factors", spoil_rope_factors},
    {"rope sections", spoil_rope_sections}, {"window", spoil_window},
    {"no window", spoil_no_window},         {"attention scale", spoil_attention_scale},
    {"activation", spoil_activation},       {"epsilon", spoil_eps},
    {"norm of heads", spoil_head_norm},     {"post norm", spoil_post_norm},
    {"query bias", spoil_query_bias},       {"key bias", spoil_key_bias},
    {"value bias", spoil_value_bias},       {"output bias", spoil_output_bias},
    {"down bias", spoil_down_bias},
};
enum { N_SPOILERS = sizeof SPOILERS / sizeof SPOILERS[0] };

// False when there was nothing of that kind to spoil. NULL spoils nothing.
static inline bool spoil_block(spoiler spoil, struct compress_block *block) {
    struct compress_block before;
    memcpy(&before, block, sizeof before); // padding too
    if (spoil) {
        spoil(block);
    }
    return memcmp(&before, block, sizeof before) != 0;
}

#endif
