#include "worker/synth_shape.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/json.h"
#include "worker/synth_vocab.h"

enum { MAX_LAYERS = 1024, MAX_WIDTH = 1 << 20, MAX_HEADS = 4096, MAX_VOCAB = 1 << 22 };

static const char *const ARCHS[] = {
    [SYNTH_LLAMA] = "llama",   [SYNTH_QWEN2] = "qwen2",     [SYNTH_QWEN3] = "qwen3",
    [SYNTH_GEMMA3] = "gemma3", [SYNTH_QWEN2VL] = "qwen2vl", [SYNTH_QWEN3VL] = "qwen3vl",
};

struct field {
    const char *key;
    size_t offset; // of the uint32_t in struct synth_shape
    int64_t min;
    int64_t max;
    int64_t fallback; // -1: required
};

static const struct field FIELDS[] = {
    {"n_layer", offsetof(struct synth_shape, n_layer), 1, MAX_LAYERS, -1},
    {"n_embd", offsetof(struct synth_shape, n_embd), 32, MAX_WIDTH, -1},
    {"n_head", offsetof(struct synth_shape, n_head), 1, MAX_HEADS, -1},
    {"n_head_kv", offsetof(struct synth_shape, n_head_kv), 1, MAX_HEADS, -1},
    {"head_dim", offsetof(struct synth_shape, head_dim), 0, MAX_HEADS, 0},
    {"n_ff", offsetof(struct synth_shape, n_ff), 32, MAX_WIDTH, -1},
    {"n_vocab", offsetof(struct synth_shape, n_vocab), SYNTH_VOCAB_MIN, MAX_VOCAB, -1},
    {"n_ctx", offsetof(struct synth_shape, n_ctx), 8, 1 << 24, 4096},
    {"n_deepstack", offsetof(struct synth_shape, n_deepstack), 0, 16, 0},
};

static enum wl_status parse_fields(const json_t *request, struct synth_shape *shape,
                                   struct wl_err *err) {
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
        const struct field *field = &FIELDS[i];
        int64_t value = wl_json_opt_i64(request, field->key, field->fallback);
        if (value < field->min || value > field->max) {
            return wl_err_set(err, WL_INPUT,
                              "synth: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64,
                              field->key, value, field->min, field->max);
        }
        uint32_t small = (uint32_t)value;
        memcpy((char *)shape + field->offset, &small, sizeof small);
    }
    return WL_OK;
}

static enum wl_status parse_arch(const json_t *request, struct synth_shape *shape,
                                 struct wl_err *err) {
    const char *name = wl_json_opt_string(request, "arch", "llama");
    for (size_t i = 0; i < sizeof ARCHS / sizeof ARCHS[0]; i++) {
        if (strcmp(ARCHS[i], name) == 0) {
            shape->arch = (enum synth_arch)i;
            shape->arch_name = ARCHS[i];
            return WL_OK;
        }
    }
    return wl_err_set(
        err, WL_INPUT,
        "synth: arch is '%.64s', expected llama, qwen2, qwen3, gemma3, qwen2vl or qwen3vl", name);
}

static enum wl_status check_heads(struct synth_shape *s, struct wl_err *err) {
    if (s->head_dim == 0) {
        if (s->n_embd % s->n_head != 0) {
            return wl_err_set(err, WL_INPUT,
                              "synth: n_embd %" PRIu32 " is not a multiple of n_head %" PRIu32
                              "; give head_dim",
                              s->n_embd, s->n_head);
        }
        s->head_dim = s->n_embd / s->n_head;
    }
    if (s->head_dim % 2 != 0) {
        return wl_err_set(err, WL_INPUT, "synth: head_dim %" PRIu32 " is odd", s->head_dim);
    }
    if ((s->arch == SYNTH_QWEN2 || s->arch == SYNTH_QWEN2VL) &&
        s->head_dim * s->n_head != s->n_embd) {
        return wl_err_set(err, WL_INPUT,
                          "synth: %s needs head_dim %" PRIu32 " (n_embd / n_head), found %" PRIu32,
                          s->arch_name, s->n_embd / s->n_head, s->head_dim);
    }
    if (s->n_head % s->n_head_kv != 0) {
        return wl_err_set(err, WL_INPUT,
                          "synth: n_head %" PRIu32 " is not a multiple of n_head_kv %" PRIu32,
                          s->n_head, s->n_head_kv);
    }
    return WL_OK;
}

enum wl_status synth_shape_parse(const json_t *request, struct synth_shape *shape,
                                 struct wl_err *err) {
    *shape = (struct synth_shape){
        .is_tied = wl_json_opt_bool(request, "tied", true),
        .rope_freq_base = (float)wl_json_opt_double(request, "rope_freq_base", 10000),
        .seed = (uint64_t)wl_json_opt_i64(request, "seed", 1),
        .name = wl_json_opt_string(request, "name", ""),
    };
    enum wl_status status = parse_arch(request, shape, err);
    if (status == WL_OK) {
        status = parse_fields(request, shape, err);
    }
    if (status == WL_OK && !(shape->rope_freq_base > 0)) {
        status = wl_err_set(err, WL_INPUT, "synth: rope_freq_base must be above 0");
    }
    if (status == WL_OK && shape->n_deepstack > 0 &&
        (shape->arch != SYNTH_QWEN3VL || shape->n_deepstack > shape->n_layer)) {
        status = wl_err_set(err, WL_INPUT,
                            "synth: n_deepstack is %" PRIu32
                            ", expected 0, or up to n_layer for qwen3vl",
                            shape->n_deepstack);
    }
    return status == WL_OK ? check_heads(shape, err) : status;
}
