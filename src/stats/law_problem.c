#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "stats/law_search.h"

static int compare_points(const void *a, const void *b) {
    const struct law_point *x = a, *y = b;
    if (x->prompt_tokens != y->prompt_tokens) {
        return x->prompt_tokens < y->prompt_tokens ? -1 : 1;
    }
    if (x->generated_tokens != y->generated_tokens) {
        return x->generated_tokens < y->generated_tokens ? -1 : 1;
    }
    return (x->y > y->y) - (x->y < y->y); // so that the order given does not matter
}

static enum wl_status check_points(const struct law_point *points, size_t n, struct wl_err *err) {
    if (n > LAW_MAX_POINTS) {
        return wl_err_set(err, WL_LIMIT, "a law is fitted to at most %d points, found %zu",
                          LAW_MAX_POINTS, n);
    }
    if (n < 3) {
        return wl_err_set(err, WL_INPUT, "a law needs at least 3 points, found %zu", n);
    }
    for (size_t i = 0; i < n; i++) {
        const struct law_point *p = &points[i];
        if (!(fabs(p->y) < 1e100) || !(p->prompt_tokens >= 0) || !(p->generated_tokens >= 0) ||
            !(p->prompt_tokens < 1e12) || !(p->generated_tokens < 1e12)) {
            return wl_err_set(err, WL_INPUT,
                              "point %zu of the law is not a cost at 0 or more tokens: %g at %g "
                              "prompt and %g generated",
                              i, p->y, p->prompt_tokens, p->generated_tokens);
        }
    }
    return WL_OK;
}

static enum wl_status allocate(struct law_problem *problem, size_t n, struct wl_err *err) {
    enum { N_ARRAYS = 6 };
    problem->points = calloc(n, sizeof *problem->points);
    problem->cell_of = calloc(n, sizeof *problem->cell_of);
    problem->is_skipped = calloc(n, sizeof *problem->is_skipped);
    problem->memory = calloc(n, (N_ARRAYS + LAW_N_TERMS) * sizeof *problem->memory);
    if (!problem->points || !problem->cell_of || !problem->is_skipped || !problem->memory) {
        law_problem_release(problem);
        return wl_err_set(err, WL_MEMORY, "no memory for a law of %zu points", n);
    }
    problem->fitted = problem->memory;
    problem->weights = problem->memory + n;
    problem->scratch = problem->memory + 2 * n;
    problem->y = problem->memory + 3 * n;
    problem->kept_weights = problem->memory + 4 * n;
    problem->leverage = problem->memory + 5 * n;
    problem->rows = problem->memory + N_ARRAYS * n;
    return WL_OK;
}

static bool is_same_cell(const struct law_point *a, const struct law_point *b) {
    return a->prompt_tokens == b->prompt_tokens && a->generated_tokens == b->generated_tokens;
}

enum wl_status law_problem_init(struct law_problem *problem, const struct law_point *points,
                                size_t n, struct wl_err *err) {
    *problem = (struct law_problem){.n = n};
    enum wl_status status = check_points(points, n, err);
    if (status == WL_OK) {
        status = allocate(problem, n, err);
    }
    if (status != WL_OK) {
        return status;
    }
    memcpy(problem->points, points, n * sizeof *points);
    qsort(problem->points, n, sizeof *points, compare_points);
    for (size_t i = 0; i < n; i++) {
        bool is_new = i == 0 || !is_same_cell(&problem->points[i - 1], &problem->points[i]);
        problem->n_cells += is_new;
        problem->cell_of[i] = problem->n_cells - 1;
        problem->largest = fmax(problem->largest, fabs(problem->points[i].y));
    }
    if (problem->largest == 0) {
        problem->largest = 1;
    }
    return WL_OK;
}

void law_problem_release(struct law_problem *problem) {
    free(problem->points);
    free(problem->cell_of);
    free(problem->is_skipped);
    free(problem->memory);
    *problem = (struct law_problem){0};
}

bool law_problem_next_cell(const struct law_problem *problem, size_t *first, size_t *end) {
    if (*end >= problem->n) {
        return false;
    }
    *first = *end;
    while (*end < problem->n && problem->cell_of[*end] == problem->cell_of[*first]) {
        (*end)++;
    }
    return true;
}

double law_problem_median(struct law_problem *problem, size_t first, size_t end) {
    for (size_t i = first; i < end; i++) {
        problem->scratch[i - first] = problem->points[i].y;
    }
    return stats_median_in_place(problem->scratch, end - first);
}

size_t law_row(const bool has_term[LAW_N_TERMS], double prompt_tokens, double generated_tokens,
               double row[LAW_N_TERMS]) {
    const double columns[LAW_N_TERMS] = {
        [LAW_FIXED] = 1,
        [LAW_PROMPT] = prompt_tokens,
        [LAW_GENERATED] = generated_tokens,
        [LAW_QUADRATIC] = prompt_tokens * prompt_tokens,
        [LAW_INTERACTION] = prompt_tokens * generated_tokens,
    };
    size_t n = 0;
    for (int term = 0; term < LAW_N_TERMS; term++) {
        if (has_term[term]) {
            row[n++] = columns[term];
        }
    }
    return n;
}

size_t law_column(const bool has_term[LAW_N_TERMS], enum law_term term) {
    size_t column = 0;
    for (int before = 0; before < (int)term; before++) {
        column += has_term[before];
    }
    return column;
}
