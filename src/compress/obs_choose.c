#include "compress/obs_choose.h"

#include <cblas.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int compare_candidates(const void *a, const void *b) {
    const struct obs_candidate *x = a, *y = b;
    if (x->score != y->score) {
        return x->score < y->score ? -1 : 1;
    }
    return (x->input > y->input) - (x->input < y->input);
}

// All inputs that are left by |W_j|^2 / (C^-1)_jj, the cheapest first.
static void rank_inputs(const struct obs_state *state, struct obs_candidate *candidates) {
    int n_out = (int)state->n_out;
    for (size_t i = 0; i < state->n_left; i++) {
        const float *column = state->columns + i * state->n_out;
        double h = (double)fmaxf(state->inverse[i * state->n_in + i], state->floor[i]);
        candidates[i] =
            (struct obs_candidate){.score = cblas_dsdot(n_out, column, 1, column, 1) / h,
                                   .place = i,
                                   .input = state->input[i]};
    }
    qsort(candidates, state->n_left, sizeof *candidates, compare_candidates);
}

// The first `m` candidates' piece of C^-1 into h, and of W^T W into g.
static void gather_pool(const struct obs_state *state, size_t m, struct obs_cut *cut) {
    for (size_t i = 0; i < m; i++) {
        size_t a = cut->candidates[i].place;
        memcpy(cut->columns + i * state->n_out, state->columns + a * state->n_out,
               state->n_out * sizeof(float));
        for (size_t j = 0; j <= i; j++) {
            size_t b = cut->candidates[j].place;
            cut->h[i * m + j] =
                a > b ? state->inverse[a * state->n_in + b] : state->inverse[b * state->n_in + a];
        }
    }
    cblas_ssyrk(CblasRowMajor, CblasLower, CblasNoTrans, (int)m, (int)state->n_out, 1, cut->columns,
                (int)state->n_out, 0, cut->g, (int)m);
}

static float pivot_of(const struct obs_state *state, const struct obs_cut *cut, size_t m,
                      size_t i) {
    return fmaxf(cut->h[i * m + i], state->floor[cut->candidates[i].place]);
}

static size_t cheapest_of_pool(const struct obs_state *state, const struct obs_cut *cut, size_t m) {
    size_t best = m;
    float least = INFINITY;
    for (size_t i = 0; i < m; i++) {
        float cost = fmaxf(cut->g[i * m + i], 0) / pivot_of(state, cut, m, i);
        if ((best == m || cost < least) && !cut->candidates[i].is_gone) {
            best = i;
            least = cost;
        }
    }
    return best;
}

// Row r of the symmetric matrix of which `lower` is the lower triangle.
static void symmetric_row(const float *lower, size_t m, size_t r, float *row) {
    memcpy(row, lower + r * m, (r + 1) * sizeof *row);
    for (size_t i = r + 1; i < m; i++) {
        row[i] = lower[i * m + r];
    }
}

// Takes r out of the pool: C^-1 -= l l^T, and W -= w_r t^T with t = row / pivot, so that
// W^T W -= t a^T + a t^T with a = (W^T W)_r - |w_r|^2 t / 2.
static void eliminate_in_pool(const struct obs_state *state, size_t m, size_t r,
                              struct obs_cut *cut) {
    float pivot = pivot_of(state, cut, m, r), *l = cut->steps + cut->n * m;
    int size = (int)m;
    symmetric_row(cut->h, m, r, cut->row);
    memcpy(l, cut->row, m * sizeof *l);
    cblas_sscal(size, 1 / sqrtf(pivot), l, 1);
    l[r] = sqrtf(pivot);
    cblas_sscal(size, 1 / pivot, cut->row, 1);
    symmetric_row(cut->g, m, r, cut->change);
    cblas_saxpy(size, -cut->g[r * m + r] / 2, cut->row, 1, cut->change, 1);
    cblas_ssyr(CblasRowMajor, CblasLower, size, -1, l, 1, cut->h, size);
    cblas_ssyr2(CblasRowMajor, CblasLower, size, -1, cut->row, 1, cut->change, 1, cut->g, size);
    cut->candidates[r].is_gone = true;
    cut->places[cut->n++] = r;
}

void obs_choose_inputs(const struct obs_state *state, size_t n, struct obs_cut *cut) {
    size_t m = OBS_POOL * n < state->n_left ? OBS_POOL * n : state->n_left;
    rank_inputs(state, cut->candidates);
    gather_pool(state, m, cut);
    cut->n = 0; // `places` are those in the pool for now
    while (cut->n < n) {
        eliminate_in_pool(state, m, cheapest_of_pool(state, cut, m), cut);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t s = 0; s <= i; s++) {
            cut->factor[i * n + s] = cut->steps[s * m + cut->places[i]];
        }
    }
    for (size_t i = 0; i < n; i++) {
        cut->places[i] = cut->candidates[cut->places[i]].place;
    }
}

// Cholesky's factor of C^-1 at `first` and the group - 1 places after it.
static void factor_group(const struct obs_state *state, size_t first, float *factor) {
    size_t n = state->group;
    for (size_t i = 0; i < n; i++) {
        float *row = factor + i * n;
        memcpy(row, state->inverse + (first + i) * state->n_in + first, (i + 1) * sizeof *row);
        for (size_t j = 0; j < i; j++) {
            const float *other = factor + j * n;
            row[j] = (float)(((double)row[j] - cblas_dsdot((int)j, row, 1, other, 1)) /
                             (double)other[j]);
        }
        double pivot = (double)row[i] - cblas_dsdot((int)i, row, 1, row, 1);
        row[i] = sqrtf(fmaxf((float)pivot, state->floor[first + i]));
    }
}

// tr(W_g ((C^-1)_gg)^-1 W_g^T) = |L^-1 W_g^T|^2.
static double cost_of_group(const struct obs_state *state, size_t first, struct obs_cut *cut) {
    size_t n = state->group, n_out = state->n_out;
    factor_group(state, first, cut->h);
    memcpy(cut->columns, state->columns + first * n_out, n * n_out * sizeof(float));
    cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n,
                (int)n_out, 1, cut->h, (int)n, cut->columns, (int)n_out);
    double cost = 0;
    for (size_t i = 0; i < n; i++) {
        const float *row = cut->columns + i * n_out;
        cost += cblas_dsdot((int)n_out, row, 1, row, 1);
    }
    return cost;
}

void obs_choose_group(const struct obs_state *state, struct obs_cut *cut) {
    size_t n = state->group, best = state->n_left;
    double least = INFINITY;
    for (size_t first = 0; first < state->n_left; first += n) {
        double cost = cost_of_group(state, first, cut);
        bool is_earlier = best < state->n_left && state->input[first] < state->input[best];
        if (best == state->n_left || cost < least || (cost == least && is_earlier)) {
            best = first;
            least = cost;
            memcpy(cut->factor, cut->h, n * n * sizeof(float));
        }
    }
    for (size_t i = 0; i < n; i++) {
        cut->places[i] = best + i;
    }
    cut->n = n;
}
