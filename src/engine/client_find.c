#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "engine/client.h"

// Relative to the folder of the running executable: installed, then the build tree's tests.
static const char *const PLACES[] = {
    "wattlaw-engine",
    "../libexec/wattlaw/wattlaw-engine",
    "../lib/wattlaw/wattlaw-engine",
    "../bin/wattlaw-engine",
};

static bool is_program(const char *path) {
    return access(path, X_OK) == 0 && !os_is_dir(path);
}

static enum wl_status find_stated(char out[OS_PATH_BYTES], const char *stated, struct wl_err *err) {
    if (!is_program(stated)) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "WATTLAW_ENGINE is '%s', which is not a program; correct or unset it",
                          stated);
    }
    return str_copy(out, OS_PATH_BYTES, stated)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "WATTLAW_ENGINE is longer than a path may be");
}

enum wl_status engine_find(char out[OS_PATH_BYTES], struct wl_err *err) {
    const char *stated = getenv("WATTLAW_ENGINE");
    if (stated && stated[0]) {
        return find_stated(out, stated, err);
    }
    char dir[OS_PATH_BYTES];
    enum wl_status status = os_executable_dir(dir, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        if (os_path_join(out, dir, PLACES[i], NULL) == WL_OK && is_program(out)) {
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_NOT_FOUND,
                      "cannot find wattlaw-engine beside '%.200s', in ../libexec/wattlaw or "
                      "../lib/wattlaw; install it there or set WATTLAW_ENGINE to its path",
                      dir);
}
