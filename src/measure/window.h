// One window: hand a request (or several equal ones, so that a slow meter sees enough) to the
// engine, watch it, and turn what was seen into a record.
#ifndef WATTLAW_MEASURE_WINDOW_H
#define WATTLAW_MEASURE_WINDOW_H

#include "base/err.h"
#include "engine/client.h"
#include "measure/idle.h"
#include "measure/subject.h"
#include "record/record.h"
#include "sampler/sampler.h"

struct window_options {
    struct engine_run_options run;
    const struct engine_run_events *events; // NULL in a study: nothing may disturb the run
    uint32_t n_requests;      // the same request this often, back to back, for slow meters; 0 = 1
    int64_t sample_period_ns; // 0 = 100 ms
    double pad_s; // idle seconds sampled before and after; paper mode needs 2 or more, else 0
};

struct window {
    struct record record;            // energies net of `idle`; ids and cell are the caller's
    struct engine_run_result result; // of the last request
    struct sampler_row *rows;        // raw samples, pads included
    size_t n_rows;
};

// `before` may be NULL: net figures are then NaN (except a model's, which knows its own idle).
// Failures are the engine's or the sampler's; the window is then released.
enum wl_status window_run(struct subject *subject, const struct window_options *options,
                          const struct idle *before, struct window *out, struct wl_err *err);
void window_release(struct window *window);

#endif
