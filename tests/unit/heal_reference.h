// The formula of a feed-forward part again, in doubles and one value after the other.
#ifndef WATTLAW_TESTS_HEAL_REFERENCE_H
#define WATTLAW_TESTS_HEAL_REFERENCE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "compress/heal.h"

struct reference {
    size_t n_embd, n_ff;
    double rms_eps;
    bool is_gelu;
    double *w[4]; // norm, gate, up, down
    size_t n[4];
};

static struct reference open_reference(const struct heal_ffn *ffn) {
    size_t n = ffn->n_ff * ffn->n_embd;
    struct reference r = {.n_embd = ffn->n_embd,
                          .n_ff = ffn->n_ff,
                          .rms_eps = (double)ffn->rms_eps,
                          .is_gelu = ffn->is_gelu,
                          .n = {ffn->n_embd, n, n, n}};
    const float *from[4] = {ffn->norm, ffn->gate, ffn->up, ffn->down};
    for (size_t t = 0; t < 4; t++) {
        r.w[t] = malloc(r.n[t] * sizeof(double));
        assert_non_null(r.w[t]);
        for (size_t i = 0; i < r.n[t]; i++) {
            r.w[t][i] = from[t][i];
        }
    }
    return r;
}

static void close_reference(struct reference *r) {
    for (size_t t = 0; t < 4; t++) {
        free(r->w[t]);
    }
}

static double act(double x, bool is_gelu) {
    const double pi = 3.14159265358979323846;
    return is_gelu ? x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x * x * x)))
                   : x / (1 + exp(-x));
}

// y of one row.
static void reference_row(const struct reference *r, const float *x, double *y) {
    double squares = 0, u[64];
    assert_true(r->n_embd <= 64);
    for (size_t i = 0; i < r->n_embd; i++) {
        squares += (double)x[i] * x[i];
        y[i] = x[i];
    }
    for (size_t i = 0; i < r->n_embd; i++) {
        u[i] = r->w[0][i] * x[i] / sqrt(squares / (double)r->n_embd + r->rms_eps);
    }
    for (size_t f = 0; f < r->n_ff; f++) {
        double gate = 0, up = 0;
        for (size_t i = 0; i < r->n_embd; i++) {
            gate += r->w[1][f * r->n_embd + i] * u[i];
            up += r->w[2][f * r->n_embd + i] * u[i];
        }
        double h = act(gate, r->is_gelu) * up;
        for (size_t i = 0; i < r->n_embd; i++) {
            y[i] += r->w[3][i * r->n_ff + f] * h;
        }
    }
}

static double reference_error(const struct reference *r, const float *mid, const float *target,
                              const uint32_t *rows, size_t n) {
    double sum = 0, y[64];
    for (size_t k = 0; k < n; k++) {
        reference_row(r, mid + rows[k] * r->n_embd, y);
        for (size_t i = 0; i < r->n_embd; i++) {
            double off = y[i] - target[rows[k] * r->n_embd + i];
            sum += off * off;
        }
    }
    return sum;
}

#endif
