// Two ways to the same end, measured in turns: quantiles of both and of what the second adds, with
// 95 % intervals from resampling whole blocks of turns (what disturbs a machine lasts longer than
// one turn).
#ifndef WATTLAW_BENCH_CONTRAST_H
#define WATTLAW_BENCH_CONTRAST_H

#include <jansson.h>
#include <stddef.h>

#include "stats/bootstrap.h"

enum contrast_what {
    CONTRAST_FIRST,  // the quantile of the first way
    CONTRAST_SECOND, // of the second
    CONTRAST_SHIFT,  // second less first
    CONTRAST_PAIRED, // the quantile of the turns' differences
    CONTRAST_RATIO,  // second over first
    CONTRAST_N
};

struct contrast {
    size_t n;
    double share;
    struct stats_estimate of[CONTRAST_N];
};

// Turn i is first[i] and second[i].
void contrast_make(const double *first, const double *second, size_t n, double share,
                   struct contrast *out);
// Median over rounds of second / first, for few rounds: no blocks.
struct stats_estimate contrast_median(const double *values, size_t n);
json_t *contrast_estimate_json(const struct stats_estimate *estimate);
// {"n", "share", "first", "second", "shift", "paired", "ratio"}
json_t *contrast_json(const struct contrast *contrast);

#endif
