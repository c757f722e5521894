// Where a model server is, as people write it. PURE.
#ifndef WATTLAW_GATEWAY_UPSTREAM_ADDRESS_H
#define WATTLAW_GATEWAY_UPSTREAM_ADDRESS_H

#include <stddef.h>

#include "base/err.h"

// "http://host:port", "https://...", with a path or not ("/v1" and slashes at the end are dropped),
// or "unix:/path": then `socket` is the path ("" else). INPUT.
enum wl_status upstream_address_parse(const char *text, char *url, size_t url_size, char *socket,
                                      size_t socket_size, struct wl_err *err);

#endif
