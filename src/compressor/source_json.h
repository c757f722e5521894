// What a file is, in the words of docs/protocol.md: `model` of ANALYZE and COMPRESS.
#ifndef WATTLAW_COMPRESSOR_SOURCE_JSON_H
#define WATTLAW_COMPRESSOR_SOURCE_JSON_H

#include <jansson.h>

#include "compressor/source.h"

// *out is a new reference.
enum wl_status compress_source_json(const struct compress_source *source, json_t **out,
                                    struct wl_err *err);

#endif
