// Addresses of pictures that are not in the request itself, and whether their host is among those
// that may be asked. PURE.
#ifndef WATTLAW_GATEWAY_PICTURE_URL_H
#define WATTLAW_GATEWAY_PICTURE_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { PICTURE_URL_BYTES = 4096, PICTURE_HOST_BYTES = 256 };

enum picture_url_kind { PICTURE_URL_DATA, PICTURE_URL_HTTP, PICTURE_URL_OTHER };
enum picture_url_kind picture_url_kind(const char *url, size_t n); // by the scheme alone

struct picture_url {
    bool is_https;
    char host[PICTURE_HOST_BYTES]; // lower case; IPv6 in brackets
    uint16_t port;
    // Put together anew, with the port always in it: another reader of it cannot find another host
    // in it than this one has. No fragment.
    char text[PICTURE_URL_BYTES + PICTURE_HOST_BYTES + 16];
};

// INPUT: not http(s), characters that are no printable ASCII, a user's name or password, a host
// that is neither a name nor a number (with escapes, empty labels, a dot at its end), no port.
// LIMIT: longer than PICTURE_URL_BYTES.
enum wl_status picture_url_parse(const char *url, size_t n, struct picture_url *out,
                                 struct wl_err *err);

// `allowed` is "example.org", or ".example.org" for it with all below it; either may end in
// ":8080", else the port must be the scheme's own (80, 443). Capitals do not matter.
bool picture_url_is_at(const struct picture_url *url, const char *allowed);

#endif
