// AdamW (Loshchilov & Hutter 2019) in relative units: every tensor is its length at the start times
// a tensor of length 1, which is what learns. So neither the scale of the states nor that of the
// weights matters to the rate, to eps and to the clipping. A matrix with n inputs learns at
// sqrt(256 / n) of the rate, because the moves of its weights add up in the outputs (as in Yang et
// al. 2022); so one rate does for narrow and wide blocks. PURE.
#ifndef WATTLAW_COMPRESS_HEAL_ADAM_H
#define WATTLAW_COMPRESS_HEAL_ADAM_H

#include <stdbool.h>
#include <stddef.h>

struct heal_tensor {
    float *w; // the caller's
    size_t n;
    double length;        // sqrt(sum w^2) at the start; one of 0 stays as it is
    double reach;         // what a rate of 1 moves a weight by
    float *gradient;      // of the loss by w
    float *mean, *square; // running, of the gradient times the length
    float *best;          // a copy of w
};

// Of a matrix w [n_rows][n_columns]. false: out of memory, or the size overflows; release what
// there is.
bool heal_tensor_init(struct heal_tensor *tensor, float *w, size_t n_rows, size_t n_columns);
void heal_tensor_release(struct heal_tensor *tensor); // a zeroed one is fine
void heal_tensor_keep(struct heal_tensor *tensor);    // best = w
void heal_tensor_restore(struct heal_tensor *tensor); // w = best

// Share of the peak rate at step 0..n_steps - 1: up over the first 5 %, then a cosine to 5 %.
double heal_schedule(size_t step, size_t n_steps);

// Step number `step` (from 0) on all tensors. The gradient of all of them together is cut to length
// 1. false: it is not finite, and nothing was changed.
bool heal_adam_step(struct heal_tensor *tensors, size_t n_tensors, size_t step, double rate,
                    double decay);

#endif
