#include "compress/obs.h"

#include <cblas.h>
#include <lapacke.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "compress/obs_choose.h"

enum {
    MAX_BLOCK = 256,
    TILE = 32, // side of what is transposed at once
};

struct work {
    struct obs_state state;
    struct obs_cut cut;
    float *rows;  // [most that goes at once][n_in] of C^-1
    float *moved; // [the same][n_out] of W's columns
    size_t *doomed;
    double power; // E|y|^2
    double sum;   // of the error so far
};

static bool check_sides(size_t n_out, size_t n_in, struct wl_err *err) {
    if (n_out < 1 || n_in < 1 || n_out > INT_MAX || n_in > INT_MAX) {
        wl_err_set(err, WL_INPUT,
                   "choosing inputs of a matrix of %zu x %zu: expected sides of 1 to %d", n_out,
                   n_in, INT_MAX);
        return false;
    }
    return true;
}

static bool check_options(const struct obs_options *o, size_t n_in, struct wl_err *err) {
    if (o->block < 1 || o->block > MAX_BLOCK || (o->block & (o->block - 1)) != 0 ||
        !(o->ridge >= 0)) {
        wl_err_set(err, WL_INPUT,
                   "choosing inputs in blocks of %zu with a ridge of %g: expected a power "
                   "of two up to %d and a ridge of 0 or more",
                   o->block, o->ridge, MAX_BLOCK);
        return false;
    }
    if (o->group < 1 || n_in % o->group != 0 || o->n_min > n_in || o->n_min % o->group != 0) {
        wl_err_set(err, WL_INPUT,
                   "choosing from %zu inputs in groups of %zu so that %zu stay: expected "
                   "multiples of the group, and at most all to stay",
                   n_in, o->group, o->n_min);
        return false;
    }
    return true;
}

static size_t most_at_once(const struct obs_options *options, size_t n_in) {
    size_t n = options->group > 1 ? options->group : options->block;
    return n < n_in ? n : n_in;
}

static void release(struct work *work) {
    free(work->state.columns);
    free(work->state.input);
    free(work->state.floor);
    free(work->cut.places);
    free(work->cut.factor);
    free(work->cut.candidates);
    free(work->cut.h);
    free(work->cut.g);
    free(work->cut.steps);
    free(work->cut.row);
    free(work->cut.change);
    free(work->cut.columns);
    free(work->rows);
    free(work->moved);
    free(work->doomed);
}

// A row is n_in floats: fewer than the bytes of `square`, so no product below overflows.
static bool allocate_cut(struct obs_cut *cut, size_t n, size_t n_in, size_t n_out) {
    cut->places = calloc(n, sizeof *cut->places);
    cut->factor = calloc(n, n * sizeof *cut->factor);
    cut->candidates = calloc(n_in, sizeof *cut->candidates);
    cut->h = calloc(cut->room, cut->room * sizeof *cut->h);
    cut->g = calloc(cut->room, cut->room * sizeof *cut->g);
    cut->steps = calloc(n, cut->room * sizeof *cut->steps);
    cut->row = calloc(cut->room, sizeof *cut->row);
    cut->change = calloc(cut->room, sizeof *cut->change);
    cut->columns = calloc(cut->room, n_out * sizeof *cut->columns);
    return cut->places && cut->factor && cut->candidates && cut->h && cut->g && cut->steps &&
           cut->row && cut->change && cut->columns;
}

static enum wl_status allocate(const struct obs_options *options, struct work *work,
                               struct wl_err *err) {
    size_t n_in = work->state.n_in, n_out = work->state.n_out, n = most_at_once(options, n_in);
    size_t room = options->group > 1 ? n : OBS_POOL * n;
    work->cut.room = room < n_in ? room : n_in;
    work->state.columns = calloc(n_in, n_out * sizeof(float));
    work->state.input = calloc(n_in, sizeof(uint32_t));
    work->state.floor = calloc(n_in, sizeof(float));
    work->rows = calloc(n, n_in * sizeof(float));
    work->moved = calloc(n, n_out * sizeof(float));
    work->doomed = calloc(n, sizeof(size_t));
    if (!allocate_cut(&work->cut, n, n_in, n_out) || !work->state.columns || !work->state.input ||
        !work->state.floor || !work->rows || !work->moved || !work->doomed) {
        return wl_err_set(err, WL_MEMORY, "no memory to choose from %zu inputs of %zu outputs",
                          n_in, n_out);
    }
    return WL_OK;
}

