// Block-local distillation of an image encoder's narrowed feed-forward part, as heal.h does it for
// text models: both matrices and both biases learn to give what the original block gives from the
// made stream. The norm before them stays: its factor and bias are as good as taken up by the first
// matrix, so its output is an input here. PURE.
#ifndef WATTLAW_COMPRESS_TOWER_HEAL_H
#define WATTLAW_COMPRESS_TOWER_HEAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compress/tower.h"

struct tower_heal_part { // the caller's, changed in place; the biases must be there
    size_t n_embd, n_ff;
    enum tower_act act;
    float *up, *up_bias;     // [n_ff][n_embd]
    float *down, *down_bias; // [n_embd][n_ff]
};

struct tower_heal_options {
    float rate;         // peak, as in heal.h: 0.05 is a good start
    size_t batch;       // rows of a step
    size_t check_every; // steps
    uint64_t seed;
    // Of the time that there is; asked before every step, 1 ends it. The rate warms up over the
    // first 5 % and falls along a cosine to 5 %.
    double (*share_done)(void *context);
    void *context;
};

struct tower_heal_result {
    double before, after; // |y - target|^2 / |target|^2 of the rows that are held out
    size_t n_steps;
};

// y = down act(up u + up_bias) + down_bias -> target, all rows [n][n_embd]; `u` is what the norm
// gives. The last n_held_out rows are not learnt from: the best weights on them stay, the first
// ones if none was better. MEMORY; INPUT when the sizes make no sense.
enum wl_status tower_heal(struct tower_heal_part *part, const float *u, const float *target,
                          size_t n, size_t n_held_out, const struct tower_heal_options *options,
                          struct tower_heal_result *out, struct wl_err *err);

// For the test: the gradient of sum |y - target|^2 over all rows by up, up_bias, down, down_bias.
struct tower_heal_gradient {
    float *up, *up_bias, *down, *down_bias;
};
enum wl_status tower_heal_gradient(const struct tower_heal_part *part, const float *u,
                                   const float *target, size_t n, double *loss,
                                   struct tower_heal_gradient *out, struct wl_err *err);

#endif
