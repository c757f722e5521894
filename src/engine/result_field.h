// The fields of the engine's answers, checked one by one. Private to this folder. PURE.
#ifndef WATTLAW_ENGINE_RESULT_FIELD_H
#define WATTLAW_ENGINE_RESULT_FIELD_H

#include "engine/result.h"

// A failure of the JSON getters, which say INPUT, becomes PROTOCOL.
enum wl_status field_protocol(enum wl_status status, struct wl_err *err);
enum wl_status field_object(const json_t *value, const char *what, struct wl_err *err);
enum wl_status field_i64(const json_t *object, const char *key, int64_t low, int64_t high,
                         int64_t *out, struct wl_err *err);
enum wl_status field_u32(const json_t *object, const char *key, uint32_t high, uint32_t *out,
                         struct wl_err *err);
enum wl_status field_bool(const json_t *object, const char *key, bool *out, struct wl_err *err);
// `text` is the value of `key`.
enum wl_status field_copy(const char *key, const char *text, char *out, size_t size,
                          struct wl_err *err);
enum wl_status field_text(const json_t *object, const char *key, char *out, size_t size,
                          struct wl_err *err);
// Text that a model file brings along may be absent or of any length; it is cut, not refused.
void field_loose_text(const json_t *object, const char *key, char *out, size_t size);
// A name that may go into tables, files and metrics labels: short, lower case, no surprises.
enum wl_status field_word(const json_t *object, const char *key, char out[ENGINE_SHORT_BYTES],
                          struct wl_err *err);
// The images of a run; after the counts and the stop of `out`.
enum wl_status field_run_images(const json_t *result, const struct engine_bounds *bounds,
                                struct engine_run_result *out, struct wl_err *err);
// The protocol is little-endian whatever the machine is.
uint64_t field_little_endian(const unsigned char *in, size_t n);

#endif
