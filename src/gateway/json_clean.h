// Names from outside (keys, models, errors of a model server) as JSON strings.
#ifndef WATTLAW_GATEWAY_JSON_CLEAN_H
#define WATTLAW_GATEWAY_JSON_CLEAN_H

#include <jansson.h>

enum { JSON_CLEAN_BYTES = 1024 };

// What is not UTF-8 (a name that was cut, too) or a control character becomes '?', what is longer
// than JSON_CLEAN_BYTES is cut: one wrong byte must not cost the whole document. NULL: null. New
// reference; NULL without memory.
json_t *json_clean(const char *text);

#endif
