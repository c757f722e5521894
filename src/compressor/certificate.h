// What a compressed file says about itself: a JSON text under one key, with room to spare, so that
// the verdict can be filled in when the file has been judged.
#ifndef WATTLAW_COMPRESSOR_CERTIFICATE_H
#define WATTLAW_COMPRESSOR_CERTIFICATE_H

#include <jansson.h>

#include "base/err.h"
#include "compressor/target.h"

#define CERTIFICATE_KEY "general.wattlaw.certificate"
enum { CERTIFICATE_BYTES = 8192 };

// The key with spaces.
enum wl_status certificate_reserve(struct compress_target *target, struct wl_err *err);
// Written in place, padded with spaces. LIMIT: longer than CERTIFICATE_BYTES. INPUT: a file without
// room for one.
enum wl_status certificate_fill(const char *path, const json_t *certificate, struct wl_err *err);

#endif
