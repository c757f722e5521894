// A residual stream of all calibration tokens, [n_tokens][n_embd] float32, in a scratch file that
// is gone when the process ends: memory is that of the rows in work.
#ifndef WATTLAW_COMPRESSOR_STATES_H
#define WATTLAW_COMPRESSOR_STATES_H

#include <stddef.h>

#include "base/err.h"

struct states {
    int fd; // -1: not open
    size_t n_tokens, n_embd;
};

// IO names the folder and the bytes wanted.
enum wl_status states_open(struct states *states, const char *dir, size_t n_tokens, size_t n_embd,
                           struct wl_err *err);
void states_close(struct states *states);
enum wl_status states_read(const struct states *states, size_t first, size_t n, float *out,
                           struct wl_err *err);
enum wl_status states_write(const struct states *states, size_t first, size_t n, const float *in,
                            struct wl_err *err);

#endif
