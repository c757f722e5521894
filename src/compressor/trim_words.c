#include "compressor/trim_words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STRING_BYTES = 1 << 20 };

void trim_words_release(struct trim_words *words) {
    free(words->items);
    free(words->memory);
    *words = (struct trim_words){0};
}

// The reader has checked that all strings lie within the file. Bytes of all, with a 0 for each.
static size_t total_bytes(const struct gguf_kv *kv) {
    const unsigned char *at = kv->data;
    size_t total = 0;
    for (uint64_t i = 0; i < kv->n; i++) {
        uint64_t len;
        memcpy(&len, at, sizeof len);
        total += (size_t)len + 1;
        at += sizeof len + len;
    }
    return total;
}

enum wl_status trim_words_read(const struct gguf_file *file, const char *key, size_t max,
                               struct trim_words *out, struct wl_err *err) {
    const struct gguf_kv *kv = gguf_file_find(file, key);
    *out = (struct trim_words){0};
    if (!kv || !kv->is_array || kv->type != GGUF_TYPE_STRING) {
        return wl_err_set(err, WL_INPUT, "key '%s': expected an array of strings", key);
    }
    if (kv->n > max) {
        return wl_err_set(err, WL_LIMIT, "key '%s': expected at most %zu strings", key, max);
    }
    out->memory = malloc(total_bytes(kv) + 1);
    out->items = calloc((size_t)kv->n + 1, sizeof *out->items);
    if (!out->memory || !out->items) {
        trim_words_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory for key '%s'", key);
    }
    const unsigned char *at = kv->data;
    char *to = out->memory;
    for (uint64_t i = 0; i < kv->n; i++) {
        uint64_t len;
        memcpy(&len, at, sizeof len);
        memcpy(to, at + sizeof len, (size_t)len);
        to[len] = '\0';
        if (len > MAX_STRING_BYTES || strlen(to) != len) {
            trim_words_release(out);
            return wl_err_set(err, WL_INPUT, "key '%s': string %zu has a 0 in it, or is too long",
                              key, (size_t)i);
        }
        out->items[out->n++] = to;
        to += len + 1;
        at += sizeof len + len;
    }
    return WL_OK;
}
