#include "compressor/costs_variant.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "compressor/pack.h"
#include "compressor/target.h"

// The first blocks are enough of them to be read from memory at each token, as the whole model is,
// and not from a cache; so is the output matrix.
static const uint64_t BLOCK_BYTES = 384ULL << 20, VOCABULARY_BYTES = 96ULL << 20;
enum { LEAST_VOCABULARY = 256, EVEN_WIDTH = 256, KEY_BYTES = 128 };

// ---- which ones ----

static uint64_t tensor_bytes(const struct compress_source *source, int32_t layer,
                             const char *name) {
    const struct gguf_tensor *tensor = compress_source_tensor(source, layer, name);
    return tensor ? tensor->n_bytes : 0;
}

static uint64_t layer_bytes(const struct compress_source *source) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < source->file.n_tensors; i++) {
        const struct gguf_tensor *tensor = &source->file.tensors[i];
        sum += strncmp(tensor->name, "blk.0.", 6) == 0 ? tensor->n_bytes : 0;
    }
    return sum > 0 ? sum : 1;
}

static uint32_t enough_layers(const struct compress_source *source) {
    uint64_t n = (BLOCK_BYTES + layer_bytes(source) - 1) / layer_bytes(source);
    n = n < 2 ? 2 : n;
    return n < source->n_layer ? (uint32_t)n : source->n_layer;
}

static uint32_t enough_vocabulary(const struct compress_source *source) {
    const char *name = source->is_tied ? "token_embd.weight" : "output.weight";
    uint64_t row = tensor_bytes(source, -1, name) / source->n_vocab + 1;
    uint64_t n = VOCABULARY_BYTES / row / LEAST_VOCABULARY * LEAST_VOCABULARY;
    n = n < 16 * LEAST_VOCABULARY ? 16 * LEAST_VOCABULARY : n;
    return n < source->n_vocab ? (uint32_t)n : source->n_vocab;
}

// About half, a multiple of 256 if there is one.
static uint32_t half_width(const struct compress_source *source, uint32_t n_ff) {
    uint32_t step = pack_step(source), even = n_ff / 2 / EVEN_WIDTH * EVEN_WIDTH;
    uint32_t half = n_ff / 2 / step * step;
    return even >= step && even % step == 0 ? even : half;
}

static bool fits_rows(const struct compress_source *source, const struct block_shape *shape,
                      uint32_t n_head_kv) {
    uint64_t columns = (uint64_t)(shape->n_head / shape->n_head_kv) * n_head_kv * shape->head_dim;
    bool fits = true;
    for (uint32_t i = 0; i < source->n_layer && fits; i++) {
        const struct gguf_tensor *out =
            compress_source_tensor(source, (int32_t)i, "attn_output.weight");
        fits = columns % (uint64_t)ggml_blck_size(out->type) == 0;
    }
    return fits;
}

// About half of the KV heads; 0 when there is no less that the tensor types take.
static uint32_t half_heads(const struct compress_source *source, const struct block_shape *shape) {
    for (uint32_t n = shape->n_head_kv / 2; n > 0 && n < shape->n_head_kv; n++) {
        if (fits_rows(source, shape, n)) {
            return n;
        }
    }
    return 0;
}

size_t costs_variants(const struct compress_source *source, const struct block_shape *shape,
                      struct costs_variant out[COSTS_MAX_VARIANTS]) {
    uint32_t half_ff = half_width(source, shape->n_ff), step = pack_step(source);
    uint32_t few_heads = half_heads(source, shape), n = 0;
    struct costs_variant all = {.n_layer = enough_layers(source),
                                .n_ff = shape->n_ff,
                                .n_head_kv = shape->n_head_kv,
                                .n_vocab = enough_vocabulary(source)};
    struct costs_variant few = all, next;
    few.n_layer = all.n_layer > 1 ? all.n_layer / 2 : 1;
    out[n++] = all;
    if (few.n_layer < all.n_layer) {
        out[n++] = few;
    }
    if (half_ff > 0) {
        next = all;
        next.n_ff = half_ff;
        out[n++] = next;
        if (step % EVEN_WIDTH != 0 && half_ff % EVEN_WIDTH == 0 && half_ff + step < shape->n_ff) {
            next.n_ff = half_ff + step; // in a slow kernel, if there is one
            out[n++] = next;
        }
    }
    if (few_heads > 0) {
        next = all;
        next.n_head_kv = few_heads;
        out[n++] = next;
    }
    if (all.n_vocab >= 2 * LEAST_VOCABULARY) {
        next = few;
        next.n_vocab = all.n_vocab / 2 / LEAST_VOCABULARY * LEAST_VOCABULARY;
        out[n++] = next;
    }
    if (half_ff > 0 && few_heads > 0) { // whether the parts add up
        next = few;
        next.n_ff = half_ff;
        next.n_head_kv = few_heads;
        out[n++] = next;
    }
    return n;
}

// ---- the file of one ----

