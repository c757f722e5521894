// The generator repeats from its seed, matches published values, and is as uniform as it claims.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static void matches_published_values(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 0); // splitmix64 from 0, then xoshiro256**
    assert_true(rng.state[0] == 0xe220a8397b1dcdafu && rng.state[1] == 0x6e789e6aa1b965f4u);
    assert_true(rng.state[2] == 0x06c45d188009454fu && rng.state[3] == 0xf88bb8a8724c81ecu);
    assert_true(rng_next(&rng) == 0x99ec5f36cb75f2b4u);
}

static void repeats_from_its_seed(void **state) {
    (void)state;
    struct rng a, b, c;
    int n_same = 0;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    rng_seed(&c, 43);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rng_next(&a);
        assert_true(x == rng_next(&b));
        n_same += x == rng_next(&c);
    }
    assert_int_equal(n_same, 0);
}

static void stays_below_the_bound(void **state) {
    (void)state;
    struct rng rng;
    enum { N = 120000 };
    uint32_t counts[6] = {0};
    rng_seed(&rng, 7);
    assert_int_equal(rng_below(&rng, 0), 0);
    assert_int_equal(rng_below(&rng, 1), 0);
    for (int i = 0; i < N; i++) {
        counts[rng_below(&rng, 6)]++;
    }
    double chi2 = 0;
    for (int i = 0; i < 6; i++) {
        chi2 += pow(counts[i] - N / 6.0, 2) / (N / 6.0);
    }
    assert_true(chi2 < 20.5); // 99.9 % of chi-square with 5 degrees of freedom
    for (int i = 0; i < 1000; i++) {
        assert_true(rng_below(&rng, UINT32_MAX) < UINT32_MAX);
    }
}

static void has_the_right_moments(void **state) {
    (void)state;
    struct rng rng;
    enum { N = 200000 };
    double u1 = 0, u2 = 0, z1 = 0, z2 = 0, z4 = 0;
    rng_seed(&rng, 11);
    for (int i = 0; i < N; i++) {
        double u = rng_uniform(&rng), z = rng_normal(&rng);
        assert_true(u >= 0 && u < 1 && isfinite(z));
        u1 += u;
        u2 += u * u;
        z1 += z;
        z2 += z * z;
        z4 += z * z * z * z;
    }
    assert_true(fabs(u1 / N - 0.5) < 0.003);
    assert_true(fabs(u2 / N - 1 / 3.0) < 0.003);
    assert_true(fabs(z1 / N) < 0.01);
    assert_true(fabs(z2 / N - 1) < 0.015);
    assert_true(fabs(z4 / N - 3) < 0.12);
}

static void shuffles_fairly(void **state) {
    (void)state;
    struct rng rng;
    uint32_t counts[4][4] = {0};
    rng_seed(&rng, 3);
    for (int i = 0; i < 40000; i++) {
        uint32_t items[4] = {0, 1, 2, 3}, seen = 0;
        rng_shuffle_u32(&rng, items, 4);
        for (int k = 0; k < 4; k++) {
            seen |= 1u << items[k];
            counts[k][items[k]]++;
        }
        assert_int_equal(seen, 15); // a permutation
    }
    for (int k = 0; k < 4; k++) {
        for (int v = 0; v < 4; v++) {
            assert_in_range(counts[k][v], 9600, 10400);
        }
    }
    rng_shuffle_u32(&rng, NULL, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_published_values), cmocka_unit_test(repeats_from_its_seed),
        cmocka_unit_test(stays_below_the_bound),    cmocka_unit_test(has_the_right_moments),
        cmocka_unit_test(shuffles_fairly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
