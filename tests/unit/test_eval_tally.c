// The table of a run and the comparison of two: exact where they can be, honest where they
// estimate.
#include "near.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "eval/tally.h"

static struct tally_answer answer(const char *kind, bool is_right, double joules) {
    return (struct tally_answer){.kind = kind,
                                 .is_right = is_right,
                                 .prompt_tokens = 10,
                                 .generated_tokens = 5,
                                 .cost = {2, NAN, joules, joules / 2},
                                 .cost_sd = {0, 0, 3, 4}};
}

static void test_table(void **state) {
    (void)state;
    struct tally_answer answers[] = {answer("b", true, 10), answer("a", true, 20),
                                     answer("b", false, 30), answer("a", true, 40)};
    answers[2].defect = SCORE_LOOPING;
    struct tally tally;
    assert_int_equal(tally_make(answers, 4, 1, &tally, NULL), WL_OK);
    assert_int_equal(tally.n_kinds, 2);
    assert_string_equal(tally.kinds[0].kind, "a");
    assert_int_equal(tally.kinds[0].n_right, 2);
    assert_int_equal(tally.kinds[1].n, 2);
    assert_int_equal(tally.kinds[1].n_right, 1);
    assert_int_equal(tally.kinds[1].n_looping, 1);
    assert_near(tally.kinds[1].cost[TALLY_GROSS].per_right, 40, 1e-12);
    assert_true(
        isnan(tally.kinds[1].cost[TALLY_GROSS].per_right_ci95.low)); // two items tell no interval
    assert_int_equal(tally.all.n, 4);
    assert_near(tally.all.accuracy, 0.75, 1e-12);
    assert_near(tally.all.cost[TALLY_TIME].total, 8, 1e-12);
    assert_true(isnan(tally.all.cost[TALLY_CPU].total));
    assert_int_equal(tally.all.prompt_tokens, 40);
    assert_int_equal(tally.all.generated_tokens, 20);
    assert_near(tally.all.cost[TALLY_GROSS].total, 100, 1e-12);
    assert_near(tally.all.cost[TALLY_GROSS].sd, 6, 1e-12);
    assert_near(tally.all.cost[TALLY_GROSS].per_answer, 25, 1e-12);
    assert_near(tally.all.cost[TALLY_GROSS].per_right, 100 / 3.0, 1e-12);
    assert_near(tally.all.cost[TALLY_NET].per_right, 50 / 3.0, 1e-12);
    assert_near(tally.all.cost[TALLY_NET].sd, 8, 1e-12);
    assert_true(tally.all.cost[TALLY_GROSS].per_right_ci95.low < 100 / 3.0 &&
                tally.all.cost[TALLY_GROSS].per_right_ci95.high > 100 / 3.0);
    tally_release(&tally);
}

static void test_nothing_right_or_known(void **state) {
    (void)state;
    struct tally_answer answers[] = {answer("", false, 10), answer("", false, 20),
                                     answer("", false, NAN)};
    struct tally tally;
    assert_int_equal(tally_make(answers, 2, 1, &tally, NULL), WL_OK);
    assert_near(tally.all.cost[TALLY_GROSS].per_answer, 15, 1e-12);
    assert_true(isnan(tally.all.cost[TALLY_GROSS].per_right));
    assert_near(tally.all.accuracy_ci95.low, 0, 0);
    tally_release(&tally);
    assert_int_equal(tally_make(answers, 3, 1, &tally, NULL), WL_OK);
    assert_true(isnan(tally.all.cost[TALLY_GROSS].total) &&
                isnan(tally.all.cost[TALLY_GROSS].per_answer));
    tally_release(&tally);
    assert_int_equal(tally_make(answers, 0, 1, &tally, NULL), WL_OK);
    assert_true(tally.all.n == 0 && isnan(tally.all.accuracy) && tally.n_kinds == 0);
    tally_release(&tally);
}

// One right answer of twenty: others of the sort may well have none.
static void test_hardly_right(void **state) {
    (void)state;
    struct tally_answer answers[20];
    for (int i = 0; i < 20; i++) {
        answers[i] = answer("", i == 7, 10);
    }
    struct tally tally;
    assert_int_equal(tally_make(answers, 20, 1, &tally, NULL), WL_OK);
    assert_near(tally.all.cost[TALLY_GROSS].per_right, 200, 1e-9);
    assert_true(tally.all.cost[TALLY_GROSS].per_right_ci95.low < 100);
    assert_true(isinf(tally.all.cost[TALLY_GROSS].per_right_ci95.high));
    tally_release(&tally);
}

