#include "compress/lora.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/heal_grad.h"

static const double WARM_UP = 0.05, LAST_RATE = 0.05;
enum { COPIES = 5 };             // of a learnt figure: itself, gradient, mean, square, best
static const double WIDTH = 256; // heal_adam.c: matrices so wide learn at the rate as it is

uint32_t lora_rank(size_t n_out, size_t n_in, uint32_t rank) {
    size_t most = n_out < n_in ? n_out : n_in;
    return rank < most ? rank : (uint32_t)most;
}

size_t lora_n_tensors(uint32_t rank) {
    return rank ? 2 : 1;
}

static uint64_t n_values(size_t n_out, size_t n_in, uint32_t rank) {
    if (n_out > INT_MAX || n_in > INT_MAX) {
        return UINT64_MAX; // beyond what BLAS counts
    }
    return rank ? (uint64_t)rank * (n_out + n_in) : (uint64_t)n_out * n_in;
}

uint64_t lora_bytes(size_t n_out, size_t n_in, uint32_t rank) {
    uint64_t n = n_values(n_out, n_in, rank);
    return n > UINT64_MAX / COPIES / sizeof(float) ? UINT64_MAX : n * COPIES * sizeof(float);
}

// B's moves add up over the rank as those of a whole matrix do over its inputs.
static void set_reach(struct heal_tensor *b, double size, size_t n_in, uint32_t rank) {
    b->reach = size * sqrt(WIDTH) * sqrt((double)n_in) / rank;
    b->length = b->reach * sqrt((double)b->n);
}

static bool init_low_rank(struct lora_change *c, const float *w, struct rng *rng) {
    size_t n = (size_t)c->rank * c->n_in;
    double size = sqrt(heal_sum_of_squares(w, c->n_out * c->n_in) / (double)(c->n_out * c->n_in));
    for (size_t i = 0; i < n; i++) {
        c->values[i] = (float)(rng_normal(rng) / sqrt((double)c->n_in));
    }
    if (!heal_tensor_init(&c->tensors[0], c->values, c->rank, c->n_in) ||
        !heal_tensor_init(&c->tensors[1], c->values + n, c->n_out, c->rank)) {
        return false;
    }
    set_reach(&c->tensors[1], size, c->n_in, c->rank);
    return true;
}

enum wl_status lora_init(struct lora_change *change, const float *w, size_t n_out, size_t n_in,
                         uint32_t rank, struct rng *rng, struct heal_tensor *tensors,
                         struct wl_err *err) {
    uint64_t n = n_values(n_out, n_in, rank);
    *change = (struct lora_change){.n_out = n_out, .n_in = n_in, .rank = rank, .tensors = tensors};
    change->values = n <= SIZE_MAX / sizeof(float) ? calloc((size_t)n, sizeof(float)) : NULL;
    bool is_ok = change->values != NULL;
    if (is_ok && rank) {
        is_ok = init_low_rank(change, w, rng);
    } else if (is_ok) {
        memcpy(change->values, w, (size_t)n * sizeof *w);
        is_ok = heal_tensor_init(&tensors[0], change->values, n_out, n_in);
    }
    return is_ok ? WL_OK
                 : wl_err_set(err, WL_MEMORY,
                              "no memory to learn a change of rank %u of a matrix %zu x %zu", rank,
                              n_out, n_in);
}

void lora_release(struct lora_change *change) {
    for (size_t i = 0; change->tensors && i < lora_n_tensors(change->rank); i++) {
        heal_tensor_release(&change->tensors[i]);
    }
    free(change->values);
    *change = (struct lora_change){0};
}

void lora_apply(const struct lora_change *change, size_t first, size_t n_rows, float *w) {
    size_t n_in = change->n_in, rank = change->rank;
    if (!rank) {
        memcpy(w, change->values + first * n_in, n_rows * n_in * sizeof *w);
        return;
    }
    const float *a = change->values, *b = a + rank * n_in;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n_rows, (int)n_in, (int)rank, 1,
                b + first * rank, (int)rank, a, (int)n_in, 1, w, (int)n_in);
}

// c [n_a][n_b] += a^T b over n rows.
static void add_outer(size_t n, const float *a, size_t n_a, const float *b, size_t n_b, float *c) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n_a, (int)n_b, (int)n, 1, a, (int)n_a,
                b, (int)n_b, 1, c, (int)n_b);
}

void lora_add_gradient(const struct lora_change *change, size_t n, const float *x, const float *dy,
                       float *scratch) {
    size_t n_in = change->n_in, n_out = change->n_out, rank = change->rank;
    if (!rank) {
        add_outer(n, dy, n_out, x, n_in, change->tensors[0].gradient);
        return;
    }
    const float *a = change->values, *b = a + rank * n_in;
    float *inner = scratch, *dinner = scratch + n * rank;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)rank, (int)n_in, 1, x,
                (int)n_in, a, (int)n_in, 0, inner, (int)rank);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)rank, (int)n_out, 1, dy,
                (int)n_out, b, (int)rank, 0, dinner, (int)rank);
    add_outer(n, dinner, rank, x, n_in, change->tensors[0].gradient);
    add_outer(n, dy, n_out, inner, rank, change->tensors[1].gradient);
}

double lora_schedule(double share) {
    const double pi = 3.14159265358979323846;
    share = share > 0 ? fmin(share, 1) : 0;
    if (share < WARM_UP) {
        return LAST_RATE + (1 - LAST_RATE) * share / WARM_UP;
    }
    double fall = (share - WARM_UP) / (1 - WARM_UP);
    return LAST_RATE + (1 - LAST_RATE) * (1 + cos(pi * fall)) / 2;
}
