// The knapsack against every combination of small instances, and its speed on a large one.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/knapsack.h"
#include "near.h"

enum { MAX_PARTS = 64, MAX_CHOICES = 56 };

struct instance {
    size_t n_parts;
    struct knapsack_part parts[MAX_PARTS];
    struct knapsack_choice choices[MAX_PARTS][MAX_CHOICES];
};

static double cost_of(const struct instance *in, const size_t *chosen) {
    double sum = 0;
    for (size_t i = 0; i < in->n_parts; i++) {
        sum += in->choices[i][chosen[i]].cost;
    }
    return sum;
}

static double loss_of(const struct instance *in, const size_t *chosen) {
    double sum = 0;
    for (size_t i = 0; i < in->n_parts; i++) {
        sum += in->choices[i][chosen[i]].loss;
    }
    return sum;
}

// Losses that mostly fall with the cost, but not always: some choices are dominated, some equal.
static void draw(struct rng *rng, size_t n_parts, size_t n_choices, bool is_whole,
                 struct instance *in) {
    in->n_parts = n_parts;
    for (size_t i = 0; i < n_parts; i++) {
        in->parts[i] = (struct knapsack_part){in->choices[i], n_choices};
        double scale = exp(rng_normal(rng));
        for (size_t c = 0; c < n_choices; c++) {
            double cost = 100 * scale * rng_uniform(rng);
            double loss = exp(-cost / 50) + 0.2 * rng_uniform(rng);
            in->choices[i][c].cost = is_whole ? floor(cost) : cost;
            in->choices[i][c].loss = is_whole ? floor(loss * 8) : loss;
        }
    }
}

// The least loss within the budget over all combinations; INFINITY when none fits.
static double brute_force(const struct instance *in, double budget, double *least_cost) {
    size_t chosen[MAX_PARTS] = {0};
    double best = INFINITY;
    *least_cost = INFINITY;
    for (;;) {
        double cost = cost_of(in, chosen), loss = loss_of(in, chosen);
        *least_cost = fmin(*least_cost, cost);
        best = cost <= budget ? fmin(best, loss) : best;
        size_t i = 0;
        while (i < in->n_parts && ++chosen[i] == in->parts[i].n_choices) {
            chosen[i++] = 0;
        }
        if (i == in->n_parts) {
            return best;
        }
    }
}

// Returns whether the instance could be solved at all.
static bool check_instance(const struct instance *in, double budget, bool *is_best) {
    size_t chosen[MAX_PARTS];
    double least, best = brute_force(in, budget, &least);
    enum wl_status status = knapsack_solve(in->parts, in->n_parts, budget, chosen, NULL);
    if (isinf(best)) {
        assert_int_equal(status, WL_LIMIT);
        return false;
    }
    assert_int_equal(status, WL_OK);
    assert_true(cost_of(in, chosen) <= budget);
    double loss = loss_of(in, chosen);
    double rounding = (budget - least) / KNAPSACK_BINS * (double)in->n_parts, ignored;
    double within = brute_force(in, budget - rounding, &ignored);
    assert_true(loss >= best - 1e-12);
    assert_true(loss <= within + 1e-12);
    *is_best = loss <= best + 1e-12;
    return true;
}

// From a little below the cheapest sum to the dearest one.
static double draw_budget(struct rng *rng, const struct instance *in) {
    double least = 0, most = 0;
    for (size_t i = 0; i < in->n_parts; i++) {
        double low = INFINITY, high = 0;
        for (size_t c = 0; c < in->parts[i].n_choices; c++) {
            low = fmin(low, in->choices[i][c].cost);
            high = fmax(high, in->choices[i][c].cost);
        }
        least += low;
        most += high;
    }
    return least + (most - least) * (1.05 * rng_uniform(rng) - 0.05);
}

static void test_against_brute_force(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 11);
    static struct instance in;
    int n_solved = 0, n_best = 0;
    for (int k = 0; k < 500; k++) {
        draw(&rng, 1 + rng_below(&rng, 5), 1 + rng_below(&rng, 6), k % 2 == 1, &in);
        double budget = draw_budget(&rng, &in);
        bool is_best = false;
        n_solved += check_instance(&in, k % 2 ? floor(budget) : budget, &is_best);
        n_best += is_best;
    }
    print_message("%d of 500 can be solved, %d of them as well as can be\n", n_solved, n_best);
    assert_true(n_solved > 400 && n_solved < 500);
    assert_true(n_best >= n_solved * 98 / 100);
}

// Whole costs that fill the budget to the last byte are found in spite of the bins.
static void test_exact_fill(void **state) {
    (void)state;
    struct knapsack_choice a[] = {{3, 1}, {3 + 7919, 0}}, b[] = {{5, 1}, {5 + 104729, 0}};
    struct knapsack_part parts[] = {{a, 2}, {b, 2}};
    size_t chosen[2];
    assert_int_equal(knapsack_solve(parts, 2, 8 + 7919 + 104729, chosen, NULL), WL_OK);
    assert_true(chosen[0] == 1 && chosen[1] == 1);
    assert_int_equal(knapsack_solve(parts, 2, 8 + 7919 + 104728, chosen, NULL), WL_OK);
    assert_true(chosen[0] + chosen[1] == 1);
    assert_int_equal(knapsack_solve(parts, 2, 8, chosen, NULL), WL_OK);
    assert_true(chosen[0] == 0 && chosen[1] == 0);
}

