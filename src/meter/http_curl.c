#include "meter/http_curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static const char *const LIBRARIES[] = {
#ifdef __APPLE__
    "libcurl.4.dylib",
#endif
    "libcurl.so.4",
    "libcurl-gnutls.so.4",
};

static const struct {
    const char *name;
    size_t offset;
} FUNCTIONS[] = {
    {"curl_global_init", offsetof(struct http_curl, global_init)},
    {"curl_easy_init", offsetof(struct http_curl, easy_init)},
    {"curl_easy_setopt", offsetof(struct http_curl, easy_setopt)},
    {"curl_easy_perform", offsetof(struct http_curl, easy_perform)},
    {"curl_easy_getinfo", offsetof(struct http_curl, easy_getinfo)},
    {"curl_easy_strerror", offsetof(struct http_curl, easy_strerror)},
    {"curl_easy_cleanup", offsetof(struct http_curl, easy_cleanup)},
    {"curl_getdate", offsetof(struct http_curl, getdate)},
};

static struct http_curl loaded;
static bool is_loaded;

static bool find_functions(void *library) {
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof FUNCTIONS[0]; i++) {
        void *symbol = dlsym(library, FUNCTIONS[i].name);
        if (!symbol) {
            return false;
        }
        memcpy((char *)&loaded + FUNCTIONS[i].offset, &symbol, sizeof symbol);
    }
    return true;
}

static void load(void) {
    for (size_t i = 0; i < sizeof LIBRARIES / sizeof LIBRARIES[0] && !is_loaded; i++) {
        void *library = dlopen(LIBRARIES[i], RTLD_NOW | RTLD_LOCAL);
        is_loaded = library && find_functions(library) &&
                    loaded.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
        if (library && !is_loaded) {
            dlclose(library);
        }
    }
}

enum wl_status http_curl_load(const struct http_curl **out, struct wl_err *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (!is_loaded) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "network meters need libcurl (libcurl.so.4), which is not installed; on "
                          "Debian and Ubuntu: sudo apt install libcurl4");
    }
    *out = &loaded;
    return WL_OK;
}
