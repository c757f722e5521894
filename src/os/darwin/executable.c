// Never run on hardware so far: checked against declarations only (tests/darwin_stubs).
#include <errno.h>
#include <mach-o/dyld.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "os/file.h"

enum wl_status os_executable_dir(char out[OS_PATH_BYTES], struct wl_err *err) {
    char path[OS_PATH_BYTES];
    uint32_t size = sizeof path;
    if (_NSGetExecutablePath(path, &size) != 0) {
        return wl_err_set(err, WL_LIMIT,
                          "the path of this program has %u bytes, expected at most "
                          "%d",
                          (unsigned)size, OS_PATH_BYTES);
    }
    char *resolved = realpath(path, NULL); // links and ".." are in it as typed
    if (!resolved) {
        return wl_err_errno(err, errno, "cannot resolve '%s'", path);
    }
    char *slash = strrchr(resolved, '/');
    if (slash) {
        *(slash == resolved ? slash + 1 : slash) = '\0';
    }
    bool fits = str_copy(out, OS_PATH_BYTES, resolved);
    free(resolved);
    return fits ? WL_OK : wl_err_set(err, WL_LIMIT, "the path of this program is too long");
}
