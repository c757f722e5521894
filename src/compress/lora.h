// Changes of weights that are learnt: of a matrix w [n_out][n_in] the low-rank w + B A (LoRA, Hu et
// al. 2021), or all of it; and AdamW on them (heal_adam.h). PURE.
//
// A begins as random numbers that keep the size of what goes in, B as zeros, so that nothing is
// changed at first. A step of one rate changes outputs as much whatever the rank is, and as much as
// one on the whole matrix does.
#ifndef WATTLAW_COMPRESS_LORA_H
#define WATTLAW_COMPRESS_LORA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "compress/heal_adam.h"

struct lora_change {
    size_t n_out, n_in;          // 0: there is none
    uint32_t rank;               // 0: the weights themselves
    float *values;               // A [rank][n_in], B [n_out][rank]; or w
    struct heal_tensor *tensors; // the caller's, of which it uses lora_n_tensors
};

// rank is cut to what a matrix can have.
uint32_t lora_rank(size_t n_out, size_t n_in, uint32_t rank);
size_t lora_n_tensors(uint32_t rank);                          // 2, or 1 for rank 0
uint64_t lora_bytes(size_t n_out, size_t n_in, uint32_t rank); // what learning takes, in all

// `w` is read only, and forgotten. A vector is a matrix with one row, of rank 0. MEMORY.
enum wl_status lora_init(struct lora_change *change, const float *w, size_t n_out, size_t n_in,
                         uint32_t rank, struct rng *rng, struct heal_tensor *tensors,
                         struct wl_err *err);
void lora_release(struct lora_change *change); // zeroed ones are fine

// w [n_rows][n_in], rows first .. of the matrix, become the changed ones.
void lora_apply(const struct lora_change *change, size_t first, size_t n_rows, float *w);
// Adds what y = w x of n rows means, with dy [n][n_out]. `scratch` [2][n][rank].
void lora_add_gradient(const struct lora_change *change, size_t n, const float *x, const float *dy,
                       float *scratch);

// Share of the peak rate: up over the first twentieth, then a cosine to a twentieth. `share` is
// what is over of the time there is, 0 .. 1.
double lora_schedule(double share);

#endif
