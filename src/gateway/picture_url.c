#include "gateway/picture_url.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { HTTP_PORT = 80, HTTPS_PORT = 443 };

// A part of the text.
struct piece {
    const char *text;
    size_t n;
};

static bool has_scheme(const char *url, size_t n, const char *scheme) {
    size_t len = strlen(scheme);
    return n >= len && strncasecmp(url, scheme, len) == 0;
}

enum picture_url_kind picture_url_kind(const char *url, size_t n) {
    if (has_scheme(url, n, "data:")) {
        return PICTURE_URL_DATA;
    }
    return has_scheme(url, n, "http://") || has_scheme(url, n, "https://") ? PICTURE_URL_HTTP
                                                                           : PICTURE_URL_OTHER;
}

// A backslash is a slash to some readers.
static bool is_plain(const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (text[i] < 0x21 || text[i] > 0x7e || text[i] == '\\') {
            return false;
        }
    }
    return true;
}

static bool is_of(const char *text, size_t n, const char *characters) {
    for (size_t i = 0; i < n; i++) {
        if (!strchr(characters, text[i])) {
            return false;
        }
    }
    return n > 0;
}

// Labels with dots between them; numbers in the form of an IPv4 address are such a name too.
static bool is_name(const char *host, size_t n) {
    if (!is_of(host, n, "abcdefghijklmnopqrstuvwxyz0123456789-_.")) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        bool is_end = i == 0 || i + 1 == n || host[i - 1] == '.';
        if (host[i] == '.' && is_end) {
            return false;
        }
    }
    return true;
}

// No zones ("%eth0").
static bool is_ipv6(const char *host, size_t n) {
    return n > 2 && host[0] == '[' && host[n - 1] == ']' &&
           is_of(host + 1, n - 2, "0123456789abcdef:.");
}

static void to_lower(char *text) {
    for (; *text; text++) {
        *text = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
    }
}

static bool read_port(struct piece digits, uint16_t *out) {
    char text[6];
    uint64_t port;
    if (digits.n == 0 || digits.n >= sizeof text || !is_of(digits.text, digits.n, "0123456789")) {
        return false;
    }
    memcpy(text, digits.text, digits.n);
    text[digits.n] = '\0';
    if (!str_parse_u64(text, &port) || port == 0 || port > UINT16_MAX) {
        return false;
    }
    *out = (uint16_t)port;
    return true;
}

// Where "host" ends in "host:port"; n without a port.
static size_t host_end(const char *text, size_t n) {
    for (size_t i = n; i-- > 0 && text[i] != ']';) {
        if (text[i] == ':') {
            return i;
        }
    }
    return n;
}

static bool read_authority(struct piece authority, struct picture_url *out) {
    size_t n = host_end(authority.text, authority.n);
    if (n == 0 || n >= sizeof out->host) {
        return false;
    }
    memcpy(out->host, authority.text, n);
    out->host[n] = '\0';
    to_lower(out->host);
    out->port = out->is_https ? HTTPS_PORT : HTTP_PORT;
    if (n < authority.n &&
        !read_port((struct piece){authority.text + n + 1, authority.n - n - 1}, &out->port)) {
        return false;
    }
    return is_name(out->host, n) || is_ipv6(out->host, n);
}

static size_t span_without(const char *text, size_t n, const char *stops) {
    size_t i = 0;
    while (i < n && !strchr(stops, text[i])) {
        i++;
    }
    return i;
}

enum wl_status picture_url_parse(const char *url, size_t n, struct picture_url *out,
                                 struct wl_err *err) {
    *out = (struct picture_url){0};
    if (picture_url_kind(url, n) != PICTURE_URL_HTTP) {
        return wl_err_set(err, WL_INPUT,
                          "expected an address that begins with http:// or https://");
    }
    if (n >= PICTURE_URL_BYTES) {
        return wl_err_set(err, WL_LIMIT, "the address has %zu characters; %d are the most", n,
                          PICTURE_URL_BYTES - 1);
    }
    if (!is_plain(url, n)) {
        return wl_err_set(err, WL_INPUT,
                          "the address: expected printable ASCII without spaces and "
                          "backslashes; all else is to be written as %%xx");
    }
    out->is_https = has_scheme(url, n, "https://");
    size_t n_scheme = out->is_https ? strlen("https://") : strlen("http://");
    struct piece authority = {url + n_scheme, span_without(url + n_scheme, n - n_scheme, "/?#")};
    if (memchr(authority.text, '@', authority.n)) {
        return wl_err_set(err, WL_INPUT,
                          "the address has a user's name in it, which is not sent along");
    }
    if (!read_authority(authority, out)) {
        return wl_err_set(err, WL_INPUT,
                          "the address: expected a host and perhaps a port from 1 "
                          "to 65535, found '%.*s'",
                          (int)(authority.n < 80 ? authority.n : 80), authority.text);
    }
    const char *rest = authority.text + authority.n;
    size_t n_rest = span_without(rest, n - n_scheme - authority.n, "#");
    snprintf(out->text, sizeof out->text, "http%s://%s:%u%s%.*s", out->is_https ? "s" : "",
             out->host, out->port, n_rest > 0 && rest[0] == '/' ? "" : "/", (int)n_rest, rest);
    return WL_OK;
}

bool picture_url_is_at(const struct picture_url *url, const char *allowed) {
    size_t n_allowed = strlen(allowed), n = host_end(allowed, n_allowed),
           n_host = strlen(url->host);
    uint16_t port = url->is_https ? HTTPS_PORT : HTTP_PORT;
    if (n < n_allowed && !read_port((struct piece){allowed + n + 1, n_allowed - n - 1}, &port)) {
        return false;
    }
    if (url->port != port || n == 0) {
        return false;
    }
    if (allowed[0] == '.' && n_host >= n) { // all below
        return strncasecmp(url->host + n_host - n, allowed, n) == 0;
    }
    size_t skipped = allowed[0] == '.';
    return n_host == n - skipped && n_host > 0 &&
           strncasecmp(url->host, allowed + skipped, n_host) == 0;
}
