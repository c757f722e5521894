// A measured stretch of a request: both clocks at its two borders, told to the client as it
// happens, and the most memory that was resident in between.
#ifndef WATTLAW_WORKER_PHASE_H
#define WATTLAW_WORKER_PHASE_H

#include <jansson.h>
#include <stdint.h>

#include "worker/frame_io.h"

struct phase {
    const char *name; // "load", "prefill", "vision", ...; NULL while it has not begun
    int64_t t0_ns;
    int64_t t1_ns;
    int64_t cpu0_ns;
    int64_t cpu1_ns;
    int64_t n_tokens;
    int64_t peak_rss_bytes; // 0 when not known
};

void phase_begin(struct phase *phase, const char *name, const struct reply *reply);
void phase_end(struct phase *phase, const struct reply *reply);
// Ends `before` and begins `after` at one and the same instant. (Reading the peak, some 10 us,
// falls into `after`.)
void phase_switch(struct phase *before, struct phase *after, const char *name,
                  const struct reply *reply);
json_t *phase_json(const struct phase *phase);

#endif
