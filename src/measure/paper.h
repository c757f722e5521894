// Paper mode: the study's own method on the same run, to be comparable with it: machine CPU % at
// 5 Hz, the window found from the signal's gradient, trapezoid above the idle baseline.
#ifndef WATTLAW_MEASURE_PAPER_H
#define WATTLAW_MEASURE_PAPER_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sampler/sampler.h"

struct paper_result {
    double auc_pct_s;     // of machine CPU %, above baseline
    double baseline_pct;  // idle CPU %
    int64_t t0_ns, t1_ns; // the window that the gradient gave
    bool used_levels;     // the gradient did not stand out; level crossings were used
};

// `rows` must reach about 2 s of idle beyond both ends of [t0_ns, t1_ns], which only picks the
// window among several. NOT_FOUND: no window was found in the signal.
enum wl_status paper_cpu_auc(const struct sampler_row *rows, size_t n, int n_cores, int64_t t0_ns,
                             int64_t t1_ns, struct paper_result *out, struct wl_err *err);

#endif
