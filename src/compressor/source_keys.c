#include "compressor/source_keys.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *source_key(const struct compress_source *source, const char *key,
                       char out[SOURCE_KEY_BYTES]) {
    snprintf(out, SOURCE_KEY_BYTES, "%s.%s", source->arch->name, key);
    return out;
}

static bool is_integer(enum gguf_type type) {
    return type != GGUF_TYPE_STRING && type != GGUF_TYPE_FLOAT32 && type != GGUF_TYPE_FLOAT64 &&
           type != GGUF_TYPE_BOOL;
}

enum wl_status source_size(const struct compress_source *source, const char *key, uint32_t fallback,
                           uint32_t max, uint32_t *out, struct wl_err *err) {
    char full[SOURCE_KEY_BYTES];
    const struct gguf_kv *kv = gguf_file_find(&source->file, source_key(source, key, full));
    if (!kv && fallback) {
        *out = fallback;
        return WL_OK;
    }
    if (!kv) {
        return wl_err_set(err, WL_INPUT, "key '%s' is missing, expected 1 to %" PRIu32, full, max);
    }
    if (kv->is_array) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "key '%s' is a list of %" PRIu64 ": sizes that differ between layers "
                          "cannot be compressed; take the file that this one was made from",
                          full, kv->n);
    }
    uint64_t value = gguf_file_uint(&source->file, full, 0, 0);
    if (!is_integer(kv->type)) {
        return wl_err_set(err, WL_INPUT, "key '%s' is no integer, expected 1 to %" PRIu32, full,
                          max);
    }
    if (value < 1 || value > max) {
        return wl_err_set(err, WL_INPUT, "key '%s' is %" PRIu64 ", expected 1 to %" PRIu32, full,
                          value, max);
    }
    *out = (uint32_t)value;
    return WL_OK;
}

enum wl_status source_float(const struct compress_source *source, const char *key, float fallback,
                            float *out, struct wl_err *err) {
    char full[SOURCE_KEY_BYTES];
    const struct gguf_kv *kv = gguf_file_find(&source->file, source_key(source, key, full));
    *out = fallback;
    if (!kv) {
        return WL_OK;
    }
    if (kv->is_array || kv->type != GGUF_TYPE_FLOAT32) {
        return wl_err_set(err, WL_INPUT, "key '%s' is no number of type float32", full);
    }
    memcpy(out, kv->data, sizeof *out);
    if (!isfinite(*out)) {
        return wl_err_set(err, WL_INPUT, "key '%s' is %g, expected a finite number", full,
                          (double)*out);
    }
    return WL_OK;
}

enum wl_status source_positive(const struct compress_source *source, const char *key,
                               float fallback, float *out, struct wl_err *err) {
    char full[SOURCE_KEY_BYTES];
    bool is_there = gguf_file_find(&source->file, source_key(source, key, full)) != NULL;
    enum wl_status status = source_float(source, key, fallback, out, err);
    if (status == WL_OK && !is_there && !(fallback > 0)) {
        return wl_err_set(err, WL_INPUT, "key '%s' is missing, expected a number above 0", full);
    }
    if (status == WL_OK && !(*out > 0)) {
        return wl_err_set(err, WL_INPUT, "key '%s' is %g, expected a number above 0", full,
                          (double)*out);
    }
    return status;
}
