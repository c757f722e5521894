#include "engine/result.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/result_field.h"

struct number_field {
    const char *key;
    uint32_t *out;
    uint32_t high;
};

static enum wl_status model_counts(const json_t *model, struct engine_model *out,
                                   struct wl_err *err) {
    // Generous ceilings: a hundred times the largest model known.
    const struct number_field fields[] = {
        {"n_layer", &out->n_layer, 100000},
        {"n_embd", &out->n_embd, 10000000},
        {"n_head", &out->n_head, 1000000},
        {"n_head_kv", &out->n_head_kv, 1000000},
        {"n_ff", &out->n_ff, 100000000},
        {"n_vocab", &out->n_vocab, 100000000},
        {"n_ctx_train", &out->n_ctx_train, 1u << 30},
        {"n_ctx", &out->n_ctx, 1u << 30},
        {"threads", &out->threads, 65536},
        {"threads_batch", &out->threads_batch, 65536},
        {"n_ubatch", &out->n_ubatch, 1u << 30},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum wl_status status = field_u32(model, fields[i].key, fields[i].high, fields[i].out, err);
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

static enum wl_status model_sizes(const json_t *model, struct engine_model *out,
                                  struct wl_err *err) {
    static const int64_t MAX = INT64_C(1) << 60;
    const struct {
        const char *key;
        int64_t *out;
    } fields[] = {
        {"n_params", &out->n_params},
        {"file_bytes", &out->file_bytes},
        {"tensor_bytes", &out->tensor_bytes},
        {"bytes_per_token", &out->bytes_per_token},
        {"flops_per_token", &out->flops_per_token},
        {"kv_bytes_per_token", &out->kv_bytes_per_token},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum wl_status status = field_i64(model, fields[i].key, 0, MAX, fields[i].out, err);
        if (status != WL_OK) {
            return status;
        }
    }
    return WL_OK;
}

static enum wl_status model_modes(const json_t *model, struct engine_model *out,
                                  struct wl_err *err) {
    const struct {
        const char *key;
        char *out;
    } fields[] = {
        {"type_k", out->type_k},
        {"type_v", out->type_v},
        {"load_mode", out->load_mode},
        {"flash_attn", out->flash_attn},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum wl_status status = field_word(model, fields[i].key, fields[i].out, err);
        if (status != WL_OK) {
            return status;
        }
    }
    enum wl_status status = field_bool(model, "repack", &out->repack, err);
    if (status == WL_OK) {
        status = field_bool(model, "has_chat_template", &out->has_chat_template, err);
    }
    out->is_synthetic = wl_json_opt_bool(model, "is_synthetic", false);
    return status;
}

static enum wl_status model_types(const json_t *model, struct engine_model *out,
                                  struct wl_err *err) {
    const json_t *types = json_object_get(model, "types");
    if (!json_is_object(types) || json_object_size(types) > ENGINE_MAX_TYPES) {
        return wl_err_set(err, WL_PROTOCOL, "key 'types': expected an object of at most %d counts",
                          ENGINE_MAX_TYPES);
    }
    const char *name;
    json_t *count;
    json_object_foreach((json_t *)types, name, count) {
        struct engine_type_count *type = &out->types[out->n_types];
        enum wl_status status = field_copy("types", name, type->name, sizeof type->name, err);
        if (status == WL_OK) {
            status = field_u32(types, name, 10000000, &type->n_tensors, err);
        }
        if (status != WL_OK) {
            return status;
        }
        out->n_types++;
    }
    return WL_OK;
}

enum wl_status engine_model_decode(const json_t *model, struct engine_model *out,
                                   struct wl_err *err) {
    *out = (struct engine_model){0};
    enum wl_status status = field_object(model, "model", err);
    if (status == WL_OK) {
        status = field_text(model, "arch", out->arch, sizeof out->arch, err);
    }
    if (status == WL_OK) {
        status = model_counts(model, out, err);
    }
    if (status == WL_OK) {
        status = model_sizes(model, out, err);
    }
    if (status == WL_OK) {
        status = model_modes(model, out, err);
    }
    if (status == WL_OK) {
        status = model_types(model, out, err);
    }
    if (status != WL_OK) {
        wl_err_prefix(err, "the model's description");
        *out = (struct engine_model){0};
        return status;
    }
    field_loose_text(model, "name", out->name, sizeof out->name);
    field_loose_text(model, "description", out->description, sizeof out->description);
    field_loose_text(model, "file_type", out->file_type, sizeof out->file_type);
    field_loose_text(model, "chat_template", out->chat_template, sizeof out->chat_template);
    return WL_OK;
}

enum wl_status engine_tokens_decode(const void *payload, size_t len, int32_t **ids, size_t *n,
                                    struct wl_err *err) {
    *ids = NULL;
    *n = 0;
    if (len % sizeof(int32_t)) {
        return wl_err_set(err, WL_PROTOCOL, "tokens: %zu bytes, expected a multiple of 4", len);
    }
    size_t count = len / sizeof(int32_t);
    int32_t *list = count ? malloc(len) : NULL;
    if (count && !list) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    const unsigned char *bytes = payload;
    for (size_t i = 0; i < count; i++) {
        list[i] = (int32_t)(uint32_t)field_little_endian(bytes + i * 4, 4);
        if (list[i] < 0) {
            int32_t found = list[i];
            free(list);
            return wl_err_set(err, WL_PROTOCOL, "tokens: entry %zu is %d, which is no token", i,
                              found);
        }
    }
    *ids = list;
    *n = count;
    return WL_OK;
}

static enum wl_status status_by_name(const char *name) {
    static const enum wl_status ALL[] = {
#define X(suffix, exit_code, http_code, text) WL_##suffix,
        WL_STATUS_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++) {
        if (strcmp(wl_status_name(ALL[i]), name) == 0) {
            return ALL[i];
        }
    }
    return WL_FAILED;
}

enum wl_status engine_error_decode(const json_t *error, struct wl_err *err) {
    const char *name, *message;
    if (wl_json_get_string(error, "status", &name, err) != WL_OK ||
        wl_json_get_string(error, "message", &message, err) != WL_OK) {
        return field_protocol(WL_INPUT, err);
    }
    enum wl_status status = status_by_name(name);
    // Apart from OK these are the client's own findings about a process that is gone.
    if (status == WL_OK || status == WL_CRASHED || status == WL_PROTOCOL || status == WL_TIMEOUT) {
        return wl_err_set(err, WL_PROTOCOL, "an error frame with status '%.20s': %.500s", name,
                          message);
    }
    return wl_err_set(err, status, "%s", message[0] ? message : "the engine gave no reason");
}
