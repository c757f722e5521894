// `wattlaw serve --new-key NAME --keys FILE`.
#ifndef WATTLAW_CLI_SERVE_KEY_H
#define WATTLAW_CLI_SERVE_KEY_H

#include <stddef.h>

#include "account/keys.h"
#include "base/err.h"

// Makes a key and adds its hash to the file, which is made (mode 0600) when it is not there; what
// stands in it stays. `secret` is shown nowhere else. INPUT: the name is not good or there
// already, or the file is no keys file.
enum wl_status serve_key_add(const char *path, const char *name, char secret[KEY_SECRET_BYTES],
                             struct wl_err *err);

#endif