// E|y|^2 = tr(W C W^T); C W^T goes where W's columns will be.
static double power(const struct obs_state *state, const float *w) {
    int n_out = (int)state->n_out, n_in = (int)state->n_in;
    cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, n_out, n_in, 1, state->inverse, n_in, w,
                n_in, 0, state->columns, n_in);
    double sum = 0;
    for (size_t i = 0; i < state->n_out; i++) {
        sum += cblas_dsdot(n_in, w + i * state->n_in, 1, state->columns + i * state->n_in, 1);
    }
    return sum;
}

static void copy_columns(struct obs_state *state, const float *w) {
    for (size_t i0 = 0; i0 < state->n_out; i0 += TILE) {
        size_t i1 = i0 + TILE < state->n_out ? i0 + TILE : state->n_out;
        for (size_t j = 0; j < state->n_in; j++) {
            for (size_t i = i0; i < i1; i++) {
                state->columns[j * state->n_out + i] = w[i * state->n_in + j];
            }
        }
    }
}

static enum wl_status add_ridge(struct obs_state *state, double ridge, struct wl_err *err) {
    size_t n = state->n_in;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)state->inverse[i * n + i];
    }
    if (!(sum > 0) || !isfinite(sum)) {
        return wl_err_set(err, WL_INPUT,
                          "the second moments of %zu inputs have a mean of %g, expected more than "
                          "0: are the states that they come from all zero, or not finite?",
                          n, sum / (double)n);
    }
    for (size_t i = 0; i < n; i++) {
        double c = (double)state->inverse[i * n + i] + ridge * sum / (double)n;
        state->inverse[i * n + i] = (float)c;
        state->floor[i] = (float)(1 / c);
        state->input[i] = (uint32_t)i;
    }
    return WL_OK;
}

// The lower triangle row-major is the upper one column-major: LAPACKE copies nothing.
static enum wl_status invert(struct obs_state *state, double ridge, struct wl_err *err) {
    lapack_int n = (lapack_int)state->n_in;
    lapack_int info = LAPACKE_spotrf_work(LAPACK_COL_MAJOR, 'U', n, state->inverse, n);
    if (info == 0) {
        info = LAPACKE_spotri_work(LAPACK_COL_MAJOR, 'U', n, state->inverse, n);
    }
    if (info != 0) {
        return wl_err_set(err, WL_INPUT,
                          "the second moments of %zu inputs are not positive definite (found at "
                          "input %d) with a ridge of %g times their mean: a larger ridge or more "
                          "text helps",
                          state->n_in, (int)info - 1, ridge);
    }
    for (size_t i = 0; i < state->n_in; i++) {
        float h = state->inverse[i * state->n_in + i];
        if (!isfinite(h) || !(h > 0)) {
            return wl_err_set(err, WL_INPUT,
                              "the second moments of %zu inputs have no finite inverse (found at "
                              "input %zu) with a ridge of %g times their mean: are the states that "
                              "they come from finite?",
                              state->n_in, i, ridge);
        }
    }
    return WL_OK;
}

static enum wl_status prepare(const struct obs_options *options, const float *w, struct work *work,
                              struct wl_err *err) {
    struct obs_state *state = &work->state;
    work->power = power(state, w);
    copy_columns(state, w);
    enum wl_status status = add_ridge(state, options->ridge, err);
    if (status == WL_OK && !isfinite(work->power)) {
        status = wl_err_set(err, WL_INPUT,
                            "a matrix of %zu x %zu makes outputs that are not finite: are it and "
                            "the second moments of its inputs?",
                            state->n_out, state->n_in);
    }
    return status == WL_OK ? invert(state, options->ridge, err) : status;
}

// Rows of C^-1 and of W's columns, times L^-1: what is lost is |moved|^2.
static void solve_rows(struct work *work) {
    struct obs_state *state = &work->state;
    size_t n = work->cut.n, n_in = state->n_in, n_out = state->n_out;
    for (size_t s = 0; s < n; s++) {
        size_t r = work->cut.places[s];
        float *row = work->rows + s * n_in;
        memcpy(row, state->inverse + r * n_in, (r + 1) * sizeof *row);
        for (size_t k = r + 1; k < state->n_left; k++) {
            row[k] = state->inverse[k * n_in + r];
        }
        memcpy(work->moved + s * n_out, state->columns + r * n_out, n_out * sizeof(float));
    }
    cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n,
                (int)state->n_left, 1, work->cut.factor, (int)n, work->rows, (int)n_in);
    cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)n,
                (int)n_out, 1, work->cut.factor, (int)n, work->moved, (int)n_out);
}

