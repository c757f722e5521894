// SHA-256 (FIPS 180-4), only to name the page's own script and style in its content security
// policy: 'sha256-...' lets exactly these run, where 'unsafe-inline' would let anything.
#ifndef WATTLAW_REPORT_SHA256_H
#define WATTLAW_REPORT_SHA256_H

#include <stddef.h>

enum { SHA256_BASE64_BYTES = 45 };

void sha256_base64(const void *data, size_t len, char out[SHA256_BASE64_BYTES]);

#endif
