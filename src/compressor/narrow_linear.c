#include "compressor/narrow_linear.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/obs.h"
#include "compress/repair.h"

enum { OBS_BLOCK = 64 };

static enum wl_status no_memory(size_t n_in, size_t n_out, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the moments of %zu inputs of %zu outputs",
                      n_in, n_out);
}

enum wl_status narrow_moments_open(struct narrow_moments *moments, size_t n_in, size_t n_out,
                                   struct wl_err *err) {
    *moments = (struct narrow_moments){.n_in = n_in, .n_out = n_out};
    enum wl_status status = gram_init(&moments->gram, n_in, err);
    if (status != WL_OK) {
        return status;
    }
    moments->cross = calloc(n_out, n_in * sizeof *moments->cross);
    moments->target_sum = calloc(n_out, sizeof *moments->target_sum);
    return moments->cross && moments->target_sum ? WL_OK : no_memory(n_in, n_out, err);
}

void narrow_moments_close(struct narrow_moments *moments) {
    gram_release(&moments->gram);
    free(moments->cross);
    free(moments->target_sum);
    *moments = (struct narrow_moments){0};
}

void narrow_moments_add(struct narrow_moments *m, const float *in, const float *target, size_t n,
                        float weight) {
    gram_add(&m->gram, in, n, weight);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m->n_out, (int)m->n_in, (int)n,
                weight, target, (int)m->n_out, in, (int)m->n_in, 1, m->cross, (int)m->n_in);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < m->n_out; j++) {
            m->target_sum[j] += (double)weight * (double)target[i * m->n_out + j];
        }
    }
}

// ---- which ----

struct scored {
    double score;
    uint32_t number;
};

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int by_score(const void *a, const void *b) { // largest first
    const struct scored *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score)
                                : by_number(&x->number, &y->number);
}

// Squares, so that those of a group add up.
static void add_wanda(const struct narrow_moments *m, const float *w, const float *diagonal,
                      size_t group, struct scored *scored) {
    for (size_t row = 0; row < m->n_out; row++) {
        for (size_t i = 0; i < m->n_in; i++) {
            double value = w[row * m->n_in + i];
            scored[i / group].score += value * value * (double)diagonal[i];
        }
    }
}

static void keep_best(struct scored *scored, size_t n_groups, const struct narrow_choice *choice,
                      uint32_t *kept) {
    qsort(scored, n_groups, sizeof *scored, by_score);
    for (size_t i = 0; i < choice->n_kept; i++) {
        kept[i] = scored[i / choice->group].number * (uint32_t)choice->group +
                  (uint32_t)(i % choice->group);
    }
}

static enum wl_status choose_by_score(const struct narrow_moments *m, const float *w,
                                      const struct narrow_choice *choice, uint32_t *kept,
                                      struct wl_err *err) {
    size_t n_groups = m->n_in / choice->group;
    struct scored *scored = calloc(n_groups, sizeof *scored);
    float *diagonal = calloc(m->n_in, sizeof *diagonal);
    if (!scored || !diagonal) {
        free(scored);
        free(diagonal);
        return no_memory(m->n_in, m->n_out, err);
    }
    for (size_t i = 0; i < n_groups; i++) {
        scored[i].number = (uint32_t)i;
    }
    for (size_t i = 0; i < m->n_in && choice->score; i++) {
        scored[i / choice->group].score += (double)choice->score[i];
    }
    if (!choice->score) {
        gram_diagonal(&m->gram, diagonal);
        add_wanda(m, w, diagonal, choice->group, scored);
    }
    keep_best(scored, n_groups, choice, kept);
    free(scored);
    free(diagonal);
    return WL_OK;
}

// The square is the largest piece of memory of the whole walk; it is gone before repair needs one.
static enum wl_status choose_by_surgeon(const struct narrow_moments *m, const float *w,
                                        const struct narrow_choice *choice, uint32_t *kept,
                                        struct wl_err *err) {
    struct obs_options options = {.ridge = choice->ridge,
                                  .block = OBS_BLOCK,
                                  .group = choice->group,
                                  .n_min = choice->n_kept,
                                  .go_on = choice->go_on,
                                  .context = choice->context};
    float *square = calloc(m->n_in, m->n_in * sizeof *square);
    uint32_t *order = calloc(m->n_in, sizeof *order);
    double *error = calloc(m->n_in / choice->group + 1, sizeof *error);
    if (!square || !order || !error) {
        free(square);
        free(order);
        free(error);
        return no_memory(m->n_in, m->n_out, err);
    }
    gram_square(&m->gram, square);
    enum wl_status status = obs_order(&options, w, m->n_out, m->n_in, square, order, error, err);
    if (status == WL_OK) {
        memcpy(kept, order + m->n_in - choice->n_kept, choice->n_kept * sizeof *order);
    }
    free(square);
    free(order);
    free(error);
    return status;
}

enum wl_status narrow_choose(const struct narrow_moments *moments, const float *w,
                             const struct narrow_choice *choice, uint32_t *kept,
                             struct wl_err *err) {
    enum wl_status status = WL_OK;
    if (choice->n_kept == moments->n_in) {
        for (size_t i = 0; i < choice->n_kept; i++) {
            kept[i] = (uint32_t)i;
        }
    } else if (choice->method == NARROW_MAGNITUDE || choice->method == NARROW_WANDA) {
        status = choose_by_score(moments, w, choice, kept, err);
    } else {
        status = choose_by_surgeon(moments, w, choice, kept, err);
    }
    qsort(kept, choice->n_kept, sizeof *kept, by_number);
    return status;
}

// ---- what makes up for the others ----

// The columns that stay, in place: each goes to the front of where it was or before.
static void keep_columns(float *matrix, size_t n_rows, size_t width, const uint32_t *kept,
                         size_t n_kept, double scale) {
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t i = 0; i < n_kept; i++) {
            matrix[row * n_kept + i] = (float)((double)matrix[row * width + kept[i]] * scale);
        }
    }
}

enum wl_status narrow_repair(struct narrow_moments *m, const uint32_t *kept, size_t n_kept,
                             double ridge, const float *w0, float *w, struct wl_err *err) {
    float *square = calloc(n_kept, n_kept * sizeof *square);
    if (!square) {
        return no_memory(n_kept, m->n_out, err);
    }
    gram_part(&m->gram, kept, n_kept, square);
    free(m->gram.packed);
    m->gram.packed = NULL;
    keep_columns(m->cross, m->n_out, m->n_in, kept, n_kept,
                 m->gram.count > 0 ? 1 / m->gram.count : 0);
    enum wl_status status = repair_solve(square, m->cross, w0, m->n_out, n_kept, ridge, w, err);
    free(square);
    free(m->cross);
    m->cross = NULL;
    return status;
}
