// A straight line between what a meter shows and what a better one shows, both with errors:
// reference = gain * shown + offset.
#ifndef WATTLAW_STATS_CALIBRATION_LINE_H
#define WATTLAW_STATS_CALIBRATION_LINE_H

#include <stddef.h>

#include "base/err.h"

enum { STATS_LINE_MAX_POINTS = 64 };

struct stats_line_point {
    double shown, shown_sd; // 1 sigma, random
    double reference, reference_sd;
};

struct stats_line {
    double gain, offset;
    double gain_sd, offset_sd, covariance; // 1 sigma
    double r2;          // of the reference about its mean; NaN when it does not vary
    double residual_sd; // of the reference, with n - 2 degrees of freedom
    double chi2;        // residuals in units of the stated errors, squared and summed
    size_t dof;
};

// Least squares weighted by the effective variance reference_sd^2 + gain^2 * shown_sd^2, iterated
// (Orear 1982). The covariance is that of the stated errors; where the residuals are larger than
// these allow, by chi2/dof (Birge) and Student's t for so few degrees of freedom, so that 1.96 sd
// is a 95 % interval. INPUT: fewer than 3 points, values not finite, no positive error; UNTRUSTED:
// the shown values do not differ by more than their errors, so that a line means nothing.
enum wl_status stats_calibration_line(const struct stats_line_point *points, size_t n,
                                      struct stats_line *out, struct wl_err *err);

// Adds an error that all reference values share: a relative one (of gain and offset alike) and a
// constant one (of the offset).
void stats_calibration_line_widen(struct stats_line *line, double rel_sd, double constant_sd);

#endif
