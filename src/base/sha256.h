// SHA-256 (FIPS 180-4): names the report's own script and style in its content security policy, and
// stands for API keys in their file.
#ifndef WATTLAW_BASE_SHA256_H
#define WATTLAW_BASE_SHA256_H

#include <stddef.h>

enum { SHA256_BYTES = 32, SHA256_BASE64_BYTES = 45 };

void sha256(const void *data, size_t len, unsigned char out[SHA256_BYTES]);
// The same in base64 with padding, NUL-terminated.
void sha256_base64(const void *data, size_t len, char out[SHA256_BASE64_BYTES]);

#endif
