#include "os/random.h"

#include <errno.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

enum wl_status os_random(void *out, size_t n, struct wl_err *err) {
    return getentropy(out, n) == 0
               ? WL_OK
               : wl_err_errno(err, errno, "cannot get %zu random bytes from the system", n);
}
