// Which variant of each part, under a budget: the multi-choice knapsack. PURE.
#ifndef WATTLAW_COMPRESS_KNAPSACK_H
#define WATTLAW_COMPRESS_KNAPSACK_H

#include <stddef.h>

#include "base/err.h"

struct knapsack_choice {
    double cost; // bytes, ms or J: what the budget is in; >= 0
    double loss; // predicted KL or squared error, additive over parts; >= 0
};

struct knapsack_part {
    const struct knapsack_choice *choices;
    size_t n_choices; // at least 1
};

enum { KNAPSACK_BINS = 4000 };

// chosen [n_parts]: one choice of each part with the least sum of losses whose costs do not exceed
// `budget` (exact up to budget / KNAPSACK_BINS per part, always on the side of the budget). LIMIT
// when even the cheapest choices exceed it: the message tells by how much. MEMORY.
enum wl_status knapsack_solve(const struct knapsack_part *parts, size_t n_parts, double budget,
                              size_t *chosen, struct wl_err *err);

#endif
