// Energy of a window and its phases from every source of the subject: gross, and net of idle.
#ifndef WATTLAW_MEASURE_ENERGY_H
#define WATTLAW_MEASURE_ENERGY_H

#include "measure/idle.h"
#include "measure/subject.h"
#include "record/record.h"
#include "sampler/sampler.h"

// Fills record->energy, the energy values and the phases' joules. The record has its times, tokens
// and phases. Sources whose readings do not cover the window are left out, with flags.
void energy_fill(const struct subject *subject, struct sampler *sampler, const struct idle *before,
                 struct record *record);

// Bytes moved between memory and CPU by `n_decode` single-token steps and a prompt of `n_prompt`
// tokens: weights once per micro-batch and once per generated token, plus the KV cache read.
// A lower bound: activations stay in the caches.
double energy_traffic_bytes(const struct engine_model *model, uint32_t n_prompt, uint32_t n_decode);

#endif
