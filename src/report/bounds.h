// Inside report only: what can be said of a change in energy that no meter saw.
#ifndef WATTLAW_REPORT_BOUNDS_H
#define WATTLAW_REPORT_BOUNDS_H

#include "report/result.h"

// The energy model is a sum of time, core-seconds and memory traffic with weights >= 0 that are
// only roughly known, but the same for both models. Whatever they are, the ratio of two such sums
// lies between the smallest and the largest ratio of the parts. So where the primary source of both
// models is the model, the change of gross energy gets the hull of the intervals of these parts
// (for net energy: without time) and counts as resolved, even where neither energy is.
void bounds_of_estimates(struct report_result *result);

#endif
