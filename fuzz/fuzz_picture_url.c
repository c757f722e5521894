// picture_url_parse and picture_url_is_at on arbitrary bytes: what is accepted has one host only,
// is read again as itself, and matches nothing but its own host.
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/picture_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int is_true) {
    if (!is_true) {
        abort();
    }
}

static void match(const struct picture_url *url) {
    char allowed[PICTURE_HOST_BYTES + 8];
    bool is_default = url->port == (url->is_https ? 443 : 80);
    snprintf(allowed, sizeof allowed, "%s:%u", url->host, url->port);
    require(picture_url_is_at(url, allowed));
    require(picture_url_is_at(url, url->host) == is_default);
    allowed[strlen(url->host)] = '\0';
    allowed[strlen(url->host) - 1] ^= 1;
    require(!picture_url_is_at(url, allowed));
    snprintf(allowed, sizeof allowed, "x%s", url->host);
    require(!picture_url_is_at(url, allowed));
    snprintf(allowed, sizeof allowed, "%sx", url->host);
    require(!picture_url_is_at(url, allowed));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
    struct picture_url url, again;
    struct wl_err err = {0};
    char *text = malloc(len + 1); // of exactly this size
    memcpy(text, data, len);
    text[len] = '\0';
    enum wl_status status = picture_url_parse(text, len, &url, &err);
    if (status) {
        require((status == WL_INPUT || status == WL_LIMIT) && err.status == status);
    } else {
        size_t n = strlen(url.text), n_scheme = url.is_https ? 8 : 7;
        require(url.host[0] != '\0' && url.port > 0 && n > n_scheme);
        require(strncmp(url.text + n_scheme, url.host, strlen(url.host)) == 0);
        require(url.text[n_scheme + strlen(url.host)] == ':');
        require(!strpbrk(url.host, "@/\\?#% "));
        match(&url);
        if (n < PICTURE_URL_BYTES) {
            require(picture_url_parse(url.text, n, &again, &err) == WL_OK);
            require(strcmp(url.text, again.text) == 0 && url.port == again.port);
        }
    }
    struct picture_url fixed = {.host = "example.org", .port = 80};
    picture_url_is_at(&fixed, text); // of an operator, but it must not read too far
    free(text);
    return 0;
}
