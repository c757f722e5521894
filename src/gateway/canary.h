// Canaries: a small task file, asked again and again through the gateway itself while nobody else
// wants the machine. A model file, an engine or a machine that has changed shows in what is right
// and in what an answer takes. Every answer is a row of the ledger (endpoint "canary") with its
// score as feedback.
#ifndef WATTLAW_GATEWAY_CANARY_H
#define WATTLAW_GATEWAY_CANARY_H

#include <stdbool.h>

#include "gateway/gateway.h"

enum { CANARY_SECRET_BYTES = 40 };

// Loads the task file of the settings. INPUT, NOT_FOUND.
enum wl_status canary_open(struct gateway *gateway, struct wl_err *err);
void canary_close(struct canary *canary); // NULL is fine, here and below
// Begins a run when it is time, and asks the next question when the machine is free.
void canary_tick(struct canary *canary);
void canary_stop(struct canary *canary); // no more questions
// Whether a request is the canary's own.
bool canary_is_mine(const struct canary *canary, const char *secret);

struct canary_figures {
    uint64_t n_runs;
    int64_t last_run_ms;                          // Unix time of its end; 0: none yet
    size_t n, n_right, n_failed;                  // of the last run; failed: no answer came
    double accuracy, accuracy_low, accuracy_high; // Wilson's 95 % interval; NaN before a run
    double wh_per_answer;                         // gross; NaN: not known
    bool is_accuracy_low, is_energy_high; // the interval lies below the floor; above the ceiling
};
void canary_figures(const struct canary *canary, struct canary_figures *out);
void canary_write_metrics(const struct canary *canary, struct buf *out);

#endif
