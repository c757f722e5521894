// Energy of a window and its phases from every source of the subject: gross, and net of idle.
#ifndef WATTLAW_MEASURE_ENERGY_H
#define WATTLAW_MEASURE_ENERGY_H

#include "measure/idle.h"
#include "measure/subject.h"
#include "record/record.h"
#include "sampler/sampler.h"

// When a phase ran; each request of a window has its own.
struct energy_span {
    uint32_t phase; // index in record->phase
    int64_t t0_ns, t1_ns;
};

// Fills record->energy, the energy values and the phases' joules, all per request. The record has
// its times, tokens and phases; `spans` say when they ran. Sources whose readings do not cover the
// window are left out, with flags.
void energy_fill(const struct subject *subject, struct sampler *sampler, const struct idle *before,
                 const struct energy_span *spans, size_t n_spans, struct record *record);

// Takes the net energies of a record anew from the idle power before and after the runs. Sources
// that model and do not measure keep theirs. True when something changed.
bool energy_renew_net(const struct subject *subject, const struct idle *before,
                      const struct idle *after, struct record *record);

// Bytes moved between memory and CPU by `n_decode` single-token steps and a prompt of `n_prompt`
// tokens: weights once per micro-batch and once per generated token, plus the KV cache read.
// A lower bound: activations stay in the caches.
double energy_traffic_bytes(const struct engine_model *model, uint32_t n_prompt, uint32_t n_decode);

#endif
