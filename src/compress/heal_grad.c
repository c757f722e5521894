#include "compress/heal_grad.h"

#include <cblas.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static float *matrix(size_t n_rows, size_t n_columns) {
    return n_columns > SIZE_MAX / sizeof(float) ? NULL : calloc(n_rows, n_columns * sizeof(float));
}

enum wl_status heal_pass_init(struct heal_pass *pass, const struct heal_ffn *ffn, const float *mid,
                              const float *target, size_t n_rows, struct wl_err *err) {
    *pass = (struct heal_pass){.ffn = ffn, .mid = mid, .target = target, .n_rows = n_rows};
    pass->v = matrix(n_rows, ffn->n_embd);
    pass->rest = matrix(n_rows, ffn->n_embd);
    pass->gate = matrix(n_rows, ffn->n_ff);
    pass->up = matrix(n_rows, ffn->n_ff);
    pass->h = matrix(n_rows, ffn->n_ff);
    if (!pass->v || !pass->rest || !pass->gate || !pass->up || !pass->h) {
        heal_pass_release(pass);
        return wl_err_set(err, WL_MEMORY,
                          "no memory for a batch of %zu rows of widths %zu and %zu: take smaller "
                          "batches",
                          n_rows, ffn->n_embd, ffn->n_ff);
    }
    return WL_OK;
}

void heal_pass_release(struct heal_pass *pass) {
    free(pass->v);
    free(pass->rest);
    free(pass->gate);
    free(pass->up);
    free(pass->h);
    *pass = (struct heal_pass){0};
}

// Eight sums side by side, which the compiler can add at once.
double heal_sum_of_squares(const float *x, size_t n) {
    double sums[8] = {0}, total = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (size_t k = 0; k < 8; k++) {
            sums[k] += (double)x[i + k] * x[i + k];
        }
    }
    for (; i < n; i++) {
        sums[0] += (double)x[i] * x[i];
    }
    for (size_t k = 0; k < 8; k++) {
        total += sums[k];
    }
    return total;
}

// c [m][n] = alpha op(a) op(b) + beta c, all of them packed row by row; k is what is summed over.
static void multiply(CBLAS_TRANSPOSE op_a, CBLAS_TRANSPOSE op_b, size_t m, size_t n, size_t k,
                     double alpha, const float *a, const float *b, float beta, float *c) {
    size_t row_a = op_a == CblasNoTrans ? k : m, row_b = op_b == CblasNoTrans ? n : k;
    cblas_sgemm(CblasRowMajor, op_a, op_b, (int)m, (int)n, (int)k, (float)alpha, a, (int)row_a, b,
                (int)row_b, beta, c, (int)n);
}

static void normalise(struct heal_pass *pass, const uint32_t *rows, size_t n) {
    size_t width = pass->ffn->n_embd;
    for (size_t r = 0; r < n; r++) {
        const float *x = pass->mid + rows[r] * width;
        float *v = pass->v + r * width, *u = pass->rest + r * width;
        double square = heal_sum_of_squares(x, width) / (double)width;
        float inverse = (float)(1 / sqrt(square + (double)pass->ffn->rms_eps));
        for (size_t i = 0; i < width; i++) {
            v[i] = x[i] * inverse;
            u[i] = v[i] * pass->ffn->norm[i];
        }
    }
}

struct activation {
    float value, slope;
};

// Both are x s(z(x)) with the logistic s: silu has z = x, the tanh form of gelu
// z = 2 sqrt(2 / pi) (x + 0.044715 x^3). From |x| = 11 on gelu's s is 0 or 1 to the last bit.
static struct activation activate(float x, bool is_gelu) {
    const float a = 1.5957691216057308F, b = 0.044715F;
    float z = x, z_slope = 1;
    if (is_gelu) {
        float inside = x > 11 ? 11 : x < -11 ? -11 : x;
        z = a * inside * (1 + b * inside * inside);
        z_slope = a * (1 + 3 * b * inside * inside);
    }
    float s = 1 / (1 + expf(-z)), value = x * s;
    return (struct activation){value, s + value * (1 - s) * z_slope};
}

// From the two products: h; for the way back gate becomes dh/dgate, up becomes dh/dup.
static void combine(struct heal_pass *pass, size_t n) {
    size_t n_values = n * pass->ffn->n_ff;
    for (size_t i = 0; i < n_values; i++) {
        struct activation act = activate(pass->gate[i], pass->ffn->is_gelu);
        pass->h[i] = act.value * pass->up[i];
        pass->gate[i] = pass->up[i] * act.slope;
        pass->up[i] = act.value;
    }
}

double heal_pass_error(struct heal_pass *pass, const uint32_t *rows, size_t n) {
    size_t n_embd = pass->ffn->n_embd, n_ff = pass->ffn->n_ff;
    normalise(pass, rows, n);
    multiply(CblasNoTrans, CblasTrans, n, n_ff, n_embd, 1, pass->rest, pass->ffn->gate, 0,
             pass->gate);
    multiply(CblasNoTrans, CblasTrans, n, n_ff, n_embd, 1, pass->rest, pass->ffn->up, 0, pass->up);
    combine(pass, n);
    for (size_t r = 0; r < n; r++) {
        for (size_t i = 0, from = rows[r] * n_embd; i < n_embd; i++) {
            pass->rest[r * n_embd + i] = pass->mid[from + i] - pass->target[from + i];
        }
    }
    multiply(CblasNoTrans, CblasTrans, n, n_embd, n_ff, 1, pass->h, pass->ffn->down, 1, pass->rest);
    return heal_sum_of_squares(pass->rest, n * n_embd);
}

// `product` is D of the header's text and becomes the matrix's gradient; the gain's is added to.
static void split_gain(const struct heal_ffn *ffn, const float *weights, float *product,
                       float *norm_gradient) {
    for (size_t f = 0; f < ffn->n_ff; f++) {
        const float *w = weights + f * ffn->n_embd;
        float *d = product + f * ffn->n_embd;
        for (size_t i = 0; i < ffn->n_embd; i++) {
            norm_gradient[i] += w[i] * d[i];
            d[i] *= ffn->norm[i];
        }
    }
}

double heal_pass_gradient(struct heal_pass *pass, const uint32_t *rows, size_t n, double scale,
                          struct heal_gradient *gradient) {
    const struct heal_ffn *ffn = pass->ffn;
    double error = heal_pass_error(pass, rows, n);
    multiply(CblasTrans, CblasNoTrans, ffn->n_embd, ffn->n_ff, n, 2 * scale, pass->rest, pass->h, 0,
             gradient->down);
    multiply(CblasNoTrans, CblasNoTrans, n, ffn->n_ff, ffn->n_embd, 2 * scale, pass->rest,
             ffn->down, 0, pass->h); // now dL/dh
    for (size_t i = 0; i < n * ffn->n_ff; i++) {
        pass->gate[i] *= pass->h[i];
        pass->up[i] *= pass->h[i];
    }
    multiply(CblasTrans, CblasNoTrans, ffn->n_ff, ffn->n_embd, n, 1, pass->gate, pass->v, 0,
             gradient->gate);
    multiply(CblasTrans, CblasNoTrans, ffn->n_ff, ffn->n_embd, n, 1, pass->up, pass->v, 0,
             gradient->up);
    memset(gradient->norm, 0, ffn->n_embd * sizeof *gradient->norm);
    split_gain(ffn, ffn->gate, gradient->gate, gradient->norm);
    split_gain(ffn, ffn->up, gradient->up, gradient->norm);
    return error;
}
