// Block-local distillation of a narrowed feed-forward part: gate, up, down and norm learn to give
// the original block's output from the compressed stream's mid states. Own backward pass, AdamW,
// one block in memory. PURE.
#ifndef WATTLAW_COMPRESS_HEAL_H
#define WATTLAW_COMPRESS_HEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct heal_ffn { // the caller's, changed in place
    size_t n_embd, n_ff;
    float rms_eps;
    bool is_gelu;
    float *norm;      // [n_embd]
    float *gate, *up; // [n_ff][n_embd]
    float *down;      // [n_embd][n_ff]
};

struct heal_options {
    float rate;          // peak, in units of the weights' own size (heal_adam.h): 0.05 is a good
                         // start; linear warm-up over 5 %, cosine fall to 5 %
    float decay;         // AdamW's, a share of the rate; 0: none
    size_t batch_tokens; // of a step
    size_t n_steps;      // at most
    uint64_t seed;
    // After every `check_every` steps: seconds spent are the caller's to count; false stops.
    size_t check_every;
    bool (*go_on)(void *context, size_t step, double train_error, double held_out_error);
    void *context;
};

// What is learnt: mid + down(act(gate u) * up u) -> target, all rows [n][n_embd]. The last
// `n_held_out` rows are never learnt from. Errors are |y - target|^2 / |target - mean|^2, the mean
// being that of the same rows. Takes 16 bytes a weight and batch_tokens (3 n_ff + 2 n_embd) floats.
struct heal_result {
    double held_out_before, held_out_after;
    size_t n_steps;
    bool is_kept; // false: held-out error did not fall, and the weights are as they were
};

// The best weights seen at a check are what stays. MEMORY; INPUT when figures are not finite.
enum wl_status heal_ffn_train(struct heal_ffn *ffn, const float *mid, const float *target, size_t n,
                              size_t n_held_out, const struct heal_options *options,
                              struct heal_result *out, struct wl_err *err);

#endif
