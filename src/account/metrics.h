// Figures in the text form that Prometheus reads (0.0.4). PURE.
#ifndef WATTLAW_ACCOUNT_METRICS_H
#define WATTLAW_ACCOUNT_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { HISTOGRAM_MAX_BOUNDS = 24 };

// Counts of values <= bounds[i]; all of them in n.
struct histogram {
    const double *bounds; // ascending; borrowed
    size_t n_bounds;
    uint64_t counts[HISTOGRAM_MAX_BOUNDS]; // of its own range, not yet summed up
    uint64_t n;
    double sum;
};
void histogram_init(struct histogram *h, const double *bounds, size_t n_bounds);
void histogram_add(struct histogram *h, double value); // what is not finite is left out

// Labels end with a NULL name; values are escaped, what is not text in them becomes '?', since one
// wrong byte would cost the whole page.
struct metric_label {
    const char *name, *value;
};
// "# HELP" and "# TYPE" once for a family, in front of its samples.
void metric_family(struct buf *buf, const char *name, const char *type, const char *help);
void metric_sample(struct buf *buf, const char *name, const struct metric_label *labels,
                   double value); // labels NULL: none
// name_bucket with le, name_sum, name_count.
void metric_histogram(struct buf *buf, const char *name, const struct metric_label *labels,
                      const struct histogram *h);

#endif
