// Inside report only: sums over cells. Each cell (a prompt length and a number of generated tokens)
// counts the same, and only the scatter within cells is noise; the differences between cells are
// the design of the study.
#ifndef WATTLAW_REPORT_STRATA_H
#define WATTLAW_REPORT_STRATA_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "stats/describe.h"

// One observation: a value of the base model and, in comparisons, the value of the other model that
// was measured next to it.
struct strata_pair {
    uint32_t cell;
    double base;
    double vs;
};

struct strata_result {
    size_t n;
    size_t n_cells;
    double value;
    struct stats_interval ci95; // NaN when no cell has two observations
};

// `pairs` ascend by cell. The mean of the cells' means of `base`, with
//   variance = sum over cells of s^2/n / C^2
// and Student's t at the Welch-Satterthwaite degrees of freedom. A cell with one observation gets
// the pooled relative variance of the others.
void strata_mean(const struct strata_pair *pairs, size_t n, struct strata_result *out);

// The sum of the cells' means of `vs` over that of `base`, with Fieller's interval; variances and
// covariance are those within cells, so what a pair shares cancels. NaN unless the base's sum is
// positive.
void strata_ratio(const struct strata_pair *pairs, size_t n, struct strata_result *out);

#endif
