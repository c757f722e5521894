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
#include "compressor/plan.h"
#include "compressor/source.h"
#include "compressor/text.h"

enum { NARROW_MAX_SEQUENCE = 1024 };

enum narrow_method {
    NARROW_REPAIR,    // optimal brain surgeon and least squares
    NARROW_CUT,       // the same choice, no repair
    NARROW_MAGNITUDE, // largest |gate| + |up|, no repair: a rival, for comparison
    NARROW_WANDA,     // |down_j| times the root mean square of h_j, no repair: a rival
};

// What one block became. The arrays belong to the walk and are valid during the call; NULL: as in
// the original, rows or columns of what stays.
struct narrow_layer {
    uint32_t layer;
    bool is_removed; // nothing below is set then
    uint32_t n_head_kv, n_ff;
    const uint32_t *kept_groups;    // [n_head_kv] KV heads, ascending
    const uint32_t *kept;           // [n_ff] neurons, ascending
    const float *attn_output;       // [n_embd][n_head' * head_dim]
    const float *attn_norm;         // [n_embd], when it was fitted again
    const float *attention_moments; // [n_head' * head_dim]: mean square of attn_output's inputs
    const float *down;              // [n_embd][n_ff]
    const float *down_bias;         // [n_embd], where the architecture takes one
    const float *norm, *gate, *up;  // of the feed-forward part, after healing
    const float *second_moments;    // [n_ff]: mean square of each input of down
    // A repair that raised the held-out error was taken back, its figure is that of the cut then; a
    // bias that did not lower it is not there.
    // Of the feed-forward part, |y - target|^2 / |target - mid|^2 on held-out text; NaN: not done.
    double error_cut, error_repaired, error_bias, error_healed;
    double error_image; // the last of these on image tokens alone
    double attention_error_cut, attention_error_repaired;
    double seconds;
};

struct narrow_options {
    size_t n_held_out;       // the last sequences of the text, only for judging
    const struct plan *plan; // of the written blocks
    enum narrow_method method;
    double damping;      // share of the loss so far that a block makes up for: 0.5
    double ridge;        // 1e-2 for least squares, of the mean diagonal
    double image_share;  // of the moments: what image tokens count for together, 0.5
    double heal_seconds; // of each block; 0: no healing
    bool may_add_bias;   // the file that is written takes a bias behind down
    uint64_t seed;
    const char *scratch_dir;
    // A folder in which finished blocks and both streams survive an interruption; NULL: nothing
    // does. What lies there must be of the same source, text and options (the caller's to know).
    const char *checkpoint_dir;
    // Of every block in turn, those that stay as they are and removed ones too.
    enum wl_status (*on_layer)(void *context, const struct narrow_layer *layer, struct wl_err *err);
    // The norm before the output matrix, fitted again to the made stream; NULL: not wanted.
    enum wl_status (*on_output_norm)(void *context, const float *norm, struct wl_err *err);
    bool (*go_on)(void *context, double share_done); // false: stop with INTERRUPTED
    void *context;
};

// *stream_error is |z - x|^2 / |x|^2 of the two streams behind the last block, on held-out text.
enum wl_status narrow_run(const struct compress_source *source, const struct compress_text *text,
                          const struct narrow_options *options, double *stream_error,
                          struct wl_err *err);

#endif
