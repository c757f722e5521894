#include "compress/knapsack.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

// What the cheapest choices leave of the budget, cut into bins. A part's cost is what its choice
// takes more than its cheapest one, in bins and rounded up; a sum of rounded costs within the bins
// is a sum of costs within the budget.
struct table {
    size_t n_parts;
    const struct knapsack_part *parts;
    double bin;       // width
    uint32_t *picks;  // [n_parts][N_CELLS]: the part's choice when it and those before have b bins
    double *loss;     // [N_CELLS]: least loss of the parts so far within b bins
    double *previous; // [N_CELLS]: the same without the last part
};

enum { N_CELLS = KNAPSACK_BINS + 1, TOO_DEAR = KNAPSACK_BINS + 1 };

static enum wl_status check(const struct knapsack_part *parts, size_t n_parts, double budget,
                            struct wl_err *err) {
    if (isnan(budget)) {
        return wl_err_set(err, WL_INPUT, "the budget is not a number");
    }
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].n_choices < 1 || parts[i].n_choices > UINT32_MAX) {
            return wl_err_set(err, WL_INPUT, "part %zu has %zu choices, expected 1 to %lu", i + 1,
                              parts[i].n_choices, (unsigned long)UINT32_MAX);
        }
        for (size_t c = 0; c < parts[i].n_choices; c++) {
            struct knapsack_choice choice = parts[i].choices[c];
            if (!isfinite(choice.cost) || choice.cost < 0 || !isfinite(choice.loss) ||
                choice.loss < 0) {
                return wl_err_set(err, WL_INPUT,
                                  "choice %zu of part %zu has cost %g and loss %g, expected finite "
                                  "values from 0",
                                  c + 1, i + 1, choice.cost, choice.loss);
            }
        }
    }
    return WL_OK;
}

static size_t cheapest(const struct knapsack_part *part) {
    size_t best = 0;
    for (size_t c = 1; c < part->n_choices; c++) {
        const struct knapsack_choice *a = part->choices + c, *b = part->choices + best;
        best = a->cost < b->cost || (a->cost == b->cost && a->loss < b->loss) ? c : best;
    }
    return best;
}

// The least loss; of equal ones the cheapest.
static size_t least_loss(const struct knapsack_part *part) {
    size_t best = 0;
    for (size_t c = 1; c < part->n_choices; c++) {
        const struct knapsack_choice *a = part->choices + c, *b = part->choices + best;
        best = a->loss < b->loss || (a->loss == b->loss && a->cost < b->cost) ? c : best;
    }
    return best;
}

static double cost_of(const struct knapsack_part *parts, size_t n_parts, const size_t *chosen) {
    double sum = 0;
    for (size_t i = 0; i < n_parts; i++) {
        sum += parts[i].choices[chosen[i]].cost;
    }
    return sum;
}

// A hair below a whole number counts as that number, so that costs that fill the budget exactly
// still fit; trace() checks the true sum.
static size_t bins_of(const struct table *t, double extra) {
    if (!(extra > 0)) {
        return 0;
    }
    double bins = ceil(extra / t->bin - 1e-9);
    return bins <= KNAPSACK_BINS ? (size_t)bins : (size_t)TOO_DEAR;
}

// One more part: what it may take is taken from what those before may use.
static void fill_part(struct table *t, size_t i) {
    const struct knapsack_part *part = t->parts + i;
    uint32_t *picks = t->picks + i * N_CELLS;
    size_t base = cheapest(part);
    double *swap = t->previous;
    t->previous = t->loss;
    t->loss = swap;
    for (size_t b = 0; b < N_CELLS; b++) {
        t->loss[b] = t->previous[b] + part->choices[base].loss;
        picks[b] = (uint32_t)base;
    }
    for (size_t c = 0; c < part->n_choices; c++) {
        const struct knapsack_choice *choice = part->choices + c;
        size_t bins = bins_of(t, choice->cost - part->choices[base].cost);
        for (size_t b = bins; b < N_CELLS; b++) {
            double loss = t->previous[b - bins] + choice->loss;
            if (loss < t->loss[b] ||
                (loss == t->loss[b] && choice->cost < part->choices[picks[b]].cost)) {
                t->loss[b] = loss;
                picks[b] = (uint32_t)c;
            }
        }
    }
}

