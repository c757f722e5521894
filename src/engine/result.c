#include "engine/result.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

static const char *const STOPS[] = {"eos", "length", "context", "time", "cancel"};

const char *engine_stop_name(enum engine_stop stop) {
    return (size_t)stop < sizeof STOPS / sizeof STOPS[0] ? STOPS[stop] : "unknown";
}

const struct engine_phase *engine_result_phase(const struct engine_run_result *result,
                                               const char *name) {
    for (uint32_t i = 0; i < result->n_phases; i++) {
        if (strcmp(result->phases[i].name, name) == 0) {
            return &result->phases[i];
        }
    }
    return NULL;
}

void engine_run_result_release(struct engine_run_result *result) {
    free(result->text);
    free(result->token_t_ns);
    *result = (struct engine_run_result){0};
}

// The JSON getters say INPUT; from the engine the same fault is PROTOCOL.
static enum wl_status as_protocol(enum wl_status status, struct wl_err *err) {
    if (status != WL_OK && err) {
        err->status = WL_PROTOCOL;
    }
    return status == WL_OK ? WL_OK : WL_PROTOCOL;
}

static enum wl_status expect_object(const json_t *value, const char *what, struct wl_err *err) {
    return json_is_object(value) ? WL_OK
                                 : wl_err_set(err, WL_PROTOCOL, "'%s': expected an object", what);
}

static enum wl_status get_i64(const json_t *object, const char *key, int64_t low, int64_t high,
                              int64_t *out, struct wl_err *err) {
    int64_t value = 0;
    enum wl_status status = as_protocol(wl_json_get_i64(object, key, &value, err), err);
    if (status != WL_OK) {
        return status;
    }
    if (value < low || value > high) {
        return wl_err_set(err, WL_PROTOCOL, "key '%s': expected %lld to %lld, found %lld", key,
                          (long long)low, (long long)high, (long long)value);
    }
    *out = value;
    return WL_OK;
}

static enum wl_status get_u32(const json_t *object, const char *key, uint32_t high, uint32_t *out,
                              struct wl_err *err) {
    int64_t value = 0;
    enum wl_status status = get_i64(object, key, 0, high, &value, err);
    if (status == WL_OK) {
        *out = (uint32_t)value;
    }
    return status;
}

static enum wl_status copy_text(const char *key, const char *text, char *out, size_t size,
                                struct wl_err *err) {
    if (!str_copy(out, size, text)) {
        return wl_err_set(err, WL_PROTOCOL, "key '%s': %zu bytes, at most %zu expected", key,
                          strlen(text), size - 1);
    }
    return WL_OK;
}

static enum wl_status get_text(const json_t *object, const char *key, char *out, size_t size,
                               struct wl_err *err) {
    const char *text;
    enum wl_status status = as_protocol(wl_json_get_string(object, key, &text, err), err);
    return status == WL_OK ? copy_text(key, text, out, size, err) : status;
}

