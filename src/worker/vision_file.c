#include "worker/vision_file.h"

#include <gguf.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "worker/gguf_file.h"

enum { MAX_DIM = 1 << 24, MAX_BLOCKS = 4096, MAX_IMAGE_SIZE = 8192, MAX_PATCH = 65535 };

enum key_need { REQUIRED, OPTIONAL };

struct key_rule {
    const char *key;
    enum gguf_type type;
    bool is_array;
    enum key_need need;
};

#define U32 GGUF_TYPE_UINT32
#define F32 GGUF_TYPE_FLOAT32

// The keys that libmtmd reads without looking at their type.
static const struct key_rule KEYS[] = {
    {"clip.has_vision_encoder", GGUF_TYPE_BOOL, false, REQUIRED},
    {"clip.has_audio_encoder", GGUF_TYPE_BOOL, false, OPTIONAL},
    {"clip.projector_type", GGUF_TYPE_STRING, false, OPTIONAL},
    {"clip.vision.projector_type", GGUF_TYPE_STRING, false, OPTIONAL},
    {"clip.use_gelu", GGUF_TYPE_BOOL, false, OPTIONAL},
    {"clip.use_silu", GGUF_TYPE_BOOL, false, OPTIONAL},
    {"clip.minicpmv_version", GGUF_TYPE_INT32, false, OPTIONAL},
    {"clip.minicpmv_query_num", U32, false, OPTIONAL},
    {"clip.vision.embedding_length", U32, false, REQUIRED},
    {"clip.vision.feed_forward_length", U32, false, REQUIRED},
    {"clip.vision.block_count", U32, false, REQUIRED},
    {"clip.vision.projection_dim", U32, false, REQUIRED},
    {"clip.vision.attention.head_count", U32, false, REQUIRED},
    {"clip.vision.attention.head_count_kv", U32, false, OPTIONAL},
    {"clip.vision.attention.layer_norm_epsilon", F32, false, REQUIRED},
    {"clip.vision.image_size", U32, false, REQUIRED},
    {"clip.vision.patch_size", U32, false, REQUIRED},
    {"clip.vision.image_mean", F32, true, REQUIRED},
    {"clip.vision.image_std", F32, true, REQUIRED},
    {"clip.vision.image_min_pixels", U32, false, OPTIONAL},
    {"clip.vision.image_max_pixels", U32, false, OPTIONAL},
    {"clip.vision.preproc_image_size", U32, false, OPTIONAL},
    {"clip.vision.preproc_min_tiles", U32, false, OPTIONAL},
    {"clip.vision.preproc_max_tiles", U32, false, OPTIONAL},
    {"clip.vision.image_resize_algo", GGUF_TYPE_STRING, false, OPTIONAL},
    {"clip.vision.spatial_merge_size", U32, false, OPTIONAL},
    {"clip.vision.projector.scale_factor", U32, false, OPTIONAL},
    {"clip.vision.n_wa_pattern", U32, false, OPTIONAL},
    {"clip.vision.window_size", U32, false, OPTIONAL},
    {"clip.vision.mm_patch_merge_type", GGUF_TYPE_STRING, false, OPTIONAL},
    {"clip.vision.image_grid_pinpoints", GGUF_TYPE_INT32, true, OPTIONAL},
    {"clip.vision.feature_layer", GGUF_TYPE_INT32, true, OPTIONAL},
    {"clip.vision.wa_layer_indexes", GGUF_TYPE_INT32, true, OPTIONAL},
};

static enum wl_status check_key(const struct gguf_file *file, const struct key_rule *rule,
                                struct wl_err *err) {
    const struct gguf_kv *kv = gguf_file_find(file, rule->key);
    const char *array = rule->is_array ? "array of " : "";
    if (!kv) {
        return rule->need == OPTIONAL
                   ? WL_OK
                   : wl_err_set(err, WL_INPUT,
                                "key '%s' (%s%s) is missing; convert the model to mmproj again",
                                rule->key, array, gguf_type_name(rule->type));
    }
    if (kv->type != rule->type || kv->is_array != rule->is_array) {
        return wl_err_set(err, WL_INPUT, "key '%s' is of type %s%s, expected %s%s", rule->key,
                          kv->is_array ? "array of " : "", gguf_type_name(kv->type), array,
                          gguf_type_name(rule->type));
    }
    return WL_OK;
}

