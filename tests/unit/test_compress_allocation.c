// Allocation against every combination of small problems: what loses least is found, what does not
// fit is refused with the least cost, and neighbours that go together cost more than apart.
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
#include "compress/allocation.h"

enum { MAX_LAYERS = 128, MAX_CHOICES = 1024, N_TRIALS = 400 };

struct instance {
    struct allocation_problem p;
    struct knapsack_choice choices[MAX_LAYERS * MAX_CHOICES];
    bool is_uniform[MAX_CHOICES];
    double removed_loss[MAX_LAYERS];
};

// Choice c is c + 1 of n_choices parts of a block; blocks are worth more or less.
static void draw(struct rng *rng, size_t n_layers, size_t n_choices, size_t max_removed,
                 bool has_equal_costs, struct instance *in) {
    in->p = (struct allocation_problem){.n_layers = n_layers,
                                        .n_choices = n_choices,
                                        .choices = in->choices,
                                        .is_uniform = in->is_uniform,
                                        .removed_loss = in->removed_loss,
                                        .max_removed = max_removed};
    for (size_t i = 0; i < n_layers; i++) {
        double worth = exp(rng_normal(rng)),
               cost = has_equal_costs ? 1 : 0.8 + 0.4 * rng_uniform(rng);
        double steep = 1 + 5 * rng_uniform(rng);
        for (size_t c = 0; c < n_choices; c++) {
            double share = (double)(c + 1) / (double)n_choices;
            in->choices[i * n_choices + c] = (struct knapsack_choice){
                .cost = cost * (1 + 4 * share),
                .loss = worth * fmax(0, exp(-steep * share) - exp(-steep))};
        }
        in->removed_loss[i] = i == 0 ? INFINITY : worth * (0.2 + 2 * rng_uniform(rng));
    }
    for (size_t c = 0; c < n_choices; c++) {
        in->is_uniform[c] = true;
    }
}

static size_t n_removed(const struct instance *in, const size_t *chosen) {
    size_t n = 0;
    for (size_t i = 0; i < in->p.n_layers; i++) {
        n += chosen[i] == ALLOCATION_REMOVED;
    }
    return n;
}

static bool is_alike(const struct instance *in, const size_t *chosen) {
    bool is = true;
    for (size_t i = 1; i < in->p.n_layers; i++) {
        is = is && (chosen[i] == ALLOCATION_REMOVED || chosen[i] == chosen[0]);
    }
    return is;
}

// The least loss over all combinations (a digit n_choices is removal); INFINITY when none fits.
static double brute_force(const struct instance *in, bool is_mixed) {
    size_t digits[MAX_LAYERS] = {0}, chosen[MAX_LAYERS], n = in->p.n_layers;
    double best = INFINITY;
    for (;;) {
        for (size_t i = 0; i < n; i++) {
            chosen[i] = digits[i] == in->p.n_choices ? ALLOCATION_REMOVED : digits[i];
        }
        bool may_be = n_removed(in, chosen) <= in->p.max_removed &&
                      (is_mixed || is_alike(in, chosen)) && (is_mixed || in->is_uniform[chosen[0]]);
        struct allocation_value value = {0};
        if (may_be && chosen[0] != ALLOCATION_REMOVED) {
            value = allocation_value(&in->p, chosen);
            best = value.cost <= in->p.budget && value.loss < best ? value.loss : best;
        }
        size_t i = 0;
        while (i < n && ++digits[i] > in->p.n_choices) {
            digits[i++] = 0;
        }
        if (i == n) {
            return best;
        }
    }
}

// ---- against brute force ----

static struct instance in;

