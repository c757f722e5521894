// Inside source*.c only: an architecture's keys, each with its bounds.
#ifndef WATTLAW_COMPRESSOR_SOURCE_KEYS_H
#define WATTLAW_COMPRESSOR_SOURCE_KEYS_H

#include "compressor/source.h"

enum { SOURCE_KEY_BYTES = 128 };
enum { SOURCE_MAX_LAYERS = 512, SOURCE_MAX_WIDTH = 1 << 24, SOURCE_MAX_HEADS = 1 << 16 };

// "<architecture>.<key>".
const char *source_key(const struct compress_source *source, const char *key,
                       char out[SOURCE_KEY_BYTES]);
// From 1 to `max`; `fallback` when the key is absent, 0: it must be there. UNSUPPORTED for an
// array, INPUT for anything else that is no such number.
enum wl_status source_size(const struct compress_source *source, const char *key, uint32_t fallback,
                           uint32_t max, uint32_t *out, struct wl_err *err);
// A finite number; `fallback` when the key is absent.
enum wl_status source_float(const struct compress_source *source, const char *key, float fallback,
                            float *out, struct wl_err *err);
// The same, above 0; it must be there when `fallback` is not.
enum wl_status source_positive(const struct compress_source *source, const char *key,
                               float fallback, float *out, struct wl_err *err);

#endif
