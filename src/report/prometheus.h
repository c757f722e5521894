// The text format of Prometheus, as node_exporter's textfile collector reads it. Counters count
// from the start of the watching; what is unknown is left out, never written as 0.
#ifndef WATTLAW_REPORT_PROMETHEUS_H
#define WATTLAW_REPORT_PROMETHEUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { PROMETHEUS_MAX_SOURCES = 8, PROMETHEUS_MAX_BYTES = 1 << 16 };

struct prometheus_source {
    const char *source; // label values are escaped here
    const char *scope;
    const char *label;
    double gross_j; // NaN: unknown
    double idle_j;  // what the machine at rest would have taken; NaN unknown
    double power_w; // now; NaN unknown
};

struct prometheus_snapshot {
    const char *target; // what is watched: keeps several files apart
    double seconds;     // watched so far
    double cpu_core_s;  // of the processes
    double memory_bytes;
    bool is_pss; // else rss
    uint32_t n_processes;
    struct prometheus_source source[PROMETHEUS_MAX_SOURCES];
    size_t n_sources;
};

// Appends the whole file. False when it does not fit in `out` (buf_init with PROMETHEUS_MAX_BYTES).
bool prometheus_write(const struct prometheus_snapshot *snapshot, struct buf *out);

#endif