static void test_uniform_is_best(void **state) {
    (void)state;
    struct rng rng;
    size_t chosen[MAX_LAYERS];
    rng_seed(&rng, 1);
    for (int t = 0; t < N_TRIALS; t++) {
        draw(&rng, 2 + rng_below(&rng, 5), 3, 2, true, &in);
        in.p.max_removed = in.p.max_removed < in.p.n_layers ? in.p.max_removed : in.p.n_layers - 1;
        in.is_uniform[rng_below(&rng, 3)] = rng_below(&rng, 4) > 0;
        in.p.budget = (1 + 4.2 * rng_uniform(&rng)) * (double)in.p.n_layers;
        double best = brute_force(&in, false);
        enum wl_status status = allocation_uniform(&in.p, chosen, NULL);
        assert_int_equal(status, isinf(best) ? WL_LIMIT : WL_OK);
        assert_true((allocation_least_cost(&in.p, false) <= in.p.budget) == (status == WL_OK));
        if (status == WL_OK) {
            struct allocation_value value = allocation_value(&in.p, chosen);
            assert_true(value.cost <= in.p.budget && value.loss == best);
            assert_true(is_alike(&in, chosen) && n_removed(&in, chosen) <= in.p.max_removed);
        }
    }
}

// The knapsack rounds costs up to budget / KNAPSACK_BINS, and only the blocks that the price tells
// go for a number of them: mostly the best, else close to it.
static void test_mixed_is_best_or_close(void **state) {
    (void)state;
    struct rng rng;
    size_t chosen[MAX_LAYERS], n_best = 0, n_found = 0;
    double worst = 0;
    rng_seed(&rng, 2);
    for (int t = 0; t < N_TRIALS; t++) {
        draw(&rng, 2 + rng_below(&rng, 4), 4, 2, t % 2 == 0, &in);
        in.p.max_removed = in.p.max_removed < in.p.n_layers ? in.p.max_removed : in.p.n_layers - 1;
        in.p.budget = (1 + 4.2 * rng_uniform(&rng)) * (double)in.p.n_layers;
        double best = brute_force(&in, true);
        enum wl_status status = allocation_mixed(&in.p, chosen, NULL);
        if (status != WL_OK) {
            assert_int_equal(status, WL_LIMIT);
            assert_true(isinf(best) && allocation_least_cost(&in.p, true) > in.p.budget);
            continue;
        }
        struct allocation_value value = allocation_value(&in.p, chosen);
        assert_true(value.cost <= in.p.budget && value.loss >= best - 1e-12);
        assert_true(n_removed(&in, chosen) <= in.p.max_removed);
        double off = best > 0 ? value.loss / best - 1 : value.loss;
        worst = fmax(worst, off);
        n_best += off < 1e-9;
        n_found++;
    }
    print_message("best in %zu of %zu, else up to %.1f %% more\n", n_best, n_found, 100 * worst);
    assert_true(n_best * 100 >= n_found * 97);
    assert_true(worst < 0.1);
}

// ---- single properties ----

static void test_neighbours_lose_more(void **state) {
    (void)state;
    struct rng rng;
    size_t chosen[5] = {0};
    rng_seed(&rng, 3);
    draw(&rng, 5, 1, 2, true, &in);
    for (size_t i = 0; i < 5; i++) {
        in.choices[i].loss = 0;
        in.removed_loss[i] = i == 0 ? INFINITY : 1;
    }
    chosen[1] = chosen[3] = ALLOCATION_REMOVED;
    assert_true(fabs(allocation_value(&in.p, chosen).loss - 2) < 1e-12);
    chosen[2] = ALLOCATION_REMOVED;
    chosen[3] = 0;
    assert_true(fabs(allocation_value(&in.p, chosen).loss - 4) < 1e-12);
    chosen[1] = chosen[2] = 0;
    chosen[3] = chosen[4] = ALLOCATION_REMOVED; // a run at the end counts as well
    assert_true(fabs(allocation_value(&in.p, chosen).loss - 4) < 1e-12);
    in.removed_loss[2] = 0.9; // cheaper alone, but next to both others
    in.removed_loss[1] = in.removed_loss[3] = 0.95;
    in.p.budget = 16; // 5 a block: two must go
    assert_int_equal(allocation_uniform(&in.p, chosen, NULL), WL_OK);
    assert_true(chosen[1] == ALLOCATION_REMOVED && chosen[3] == ALLOCATION_REMOVED);
    assert_int_equal(allocation_mixed(&in.p, chosen, NULL), WL_OK);
    assert_true(chosen[1] == ALLOCATION_REMOVED && chosen[3] == ALLOCATION_REMOVED);
}