// The best within the budget. A sum of fractions may exceed it by a rounding error where all bins
// are used: then one bin less.
static void trace(const struct table *t, double budget, size_t *chosen) {
    for (size_t bins = N_CELLS; bins-- > 0;) {
        size_t b = bins;
        for (size_t i = t->n_parts; i-- > 0;) {
            const struct knapsack_part *part = t->parts + i;
            chosen[i] = t->picks[i * N_CELLS + b];
            double base = part->choices[cheapest(part)].cost;
            b -= bins_of(t, part->choices[chosen[i]].cost - base);
        }
        if (cost_of(t->parts, t->n_parts, chosen) <= budget) {
            return;
        }
    }
    for (size_t i = 0; i < t->n_parts; i++) {
        chosen[i] = cheapest(t->parts + i);
    }
}

static double cost_with(const struct knapsack_part *parts, size_t n_parts, size_t *chosen, size_t i,
                        size_t c) {
    size_t kept = chosen[i];
    chosen[i] = c;
    double cost = cost_of(parts, n_parts, chosen);
    chosen[i] = kept;
    return cost;
}

// Rounding up has left a little over: the one change of a part that gains most and truly fits is
// made, until there is none. Each lowers a part's loss, so there is an end.
static void improve(const struct knapsack_part *parts, size_t n_parts, double budget,
                    size_t *chosen) {
    for (;;) {
        double left = budget - cost_of(parts, n_parts, chosen), best_gain = 0;
        size_t best_part = 0, best_choice = 0;
        for (size_t i = 0; i < n_parts; i++) {
            struct knapsack_choice now = parts[i].choices[chosen[i]];
            for (size_t c = 0; c < parts[i].n_choices; c++) {
                struct knapsack_choice then = parts[i].choices[c];
                double gain = now.loss - then.loss;
                if (gain > best_gain && then.cost - now.cost <= left &&
                    cost_with(parts, n_parts, chosen, i, c) <= budget) {
                    best_gain = gain;
                    best_part = i;
                    best_choice = c;
                }
            }
        }
        if (!(best_gain > 0)) {
            return;
        }
        chosen[best_part] = best_choice;
    }
}

static enum wl_status solve_table(const struct knapsack_part *parts, size_t n_parts, double budget,
                                  double left, size_t *chosen, struct wl_err *err) {
    struct table t = {.n_parts = n_parts, .parts = parts, .bin = left / KNAPSACK_BINS};
    enum wl_status status = WL_OK;
    t.picks = calloc(n_parts, N_CELLS * sizeof *t.picks);
    double *cells = calloc(2 * (size_t)N_CELLS, sizeof *cells);
    if (!t.picks || !cells) {
        status = wl_err_set(err, WL_MEMORY, "no memory for %zu parts in %d bins of the budget",
                            n_parts, KNAPSACK_BINS);
        goto out;
    }
    t.loss = cells;
    t.previous = cells + N_CELLS;
    for (size_t i = 0; i < n_parts; i++) {
        fill_part(&t, i);
    }
    trace(&t, budget, chosen);
out:
    free(cells);
    free(t.picks);
    return status;
}

enum wl_status knapsack_solve(const struct knapsack_part *parts, size_t n_parts, double budget,
                              size_t *chosen, struct wl_err *err) {
    enum wl_status status = check(parts, n_parts, budget, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < n_parts; i++) {
        chosen[i] = least_loss(parts + i);
    }
    if (cost_of(parts, n_parts, chosen) <= budget) {
        return WL_OK;
    }
    for (size_t i = 0; i < n_parts; i++) {
        chosen[i] = cheapest(parts + i);
    }
    double least = cost_of(parts, n_parts, chosen);
    if (least > budget) {
        return wl_err_set(err, WL_LIMIT,
                          "the cheapest choices cost %g, which is %g more than the budget of %g: "
                          "allow more, or offer cheaper choices",
                          least, least - budget, budget);
    }
    if (n_parts > 0 && least < budget) {
        status = solve_table(parts, n_parts, budget, budget - least, chosen, err);
    }
    if (status == WL_OK) {
        improve(parts, n_parts, budget, chosen);
    }
    return status;
}
