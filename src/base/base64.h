// Base64 as RFC 4648 has it, padded.
#ifndef WATTLAW_BASE_BASE64_H
#define WATTLAW_BASE_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

// False when the buffer is full; what is in it then is of no use.
bool base64_append(struct buf *out, const void *bytes, size_t n);

#endif
