// Sizes of its own for each block. A price on the cost makes each block's choice its own affair.
// For each number of blocks that go there is a price at which the rest just meets the budget: it
// tells which ones go, and bounds from below what is lost. The knapsack then fills the budget.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/allocation_parts.h"
#include "compress/allocation_runs.h"

enum { PRICE_STEPS = 50, PRICE_LOG2 = 100 };

// What is within this share of the bound is good enough: predictions are no better.
static const double NEAR = 0.003;

struct offer {
    struct knapsack_choice choice;
    size_t number; // in the problem
};

// Of a block the choices that no cheaper one beats, by rising cost.
struct front {
    struct offer *offers;
    size_t n;
    size_t best; // at the price: a number in the problem
};

struct mixed {
    const struct allocation_problem *p;
    struct front fronts[ALLOCATION_MAX_LAYERS];
    struct offer *offers;            // memory of the fronts
    struct knapsack_choice *choices; // of the parts of a knapsack
    struct allocation_runs runs;
    double stay[ALLOCATION_MAX_LAYERS]; // at the price
    struct allocation_best best;
    struct count {        // of removed blocks
        double low, high; // prices, log2: at the high one the rest fits, at the low one not
        double bound;     // of the loss
        bool is_done;
    } counts[ALLOCATION_MAX_LAYERS];
};

// ---- what is worth a look ----

static int by_cost(const void *a, const void *b) {
    const struct knapsack_choice *x = &((const struct offer *)a)->choice;
    const struct knapsack_choice *y = &((const struct offer *)b)->choice;
    int order = (x->cost > y->cost) - (x->cost < y->cost);
    return order ? order : (x->loss > y->loss) - (x->loss < y->loss);
}

static void make_front(struct mixed *m, size_t layer) {
    const struct allocation_problem *p = m->p;
    struct front *front = &m->fronts[layer];
    struct offer *offers = m->offers + layer * p->n_choices;
    size_t n = 0;
    for (size_t c = 0; c < p->n_choices; c++) {
        struct knapsack_choice choice = p->choices[layer * p->n_choices + c];
        if (isfinite(choice.loss)) {
            offers[n++] = (struct offer){.choice = choice, .number = c};
        }
    }
    qsort(offers, n, sizeof *offers, by_cost);
    *front = (struct front){.offers = offers};
    for (size_t i = 0; i < n; i++) {
        if (front->n == 0 || offers[i].choice.loss < offers[front->n - 1].choice.loss) {
            offers[front->n++] = offers[i];
        }
    }
}

static enum wl_status begin(struct mixed *m, struct wl_err *err) {
    const struct allocation_problem *p = m->p;
    size_t n = p->n_layers * p->n_choices;
    m->offers = calloc(n, sizeof *m->offers);
    m->choices = calloc(n, sizeof *m->choices);
    if (!m->offers || !m->choices) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu choices of %zu blocks", p->n_choices,
                          p->n_layers);
    }
    for (size_t i = 0; i < p->n_layers; i++) {
        make_front(m, i);
    }
    return allocation_runs_init(&m->runs, p->removed_loss, p->n_layers, p->max_removed, err);
}

static void end(struct mixed *m) {
    free(m->offers);
    free(m->choices);
    allocation_runs_release(&m->runs);
}

// ---- a price ----

static void set_price(struct mixed *m, double price) {
    for (size_t i = 0; i < m->p->n_layers; i++) {
        struct front *front = &m->fronts[i];
        m->stay[i] = INFINITY;
        for (size_t c = 0; c < front->n; c++) {
            double sum = front->offers[c].choice.loss + price * front->offers[c].choice.cost;
            if (sum < m->stay[i]) {
                m->stay[i] = sum;
                front->best = front->offers[c].number;
            }
        }
    }
    allocation_runs_fill(&m->runs, m->stay);
}

static void choose_at_price(const struct mixed *m, size_t n_removed, size_t *chosen) {
    bool is_removed[ALLOCATION_MAX_LAYERS];
    allocation_runs_trace(&m->runs, n_removed, is_removed);
    for (size_t i = 0; i < m->p->n_layers; i++) {
        const struct front *front = &m->fronts[i];
        chosen[i] = is_removed[i] ? ALLOCATION_REMOVED : front->best;
    }
}

