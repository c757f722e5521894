#include "meter/http_get.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/str.h"
#include "meter/http_curl.h"

static const long CONNECT_TIMEOUT_MS = 2000, TOTAL_TIMEOUT_MS = 3000;
enum { DATE_BYTES = 64 };

struct http_get {
    const struct http_curl *curl;
    CURL *handle;
    struct http_reply reply;
};

// --- what libcurl calls -------------------------------------------------------------------------

static size_t take_body(char *data, size_t size, size_t n, void *context) {
    struct http_get *http = context;
    return buf_append(&http->reply.body, data, size * n) ? size * n : 0;
}

static size_t take_header(char *data, size_t size, size_t n, void *context) {
    static const char NAME[] = "date:";
    struct http_get *http = context;
    size_t len = size * n, name_len = sizeof NAME - 1;
    char date[DATE_BYTES];
    if (len > name_len && len - name_len < sizeof date && strncasecmp(data, NAME, name_len) == 0) {
        memcpy(date, data + name_len, len - name_len);
        date[len - name_len] = '\0';
        http->reply.date_s = (int64_t)http->curl->getdate(str_trim(date), NULL);
    }
    return len;
}

// The engine is started while the connection is open, and must not inherit it.
static curl_socket_t open_socket(void *context, curlsocktype purpose,
                                 struct curl_sockaddr *address) {
    (void)context;
    (void)purpose;
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    return fd;
}

// --- life ---------------------------------------------------------------------------------------

// Returns whether all options were taken.
static bool set_limits(struct http_get *http) {
    const struct http_curl *curl = http->curl;
    CURL *handle = http->handle;
#if LIBCURL_VERSION_NUM >= 0x075500
    CURLcode protocols =
        curl->easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https"); // 7.85 and newer
    bool is_set = protocols == CURLE_OK || protocols == CURLE_UNKNOWN_OPTION;
#else
    long protocols = CURLPROTO_HTTP | CURLPROTO_HTTPS;
    bool is_set = curl->easy_setopt(handle, CURLOPT_PROTOCOLS, protocols) == CURLE_OK;
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    // Else a name server that does not answer would hold the thread for longer than the limit; an
    // older library does without.
    curl->easy_setopt(handle, CURLOPT_QUICK_EXIT, 1L);
#endif
    is_set &= curl->easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK;
    is_set &= curl->easy_setopt(handle, CURLOPT_NOPROXY, "*") == CURLE_OK;
    is_set &= curl->easy_setopt(handle, CURLOPT_NOSIGNAL, 1L) == CURLE_OK;
    is_set &= curl->easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS) == CURLE_OK;
    is_set &= curl->easy_setopt(handle, CURLOPT_TIMEOUT_MS, TOTAL_TIMEOUT_MS) == CURLE_OK;
    is_set &= curl->easy_setopt(handle, CURLOPT_MAXFILESIZE, (long)HTTP_MAX_BODY_BYTES) == CURLE_OK;
    return is_set;
}

static bool set_callbacks(struct http_get *http) {
    const struct http_curl *curl = http->curl;
    CURL *handle = http->handle;
    return curl->easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
           curl->easy_setopt(handle, CURLOPT_WRITEDATA, (void *)http) == CURLE_OK &&
           curl->easy_setopt(handle, CURLOPT_HEADERFUNCTION, take_header) == CURLE_OK &&
           curl->easy_setopt(handle, CURLOPT_HEADERDATA, (void *)http) == CURLE_OK &&
           curl->easy_setopt(handle, CURLOPT_OPENSOCKETFUNCTION, open_socket) == CURLE_OK;
}

static bool set_secret(struct http_get *http, const struct http_options *options) {
    const struct http_curl *curl = http->curl;
    CURL *handle = http->handle;
    if (options->bearer) {
        return curl->easy_setopt(handle, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER) == CURLE_OK &&
               curl->easy_setopt(handle, CURLOPT_XOAUTH2_BEARER, options->bearer) == CURLE_OK;
    }
    if (!options->user) {
        return true;
    }
    long schemes = (long)(CURLAUTH_DIGEST | CURLAUTH_BASIC);
    return curl->easy_setopt(handle, CURLOPT_HTTPAUTH, schemes) == CURLE_OK &&
           curl->easy_setopt(handle, CURLOPT_USERNAME, options->user) == CURLE_OK &&
           curl->easy_setopt(handle, CURLOPT_PASSWORD, options->password) == CURLE_OK;
}

