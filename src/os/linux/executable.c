#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "os/file.h"

enum wl_status os_executable_dir(char out[OS_PATH_BYTES], struct wl_err *err) {
    ssize_t n = readlink("/proc/self/exe", out, OS_PATH_BYTES - 1);
    if (n < 0) {
        return wl_err_errno(err, errno, "cannot resolve /proc/self/exe");
    }
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash) {
        *(slash == out ? slash + 1 : slash) = '\0';
    }
    return WL_OK;
}
