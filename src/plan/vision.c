#include "plan/vision.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const struct plan_vision VISIONS[] = {
#define V(name_, projector_, layers, embd, heads, ff, patch, image, merge, side, deepstack,        \
          windows, params)                                                                         \
    {.name = name_,                                                                                \
     .projector = projector_,                                                                      \
     .n_layer = layers,                                                                            \
     .n_embd = embd,                                                                               \
     .n_head = heads,                                                                              \
     .n_ff = ff,                                                                                   \
     .patch_size = patch,                                                                          \
     .image_size = image,                                                                          \
     .n_merge = merge,                                                                             \
     .preproc_image_size = side,                                                                   \
     .n_deepstack = deepstack,                                                                     \
     .window_pattern = windows,                                                                    \
     .published_params = params},
#include "plan/vision.def"
#undef V
};

enum projector { QWEN2VL, QWEN25VL, QWEN3VL, IDEFICS3, GEMMA3, INTERNVL };

// What differs between the towers. All have biases on their matrices.
static const struct tower {
    const char *projector;
    enum projector id;
    uint64_t n_convolutions; // two where films come as pairs of frames
    uint64_t n_ffn_matrices; // three with a gate
    uint64_t n_norm_vectors; // two for LayerNorm, one for RMSNorm
    bool has_patch_bias, has_class, has_places, has_post_norm, has_layer_scale;
} TOWERS[] = {
    {"qwen2vl_merger", QWEN2VL, 2, 2, 2, false, false, false, true, false},
    {"qwen2.5vl_merger", QWEN25VL, 2, 3, 1, false, false, false, true, false},
    {"qwen3vl_merger", QWEN3VL, 2, 2, 2, true, false, true, true, false},
    {"idefics3", IDEFICS3, 1, 2, 2, true, false, true, true, false},
    {"gemma3", GEMMA3, 1, 2, 2, true, false, true, true, false},
    {"internvl", INTERNVL, 1, 2, 2, true, true, true, false, true},
};

size_t plan_vision_count(void) {
    return sizeof VISIONS / sizeof VISIONS[0];
}

const struct plan_vision *plan_vision_at(size_t i) {
    return i < plan_vision_count() ? &VISIONS[i] : NULL;
}

const struct plan_vision *plan_vision_by_name(const char *name) {
    for (size_t i = 0; name && i < plan_vision_count(); i++) {
        if (strcasecmp(VISIONS[i].name, name) == 0) {
            return &VISIONS[i];
        }
    }
    return NULL;
}

static const struct tower *tower_of(const struct plan_vision *v) {
    size_t i = 0;
    while (i + 1 < sizeof TOWERS / sizeof TOWERS[0] &&
           strcmp(TOWERS[i].projector, v->projector) != 0) {
        i++;
    }
    return &TOWERS[i];
}

static uint64_t block_params(const struct plan_vision *v, const struct tower *tower) {
    uint64_t embd = v->n_embd, ff = v->n_ff;
    uint64_t attention = 4 * (embd * embd + embd);
    uint64_t feed_forward =
        tower->n_ffn_matrices * embd * ff + (tower->n_ffn_matrices - 1) * ff + embd;
    uint64_t norms = 2 * tower->n_norm_vectors * embd;
    return attention + feed_forward + norms + (tower->has_layer_scale ? 2 * embd : 0);
}

static uint64_t place_params(const struct plan_vision *v, const struct tower *tower) {
    uint64_t grid = v->image_size / v->patch_size;
    return tower->has_places ? (grid * grid + tower->has_class) * v->n_embd : 0;
}

// What stands before and behind the blocks.
static uint64_t frame_params(const struct plan_vision *v, const struct tower *tower) {
    uint64_t embd = v->n_embd;
    uint64_t convolution = 3 * (uint64_t)v->patch_size * v->patch_size * embd;
    uint64_t vectors = tower->has_patch_bias + tower->has_class +
                       (tower->has_post_norm ? tower->n_norm_vectors : 0);
    return tower->n_convolutions * convolution + vectors * embd + place_params(v, tower);
}

static uint64_t projector_params(const struct plan_vision *v, const struct tower *tower,
                                 uint64_t out) {
    uint64_t merged = (uint64_t)v->n_embd * v->n_merge * v->n_merge;
    uint64_t two_layers = merged * merged + merged + merged * out + out;
    switch (tower->id) {
    case QWEN2VL:
    case QWEN25VL: return two_layers;
    case QWEN3VL: return two_layers + v->n_deepstack * (two_layers + 2 * merged);
    case IDEFICS3: return merged * out;
    case GEMMA3: return (uint64_t)v->n_embd * out + v->n_embd;
    case INTERNVL: return 2 * merged + merged * out + out + out * out + out;
    }
    return 0;
}

uint64_t plan_vision_params(const struct plan_vision *vision, uint32_t n_embd_out) {
    const struct tower *tower = tower_of(vision);
    return vision->n_layer * block_params(vision, tower) + frame_params(vision, tower) +
           projector_params(vision, tower, n_embd_out);
}

double plan_vision_bytes(const struct plan_vision *vision, uint32_t n_embd_out,
                         double bits_per_weight) {
    const struct tower *tower = tower_of(vision);
    double places = (double)place_params(vision, tower);
    double ragged = vision->n_ff % 32 ? (double)vision->n_layer * vision->n_embd * vision->n_ff : 0;
    double ragged_bits = bits_per_weight < 16 ? 16 : bits_per_weight;
    double rest = (double)plan_vision_params(vision, n_embd_out) - places - ragged;
    // Biases and norms are F32: below one part in a thousand, which the margin covers.
    return 4 * places + ragged * ragged_bits / 8 + rest * bits_per_weight / 8 * 1.002;
}
