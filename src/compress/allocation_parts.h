// What allocation*.c share.
#ifndef WATTLAW_COMPRESS_ALLOCATION_PARTS_H
#define WATTLAW_COMPRESS_ALLOCATION_PARTS_H

#include "compress/allocation.h"

struct allocation_best {
    size_t *chosen; // the caller's
    double loss, cost;
};

enum wl_status allocation_check(const struct allocation_problem *problem, struct wl_err *err);
// LIMIT with the least cost.
enum wl_status allocation_none_fits(const struct allocation_problem *problem, bool is_mixed,
                                    struct wl_err *err);
// Takes `trial` if it fits and loses less; of what loses the same the cheaper one.
void allocation_keep_better(const struct allocation_problem *problem, const size_t *trial,
                            struct allocation_best *best);

#endif