// What this number of removed blocks costs at this price; what fits is kept.
static bool fits_at(struct mixed *m, size_t n_removed, double log2_price) {
    size_t chosen[ALLOCATION_MAX_LAYERS];
    struct count *count = &m->counts[n_removed];
    double price = exp2(log2_price);
    set_price(m, price);
    double least = allocation_runs_least(&m->runs, n_removed);
    if (!isfinite(least)) {
        count->bound = INFINITY;
        return true;
    }
    count->bound = fmax(count->bound, least - price * m->p->budget);
    choose_at_price(m, n_removed, chosen);
    allocation_keep_better(m->p, chosen, &m->best);
    return allocation_value(m->p, chosen).cost <= m->p->budget;
}

// The price, by bisection of its logarithm. A lowest one that fits already costs nothing that
// matters.
static void find_price(struct mixed *m, size_t n_removed) {
    struct count *count = &m->counts[n_removed];
    *count = (struct count){.low = -PRICE_LOG2, .high = PRICE_LOG2};
    if (fits_at(m, n_removed, count->low)) {
        count->high = count->low;
    }
    for (int i = 0; i < PRICE_STEPS && count->high > count->low; i++) {
        double middle = (count->low + count->high) / 2;
        if (fits_at(m, n_removed, middle)) {
            count->high = middle;
        } else {
            count->low = middle;
        }
    }
}

// ---- filling the budget ----

static enum wl_status fill_budget(struct mixed *m, const bool *is_removed, struct wl_err *err) {
    const struct allocation_problem *p = m->p;
    struct knapsack_part parts[ALLOCATION_MAX_LAYERS];
    size_t picked[ALLOCATION_MAX_LAYERS], chosen[ALLOCATION_MAX_LAYERS], n = 0;
    struct knapsack_choice *next = m->choices;
    for (size_t i = 0; i < p->n_layers; i++) {
        const struct front *front = &m->fronts[i];
        if (!is_removed[i]) {
            parts[n++] = (struct knapsack_part){.choices = next, .n_choices = front->n};
            for (size_t c = 0; c < front->n; c++) {
                *next++ = front->offers[c].choice;
            }
        }
    }
    enum wl_status status = knapsack_solve(parts, n, p->budget, picked, err);
    if (status != WL_OK) {
        return status == WL_LIMIT ? WL_OK : status;
    }
    for (size_t i = 0, at = 0; i < p->n_layers; i++) {
        chosen[i] = is_removed[i] ? ALLOCATION_REMOVED : m->fronts[i].offers[picked[at++]].number;
    }
    allocation_keep_better(p, chosen, &m->best);
    return WL_OK;
}

// Right above and right below the price others may go.
static enum wl_status fill_count(struct mixed *m, size_t n_removed, struct wl_err *err) {
    const struct count *count = &m->counts[n_removed];
    bool above[ALLOCATION_MAX_LAYERS], below[ALLOCATION_MAX_LAYERS];
    set_price(m, exp2(count->high));
    allocation_runs_trace(&m->runs, n_removed, above);
    set_price(m, exp2(count->low));
    allocation_runs_trace(&m->runs, n_removed, below);
    enum wl_status status = fill_budget(m, above, err);
    if (status == WL_OK && memcmp(above, below, m->p->n_layers * sizeof *above) != 0) {
        status = fill_budget(m, below, err);
    }
    return status;
}

// The most promising number first, as long as its bound says that it may be better than what there
// is.
static enum wl_status fill_all(struct mixed *m, struct wl_err *err) {
    enum wl_status status = WL_OK;
    while (status == WL_OK) {
        struct count *best = NULL;
        for (size_t r = 0; r <= m->p->max_removed; r++) {
            struct count *count = &m->counts[r];
            best = !count->is_done && (!best || count->bound < best->bound) ? count : best;
        }
        if (!best || isinf(best->bound) || best->bound >= m->best.loss * (1 - NEAR)) {
            break;
        }
        best->is_done = true;
        status = fill_count(m, (size_t)(best - m->counts), err);
    }
    return status;
}

enum wl_status allocation_mixed(const struct allocation_problem *p, size_t *chosen,
                                struct wl_err *err) {
    struct mixed *m = calloc(1, sizeof *m);
    enum wl_status status = allocation_check(p, err);
    if (!m) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu blocks", p->n_layers);
    }
    *m = (struct mixed){.p = p, .best = {.chosen = chosen, .loss = INFINITY, .cost = INFINITY}};
    if (status == WL_OK) {
        status = begin(m, err);
    }
    if (status == WL_OK) {
        for (size_t r = 0; r <= p->max_removed; r++) {
            find_price(m, r);
        }
        status = fill_all(m, err);
    }
    if (status == WL_OK && !isfinite(m->best.loss)) {
        status = allocation_none_fits(p, true, err);
    }
    end(m);
    free(m);
    return status;
}
