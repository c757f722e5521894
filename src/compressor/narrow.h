// Feed-forward parts with fewer neurons, block after block: which neurons go is chosen by optimal
// brain surgeon, what is left is repaired by least squares and, if there is time, healed by local
// distillation. Two streams of the calibration text run along: that of the original model, whose
// outputs are the targets, and that of the blocks already made, which is what a block will see.
// (facts: structured OBS, SlimGPT 2024; the damped target is between repairing this block alone and
// making up for what was lost before it.)
#ifndef WATTLAW_COMPRESSOR_NARROW_H
#define WATTLAW_COMPRESSOR_NARROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/source.h"

struct narrow_text { // token sequences; the last n_held_out of them are only for judging
    const int32_t *tokens;
    const uint32_t *lengths; // at most NARROW_MAX_SEQUENCE each
    size_t n_sequences, n_held_out, n_tokens;
};

enum { NARROW_MAX_SEQUENCE = 1024 };

enum narrow_method {
    NARROW_REPAIR,    // optimal brain surgeon and least squares
    NARROW_CUT,       // the same choice, no repair
    NARROW_MAGNITUDE, // largest |gate| + |up|, no repair: a rival, for comparison
    NARROW_WANDA,     // |down_j| times the root mean square of h_j, no repair: a rival
};

// What one block became. The arrays belong to the walk and are valid during the call.
struct narrow_layer {
    uint32_t layer, n_ff;
    const uint32_t *kept;          // [n_ff] neurons, ascending
    const float *down;             // [n_embd][n_ff]
    const float *norm, *gate, *up; // after healing; NULL: rows `kept` of the original
    const float *second_moments;   // [n_ff]: mean square of each input of down
    double error_cut;              // |y - target|^2 / |target|^2 on held-out text: choice alone
    double error_repaired;         // after least squares
    double error_healed;           // after healing; NaN when not healed
    double seconds;
};

struct narrow_options {
    const uint32_t *n_ff; // wanted, of each block; the block's own: left as it is
    enum narrow_method method;
    double damping;      // share of the loss so far that a block makes up for: 0.5
    double ridge;        // 1e-2 for least squares, of the mean diagonal
    double heal_seconds; // of each block; 0: no healing
    uint64_t seed;
    const char *scratch_dir;
    enum wl_status (*on_layer)(void *context, const struct narrow_layer *layer, struct wl_err *err);
    bool (*go_on)(void *context, double share_done); // false: stop with INTERRUPTED
    void *context;
};

// *stream_error is |z - x|^2 / |x|^2 of the two streams behind the last block, on held-out text.
enum wl_status narrow_run(const struct compress_source *source, const struct narrow_text *text,
                          const struct narrow_options *options, double *stream_error,
                          struct wl_err *err);

#endif
