#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "engine/client.h"

// Relative to the folder of the running executable: installed, then the build tree's tests.
static const char *const FOLDERS[] = {"", "../libexec/wattlaw/", "../lib/wattlaw/", "../bin/"};

static bool is_program(const char *path) {
    return access(path, X_OK) == 0 && !os_is_dir(path);
}

static enum wl_status find_stated(char out[OS_PATH_BYTES], const char *variable, const char *stated,
                                  struct wl_err *err) {
    if (!is_program(stated)) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "%s is '%s', which is not a program; correct or unset it", variable,
                          stated);
    }
    return str_copy(out, OS_PATH_BYTES, stated)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "%s is longer than a path may be", variable);
}

static enum wl_status find(const char *name, const char *variable, char out[OS_PATH_BYTES],
                           struct wl_err *err) {
    const char *stated = getenv(variable);
    if (stated && stated[0]) {
        return find_stated(out, variable, stated, err);
    }
    char dir[OS_PATH_BYTES];
    enum wl_status status = os_executable_dir(dir, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0]; i++) {
        char place[64];
        snprintf(place, sizeof place, "%s%s", FOLDERS[i], name);
        if (os_path_join(out, dir, place, NULL) == WL_OK && is_program(out)) {
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_NOT_FOUND,
                      "cannot find %s beside '%.200s', in ../libexec/wattlaw or "
                      "../lib/wattlaw; install it there or set %s to its path",
                      name, dir, variable);
}

enum wl_status engine_find(char out[OS_PATH_BYTES], struct wl_err *err) {
    return find("wattlaw-engine", "WATTLAW_ENGINE", out, err);
}

enum wl_status engine_find_gateway(char out[OS_PATH_BYTES], struct wl_err *err) {
    return find("wattlaw-gateway", "WATTLAW_GATEWAY", out, err);
}

enum wl_status engine_find_compressor(char out[OS_PATH_BYTES], struct wl_err *err) {
    return find("wattlaw-compressor", "WATTLAW_COMPRESSOR", out, err);
}
