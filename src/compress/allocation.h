// Which size each block of a model gets, under a budget: all the same size, or each its own. PURE.
//
// What is lost is a sum over the blocks, but for blocks that go side by side: the second one is
// fed with the error of the first, and both errors may point the same way. Divergences are squares
// of errors, so a run of removed blocks is taken to lose the square of the sum of their roots: two
// alike lose four times one, not twice.
#ifndef WATTLAW_COMPRESS_ALLOCATION_H
#define WATTLAW_COMPRESS_ALLOCATION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "compress/knapsack.h"

enum { ALLOCATION_MAX_LAYERS = 512, ALLOCATION_MAX_CHOICES = 1 << 16 };

#define ALLOCATION_REMOVED ((size_t)-1) // in place of a choice

struct allocation_problem {
    size_t n_layers, n_choices;
    // [n_layers][n_choices]; a choice of the same number is of the same sizes in all blocks. One
    // with an infinite loss may not be taken.
    const struct knapsack_choice *choices;
    const bool *is_uniform;     // [n_choices]: it may be the choice of all blocks
    const double *removed_loss; // [n_layers]: of each block alone; INFINITY: it stays
    size_t max_removed;
    double budget; // of the sum of the costs of what stays
};

struct allocation_value {
    double cost, loss;
};

// The sums of a choice for each block, with what runs of removed ones lose.
struct allocation_value allocation_value(const struct allocation_problem *problem,
                                         const size_t *chosen);
// The least cost there can be; INFINITY when a block has no choice at all.
double allocation_least_cost(const struct allocation_problem *problem, bool is_mixed);

// chosen [n_layers]: one choice for all blocks that stay, and the blocks that go: the least loss
// within the budget. For each number of removed blocks those that lose least are looked at,
// whatever they cost (blocks differ in cost only where their tensor types do). LIMIT: none fits.
// INPUT: a size out of range, or the first block may go. MEMORY.
enum wl_status allocation_uniform(const struct allocation_problem *problem, size_t *chosen,
                                  struct wl_err *err);
// The same with a choice for each block: which ones go follows from a price on the cost, how what
// stays fills the budget from the knapsack.
enum wl_status allocation_mixed(const struct allocation_problem *problem, size_t *chosen,
                                struct wl_err *err);

#endif