// Text that a model file brings along may be absent or of any length; it is cut, not refused.
static void get_loose_text(const json_t *object, const char *key, char *out, size_t size) {
    const char *text = wl_json_opt_string(object, key, "");
    size_t len = strlen(text);
    if (len >= size) { // cut between characters
        len = size - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    memcpy(out, text, len);
    out[len] = '\0';
}

// A name that may go into tables, files and metrics labels: short, lower case, no surprises.
static enum wl_status get_word(const json_t *object, const char *key, char out[ENGINE_SHORT_BYTES],
                               struct wl_err *err) {
    enum wl_status status = get_text(object, key, out, ENGINE_SHORT_BYTES, err);
    if (status != WL_OK) {
        return status;
    }
    size_t len = strspn(out, "abcdefghijklmnopqrstuvwxyz0123456789_-.");
    if (len == 0 || out[len]) {
        return wl_err_set(err, WL_PROTOCOL, "key '%s': expected a word, found '%s'", key, out);
    }
    return WL_OK;
}

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
        enum wl_status status = get_u32(model, fields[i].key, fields[i].high, fields[i].out, err);
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
        enum wl_status status = get_i64(model, fields[i].key, 0, MAX, fields[i].out, err);
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
        enum wl_status status = get_word(model, fields[i].key, fields[i].out, err);
        if (status != WL_OK) {
            return status;
        }
    }
    enum wl_status status = wl_json_get_bool(model, "repack", &out->repack, err);
    if (status == WL_OK) {
        status = wl_json_get_bool(model, "has_chat_template", &out->has_chat_template, err);
    }
    out->is_synthetic = wl_json_opt_bool(model, "is_synthetic", false);
    return as_protocol(status, err);
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
        enum wl_status status = copy_text("types", name, type->name, sizeof type->name, err);
        if (status == WL_OK) {
            status = get_u32(types, name, 10000000, &type->n_tensors, err);
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
    enum wl_status status = expect_object(model, "model", err);
    if (status == WL_OK) {
        status = get_text(model, "arch", out->arch, sizeof out->arch, err);
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
    get_loose_text(model, "name", out->name, sizeof out->name);
    get_loose_text(model, "description", out->description, sizeof out->description);
    get_loose_text(model, "file_type", out->file_type, sizeof out->file_type);
    get_loose_text(model, "chat_template", out->chat_template, sizeof out->chat_template);
    return WL_OK;
}

static enum wl_status phase_fields(const json_t *phase, const struct engine_bounds *bounds,
                                   struct engine_phase *out, struct wl_err *err) {
    enum wl_status status = expect_object(phase, "phase", err);
    if (status == WL_OK) {
        status = get_word(phase, "phase", out->name, err);
    }
    if (status == WL_OK) {
        status = get_i64(phase, "t0_ns", bounds->t_min_ns, bounds->t_max_ns, &out->t0_ns, err);
    }
    if (status == WL_OK) {
        status = get_i64(phase, "t1_ns", out->t0_ns, bounds->t_max_ns, &out->t1_ns, err);
    }
    if (status == WL_OK) {
        status = get_i64(phase, "cpu0_ns", 0, INT64_MAX, &out->cpu0_ns, err);
    }
    if (status == WL_OK) {
        status = get_i64(phase, "cpu1_ns", out->cpu0_ns, INT64_MAX, &out->cpu1_ns, err);
    }
    if (status == WL_OK) {
        status = get_u32(phase, "n_tokens", ENGINE_MAX_TOKENS, &out->n_tokens, err);
    }
    return status;
}

enum wl_status engine_phase_decode(const json_t *phase, const struct engine_bounds *bounds,
                                   struct engine_phase *out, struct wl_err *err) {
    *out = (struct engine_phase){0};
    enum wl_status status = phase_fields(phase, bounds, out, err);
    if (status != WL_OK) {
        wl_err_prefix(err, "phase '%.31s'", out->name);
        *out = (struct engine_phase){0};
    }
    return status;
}

static enum wl_status result_phases(const json_t *result, const struct engine_bounds *bounds,
                                    struct engine_run_result *out, struct wl_err *err) {
    const json_t *phases = json_object_get(result, "phases");
    size_t n = json_array_size(phases);
    if (!json_is_array(phases) || n > ENGINE_MAX_PHASES) {
        return wl_err_set(err, WL_PROTOCOL, "key 'phases': expected an array of at most %d",
                          ENGINE_MAX_PHASES);
    }
    for (size_t i = 0; i < n; i++) {
        struct engine_phase *phase = &out->phases[i];
        enum wl_status status = engine_phase_decode(json_array_get(phases, i), bounds, phase, err);
        if (status != WL_OK) {
            return status;
        }
        if (i > 0 && (phase->t0_ns < phase[-1].t1_ns || phase->cpu0_ns < phase[-1].cpu1_ns)) {
            return wl_err_set(err, WL_PROTOCOL, "phase '%s' begins before phase '%s' ends",
                              phase->name, phase[-1].name);
        }
        out->n_phases++;
    }
    return WL_OK;
}

static enum wl_status result_stop(const json_t *result, struct engine_run_result *out,
                                  struct wl_err *err) {
    const char *name;
    enum wl_status status = as_protocol(wl_json_get_string(result, "stop", &name, err), err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof STOPS / sizeof STOPS[0]; i++) {
        if (strcmp(STOPS[i], name) == 0) {
            out->stop = (enum engine_stop)i;
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_PROTOCOL,
                      "key 'stop': expected eos, length, context, time or cancel, found '%.40s'",
                      name);
}

static enum wl_status result_counts(const json_t *result, const struct engine_bounds *bounds,
                                    struct engine_run_result *out, struct wl_err *err) {
    enum wl_status status = get_u32(result, "n_prompt", ENGINE_MAX_TOKENS, &out->n_prompt, err);
    if (status == WL_OK) {
        status = get_u32(result, "n_generated", bounds->n_predict, &out->n_generated, err);
    }
    if (status == WL_OK && bounds->n_prompt && out->n_prompt != bounds->n_prompt) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'n_prompt': expected %u as asked for, found %u",
                            bounds->n_prompt, out->n_prompt);
    }
    return status;
}