struct build {
    const struct compress_source *source;
    const struct block_shape *shape;
    const struct costs_variant *variant;
    struct compress_target *target;
    uint32_t *numbers;    // 0, 1, 2, ...
    unsigned char *zeros; // as many as any tensor needs
};

static void build_end(struct build *b) {
    compress_target_free(b->target);
    free(b->numbers);
    free(b->zeros);
}

static enum wl_status build_begin(struct build *b, struct wl_err *err) {
    const struct block_shape *shape = b->shape;
    size_t n = (size_t)shape->n_head * shape->head_dim;
    n = n > shape->n_ff ? n : shape->n_ff;
    n = n > b->source->n_vocab ? n : b->source->n_vocab;
    uint64_t down = tensor_bytes(b->source, 0, "ffn_down.weight");
    uint64_t output = tensor_bytes(b->source, 0, "attn_output.weight");
    for (uint32_t i = 1; i < b->variant->n_layer; i++) {
        uint64_t bytes = tensor_bytes(b->source, (int32_t)i, "ffn_down.weight");
        down = bytes > down ? bytes : down;
        bytes = tensor_bytes(b->source, (int32_t)i, "attn_output.weight");
        output = bytes > output ? bytes : output;
    }
    b->numbers = calloc(n + 1, sizeof *b->numbers);
    b->zeros = calloc(1, (size_t)(down > output ? down : output) + 1);
    if (!b->numbers || !b->zeros) {
        return wl_err_set(err, WL_MEMORY, "no memory for a model of %" PRIu32 " blocks",
                          b->variant->n_layer);
    }
    for (size_t i = 0; i < n; i++) {
        b->numbers[i] = (uint32_t)i;
    }
    return compress_target_new(&b->source->file, &b->target, err);
}

static enum wl_status keep_rows(struct build *b, int32_t layer, const char *name, uint64_t n,
                                struct wl_err *err) {
    const struct gguf_tensor *tensor = compress_source_tensor(b->source, layer, name);
    return tensor ? compress_target_rows(b->target, tensor->name, b->numbers, (size_t)n, err)
                  : WL_OK;
}

static enum wl_status keep_columns(struct build *b, int32_t layer, const char *name, uint64_t n,
                                   struct wl_err *err) {
    const struct gguf_tensor *tensor = compress_source_tensor(b->source, layer, name);
    return compress_target_put(b->target, tensor->name, tensor->type, n, b->source->n_embd,
                               b->zeros, err);
}

static enum wl_status cut_ffn(struct build *b, int32_t layer, struct wl_err *err) {
    uint32_t n = b->variant->n_ff;
    enum wl_status status = WL_OK;
    if (n < b->shape->n_ff && ((status = keep_rows(b, layer, "ffn_gate.weight", n, err)) ||
                               (status = keep_rows(b, layer, "ffn_up.weight", n, err)) ||
                               (status = keep_columns(b, layer, "ffn_down.weight", n, err)))) {
        return status;
    }
    return WL_OK;
}

static enum wl_status cut_heads(struct build *b, int32_t layer, struct wl_err *err) {
    static const struct {
        const char *name;
        bool is_query;
    } ROWS[] = {{"attn_q.weight", true}, {"attn_k.weight", false}, {"attn_v.weight", false},
                {"attn_q.bias", true},   {"attn_k.bias", false},   {"attn_v.bias", false}};
    const struct block_shape *shape = b->shape;
    uint64_t kv = (uint64_t)b->variant->n_head_kv * shape->head_dim;
    uint64_t queries = kv * (shape->n_head / shape->n_head_kv);
    enum wl_status status = WL_OK;
    if (b->variant->n_head_kv == shape->n_head_kv) {
        return WL_OK;
    }
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0] && status == WL_OK; i++) {
        status = keep_rows(b, layer, ROWS[i].name, ROWS[i].is_query ? queries : kv, err);
    }
    return status == WL_OK ? keep_columns(b, layer, "attn_output.weight", queries, err) : status;
}

static enum wl_status drop_layers(struct build *b, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < b->source->file.n_tensors && status == WL_OK; i++) {
        const char *name = b->source->file.tensors[i].name;
        bool is_block = strncmp(name, "blk.", 4) == 0;
        if (is_block && strtoul(name + 4, NULL, 10) >= b->variant->n_layer) {
            status = compress_target_drop(b->target, name, err);
        }
    }
    return status;
}

static enum wl_status cut_tensors(struct build *b, struct wl_err *err) {
    enum wl_status status = drop_layers(b, err);
    for (uint32_t i = 0; i < b->variant->n_layer && status == WL_OK; i++) {
        status = cut_ffn(b, (int32_t)i, err);
        if (status == WL_OK) {
            status = cut_heads(b, (int32_t)i, err);
        }
    }
    if (status == WL_OK) {
        status = keep_rows(b, -1, "token_embd.weight", b->variant->n_vocab, err);
    }
    return status == WL_OK ? keep_rows(b, -1, "output.weight", b->variant->n_vocab, err) : status;
}

// ---- its keys ----

