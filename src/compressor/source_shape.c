// The shape of a block from the keys of the file, as llama.cpp 0.7.0 reads them
// (src/llama-model.cpp, src/models/<architecture>.cpp).
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "compressor/source_keys.h"

static const float DEFAULT_ROPE_BASE = 10000;

// Gemma 3: every sixth layer sees all, the others a window. The 27B model, told by its number of
// layers, scales attention by the width of the embedding over the heads.
enum { WINDOW_PERIOD = 6, GEMMA3_27B_LAYERS = 62 };

static enum wl_status read_heads(const struct compress_source *source, struct block_shape *out,
                                 struct wl_err *err) {
    enum wl_status status;
    if ((status =
             source_size(source, "attention.head_count", 0, SOURCE_MAX_HEADS, &out->n_head, err)) ||
        (status = source_size(source, "attention.head_count_kv", out->n_head, SOURCE_MAX_HEADS,
                              &out->n_head_kv, err))) {
        return status;
    }
    if (out->n_head % out->n_head_kv != 0) {
        return wl_err_set(err, WL_INPUT,
                          "key '%s.attention.head_count' is %" PRIu32
                          ", expected a multiple of head_count_kv, %" PRIu32,
                          source->arch->name, out->n_head, out->n_head_kv);
    }
    return WL_OK;
}

// Keys, values and turned dimensions of a head must be the same; llama.cpp asserts it.
static enum wl_status read_head_dim(const struct compress_source *source, struct block_shape *out,
                                    struct wl_err *err) {
    static const char *const SAME[] = {"attention.value_length", "rope.dimension_count"};
    uint32_t usual = source->n_embd / out->n_head;
    enum wl_status status =
        source_size(source, "attention.key_length", usual, SOURCE_MAX_WIDTH, &out->head_dim, err);
    for (size_t i = 0; status == WL_OK && i < sizeof SAME / sizeof SAME[0]; i++) {
        uint32_t fallback = i == 0 && usual ? usual : out->head_dim, same;
        status = source_size(source, SAME[i], fallback, SOURCE_MAX_WIDTH, &same, err);
        if (status == WL_OK && same != out->head_dim) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "key '%s.%s' is %" PRIu32 ", expected the width of a head, %" PRIu32,
                              source->arch->name, SAME[i], same, out->head_dim);
        }
    }
    if (status == WL_OK && out->head_dim % 2 != 0) {
        return wl_err_set(err, WL_INPUT, "the width of a head is %" PRIu32 ", expected an even one",
                          out->head_dim);
    }
    return status;
}

// The epsilon is the one that the model was trained with; the qwen2vl of llama.cpp 0.7.0 alone does
// not read it and computes with 0.
static enum wl_status read_sizes(const struct compress_source *source, struct block_shape *out,
                                 struct wl_err *err) {
    enum wl_status status;
    out->n_embd = source->n_embd;
    if ((status =
             source_size(source, "feed_forward_length", 0, SOURCE_MAX_WIDTH, &out->n_ff, err)) ||
        (status = read_heads(source, out, err)) || (status = read_head_dim(source, out, err))) {
        return status;
    }
    if ((uint64_t)out->n_head * out->head_dim > SOURCE_MAX_WIDTH) {
        return wl_err_set(err, WL_INPUT,
                          "%" PRIu32 " heads of width %" PRIu32 ", expected up to %d together",
                          out->n_head, out->head_dim, SOURCE_MAX_WIDTH);
    }
    return source_positive(source, "attention.layer_norm_rms_epsilon", 0, &out->rms_eps, err);
}

// YaRN and LongRoPE change more than the positions, and by the length of the context. Llama 3's way
// has no key: files carry it as rope_freqs.weight.
static enum wl_status check_scaling(const struct compress_source *source, bool *is_scaled,
                                    struct wl_err *err) {
    char key[SOURCE_KEY_BYTES];
    char type[32] = "linear";
    float amplitude;
    const struct gguf_kv *kv =
        gguf_file_find(&source->file, source_key(source, "rope.scaling.type", key));
    if (kv && !gguf_file_string(&source->file, key, type, sizeof type)) {
        return wl_err_set(err, WL_INPUT, "key '%s' is no string", key);
    }
    *is_scaled = strcmp(type, "linear") == 0;
    if (!*is_scaled && strcmp(type, "none") != 0) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "key '%s' is '%s', expected none or linear: other ways of stretching "
                          "positions cannot be computed here",
                          key, type);
    }
    enum wl_status status = source_float(source, "rope.scaling.attn_factor", 1, &amplitude, err);
    if (status == WL_OK && amplitude != 1) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "key '%s' is %g, expected 1: a scaled rotation cannot be computed here",
                          source_key(source, "rope.scaling.attn_factor", key), (double)amplitude);
    }
    return status;
}