static enum wl_status result_text(const json_t *result, struct engine_run_result *out,
                                  struct wl_err *err) {
    const char *text;
    enum wl_status status = as_protocol(wl_json_get_string(result, "text", &text, err), err);
    if (status != WL_OK) {
        return status;
    }
    out->text_bytes = strlen(text);
    if (out->text_bytes > ENGINE_MAX_TEXT_BYTES) {
        return wl_err_set(err, WL_PROTOCOL, "key 'text': %zu bytes, at most %d expected",
                          out->text_bytes, ENGINE_MAX_TEXT_BYTES);
    }
    out->text = strdup(text);
    return out->text ? WL_OK : wl_err_set(err, WL_MEMORY, "out of memory");
}

enum wl_status engine_run_result_decode(const json_t *result, const struct engine_bounds *bounds,
                                        struct engine_run_result *out, struct wl_err *err) {
    *out = (struct engine_run_result){0};
    enum wl_status status = expect_object(result, "result", err);
    if (status == WL_OK) {
        status = result_counts(result, bounds, out, err);
    }
    if (status == WL_OK) {
        status = result_stop(result, out, err);
    }
    if (status == WL_OK) {
        status = result_phases(result, bounds, out, err);
    }
    if (status == WL_OK) {
        status = result_text(result, out, err);
    }
    if (status != WL_OK) {
        engine_run_result_release(out);
    }
    return status;
}

// The protocol is little-endian whatever the machine is.
static uint64_t little_endian(const unsigned char *in, size_t n) {
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        value |= (uint64_t)in[i] << (8 * i);
    }
    return value;
}

// In [t_min_ns, t_max_ns] and not falling.
static enum wl_status check_times(const int64_t *t_ns, size_t n, const struct engine_bounds *bounds,
                                  struct wl_err *err) {
    int64_t previous = bounds->t_min_ns;
    for (size_t i = 0; i < n; i++) {
        if (t_ns[i] < previous || t_ns[i] > bounds->t_max_ns) {
            return wl_err_set(err, WL_PROTOCOL,
                              "token-times: entry %zu is %lld, expected %lld to %lld", i,
                              (long long)t_ns[i], (long long)previous, (long long)bounds->t_max_ns);
        }
        previous = t_ns[i];
    }
    return WL_OK;
}

enum wl_status engine_token_times_decode(const void *payload, size_t len,
                                         const struct engine_bounds *bounds,
                                         struct engine_run_result *out, struct wl_err *err) {
    size_t n = len / sizeof(int64_t);
    if (len % sizeof(int64_t) || n != out->n_generated) {
        return wl_err_set(err, WL_PROTOCOL,
                          "token-times: %zu bytes, expected 8 for each of %u generated tokens", len,
                          out->n_generated);
    }
    int64_t *t_ns = malloc(n ? len : 1);
    if (!t_ns) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    const unsigned char *bytes = payload;
    for (size_t i = 0; i < n; i++) {
        t_ns[i] = (int64_t)little_endian(bytes + i * 8, 8);
    }
    enum wl_status status = check_times(t_ns, n, bounds, err);
    if (status != WL_OK) {
        free(t_ns);
        return status;
    }
    free(out->token_t_ns);
    out->token_t_ns = t_ns;
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
        list[i] = (int32_t)(uint32_t)little_endian(bytes + i * 4, 4);
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
        return as_protocol(WL_INPUT, err);
    }
    enum wl_status status = status_by_name(name);
    // Apart from OK these are the client's own findings about a process that is gone.
    if (status == WL_OK || status == WL_CRASHED || status == WL_PROTOCOL || status == WL_TIMEOUT) {
        return wl_err_set(err, WL_PROTOCOL, "an error frame with status '%.20s': %.500s", name,
                          message);
    }
    return wl_err_set(err, status, "%s", message[0] ? message : "the engine gave no reason");
}