static enum wl_status set_size(struct build *b, const char *name, uint32_t value,
                               struct wl_err *err) {
    char key[KEY_BYTES];
    snprintf(key, sizeof key, "%s.%s", b->source->arch->name, name);
    return compress_target_set_u32(b->target, key, value, err);
}

// Whether the key begins with `prefix`; then it is copied.
static bool take_key(const struct gguf_kv *kv, const char *prefix, char out[KEY_BYTES]) {
    size_t len = strlen(prefix);
    if (kv->key_len >= KEY_BYTES || kv->key_len <= len || memcmp(kv->key, prefix, len) != 0) {
        return false;
    }
    memcpy(out, kv->key, kv->key_len);
    out[kv->key_len] = '\0';
    return true;
}

// Lists with an element for each layer; one of a position's parts has four, whatever the layers.
static enum wl_status shorten_lists(struct build *b, struct wl_err *err) {
    char prefix[KEY_BYTES], key[KEY_BYTES];
    enum wl_status status = WL_OK;
    snprintf(prefix, sizeof prefix, "%s.", b->source->arch->name);
    for (uint64_t i = 0; i < b->source->file.n_kv && status == WL_OK; i++) {
        const struct gguf_kv *kv = &b->source->file.kvs[i];
        if (kv->is_array && kv->n == b->source->n_layer && take_key(kv, prefix, key) &&
            !str_ends_with(key, "rope.dimension_sections")) {
            status = compress_target_pick(b->target, key, b->numbers, b->variant->n_layer, err);
        }
    }
    return status;
}

// Numbers in and out are all that is asked of the vocabulary: no tokens, so none to be cut.
static enum wl_status drop_tokenizer(struct build *b, struct wl_err *err) {
    char key[KEY_BYTES];
    enum wl_status status = WL_OK;
    for (uint64_t i = 0; i < b->source->file.n_kv && status == WL_OK; i++) {
        if (take_key(&b->source->file.kvs[i], "tokenizer.", key)) {
            status = compress_target_remove(b->target, key, err);
        }
    }
    return status == WL_OK
               ? compress_target_set_string(b->target, "tokenizer.ggml.model", "no_vocab", err)
               : status;
}

// Without norms of its own a block is one of llama's, but for the order in which a head is turned,
// which costs the same; qwen2 and qwen2vl take no fewer heads than fill the width of the model.
static enum wl_status set_keys(struct build *b, struct wl_err *err) {
    const struct block_shape *shape = b->shape;
    const struct costs_variant *v = b->variant;
    const struct {
        const char *name;
        uint32_t value;
    } SIZES[] = {
        {"block_count", v->n_layer},
        {"feed_forward_length", v->n_ff},
        {"attention.head_count", shape->n_head / shape->n_head_kv * v->n_head_kv},
        {"attention.head_count_kv", v->n_head_kv},
        {"attention.key_length", shape->head_dim},
        {"attention.value_length", shape->head_dim},
        {"rope.dimension_count", shape->head_dim},
        {"vocab_size", v->n_vocab},
    };
    enum wl_status status = shorten_lists(b, err);
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0] && status == WL_OK; i++) {
        status = set_size(b, SIZES[i].name, SIZES[i].value, err);
    }
    if (status == WL_OK) {
        status = drop_tokenizer(b, err);
    }
    bool is_plain = !b->source->arch->has_qk_norm;
    return status == WL_OK && is_plain ? compress_target_set_arch(b->target, "llama", err) : status;
}

// ---- all of it ----

static enum wl_status build_make(struct build *b, struct wl_err *err) {
    enum wl_status status = build_begin(b, err);
    if (status == WL_OK) {
        status = cut_tensors(b, err);
    }
    return status == WL_OK ? set_keys(b, err) : status;
}

enum wl_status costs_variant_bytes(const struct compress_source *source,
                                   const struct block_shape *shape,
                                   const struct costs_variant *variant, uint64_t *out,
                                   struct wl_err *err) {
    struct build b = {.source = source, .shape = shape, .variant = variant};
    enum wl_status status = build_make(&b, err);
    *out = status == WL_OK ? compress_target_bytes(b.target) : 0;
    build_end(&b);
    return status;
}

static bool on_written(void *context, uint64_t written_bytes, uint64_t total_bytes) {
    (void)written_bytes;
    (void)total_bytes;
    return !text_watch_stops(context);
}

enum wl_status costs_variant_write(const struct compress_source *source,
                                   const struct block_shape *shape,
                                   const struct costs_variant *variant, const char *path,
                                   struct text_watch *watch, struct wl_err *err) {
    struct build b = {.source = source, .shape = shape, .variant = variant};
    bool is_done = false;
    enum wl_status status = build_make(&b, err);
    if (status == WL_OK) {
        status = compress_target_write(b.target, path, on_written, watch, &is_done, err);
    }
    build_end(&b);
    return status == WL_OK && !is_done
               ? wl_err_set(err, WL_INTERRUPTED, "cancelled while '%s' was written", path)
               : status;
}
