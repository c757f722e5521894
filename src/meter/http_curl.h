// libcurl, loaded when the first network meter is opened: linked, it and its TLS library would add
// megabytes and start-up time to every command that never touches the network.
#ifndef WATTLAW_METER_HTTP_CURL_H
#define WATTLAW_METER_HTTP_CURL_H

#ifndef CURL_DISABLE_TYPECHECK
#define CURL_DISABLE_TYPECHECK // its macros expect the functions themselves
#endif
#include <curl/curl.h>

#include "base/err.h"

struct http_curl {
    CURLcode (*global_init)(long flags);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *handle, CURLoption option, ...);
    CURLcode (*easy_perform)(CURL *handle);
    CURLcode (*easy_getinfo)(CURL *handle, CURLINFO info, ...);
    const char *(*easy_strerror)(CURLcode code);
    void (*easy_cleanup)(CURL *handle);
    time_t (*getdate)(const char *text, const time_t *unused);
};

// Loaded once per process and kept. UNSUPPORTED, with the package to install, where there is none.
enum wl_status http_curl_load(const struct http_curl **out, struct wl_err *err);

#endif