static void test_more_budget_loses_less(void **state) {
    (void)state;
    struct rng rng;
    size_t chosen[MAX_LAYERS];
    double last[2] = {INFINITY, INFINITY};
    rng_seed(&rng, 4);
    draw(&rng, 16, 8, 8, true, &in);
    for (int step = 0; step <= 20; step++) {
        double loss[2];
        in.p.budget = 16 * (1.5 + 3.5 * step / 20);
        assert_int_equal(allocation_uniform(&in.p, chosen, NULL), WL_OK);
        loss[0] = allocation_value(&in.p, chosen).loss;
        assert_int_equal(allocation_mixed(&in.p, chosen, NULL), WL_OK);
        loss[1] = allocation_value(&in.p, chosen).loss;
        assert_true(loss[0] <= last[0] && loss[1] <= last[1] * 1.001);
        assert_true(loss[1] <= loss[0] * 1.001);
        memcpy(last, loss, sizeof last);
    }
    assert_true(last[0] == 0 && last[1] == 0); // all of it fits
}

static void test_what_may_not_be(void **state) {
    (void)state;
    struct rng rng;
    struct wl_err err = {0};
    size_t chosen[MAX_LAYERS];
    rng_seed(&rng, 5);
    draw(&rng, 6, 4, 0, true, &in);
    in.p.budget = 6 * 2.5;
    for (size_t c = 0; c < 4; c++) {
        in.choices[2 * 4 + c].loss = c == 3 ? in.choices[2 * 4 + c].loss : INFINITY;
    }
    assert_int_equal(allocation_uniform(&in.p, chosen, &err), WL_LIMIT); // 4 for all costs 30
    assert_int_equal(allocation_mixed(&in.p, chosen, &err), WL_OK);
    assert_int_equal(chosen[2], 3);
    in.choices[2 * 4 + 3].loss = INFINITY;
    assert_int_equal(allocation_mixed(&in.p, chosen, &err), WL_LIMIT);
    draw(&rng, 6, 4, 6, true, &in);
    assert_int_equal(allocation_mixed(&in.p, chosen, &err), WL_INPUT);
    in.p.max_removed = 2;
    in.removed_loss[0] = 1;
    assert_int_equal(allocation_uniform(&in.p, chosen, &err), WL_INPUT);
    in.removed_loss[0] = INFINITY;
    in.removed_loss[3] = NAN;
    assert_int_equal(allocation_uniform(&in.p, chosen, &err), WL_INPUT);
    in.removed_loss[3] = 1;
    in.p.budget = NAN;
    assert_int_equal(allocation_mixed(&in.p, chosen, &err), WL_INPUT);
    in.p.budget = 1;
    assert_int_equal(allocation_mixed(&in.p, chosen, &err), WL_LIMIT);
    assert_non_null(strstr(err.message, "least"));
}

static void test_large_is_fast(void **state) {
    (void)state;
    struct rng rng;
    size_t chosen[MAX_LAYERS];
    rng_seed(&rng, 6);
    draw(&rng, 64, 400, 32, false, &in);
    in.p.budget = 64 * 3.0;
    clock_t start = clock();
    assert_int_equal(allocation_uniform(&in.p, chosen, NULL), WL_OK);
    double uniform = allocation_value(&in.p, chosen).loss;
    double uniform_s = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_int_equal(allocation_mixed(&in.p, chosen, NULL), WL_OK);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    double mixed = allocation_value(&in.p, chosen).loss;
    print_message("64 x 400: uniform %.3f in %.2f s, mixed %.3f in %.2f s\n", uniform, uniform_s,
                  mixed, seconds - uniform_s);
    assert_true(mixed <= uniform && seconds < 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uniform_is_best),      cmocka_unit_test(test_mixed_is_best_or_close),
        cmocka_unit_test(test_neighbours_lose_more), cmocka_unit_test(test_more_budget_loses_less),
        cmocka_unit_test(test_what_may_not_be),      cmocka_unit_test(test_large_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
