// Inside costs*.c only: from the times of whole files to what the parts cost.
#ifndef WATTLAW_COMPRESSOR_COSTS_FIT_H
#define WATTLAW_COMPRESSOR_COSTS_FIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/costs.h"
#include "compressor/costs_variant.h"

// seconds [n]: of a token. The parts that the files cannot tell apart are 0, or one of them has it
// all: the blocks of a model with one are in base. `base` is with n_vocab rows.
enum wl_status costs_fit_decode(const struct costs_variant *variants, const double *seconds,
                                size_t n, uint32_t n_vocab, struct cost_terms *out,
                                struct wl_err *err);
// The output matrix is used once in a prompt of n_prompt tokens: what it takes is known by then.
enum wl_status costs_fit_prompt(const struct costs_variant *variants, const double *seconds,
                                size_t n, uint32_t n_vocab, uint32_t n_prompt,
                                const struct cost_terms *decode, struct cost_terms *out,
                                struct wl_err *err);

#endif
