#include "meter/plug_address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

// A name or an IPv4 address, so written that it cannot be mistaken for ".." or an option.
static bool is_name(const char *host) {
    static const char ALLOWED[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_";
    return isalnum((unsigned char)host[0]) && strspn(host, ALLOWED) == strlen(host);
}

static bool is_ipv6(const char *host) {
    struct in6_addr address;
    return inet_pton(AF_INET6, host, &address) == 1;
}

// Cuts "host" or "[v6]" off the front; returns what follows, or NULL.
static const char *take_host(const char *text, struct plug_address *out) {
    bool is_bracketed = text[0] == '[';
    const char *host = text + is_bracketed;
    size_t len = strcspn(host, is_bracketed ? "]" : ":/");
    if (len >= sizeof out->host || (is_bracketed && host[len] != ']')) {
        return NULL;
    }
    memcpy(out->host, host, len);
    out->host[len] = '\0';
    bool is_good = is_bracketed ? is_ipv6(out->host) : is_name(out->host);
    return is_good ? host + len + is_bracketed : NULL;
}

// Cuts ":port" off the front; returns what follows, or NULL.
static const char *take_port(const char *text, uint64_t *port) {
    char digits[8];
    if (text[0] != ':') {
        return text;
    }
    size_t len = strcspn(text + 1, "/");
    if (len == 0 || len >= sizeof digits) {
        return NULL;
    }
    memcpy(digits, text + 1, len);
    digits[len] = '\0';
    bool is_port = strspn(digits, "0123456789") == len && str_parse_u64(digits, port) &&
                   *port > 0 && *port <= UINT16_MAX;
    return is_port ? text + 1 + len : NULL;
}

static bool take_item(const char *text, struct plug_address *out) {
    if (text[0] == '\0') {
        return true;
    }
    return text[0] == '/' && str_copy(out->item, sizeof out->item, text + 1);
}

enum wl_status plug_address_parse(const char *text, uint16_t default_port, const char *form,
                                  struct plug_address *out, struct wl_err *err) {
    const char *rest = text ? text : "";
    bool is_https = str_starts_with(rest, "https://"), is_http = str_starts_with(rest, "http://");
    uint64_t port = is_https || is_http ? 0 : default_port;
    *out = (struct plug_address){0};
    rest += is_https ? strlen("https://") : is_http ? strlen("http://") : 0;
    rest = take_host(rest, out);
    rest = rest ? take_port(rest, &port) : NULL;
    if (!rest || !take_item(rest, out)) {
        return wl_err_set(err, WL_USAGE, "expected '%s', found '%.128s'", form, text ? text : "");
    }
    bool is_bracketed = strchr(out->host, ':') != NULL;
    int n = snprintf(out->base, sizeof out->base, "http%s://%s%s%s", is_https ? "s" : "",
                     is_bracketed ? "[" : "", out->host, is_bracketed ? "]" : "");
    if (port) {
        snprintf(out->base + n, sizeof out->base - (size_t)n, ":%" PRIu64, port);
    }
    return WL_OK;
}

enum wl_status plug_address_number(const struct plug_address *address, unsigned fallback,
                                   unsigned limit, const char *form, unsigned *out,
                                   struct wl_err *err) {
    uint64_t number = fallback;
    bool is_number = strspn(address->item, "0123456789") == strlen(address->item) &&
                     str_parse_u64(address->item, &number);
    if (address->item[0] && (!is_number || number >= limit)) {
        return wl_err_set(err, WL_USAGE, "expected '%s' with a number below %u, found '/%.64s'",
                          form, limit, address->item);
    }
    *out = (unsigned)number;
    return WL_OK;
}
