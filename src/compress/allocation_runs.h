// Inside allocation*.c only: which blocks go, when each has one price to stay.
#ifndef WATTLAW_COMPRESS_ALLOCATION_RUNS_H
#define WATTLAW_COMPRESS_ALLOCATION_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct allocation_runs {
    size_t n_layers, max_removed;
    const double *removed_loss; // [n_layers]
    // [n_layers + 1][max_removed + 1]: least sum when this block stays (number n_layers stands
    // behind the last) and so many before it went; and how many of these lie next to it.
    double *least;
    uint16_t *run;
};

enum wl_status allocation_runs_init(struct allocation_runs *runs, const double *removed_loss,
                                    size_t n_layers, size_t max_removed, struct wl_err *err);
void allocation_runs_release(struct allocation_runs *runs); // zeroed ones are fine
// stay [n_layers]: of a block that stays; may be infinite.
void allocation_runs_fill(struct allocation_runs *runs, const double *stay);
// The least sum with exactly so many removed; INFINITY: it cannot be.
double allocation_runs_least(const struct allocation_runs *runs, size_t n_removed);
void allocation_runs_trace(const struct allocation_runs *runs, size_t n_removed, bool *is_removed);

#endif
