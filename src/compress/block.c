#include "compress/block.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "compress/block_parts.h"

float *block_floats(uint64_t n_rows, uint64_t width, struct wl_err *err) {
    float *floats = NULL;
    if (n_rows <= INT_MAX && width <= INT_MAX && n_rows * width <= SIZE_MAX) {
        size_t n = (size_t)(n_rows * width);
        floats = calloc(n ? n : 1, sizeof *floats);
    }
    if (!floats) {
        wl_err_set(err, WL_MEMORY, "no memory for %llu states of width %llu",
                   (unsigned long long)n_rows, (unsigned long long)width);
    }
    return floats;
}

void block_multiply(const float *x, size_t n_rows, const float *w, const float *bias, size_t n_in,
                    size_t n_out, float *y) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n_rows, (int)n_out, (int)n_in, 1, x,
                (int)n_in, w, (int)n_in, 0, y, (int)n_out);
    for (size_t row = 0; bias && row < n_rows; row++) {
        cblas_saxpy((int)n_out, 1, bias, 1, y + row * n_out, 1);
    }
}

void block_norm(const float *x, size_t n_rows, size_t width, float eps, const float *factor,
                float *y) {
    for (size_t row = 0; row < n_rows; row++) {
        const float *from = x + row * width;
        float *to = y + row * width;
        double squares = 0;
        for (size_t i = 0; i < width; i++) {
            squares += (double)from[i] * (double)from[i];
        }
        float scale = (float)(1 / sqrt(squares / (double)width + (double)eps));
        for (size_t i = 0; i < width; i++) {
            to[i] = from[i] * scale * factor[i];
        }
    }
}

void block_return_add(const struct block_return *back, size_t n_rows, const float *in,
                      const float *x, float *scratch, float *out) {
    block_multiply(in, n_rows, back->w, back->bias, back->n_in, back->n_embd, scratch);
    if (back->post_norm) {
        block_norm(scratch, n_rows, back->n_embd, back->rms_eps, back->post_norm, scratch);
    }
    for (size_t i = 0; i < n_rows * back->n_embd; i++) {
        out[i] = x[i] + scratch[i];
    }
}
