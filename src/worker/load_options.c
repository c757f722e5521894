#include "worker/load_options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "os/machine.h"

enum { MAX_THREADS = 1024, MAX_BATCH = 65536, MAX_CTX = 16777216 };

struct choice {
    const char *name;
    int value;
};

static const struct choice LOAD_MODES[] = {{"mmap", LLAMA_LOAD_MODE_MMAP},
                                           {"none", LLAMA_LOAD_MODE_NONE}};
static const struct choice FLASH_ATTN[] = {{"auto", LLAMA_FLASH_ATTN_TYPE_AUTO},
                                           {"on", LLAMA_FLASH_ATTN_TYPE_ENABLED},
                                           {"off", LLAMA_FLASH_ATTN_TYPE_DISABLED}};
static const struct choice KV_TYPES[] = {{"f16", GGML_TYPE_F16},
                                         {"q8_0", GGML_TYPE_Q8_0},
                                         {"q4_0", GGML_TYPE_Q4_0},
                                         {"f32", GGML_TYPE_F32}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static enum wl_status choose(const json_t *request, const char *key, const struct choice *choices,
                             size_t n, int *out, struct wl_err *err) {
    const char *found = wl_json_opt_string(request, key, choices[0].name);
    char names[128] = "";
    for (size_t i = 0; i < n; i++) {
        if (strcmp(choices[i].name, found) == 0) {
            *out = choices[i].value;
            return WL_OK;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", choices[i].name);
    }
    return wl_err_set(err, WL_INPUT, "load: %s is '%s', expected one of %s", key, found, names);
}

static enum wl_status number(const json_t *request, const char *key, int64_t fallback, int64_t min,
                             int64_t max, int64_t *out, struct wl_err *err) {
    *out = wl_json_opt_i64(request, key, fallback);
    if (*out < min || *out > max) {
        return wl_err_set(err, WL_INPUT,
                          "load: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64, key, *out,
                          min, max);
    }
    return WL_OK;
}

static enum wl_status parse_choices(const json_t *request, struct load_options *o,
                                    struct wl_err *err) {
    int mode = 0;
    int flash = 0;
    int k = 0;
    int v = 0;
    enum wl_status status;
    if ((status = choose(request, "load_mode", LOAD_MODES, COUNT(LOAD_MODES), &mode, err)) ||
        (status = choose(request, "flash_attn", FLASH_ATTN, COUNT(FLASH_ATTN), &flash, err)) ||
        (status = choose(request, "type_k", KV_TYPES, COUNT(KV_TYPES), &k, err)) ||
        (status = choose(request, "type_v", KV_TYPES, COUNT(KV_TYPES), &v, err))) {
        return status;
    }
    o->load_mode = (enum llama_load_mode)mode;
    o->flash_attn = (enum llama_flash_attn_type)flash;
    o->type_k = (enum ggml_type)k;
    o->type_v = (enum ggml_type)v;
    if (ggml_is_quantized(o->type_v) && o->flash_attn == LLAMA_FLASH_ATTN_TYPE_DISABLED) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "load: type_v '%s' needs flash attention, but flash_attn is 'off'",
                          ggml_type_name(o->type_v));
    }
    return WL_OK;
}

static enum wl_status parse_numbers(const json_t *request, struct load_options *o,
                                    struct wl_err *err) {
    int64_t threads;
    int64_t threads_batch;
    int64_t n_ctx;
    int64_t n_batch;
    int64_t n_ubatch;
    int64_t max_ram;
    enum wl_status status;
    if ((status = number(request, "threads", 0, 0, MAX_THREADS, &threads, err)) ||
        (status = number(request, "threads_batch", 0, 0, MAX_THREADS, &threads_batch, err)) ||
        (status = number(request, "n_ctx", 0, 0, MAX_CTX, &n_ctx, err)) ||
        (status = number(request, "n_batch", 2048, 1, MAX_BATCH, &n_batch, err)) ||
        (status = number(request, "n_ubatch", 512, 1, MAX_BATCH, &n_ubatch, err)) ||
        (status = number(request, "max_ram_bytes", 0, 0, INT64_MAX, &max_ram, err))) {
        return status;
    }
    int usable = os_n_usable_cores();
    o->threads = threads ? (int32_t)threads : usable;
    o->threads_batch = threads_batch ? (int32_t)threads_batch : usable;
    o->n_ctx = (uint32_t)n_ctx;
    o->n_batch = (uint32_t)n_batch;
    o->n_ubatch = (uint32_t)(n_ubatch < n_batch ? n_ubatch : n_batch);
    o->max_ram_bytes = (uint64_t)max_ram;
    return WL_OK;
}

enum wl_status load_options_parse(const json_t *request, struct load_options *options,
                                  struct wl_err *err) {
    *options = (struct load_options){.has_repack = wl_json_opt_bool(request, "repack", true)};
    enum wl_status status = wl_json_get_string(request, "path", &options->path, err);
    if (status == WL_OK) {
        status = parse_numbers(request, options, err);
    }
    if (status == WL_OK) {
        status = parse_choices(request, options, err);
    }
    options->vision.threads = options->threads_batch;
    options->vision.flash_attn = options->flash_attn;
    return status == WL_OK ? vision_options_parse(request, &options->vision, err) : status;
}

static const char *name_of(const struct choice *choices, size_t n, int value) {
    for (size_t i = 0; i < n; i++) {
        if (choices[i].value == value) {
            return choices[i].name;
        }
    }
    return "?";
}

const char *load_options_mode_name(enum llama_load_mode mode) {
    return name_of(LOAD_MODES, COUNT(LOAD_MODES), mode);
}

const char *load_options_flash_attn_name(enum llama_flash_attn_type type) {
    return name_of(FLASH_ATTN, COUNT(FLASH_ATTN), type);
}
