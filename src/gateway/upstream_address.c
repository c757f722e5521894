#include "gateway/upstream_address.h"

#include <stdbool.h>
#include <string.h>
#include <sys/un.h>

#include "base/str.h"

static bool is_printable(const char *text) {
    for (; *text; text++) {
        if (*text <= ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

static enum wl_status refuse(const char *text, struct wl_err *err) {
    return wl_err_set(err, WL_INPUT,
                      "'%.200s' is no address of a model server; expected for instance "
                      "http://localhost:11434 or unix:/run/llama.sock",
                      text);
}

static void drop_end(char *url) {
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/') {
        url[--n] = '\0';
    }
    if (str_ends_with(url, "/v1")) { // what clients are told; the paths have it
        url[n - 3] = '\0';
        drop_end(url);
    }
}

enum wl_status upstream_address_parse(const char *text, char *url, size_t url_size, char *socket,
                                      size_t socket_size, struct wl_err *err) {
    struct sockaddr_un address;
    socket[0] = '\0';
    if (str_starts_with(text, "unix:/")) {
        const char *path = text + 5;
        path += strspn(path, "/") - 1; // unix:///path too
        if (strlen(path) >= sizeof address.sun_path || strlen(path) >= socket_size) {
            return wl_err_set(err, WL_INPUT, "the socket '%.200s' has more than %zu bytes", path,
                              sizeof address.sun_path - 1);
        }
        str_copy(socket, socket_size, path);
        str_copy(url, url_size, "http://localhost");
        return WL_OK;
    }
    size_t n_scheme = str_starts_with(text, "http://")    ? 7
                      : str_starts_with(text, "https://") ? 8
                                                          : 0;
    if (n_scheme == 0 || !is_printable(text) || strpbrk(text, "?#") || !text[n_scheme] ||
        strchr("/:", text[n_scheme]) || !str_copy(url, url_size, text)) {
        return refuse(text, err);
    }
    drop_end(url);
    return WL_OK;
}
