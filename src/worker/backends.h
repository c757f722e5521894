// Finding and loading ggml's CPU back ends, which are opened at run time.
#ifndef WATTLAW_WORKER_BACKENDS_H
#define WATTLAW_WORKER_BACKENDS_H

#include <jansson.h>

#include "base/err.h"

// Looks in $WATTLAW_BACKENDS_DIR, the compiled-in folder, <executable>/../lib/wattlaw/backends, and
// where libggml looks by itself. Only CPU back ends stay loaded: wattlaw measures CPUs.
enum wl_status backends_load(struct wl_err *err);
// [names] of the loaded devices with what they are, for HELLO and --self-check.
json_t *backends_json(void);

#endif
