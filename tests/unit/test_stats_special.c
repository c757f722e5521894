// Distribution functions against tables (Abramowitz & Stegun; R 4 for the tails) and identities.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "near.h"
#include "stats/special.h"

static void test_ln_gamma(void **state) {
    (void)state;
    assert_near(stats_ln_gamma(1), 0, 1e-14);
    assert_near(stats_ln_gamma(2), 0, 1e-14);
    assert_near(stats_ln_gamma(0.5), 0.5723649429247001, 1e-14);
    assert_near(stats_ln_gamma(11), 15.104412573075516, 1e-12);
    for (double x = 0.01; x < 1e6; x *= 1.7) {
        assert_near(stats_ln_gamma(x), lgamma(x), 1e-13 * fmax(1, fabs(lgamma(x))));
    }
    assert_true(isnan(stats_ln_gamma(0)) && isnan(stats_ln_gamma(-1)));
}

static void test_incomplete_beta(void **state) {
    (void)state;
    assert_near(stats_incomplete_beta(2, 3, 0.5), 0.6875, 1e-13);
    assert_near(stats_incomplete_beta(0.5, 0.5, 0.3), 0.36901011956554538, 1e-12);
    assert_near(stats_incomplete_beta(1, 1, 0.37), 0.37, 1e-14);
    for (double a = 0.5; a < 1e4; a *= 3.1) {
        for (double x = 0.05; x < 1; x += 0.1) {
            double sum = stats_incomplete_beta(a, 2.5, x) + stats_incomplete_beta(2.5, a, 1 - x);
            assert_near(sum, 1, 1e-11);
        }
    }
    assert_true(stats_incomplete_beta(2, 3, 0) == 0 && stats_incomplete_beta(2, 3, 1) == 1);
    assert_true(isnan(stats_incomplete_beta(0, 1, 0.5)) && isnan(stats_incomplete_beta(1, 1, 2)));
}

static void test_normal(void **state) {
    (void)state;
    assert_near(stats_normal_quantile(0.975), 1.9599639845400545, 1e-12);
    assert_near(stats_normal_quantile(0.75), 0.67448975019608171, 1e-12);
    assert_near(stats_normal_quantile(1e-10), -6.3613409024040557, 1e-9);
    assert_near(stats_normal_cdf(1.96), 0.97500210485177952, 1e-14);
    for (double p = 0.001; p < 1; p += 0.001) {
        assert_near(stats_normal_cdf(stats_normal_quantile(p)), p, 1e-12);
    }
    assert_true(isnan(stats_normal_quantile(0)) && isnan(stats_normal_quantile(1)));
}

static void test_student_table(void **state) {
    (void)state;
    static const double table[][3] = {
        // dof, t(0.975), t(0.995)
        {1, 12.706204736174704, 63.656741162871583},  {2, 4.3026527297494637, 9.9248432009182922},
        {3, 3.1824463052837091, 5.8409093097333571},  {5, 2.5705818356363152, 4.0321429835552278},
        {10, 2.2281388519862744, 3.1692726726169518}, {30, 2.0422724563012382, 2.7499956535672259},
        {100, 1.9839715185235523, 2.6258905214380182}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_near(stats_student_quantile(0.975, table[i][0]), table[i][1], 1e-8);
        assert_near(stats_student_quantile(0.005, table[i][0]), -table[i][2], 1e-7);
        assert_near(stats_student_cdf(table[i][1], table[i][0]), 0.975, 1e-10);
    }
    assert_near(stats_student_quantile(0.975, 1e6), 1.9599663, 1e-6);
    assert_near(stats_student_cdf(0, 4), 0.5, 1e-14);
    assert_near(stats_student_cdf(-1, 1), 0.25, 1e-12);                   // Cauchy
    assert_near(stats_student_two_sided_p(40, 20) / 1.48848e-20, 1, 0.2); // no cancellation
    assert_true(isnan(stats_student_cdf(1, 0)) && isnan(stats_student_quantile(0, 3)));
}

static void test_f_table(void **state) {
    (void)state;
    assert_near(stats_f_cdf(4.102821015324095, 2, 10), 0.95, 1e-7);
    assert_near(stats_f_cdf(2.710889837086095, 5, 20), 0.95, 1e-7);
    assert_near(stats_f_upper_p(161.4476387975881, 1, 1), 0.05, 1e-7);
    for (double t = 0.1; t < 20; t *= 1.5) { // F(1, n) is the square of t(n)
        assert_near(stats_f_upper_p(t * t, 1, 7), stats_student_two_sided_p(t, 7), 1e-13);
    }
    assert_true(stats_f_cdf(0, 2, 3) == 0 && stats_f_upper_p(-1, 2, 3) == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ln_gamma), cmocka_unit_test(test_incomplete_beta),
        cmocka_unit_test(test_normal),   cmocka_unit_test(test_student_table),
        cmocka_unit_test(test_f_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
