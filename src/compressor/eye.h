// The image encoder (mmproj) made smaller, from file to file: narrower feed-forward parts chosen by
// optimal brain surgeon and repaired by least squares, blocks taken out where the architecture
// allows it, the projector's last matrix fitted again, other types. Calibrated on pictures.
#ifndef WATTLAW_COMPRESSOR_EYE_H
#define WATTLAW_COMPRESSOR_EYE_H

#include <ggml.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct eye_options {
    const char *text_path;       // the text model that the encoder belongs to
    const char *const *pictures; // files; the last n_held_out are only for judging
    size_t n_pictures, n_held_out;
    int32_t image_max_tokens; // the clamp in use; 0: the file's
    double cut;               // share of the encoder's block weights to take away; 0: none
    uint32_t n_drop;          // whole blocks to take out, those that change the least
    enum ggml_type type;      // of the matrices; GGML_TYPE_COUNT: as they are
    double heal_seconds;      // of each block; 0: closed form only
    uint64_t seed;
    int32_t threads;
    const char *scratch_dir;
    bool (*go_on)(void *context, double share_done);
    void *context;
};

struct eye_layer {
    uint32_t layer, n_ff_before, n_ff;
    bool is_removed;
    double influence; // 1 - mean cosine of a token before and behind the block
    double error_cut, error_repaired, error_healed; // of the block, on held-out pictures; NaN
};

struct eye_result {
    struct eye_layer *layers;
    size_t n_layers;
    uint64_t in_bytes, out_bytes, block_weights_before, block_weights_after;
    double error_projected; // |e - e'|^2 / |e - mean|^2 of what the text model gets, held out
    double cosine;          // mean, of the same
    double encode_s_before, encode_s_after; // median of a picture, interleaved
};
void eye_result_release(struct eye_result *result); // zeroed ones are fine

// UNSUPPORTED names a projector or block whose computation is not known; then only `type` can be
// asked for. INPUT: pictures that cannot be read, a text model that does not fit.
enum wl_status eye_run(const char *in, const char *out, const struct eye_options *options,
                       struct eye_result *result, struct wl_err *err);

#endif
