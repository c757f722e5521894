// Where a network meter is, as the user writes it: "HOST", "HOST:PORT", "HOST/ITEM",
// "[fe80::1]:8080/ITEM", "https://HOST/ITEM". PURE.
#ifndef WATTLAW_METER_PLUG_ADDRESS_H
#define WATTLAW_METER_PLUG_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { PLUG_HOST_BYTES = 256, PLUG_ITEM_BYTES = 256, PLUG_BASE_BYTES = 300 };

struct plug_address {
    char base[PLUG_BASE_BYTES]; // "http://host:port", without a slash at its end
    char host[PLUG_HOST_BYTES]; // without port and brackets: also names the token file
    char item[PLUG_ITEM_BYTES]; // behind the slash; "" when there is none
};

// `default_port` 0: the scheme's own. With a scheme the port is the one written, or the scheme's.
// `form` shows the expected text in the message. USAGE for anything else; the host is letters,
// digits, '.', '-', '_' (and ':' in brackets), so that it can be part of a file's name.
enum wl_status plug_address_parse(const char *text, uint16_t default_port, const char *form,
                                  struct plug_address *out, struct wl_err *err);

// "0", "12": below `limit`. An empty item gives `fallback`.
enum wl_status plug_address_number(const struct plug_address *address, unsigned fallback,
                                   unsigned limit, const char *form, unsigned *out,
                                   struct wl_err *err);

#endif