static enum wl_status check_is_encoder(const struct gguf_file *file, struct wl_err *err) {
    char arch[64] = "";
    gguf_file_string(file, "general.architecture", arch, sizeof arch);
    if (strcmp(arch, "clip") != 0) {
        return wl_err_set(err, WL_INPUT,
                          "architecture '%s', expected 'clip': this is no image encoder; give the "
                          "text model as the model and its mmproj file here",
                          arch);
    }
    if (!gguf_file_bool(file, "clip.has_vision_encoder") &&
        gguf_file_bool(file, "clip.has_audio_encoder")) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "it encodes audio only; an image encoder is needed here");
    }
    return WL_OK;
}

static enum wl_status check_keys(const struct gguf_file *file, struct wl_err *err) {
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        enum wl_status status = check_key(file, &KEYS[i], err);
        if (status != WL_OK) {
            return status;
        }
    }
    static const char *const COLOURS[] = {"clip.vision.image_mean", "clip.vision.image_std"};
    for (size_t i = 0; i < 2; i++) {
        uint64_t n = gguf_file_find(file, COLOURS[i])->n;
        if (n < 3) {
            return wl_err_set(err, WL_INPUT, "key '%s' has %" PRIu64 " elements, expected 3",
                              COLOURS[i], n);
        }
    }
    const struct gguf_kv *pinpoints = gguf_file_find(file, "clip.vision.image_grid_pinpoints");
    if (pinpoints && pinpoints->n % 2 != 0) {
        return wl_err_set(err, WL_INPUT,
                          "key 'clip.vision.image_grid_pinpoints' has %" PRIu64
                          " elements, expected pairs",
                          pinpoints->n);
    }
    if (!gguf_file_bool(file, "clip.has_vision_encoder")) {
        return wl_err_set(err, WL_INPUT, "clip.has_vision_encoder is false: no image encoder");
    }
    return WL_OK;
}

static enum wl_status take_number(const struct gguf_file *file, const char *name, uint64_t low,
                                  uint64_t high, uint32_t *out, struct wl_err *err) {
    char key[96];
    snprintf(key, sizeof key, "clip.vision.%s", name);
    uint64_t value = gguf_file_uint(file, key, 0, 0);
    if (value < low || value > high) {
        return wl_err_set(err, WL_INPUT, "%s is %" PRIu64 ", expected %" PRIu64 " to %" PRIu64, key,
                          value, low, high);
    }
    *out = (uint32_t)value;
    return WL_OK;
}

static enum wl_status take_shape(const struct gguf_file *file, struct vision_facts *f,
                                 struct wl_err *err) {
    enum wl_status status;
    if ((status = take_number(file, "embedding_length", 1, MAX_DIM, &f->n_embd, err)) ||
        (status = take_number(file, "feed_forward_length", 0, MAX_DIM, &f->n_ff, err)) ||
        (status = take_number(file, "block_count", 0, MAX_BLOCKS, &f->n_layer, err)) ||
        (status = take_number(file, "attention.head_count", 1, f->n_embd, &f->n_head, err)) ||
        (status = take_number(file, "projection_dim", 0, MAX_DIM, &f->projection_dim, err)) ||
        (status = take_number(file, "image_size", 0, MAX_IMAGE_SIZE, &f->image_size, err)) ||
        (status = take_number(file, "patch_size", 1, MAX_PATCH, &f->patch_size, err))) {
        return status;
    }
    uint64_t scale = gguf_file_uint(file, "clip.vision.projector.scale_factor", 0, 0);
    uint64_t merge = gguf_file_uint(file, "clip.vision.spatial_merge_size", 0, scale);
    f->merge = merge <= MAX_PATCH ? (uint32_t)merge : 0;
    return WL_OK;
}

