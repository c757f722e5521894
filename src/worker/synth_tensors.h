// The list of a synthetic file's tensors: names, shapes, types, in file order.
#ifndef WATTLAW_WORKER_SYNTH_TENSORS_H
#define WATTLAW_WORKER_SYNTH_TENSORS_H

#include <ggml.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "worker/synth_shape.h"
#include "worker/synth_types.h"

struct synth_tensor {
    char name[GGML_MAX_NAME];
    enum ggml_type type;
    int64_t ne[4];   // as ggml has them
    uint64_t n_cols; // ne[0]
    uint64_t n_rows; // the product of the others
    bool is_norm;    // all ones; otherwise random
    bool has_fallen_back;
};

struct synth_tensors {
    struct synth_tensor *items;
    size_t n;
    size_t capacity;
    uint64_t n_params;
    uint64_t n_bytes;
    bool has_failed;
};

// Appends a tensor of `type` and counts it; NULL when out of memory (then has_failed is set). The
// caller names it.
struct synth_tensor *synth_tensors_add(struct synth_tensors *tensors, enum ggml_type type,
                                       const int64_t ne[4]);
// The text model's.
enum wl_status synth_tensors_make(const struct synth_shape *shape, const struct synth_mix *mix,
                                  struct synth_tensors *out, struct wl_err *err);
void synth_tensors_release(struct synth_tensors *tensors);

#endif
