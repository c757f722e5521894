// Tells whether a model file is still the one that was measured, without reading gigabytes.
#ifndef WATTLAW_MEASURE_FINGERPRINT_H
#define WATTLAW_MEASURE_FINGERPRINT_H

#include <stddef.h>

#include "base/err.h"

enum { FINGERPRINT_BYTES = 32 };

// "quick:<16 hex digits>": FNV-1a over the file's size and its first and last MiB. Not a security
// measure: it notices another file, not a malicious one.
enum wl_status fingerprint_file(const char *path, char out[FINGERPRINT_BYTES], struct wl_err *err);

#endif
