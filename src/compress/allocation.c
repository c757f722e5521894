#include "compress/allocation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/allocation_parts.h"
#include "compress/allocation_runs.h"

static const struct knapsack_choice *choice_of(const struct allocation_problem *p, size_t layer,
                                               size_t choice) {
    return p->choices + layer * p->n_choices + choice;
}

struct allocation_value allocation_value(const struct allocation_problem *p, const size_t *chosen) {
    struct allocation_value sum = {0};
    double roots = 0;
    for (size_t i = 0; i < p->n_layers; i++) {
        bool is_removed = chosen[i] == ALLOCATION_REMOVED;
        if (is_removed) {
            roots += sqrt(p->removed_loss[i]);
        } else {
            const struct knapsack_choice *choice = choice_of(p, i, chosen[i]);
            sum.cost += choice->cost;
            sum.loss += choice->loss;
        }
        if (!is_removed || i + 1 == p->n_layers) {
            sum.loss += roots * roots;
            roots = 0;
        }
    }
    return sum;
}

// ---- what can be ----

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The sum of `cost` without the dearest ones that may go.
static double least_sum(const struct allocation_problem *p, const double *cost) {
    double may_go[ALLOCATION_MAX_LAYERS], sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < p->n_layers; i++) {
        sum += cost[i];
        if (isfinite(p->removed_loss[i])) {
            may_go[n++] = cost[i];
        }
    }
    qsort(may_go, n, sizeof *may_go, by_size);
    for (size_t i = 0; i < p->max_removed && i < n; i++) {
        sum -= may_go[n - 1 - i];
    }
    return sum;
}

static double cheapest_choice(const struct allocation_problem *p, size_t layer) {
    double least = INFINITY;
    for (size_t c = 0; c < p->n_choices; c++) {
        const struct knapsack_choice *choice = choice_of(p, layer, c);
        least = isfinite(choice->loss) ? fmin(least, choice->cost) : least;
    }
    return least;
}

double allocation_least_cost(const struct allocation_problem *p, bool is_mixed) {
    double cost[ALLOCATION_MAX_LAYERS], least = INFINITY;
    for (size_t i = 0; i < p->n_layers && is_mixed; i++) {
        cost[i] = cheapest_choice(p, i);
    }
    if (is_mixed) {
        return least_sum(p, cost);
    }
    for (size_t c = 0; c < p->n_choices; c++) {
        bool is_open = p->is_uniform[c];
        for (size_t i = 0; i < p->n_layers && is_open; i++) {
            cost[i] = choice_of(p, i, c)->cost;
            is_open = isfinite(choice_of(p, i, c)->loss);
        }
        least = is_open ? fmin(least, least_sum(p, cost)) : least;
    }
    return least;
}

enum wl_status allocation_check(const struct allocation_problem *p, struct wl_err *err) {
    if (p->n_layers < 1 || p->n_layers > ALLOCATION_MAX_LAYERS || p->n_choices < 1 ||
        p->n_choices > ALLOCATION_MAX_CHOICES || p->max_removed >= p->n_layers) {
        return wl_err_set(err, WL_INPUT,
                          "%zu blocks with %zu choices, of which %zu blocks may go: expected up to "
                          "%d blocks with up to %d choices, of which one stays",
                          p->n_layers, p->n_choices, p->max_removed, ALLOCATION_MAX_LAYERS,
                          ALLOCATION_MAX_CHOICES);
    }
    if (isfinite(p->removed_loss[0]) || isnan(p->budget)) {
        return wl_err_set(err, WL_INPUT, "%s",
                          isnan(p->budget) ? "the budget is not a number"
                                           : "the first block may go, expected that it stays");
    }
    for (size_t i = 0; i < p->n_layers; i++) {
        bool is_fine = p->removed_loss[i] >= 0;
        for (size_t c = 0; c < p->n_choices; c++) {
            const struct knapsack_choice *choice = choice_of(p, i, c);
            is_fine = is_fine && choice->loss >= 0 && choice->cost >= 0 && isfinite(choice->cost);
        }
        if (!is_fine) {
            return wl_err_set(err, WL_INPUT,
                              "block %zu has a cost or a loss below 0 or not a number", i);
        }
    }
    return WL_OK;
}

enum wl_status allocation_none_fits(const struct allocation_problem *p, bool is_mixed,
                                    struct wl_err *err) {
    return wl_err_set(err, WL_LIMIT, "the least cost is %g, the budget is %g",
                      allocation_least_cost(p, is_mixed), p->budget);
}

// ---- all blocks alike ----

void allocation_keep_better(const struct allocation_problem *p, const size_t *trial,
                            struct allocation_best *best) {
    struct allocation_value value = allocation_value(p, trial);
    bool is_better =
        value.cost <= p->budget &&
        (value.loss < best->loss || (value.loss == best->loss && value.cost < best->cost));
    if (is_better) {
        best->loss = value.loss;
        best->cost = value.cost;
        memcpy(best->chosen, trial, p->n_layers * sizeof *trial);
    }
}

// The fewest that must go come first, since each further one loses more; but a block may be worth
// less than what cutting it costs, so all numbers are looked at.
static void try_choice(const struct allocation_problem *p, struct allocation_runs *runs, size_t c,
                       struct allocation_best *best) {
    double stay[ALLOCATION_MAX_LAYERS];
    bool is_removed[ALLOCATION_MAX_LAYERS];
    size_t trial[ALLOCATION_MAX_LAYERS];
    for (size_t i = 0; i < p->n_layers; i++) {
        stay[i] = choice_of(p, i, c)->loss;
    }
    allocation_runs_fill(runs, stay);
    for (size_t r = 0; r <= p->max_removed; r++) {
        double least = allocation_runs_least(runs, r);
        if (!isfinite(least) || least > best->loss) {
            continue;
        }
        allocation_runs_trace(runs, r, is_removed);
        for (size_t i = 0; i < p->n_layers; i++) {
            trial[i] = is_removed[i] ? ALLOCATION_REMOVED : c;
        }
        allocation_keep_better(p, trial, best);
    }
}

enum wl_status allocation_uniform(const struct allocation_problem *p, size_t *chosen,
                                  struct wl_err *err) {
    struct allocation_runs runs;
    struct allocation_best best = {.chosen = chosen, .loss = INFINITY, .cost = INFINITY};
    enum wl_status status = allocation_check(p, err);
    if (status == WL_OK) {
        status = allocation_runs_init(&runs, p->removed_loss, p->n_layers, p->max_removed, err);
    }
    if (status != WL_OK) {
        return status;
    }
    for (size_t c = 0; c < p->n_choices; c++) {
        if (p->is_uniform[c]) {
            try_choice(p, &runs, c, &best);
        }
    }
    allocation_runs_release(&runs);
    return isfinite(best.loss) ? WL_OK : allocation_none_fits(p, false, err);
}