enum wl_status http_get_new(const struct http_options *options, struct http_get **out,
                            struct wl_err *err) {
    const struct http_curl *curl;
    enum wl_status status = http_curl_load(&curl, err);
    if (status != WL_OK) {
        return status;
    }
    struct http_get *http = calloc(1, sizeof *http);
    if (!http) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    http->curl = curl;
    buf_init(&http->reply.body, HTTP_MAX_BODY_BYTES);
    http->handle = curl->easy_init();
    if (!http->handle || !set_limits(http) || !set_callbacks(http) || !set_secret(http, options)) {
        http_get_free(http);
        return wl_err_set(err, WL_UNSUPPORTED,
                          "this libcurl is too old for network meters; 7.61 or newer is needed");
    }
    *out = http;
    return WL_OK;
}

void http_get_free(struct http_get *http) {
    if (http) {
        if (http->handle) {
            http->curl->easy_cleanup(http->handle);
        }
        buf_release(&http->reply.body);
        free(http);
    }
}

// --- asking -------------------------------------------------------------------------------------

// "http://host:80/path?user=x" -> the part up to the '?', for people.
static int shown_len(const char *url) {
    return (int)strcspn(url, "?");
}

static enum wl_status explain_failure(const struct http_get *http, const char *url, CURLcode code,
                                      struct wl_err *err) {
    int len = shown_len(url);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return wl_err_set(err, WL_TIMEOUT, "'%.*s' did not answer within %ld s", len, url,
                          TOTAL_TIMEOUT_MS / 1000);
    case CURLE_FILESIZE_EXCEEDED:
    case CURLE_WRITE_ERROR:
        return wl_err_set(err, WL_LIMIT, "the answer of '%.*s' is longer than %d bytes", len, url,
                          HTTP_MAX_BODY_BYTES);
    case CURLE_COULDNT_RESOLVE_HOST:
        return wl_err_set(err, WL_NOT_FOUND, "no host has the name in '%.*s'", len, url);
    case CURLE_COULDNT_CONNECT:
        return wl_err_set(err, WL_IO,
                          "cannot connect to '%.*s': is the device on, and the address "
                          "right?",
                          len, url);
    default:
        return wl_err_set(err, WL_IO, "cannot read '%.*s': %s", len, url,
                          http->curl->easy_strerror(code));
    }
}

static enum wl_status judge_code(const char *url, long code, struct wl_err *err) {
    int len = shown_len(url);
    if (code == 200) {
        return WL_OK;
    }
    if (code == 401 || code == 403) {
        return wl_err_set(err, WL_PERMISSION, "'%.*s' refused access (HTTP %ld)", len, url, code);
    }
    if (code == 404) {
        return wl_err_set(err, WL_NOT_FOUND, "there is no '%.*s' (HTTP 404)", len, url);
    }
    if (code >= 300 && code < 400) {
        return wl_err_set(err, WL_INPUT,
                          "'%.*s' points elsewhere (HTTP %ld), which is not followed; give the "
                          "address it leads to",
                          len, url, code);
    }
    return wl_err_set(err, WL_INPUT, "'%.*s' answered with HTTP %ld; expected 200", len, url, code);
}

enum wl_status http_get(struct http_get *http, const char *url, const struct http_reply **reply,
                        struct wl_err *err) {
    long code = 0;
    buf_clear(&http->reply.body);
    http->reply.date_s = -1;
    CURLcode result = http->curl->easy_setopt(http->handle, CURLOPT_URL, url);
    if (result == CURLE_OK) {
        result = http->curl->easy_perform(http->handle);
    }
    if (result != CURLE_OK) {
        return explain_failure(http, url, result, err);
    }
    http->curl->easy_getinfo(http->handle, CURLINFO_RESPONSE_CODE, &code);
    *reply = &http->reply;
    return judge_code(url, code, err);
}