// The last place's input takes place p, whose input goes.
static void move_last_to(struct work *work, size_t p) {
    struct obs_state *state = &work->state;
    size_t n = state->n_in, q = --state->n_left;
    if (p == q) {
        return;
    }
    float *c = state->inverse;
    memcpy(c + p * n, c + q * n, p * sizeof *c);
    c[p * n + p] = c[q * n + q];
    for (size_t k = p + 1; k < q; k++) {
        c[k * n + p] = c[q * n + k];
    }
    memcpy(state->columns + p * state->n_out, state->columns + q * state->n_out,
           state->n_out * sizeof(float));
    state->input[p] = state->input[q];
    state->floor[p] = state->floor[q];
    for (size_t s = 0; s < work->cut.n; s++) {
        work->rows[s * n + p] = work->rows[s * n + q];
    }
}

static int compare_falling(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x < y) - (x > y);
}

// From the back, so that the last input is one that stays, or the one that goes itself.
static void close_ranks(struct work *work) {
    memcpy(work->doomed, work->cut.places, work->cut.n * sizeof(size_t));
    qsort(work->doomed, work->cut.n, sizeof(size_t), compare_falling);
    for (size_t s = 0; s < work->cut.n; s++) {
        move_last_to(work, work->doomed[s]);
    }
}

// C^-1 and W of those that are left make up for those that are gone.
static void downdate(struct work *work) {
    struct obs_state *state = &work->state;
    int n = (int)work->cut.n, m = (int)state->n_left, n_in = (int)state->n_in;
    int n_out = (int)state->n_out;
    if (m > 0) {
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, m, n, -1, work->rows, n_in, 1,
                    state->inverse, n_in);
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, n_out, n, -1, work->rows, n_in,
                    work->moved, n_out, 1, state->columns, n_out);
    }
}

// Writes down what has gone, in order, and the error after each group of them.
static void note(struct work *work, uint32_t *order, double *error) {
    const struct obs_state *state = &work->state;
    size_t n_gone = state->n_in - state->n_left;
    for (size_t s = 0; s < work->cut.n; s++) {
        const float *lost = work->moved + s * state->n_out;
        work->sum += cblas_dsdot((int)state->n_out, lost, 1, lost, 1);
        order[n_gone++] = state->input[work->cut.places[s]];
        if (n_gone % state->group == 0) {
            error[n_gone / state->group] = work->power > 0 ? work->sum / work->power : 0;
        }
    }
}

static int compare_rising(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static enum wl_status remove_all(const struct obs_options *options, struct work *work,
                                 uint32_t *order, double *error, struct wl_err *err) {
    struct obs_state *state = &work->state;
    size_t n_groups = state->n_in / state->group;
    error[0] = 0;
    for (size_t i = 1; i <= n_groups; i++) {
        error[i] = NAN;
    }
    while (state->n_left > options->n_min) {
        if (options->go_on && !options->go_on(options->context)) {
            return wl_err_set(err, WL_INTERRUPTED,
                              "interrupted while inputs were chosen: %zu of %zu to go were left",
                              state->n_left - options->n_min, state->n_in - options->n_min);
        }
        size_t n = state->n_left - options->n_min;
        if (state->group > 1) {
            obs_choose_group(state, &work->cut);
        } else {
            obs_choose_inputs(state, n < options->block ? n : options->block, &work->cut);
        }
        solve_rows(work);
        note(work, order, error);
        close_ranks(work);
        downdate(work);
    }
    qsort(state->input, state->n_left, sizeof *state->input, compare_rising);
    memcpy(order + (state->n_in - state->n_left), state->input,
           state->n_left * sizeof *state->input);
    if (!isfinite(work->sum)) {
        return wl_err_set(err, WL_INPUT,
                          "the error of choosing from %zu inputs is not finite: the second "
                          "moments span too many orders of magnitude for a ridge of %g",
                          state->n_in, options->ridge);
    }
    return WL_OK;
}

enum wl_status obs_order(const struct obs_options *options, const float *w, size_t n_out,
                         size_t n_in, float *square, uint32_t *order, double *error,
                         struct wl_err *err) {
    if (!check_sides(n_out, n_in, err) || !check_options(options, n_in, err)) {
        return WL_INPUT;
    }
    struct work work = {.state = {.n_in = n_in,
                                  .n_out = n_out,
                                  .group = options->group,
                                  .n_left = n_in,
                                  .inverse = square}};
    enum wl_status status = allocate(options, &work, err);
    if (status == WL_OK) {
        status = prepare(options, w, &work, err);
    }
    if (status == WL_OK) {
        status = remove_all(options, &work, order, error, err);
    }
    release(&work);
    return status;
}