// A tenth ten times is not one: the sum of the chosen costs, as computed, stays within the budget.
static void test_fractions_stay_within(void **state) {
    (void)state;
    static struct instance in;
    size_t chosen[MAX_PARTS];
    in.n_parts = 30;
    for (size_t i = 0; i < in.n_parts; i++) {
        in.parts[i] = (struct knapsack_part){in.choices[i], 3};
        in.choices[i][0] = (struct knapsack_choice){0, 1};
        in.choices[i][1] = (struct knapsack_choice){0.1, 0.5};
        in.choices[i][2] = (struct knapsack_choice){0.3, 0};
    }
    for (int k = 1; k < 90; k++) {
        double budget = 0.1 * k;
        assert_int_equal(knapsack_solve(in.parts, in.n_parts, budget, chosen, NULL), WL_OK);
        assert_true(cost_of(&in, chosen) <= budget);
        assert_true(cost_of(&in, chosen) >= budget - 0.2);
    }
}

static void test_huge_budget_takes_least_loss(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 5);
    static struct instance in;
    size_t chosen[MAX_PARTS];
    draw(&rng, 20, 9, false, &in);
    double budgets[] = {1e300, INFINITY};
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(knapsack_solve(in.parts, 20, budgets[k], chosen, NULL), WL_OK);
        for (size_t i = 0; i < 20; i++) {
            for (size_t c = 0; c < 9; c++) {
                assert_true(in.choices[i][chosen[i]].loss <= in.choices[i][c].loss);
            }
        }
    }
}

// Of choices that lose the same the cheapest is taken, whatever their order.
static void test_dominated_choices(void **state) {
    (void)state;
    struct knapsack_choice choices[] = {{9, 0}, {4, 0}, {1, 3}, {2, 7}, {6, 0}};
    struct knapsack_part parts[] = {{choices, 5}, {choices, 5}};
    size_t chosen[2];
    assert_int_equal(knapsack_solve(parts, 2, 100, chosen, NULL), WL_OK);
    assert_true(chosen[0] == 1 && chosen[1] == 1);
    assert_int_equal(knapsack_solve(parts, 2, 7, chosen, NULL), WL_OK);
    assert_true(chosen[0] + chosen[1] == 3 && chosen[0] * chosen[1] == 2);
    assert_int_equal(knapsack_solve(parts, 2, 2, chosen, NULL), WL_OK);
    assert_true(chosen[0] == 2 && chosen[1] == 2);
}

static void test_refusals(void **state) {
    (void)state;
    struct wl_err err = {0};
    struct knapsack_choice sound[] = {{3, 1}, {5, 0}}, bad[] = {{1, NAN}}, below[] = {{-1, 0}};
    struct knapsack_part part = {sound, 2};
    size_t chosen[1];
    assert_int_equal(knapsack_solve(&part, 1, 2.5, chosen, &err), WL_LIMIT);
    assert_non_null(strstr(err.message, "0.5 more than the budget of 2.5"));
    assert_int_equal(knapsack_solve(&part, 1, -1, chosen, &err), WL_LIMIT);
    assert_int_equal(knapsack_solve(&part, 1, NAN, chosen, &err), WL_INPUT);
    part = (struct knapsack_part){bad, 1};
    assert_int_equal(knapsack_solve(&part, 1, 9, chosen, &err), WL_INPUT);
    part = (struct knapsack_part){below, 1};
    assert_int_equal(knapsack_solve(&part, 1, 9, chosen, &err), WL_INPUT);
    part = (struct knapsack_part){sound, 0};
    assert_int_equal(knapsack_solve(&part, 1, 9, chosen, &err), WL_INPUT);
    assert_int_equal(knapsack_solve(NULL, 0, 0, chosen, &err), WL_OK);
}

// Under a second where it is built to be used; here processor time, and room for sanitizers.
static void test_large_is_fast(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    static struct instance in;
    size_t chosen[MAX_PARTS];
    draw(&rng, MAX_PARTS, MAX_CHOICES, false, &in);
    clock_t start = clock();
    assert_int_equal(knapsack_solve(in.parts, MAX_PARTS, 2000, chosen, NULL), WL_OK);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    print_message("%d x %d: %.3f s, %.3f of 2000 used\n", MAX_PARTS, MAX_CHOICES, seconds,
                  cost_of(&in, chosen));
    assert_true(seconds < 5);
    assert_true(cost_of(&in, chosen) <= 2000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_brute_force),
        cmocka_unit_test(test_exact_fill),
        cmocka_unit_test(test_fractions_stay_within),
        cmocka_unit_test(test_huge_budget_takes_least_loss),
        cmocka_unit_test(test_dominated_choices),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_large_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
