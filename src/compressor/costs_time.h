// Inside costs*.c only: how long a model takes for a prompt, and for tokens one at a time.
#ifndef WATTLAW_COMPRESSOR_COSTS_TIME_H
#define WATTLAW_COMPRESSOR_COSTS_TIME_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text_model.h"

struct costs_time {
    double prompt_s, decode_s; // of one token
};

struct costs_work {
    uint32_t n_prompt, n_decode;
    int32_t threads; // 0: as many as there are cores
};

// The lower quartile (values get sorted; n above 0): what else a machine does only ever adds time,
// and half of the passes may be disturbed.
double costs_typical(double *values, size_t n);

// Loads it, runs a few tokens so that all of it is there, and then times both, in as many passes as
// a small model needs. Tokens are of the first 256 of the vocabulary.
enum wl_status costs_time(const char *path, const struct costs_work *work, struct text_watch *watch,
                          struct costs_time *out, struct wl_err *err);

#endif
