// The strings of an array in a GGUF file, terminated. Only for trim.c.
#ifndef WATTLAW_COMPRESSOR_TRIM_WORDS_H
#define WATTLAW_COMPRESSOR_TRIM_WORDS_H

#include <stddef.h>

#include "base/err.h"
#include "worker/gguf_file.h"

struct trim_words {
    char **items; // [n], into memory
    size_t n;
    char *memory;
};

// INPUT: no such array of strings, or a string with a 0 in it. LIMIT: more than `max`.
enum wl_status trim_words_read(const struct gguf_file *file, const char *key, size_t max,
                               struct trim_words *out, struct wl_err *err);
void trim_words_release(struct trim_words *words); // zeroed ones are fine

#endif