// Newcombe (1998), table of examples for Wilson's interval without continuity correction.
static void test_wilson(void **state) {
    (void)state;
    struct stats_interval ci = tally_wilson(81, 263, 0.95);
    assert_near(ci.low, 0.2553, 5e-5);
    assert_near(ci.high, 0.3662, 5e-5);
    ci = tally_wilson(0, 20, 0.95);
    assert_near(ci.low, 0, 1e-12);
    assert_near(ci.high, 0.1611, 5e-5);
    ci = tally_wilson(29, 29, 0.95);
    assert_near(ci.low, 0.8830, 5e-5);
    assert_near(ci.high, 1, 1e-12);
    assert_true(isnan(tally_wilson(0, 0, 0.95).low));
}

static void test_pairs(void **state) {
    (void)state;
    struct tally_answer base[100], changed[100];
    for (int i = 0; i < 100; i++) { // 60 both right, 20 only before, 8 only after, 12 neither
        base[i] = answer("", i < 80, 10 + i % 3);
        changed[i] = answer("", i < 60 || (i >= 80 && i < 88), 5 + 0.5 * (i % 3));
    }
    struct tally_pair pair;
    assert_int_equal(tally_compare(base, changed, 100, 1, &pair, NULL), WL_OK);
    assert_int_equal(pair.n_both, 60);
    assert_int_equal(pair.n_only_base, 20);
    assert_int_equal(pair.n_only_changed, 8);
    assert_int_equal(pair.n_neither, 12);
    assert_near(pair.difference, -0.12, 1e-12);
    assert_near(pair.p_equal, 0.0356981, 1e-6); // R: binom.test(8, 28)
    assert_true(pair.difference_ci95.low < -0.12 && pair.difference_ci95.high < 0);
    assert_near(pair.difference_ci95.low, -0.2202, 1e-3);
    assert_near(pair.cost_ratio[TALLY_GROSS], 0.5, 1e-12);
    assert_near(pair.cost_ratio_ci95[TALLY_GROSS].high, 0.5, 1e-9); // each item costs exactly half
    assert_int_equal(tally_compare(base, base, 100, 1, &pair, NULL), WL_OK);
    assert_near(pair.p_equal, 1, 0);
    assert_near(pair.difference, 0, 0);
    assert_true(pair.difference_ci95.low < 0 && pair.difference_ci95.high > 0);
    struct wl_err err;
    assert_int_equal(tally_compare(base, changed, 0, 1, &pair, &err), WL_INPUT);
}

// 95 % intervals of energy per right answer and of the difference cover the truth as often as that.
static void test_intervals_cover(void **state) {
    (void)state;
    enum { SEEDS = 400, N = 80 };
    int covered_energy = 0, covered_difference = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct tally_answer base[N], changed[N];
        for (int i = 0; i < N;
             i++) { // accuracy 0.7; joules 10, more for wrong ones: truth 13.0/0.7
            double draw = rng_uniform(&rng);
            base[i] = answer("", draw < 0.7, (draw < 0.7 ? 10 : 20) + rng_normal(&rng));
            base[i].cost[TALLY_NET] = base[i].cost[TALLY_TIME] = NAN;
            changed[i] = answer("", rng_uniform(&rng) < 0.8 ? draw < 0.6 : draw < 0.9, NAN);
        }
        struct tally tally;
        assert_int_equal(tally_make(base, N, seed, &tally, NULL), WL_OK);
        struct stats_interval ci = tally.all.cost[TALLY_GROSS].per_right_ci95;
        covered_energy += ci.low <= 13 / 0.7 && 13 / 0.7 <= ci.high;
        tally_release(&tally);
        struct tally_pair pair;
        assert_int_equal(tally_compare(base, changed, N, seed, &pair, NULL), WL_OK);
        double truth = 0.8 * 0.6 + 0.2 * 0.9 - 0.7;
        covered_difference +=
            pair.difference_ci95.low <= truth && truth <= pair.difference_ci95.high;
    }
    print_message("covered: energy %d, difference %d of %d\n", covered_energy, covered_difference,
                  SEEDS);
    assert_in_range(covered_energy, SEEDS * 92 / 100, SEEDS * 98 / 100);
    assert_in_range(covered_difference, SEEDS * 92 / 100, SEEDS * 99 / 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_nothing_right_or_known),
        cmocka_unit_test(test_hardly_right), cmocka_unit_test(test_wilson),
        cmocka_unit_test(test_pairs),        cmocka_unit_test(test_intervals_cover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
