// What a model says after its last norm against what it should say: Kullback-Leibler divergence of
// the likeliest tokens and one bucket of all the others, and its way back to the states. PURE.
//
// The output matrix comes in rows, and only some logits exist at once: passes over the matrix are
// one (all logits fit), or two (one for the sums, one for the gradients).
#ifndef WATTLAW_COMPRESS_BACK_OUTPUT_H
#define WATTLAW_COMPRESS_BACK_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct back_target { // of one token
    uint32_t n;
    const int32_t *ids; // [n]; NULL: 0, 1, 2 ...; negative ones are gone
    const float *log_p; // [n]; -INFINITY: none
    double rest;        // probability of all tokens that are not listed; 0: such are not counted
};

struct back_output {
    size_t n_embd, n_vocab;
    // Rows first .. first + n of the output matrix, [n][n_embd].
    void (*rows)(void *context, size_t first, size_t n, float *out);
    void *context;
    size_t most_logits; // floats
    float *memory;      // from here on its own, zeroed to begin with
    size_t n_floats;
};
void back_output_release(struct back_output *output);

// *kl is the sum over the tokens of x [n_tokens][n_embd]; dx, if not NULL, is set to the gradient
// of `scale` times it. MEMORY; INPUT when figures are not finite.
enum wl_status back_output_kl(struct back_output *output, const float *x,
                              const struct back_target *targets, size_t n_tokens, double scale,
                              double *kl, float *dx, struct wl_err *err);

#endif