static enum wl_status read_rope(const struct compress_source *source, struct block_shape *out,
                                struct wl_err *err) {
    bool is_scaled = false;
    float stretch = 0;
    enum wl_status status;
    out->rope = source->arch->rope;
    out->rope_factors = source->rope_factors;
    if ((status =
             source_positive(source, "rope.freq_base", DEFAULT_ROPE_BASE, &out->rope_base, err)) ||
        (status = check_scaling(source, &is_scaled, err)) ||
        (status = source_float(source, "rope.scale_linear", 0, &stretch, err)) ||
        (status = source_float(source, "rope.scaling.factor", stretch, &stretch, err))) {
        return status;
    }
    if (stretch < 0) {
        return wl_err_set(err, WL_INPUT, "positions are stretched by %g, expected 0 (not) or more",
                          (double)stretch);
    }
    out->rope_scale = is_scaled && stretch > 0 ? 1 / stretch : 1;
    return WL_OK;
}

static enum wl_status read_sections(const struct compress_source *source, struct block_shape *out,
                                    struct wl_err *err) {
    char key[SOURCE_KEY_BYTES];
    source_key(source, "rope.dimension_sections", key);
    const struct gguf_kv *kv = gguf_file_find(&source->file, key);
    uint64_t total = 0;
    bool is_right = kv && kv->is_array && kv->n == 4;
    for (uint64_t i = 0; is_right && i < 4; i++) {
        uint64_t pairs = gguf_file_uint(&source->file, key, i, UINT64_MAX);
        is_right = pairs <= out->head_dim;
        out->rope_sections[i] = is_right ? (uint32_t)pairs : 0;
        total += i < 3 ? out->rope_sections[i] : 0;
    }
    if (!is_right || total == 0) {
        return wl_err_set(err, WL_INPUT,
                          "key '%s' is missing or wrong, expected four counts of pairs of a head "
                          "of width %" PRIu32,
                          key, out->head_dim);
    }
    return WL_OK;
}

// The integer at `i` of a key that may be a list; `fallback` when the key is absent.
static enum wl_status read_uint(const struct compress_source *source, const char *key, uint64_t i,
                                uint64_t fallback, uint64_t *out, struct wl_err *err) {
    bool is_there = gguf_file_find(&source->file, key) != NULL;
    *out = gguf_file_uint(&source->file, key, i, is_there ? UINT64_MAX : fallback);
    if (*out > INT32_MAX) {
        return wl_err_set(err, WL_INPUT, "key '%s' is no integer from 0 to %" PRId32, key,
                          INT32_MAX);
    }
    return WL_OK;
}

// The pattern is a period, or a list of what sees a window only.
static enum wl_status read_is_windowed(const struct compress_source *source, uint32_t layer,
                                       bool *out, struct wl_err *err) {
    char key[SOURCE_KEY_BYTES];
    source_key(source, "attention.sliding_window_pattern", key);
    const struct gguf_kv *kv = gguf_file_find(&source->file, key);
    bool is_list = kv && kv->is_array;
    if (is_list && kv->n != source->n_layer) {
        return wl_err_set(err, WL_INPUT,
                          "key '%s' has %" PRIu64 " elements, expected one per layer, %" PRIu32,
                          key, kv->n, source->n_layer);
    }
    uint64_t value;
    enum wl_status status = read_uint(source, key, is_list ? layer : 0, WINDOW_PERIOD, &value, err);
    if (status == WL_OK) {
        *out = is_list ? value != 0 : value == 0 || layer % value < value - 1;
    }
    return status;
}

static enum wl_status read_window(const struct compress_source *source, uint32_t layer,
                                  struct block_shape *out, struct wl_err *err) {
    char key[SOURCE_KEY_BYTES];
    bool is_windowed = false;
    uint64_t window;
    if (source->n_layer == GEMMA3_27B_LAYERS) {
        uint32_t whole = out->n_embd / out->n_head;
        out->attention_scale = 1 / sqrtf((float)whole);
    }
    enum wl_status status =
        read_uint(source, source_key(source, "attention.sliding_window", key), 0, 0, &window, err);
    if (status == WL_OK && window > 0) {
        status = read_is_windowed(source, layer, &is_windowed, err);
    }
    if (status == WL_OK && is_windowed) {
        out->window = (uint32_t)window;
        out->rope_scale = 1;
        status =
            source_positive(source, "rope.freq_base_swa", DEFAULT_ROPE_BASE, &out->rope_base, err);
    }
    return status;
}

enum wl_status compress_source_shape(const struct compress_source *source, uint32_t layer,
                                     struct block_shape *out, struct wl_err *err) {
    *out = (struct block_shape){.is_gelu = source->arch->is_gelu};
    if (layer >= source->n_layer) {
        return wl_err_set(err, WL_INPUT, "there is no layer %" PRIu32 ", expected below %" PRIu32,
                          layer, source->n_layer);
    }
    enum wl_status status = read_sizes(source, out, err);
    if (status == WL_OK) {
        status = read_rope(source, out, err);
    }
    if (status == WL_OK && source->arch->has_rope_sections) {
        status = read_sections(source, out, err);
    }
    if (status == WL_OK && source->arch->has_windows) {
        status = read_window(source, layer, out, err);
    }
    return status;
}