static bool has_tensor(const struct gguf_file *file, const char *name) {
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_block_tensor(const struct gguf_file *file, uint32_t block, const char *name) {
    char full[GGUF_NAME_BYTES];
    snprintf(full, sizeof full, "v.blk.%" PRIu32 ".%s.weight", block, name);
    return has_tensor(file, full);
}

static bool has_attention(const struct gguf_file *file, uint32_t block) {
    return has_block_tensor(file, block, "attn_qkv") ||
           (has_block_tensor(file, block, "attn_q") && has_block_tensor(file, block, "attn_k") &&
            has_block_tensor(file, block, "attn_v"));
}

// What the graph of a vision transformer reads without asking whether it is there. Encoders of
// another build (no attention in block 0) are left to libmtmd.
static enum wl_status check_tensors(const struct gguf_file *file, const struct vision_facts *f,
                                    struct wl_err *err) {
    if (!has_block_tensor(file, 0, "attn_out")) {
        return WL_OK;
    }
    if (!has_tensor(file, "v.patch_embd.weight")) {
        return wl_err_set(err, WL_INPUT, "tensor 'v.patch_embd.weight' is missing");
    }
    for (uint32_t i = 0; i < f->n_layer; i++) {
        if (!has_attention(file, i)) {
            return wl_err_set(err, WL_INPUT,
                              "block %" PRIu32 " of %" PRIu32 " has neither v.blk.%" PRIu32
                              ".attn_qkv.weight nor attn_q, attn_k and attn_v; the file is not "
                              "whole, fetch it again",
                              i, f->n_layer, i);
        }
    }
    bool is_qwen = strncmp(f->projector, "qwen2vl", 7) == 0 ||
                   strncmp(f->projector, "qwen2.5vl", 9) == 0 ||
                   strncmp(f->projector, "qwen3vl", 7) == 0;
    if (is_qwen && !has_tensor(file, "v.patch_embd.weight.1")) {
        return wl_err_set(err, WL_INPUT, "tensor 'v.patch_embd.weight.1' is missing");
    }
    return WL_OK;
}

static enum wl_status take_projector(const struct gguf_file *file, struct vision_facts *f,
                                     struct wl_err *err) {
    gguf_file_string(file, "clip.projector_type", f->projector, sizeof f->projector);
    if (!f->projector[0]) {
        gguf_file_string(file, "clip.vision.projector_type", f->projector, sizeof f->projector);
    }
    size_t len = strspn(f->projector, "abcdefghijklmnopqrstuvwxyz0123456789_-.");
    return len > 0 && !f->projector[len]
               ? WL_OK
               : wl_err_set(err, WL_INPUT,
                            "key 'clip.projector_type' is '%s', expected a name such as "
                            "'qwen2vl_merger'",
                            f->projector);
}

static enum wl_status read_facts(const struct gguf_file *file, struct vision_facts *f,
                                 struct wl_err *err) {
    enum wl_status status;
    if ((status = check_is_encoder(file, err)) || (status = check_keys(file, err)) ||
        (status = take_projector(file, f, err)) || (status = take_shape(file, f, err)) ||
        (status = check_tensors(file, f, err))) {
        return status;
    }
    gguf_file_string(file, "general.name", f->name, sizeof f->name);
    f->file_bytes = file->file_bytes;
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        f->tensor_bytes += file->tensors[i].n_bytes;
        f->n_params += file->tensors[i].n_elements;
    }
    return WL_OK;
}

enum wl_status vision_file_read(const char *path, struct vision_facts *facts, struct wl_err *err) {
    struct gguf_file file;
    struct wl_err own;
    *facts = (struct vision_facts){0};
    enum wl_status status = gguf_file_open(&file, path, err);
    if (status != WL_OK) {
        return status;
    }
    status = read_facts(&file, facts, &own);
    gguf_file_close(&file);
    return status == WL_OK ? WL_OK
                           : wl_err_set(err, status, "cannot use the image encoder '%.300s': %s",
                                        path, own.message);
}
