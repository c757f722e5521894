// A residual stream of all calibration tokens, [n_tokens][n_embd] float32, in a file: memory is
// that of the rows in work. A scratch file is gone when the process ends; one with a name can be
// taken up again by another process once it was published.
#ifndef WATTLAW_COMPRESSOR_STATES_H
#define WATTLAW_COMPRESSOR_STATES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
// The rows as memory that the system may write back to the scratch file; until states_close.
// MEMORY.
enum wl_status states_map(struct states *states, float **out, struct wl_err *err);
void states_unmap(const struct states *states, float *map);

// A file with this name, replacing what was there.
enum wl_status states_create(struct states *states, const char *path, size_t n_tokens,
                             size_t n_embd, struct wl_err *err);
// Puts a sum of its rows behind them, writes it to the disk and renames it. It stays open.
enum wl_status states_publish(struct states *states, const char *path, const char *new_path,
                              struct wl_err *err);
// One that was published; false when there is none of that size, or it is damaged.
bool states_take_up(struct states *states, const char *path, size_t n_tokens, size_t n_embd);

// Of `n` bytes, a multiple of 4; begins with 0.
uint64_t states_sum(uint64_t sum, const void *data, size_t n);

#endif
