// Random bytes for secrets.
#ifndef WATTLAW_OS_RANDOM_H
#define WATTLAW_OS_RANDOM_H

#include <stddef.h>

#include "base/err.h"

enum wl_status os_random(void *out, size_t n, struct wl_err *err); // n <= 256

#endif
