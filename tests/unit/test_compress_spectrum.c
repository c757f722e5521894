// Spectra: the theorems that they are used for, held against every subset of small cases.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/spectrum.h"
#include "near.h"

enum { MAX_SMALL = 10 };

static float *drawn(struct rng *rng, size_t n) {
    float *values = calloc(n, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++) {
        values[i] = (float)rng_normal(rng);
    }
    return values;
}

// a [n][k] times b [k][m].
static float *product(const float *a, const float *b, size_t n, size_t k, size_t m) {
    float *out = calloc(n * m, sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < m; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++) {
                sum += (double)a[i * k + l] * (double)b[l * m + j];
            }
            out[i * m + j] = (float)sum;
        }
    }
    return out;
}

static float *transposed(const float *a, size_t n, size_t m) {
    float *out = calloc(n * m, sizeof *out);
    assert_non_null(out);
    for (size_t i = 0; i < n * m; i++) {
        out[i % m * n + i / m] = a[i];
    }
    return out;
}

// Second moments of n inputs from n_samples vectors that grow in size from input to input.
static float *moments(struct rng *rng, size_t n, size_t n_samples, double growth) {
    float *x = drawn(rng, n_samples * n);
    for (size_t i = 0; i < n_samples * n; i++) {
        x[i] *= (float)pow(growth, (double)(i % n));
    }
    float *turned = transposed(x, n_samples, n);
    float *square = product(turned, x, n, n_samples, n);
    for (size_t i = 0; i < n * n; i++) {
        square[i] /= (float)n_samples;
    }
    free(turned);
    free(x);
    return square;
}

static double power_of(const float *w, const float *square, size_t n_out, size_t n_in) {
    double sum = 0;
    for (size_t o = 0; o < n_out; o++) {
        for (size_t i = 0; i < n_in * n_in; i++) {
            sum +=
                (double)w[o * n_in + i / n_in] * (double)square[i] * (double)w[o * n_in + i % n_in];
        }
    }
    return sum;
}

static double squares(const float *w, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)w[i] * (double)w[i];
    }
    return sum;
}

static double sum_of(const struct spectrum *s) {
    double sum = 0;
    for (size_t i = 0; i < s->n; i++) {
        assert_true(s->values[i] >= 0 && (i == 0 || s->values[i] <= s->values[i - 1]));
        sum += s->values[i];
    }
    return sum;
}

// E|W x - W' x|^2 with the inputs in `kept` alone and W' refitted: those that go are swept out of C
// (Schur complement), which leaves what the kept ones cannot tell of them.
static double error_of_kept(const float *w, const float *square, size_t n_out, size_t n,
                            unsigned kept) {
    double rest[MAX_SMALL][MAX_SMALL], error = 0;
    for (size_t i = 0; i < n * n; i++) {
        rest[i / n][i % n] = (double)square[i];
    }
    for (size_t k = 0; k < n; k++) {
        double pivot = rest[k][k];
        double column[MAX_SMALL];
        for (size_t i = 0; i < n; i++) {
            column[i] = rest[i][k];
        }
        for (size_t i = 0; (kept >> k & 1) && i < n * n; i++) {
            rest[i / n][i % n] -= column[i / n] * column[i % n] / pivot;
        }
    }
    for (size_t o = 0; o < n_out; o++) {
        for (size_t i = 0; i < n * n; i++) {
            error += (double)w[o * n + i / n] * rest[i / n][i % n] * (double)w[o * n + i % n];
        }
    }
    return error;
}

static double best_subset(const float *w, const float *square, size_t n_out, size_t n, int size) {
    double best = INFINITY;
    for (unsigned kept = 0; kept < 1u << n; kept++) {
        if (__builtin_popcount(kept) == size) {
            best = fmin(best, error_of_kept(w, square, n_out, n, kept));
        }
    }
    return best;
}

// No subset of inputs loses less than the tail; both sides of W may be the smaller one.
static void test_tail_is_the_floor(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 21);
    const size_t n_outs[] = {3, 6, 8, 20}, n = 8;
    for (int k = 0; k < 12; k++) {
        size_t n_out = n_outs[k % 4];
        float *w = drawn(&rng, n_out * n), *square = moments(&rng, n, 40, 0.8);
        struct spectrum s;
        assert_int_equal(spectrum_weighted(w, n_out, n, square, &s, NULL), WL_OK);
        assert_int_equal(s.n, n_out < n ? n_out : n);
        assert_int_equal(s.n_all, s.n);
        double total = power_of(w, square, n_out, n);
        assert_near(s.total, total, 1e-5 * total);
        assert_near(sum_of(&s), total, 1e-5 * total);
        for (int size = 0; size <= (int)n; size++) {
            double best = best_subset(w, square, n_out, n, size) / total;
            double floor = spectrum_tail(&s, (size_t)size);
            assert_true(floor <= best + 1e-5);
            assert_true(size > 0 || fabs(floor - best) < 1e-5);
        }
        spectrum_release(&s);
        free(w);
        free(square);
    }
}

// Inputs that do not go together, through columns that do not either: pruning reaches the floor.
static void test_diagonal_reaches_the_floor(void **state) {
    (void)state;
    enum { N = 7 };
    const size_t n_outs[] = {N, N + 2};
    for (size_t k = 0; k < 2; k++) {
        float w[(N + 2) * N] = {0}, square[N * N] = {0};
        for (size_t i = 0; i < N; i++) {
            w[i * N + (i + 3) % N] = 1 + (float)i;
            square[i * N + i] = 1 / (1 + (float)(i * i));
        }
        struct spectrum s;
        assert_int_equal(spectrum_weighted(w, n_outs[k], N, square, &s, NULL), WL_OK);
        assert_int_equal(s.n, N);
        for (int size = 1; size <= N; size++) {
            double best = best_subset(w, square, n_outs[k], N, size) / s.total;
            assert_near(spectrum_tail(&s, (size_t)size), best, 1e-6);
        }
        spectrum_release(&s);
    }
}

// Rows that are padded with zeros change nothing, but let the other side be the smaller one.
static void test_sides_agree(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 8);
    enum { N_OUT = 40, N = 40 };
    float *square = moments(&rng, N, 200, 0.9), *w = drawn(&rng, (N_OUT + 300) * N);
    memset(w + N_OUT * N, 0, sizeof *w * 300 * N);
    struct spectrum a, b;
    assert_int_equal(spectrum_weighted(w, N_OUT, N, square, &a, NULL), WL_OK);
    assert_int_equal(spectrum_weighted(w, N_OUT + 300, N, square, &b, NULL), WL_OK);
    assert_int_equal(a.n, b.n);
    for (size_t i = 0; i < N; i++) {
        assert_near(a.values[i], b.values[i], 2e-6 * a.values[0]);
    }
    spectrum_release(&a);
    spectrum_release(&b);
    free(square);
    free(w);
}

// Fewer vectors than inputs, and inputs that are never used: C is singular, which is no fault.
static void test_singular_moments(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 31);
    enum { N_OUT = 50, N = 24, N_SAMPLES = 5 };
    float *square = moments(&rng, N, N_SAMPLES, 1), *w = drawn(&rng, N_OUT * N);
    for (size_t i = 0; i < N; i++) {
        square[3 * N + i] = square[i * N + 3] = 0;
    }
    struct spectrum s;
    assert_int_equal(spectrum_weighted(w, N_OUT, N, square, &s, NULL), WL_OK);
    assert_near(s.total, power_of(w, square, N_OUT, N), 1e-4 * s.total);
    assert_true(spectrum_rank(&s, 1e-5) == N_SAMPLES);
    spectrum_release(&s);
    memset(square, 0, sizeof *square * N * N);
    assert_int_equal(spectrum_weighted(w, N_OUT, N, square, &s, NULL), WL_OK);
    assert_true(s.total == 0 && sum_of(&s) == 0 && spectrum_rank(&s, 0) == 0);
    assert_true(spectrum_entropy(&s) == 0 && spectrum_tail(&s, 0) == 0);
    spectrum_release(&s);
    free(square);
    free(w);
}

// One input a hundred thousand times the others: theirs is still seen where it counts.
static void test_huge_input_drowns_nothing(void **state) {
    (void)state;
    enum { N_OUT = 30, N = 6 };
    float square[N * N] = {0}, w[N_OUT * N] = {0};
    for (size_t i = 0; i < N; i++) {
        square[i * N + i] = i == 2 ? 1e10f : 1;
        w[(i * 3) * N + i] = i == 2 ? 1e-3f : 1;
    }
    struct spectrum s;
    assert_int_equal(spectrum_weighted(w, N_OUT, N, square, &s, NULL), WL_OK);
    assert_near(s.values[0], 1e4, 1e-2);
    assert_near(s.values[N - 1], 1, 1e-5);
    spectrum_release(&s);
}

static float *rotation(struct rng *rng, size_t n) {
    float *q = drawn(rng, n * n);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i + i; j++) { // twice: once is not orthogonal enough
            double dot = 0;
            for (size_t k = 0; k < n; k++) {
                dot += (double)q[i * n + k] * (double)q[j % i * n + k];
            }
            for (size_t k = 0; k < n; k++) {
                q[i * n + k] -= (float)dot * q[j % i * n + k];
            }
        }
        float length = (float)sqrt(squares(q + i * n, n));
        for (size_t k = 0; k < n; k++) {
            q[i * n + k] /= length;
        }
    }
    return q;
}

// Turning the outputs, or the inputs together with their moments, changes nothing.
static void test_rotations_change_nothing(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 13);
    enum { N = 16 };
    const size_t n_outs[] = {12, 30};
    for (size_t k = 0; k < 2; k++) {
        size_t n_out = n_outs[k];
        float *w = drawn(&rng, n_out * N), *square = moments(&rng, N, 60, 0.85);
        float *q = rotation(&rng, n_out), *r = rotation(&rng, N), *rt = transposed(r, N, N);
        float *qw = product(q, w, n_out, n_out, N), *qwr = product(qw, rt, n_out, N, N);
        float *rc = product(r, square, N, N, N), *rcr = product(rc, rt, N, N, N);
        struct spectrum a, b;
        assert_int_equal(spectrum_weighted(w, n_out, N, square, &a, NULL), WL_OK);
        assert_int_equal(spectrum_weighted(qwr, n_out, N, rcr, &b, NULL), WL_OK);
        for (size_t i = 0; i < a.n; i++) {
            assert_near(a.values[i], b.values[i], 4e-6 * a.values[0]);
        }
        assert_near(spectrum_entropy(&a), spectrum_entropy(&b), 1e-4);
        spectrum_release(&a);
        spectrum_release(&b);
        float *used[] = {w, square, q, r, rt, qw, qwr, rc, rcr};
        for (size_t i = 0; i < sizeof used / sizeof *used; i++) {
            free(used[i]);
        }
    }
}

// Adds a Kronecker product of [o1][i1] and [o2][i2] to w.
static void add_kronecker(struct rng *rng, size_t o1, size_t o2, size_t i1, size_t i2,
                          double weight, float *w) {
    float *a = drawn(rng, o1 * i1), *b = drawn(rng, o2 * i2);
    for (size_t o = 0; o < o1 * o2; o++) {
        for (size_t i = 0; i < i1 * i2; i++) {
            w[o * i1 * i2 + i] += (float)weight * a[o / o2 * i1 + i / i2] * b[o % o2 * i2 + i % i2];
        }
    }
    free(a);
    free(b);
}

// 48 = 6 * 8, 35 = 5 * 7; exact and by the range finder.
static void test_kronecker_ranks(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    for (size_t rank = 1; rank <= 6; rank++) {
        float w[48 * 35] = {0};
        for (size_t r = 0; r < rank; r++) {
            add_kronecker(&rng, 6, 8, 5, 7, 1, w);
        }
        for (size_t exact_up_to = 0; exact_up_to <= 30; exact_up_to += 30) {
            struct spectrum s;
            assert_int_equal(spectrum_mpo(w, 48, 35, exact_up_to, 8, &s, NULL), WL_OK);
            assert_int_equal(s.n, exact_up_to ? 30 : 8);
            assert_int_equal(s.n_all, 30);
            assert_near(s.total, squares(w, 48 * 35), 1e-9 * s.total);
            assert_near(sum_of(&s), s.total, 1e-5 * s.total);
            assert_int_equal(spectrum_rank(&s, 1e-5), rank);
            assert_true(spectrum_tail(&s, rank - 1) > 1e-3);
            assert_true(rank > 1 || spectrum_entropy(&s) < 1e-3);
            spectrum_release(&s);
        }
    }
}

// A prime side is one times itself; a single row is a matrix too.
static void test_sides_that_do_not_factor(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 4);
    const size_t sides[][2] = {{13, 12}, {1, 36}, {7, 11}, {1, 1}, {12, 13}};
    const size_t n_values[] = {3, 6, 1, 1, 3};
    for (size_t k = 0; k < 5; k++) {
        size_t n = sides[k][0] * sides[k][1];
        float *w = drawn(&rng, n);
        struct spectrum s;
        assert_int_equal(spectrum_mpo(w, sides[k][0], sides[k][1], 64, 64, &s, NULL), WL_OK);
        assert_int_equal(s.n, n_values[k]);
        assert_near(sum_of(&s), squares(w, n), 1e-5 * s.total);
        spectrum_release(&s);
        free(w);
    }
}

// Kronecker products of falling weights; what the range finder sees first is right within 2 %,
// where 32-bit numbers can tell it from nothing.
static void test_range_finder_agrees(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 6);
    enum { SIDE = 16, N = SIDE * SIDE, N_MOST = 40 };
    const double powers[] = {0.5, 1, 2};
    for (size_t k = 0; k < 3; k++) {
        float *w = calloc(N, N * sizeof *w);
        assert_non_null(w);
        for (size_t r = 0; r < 160; r++) {
            add_kronecker(&rng, SIDE, SIDE, SIDE, SIDE, pow((double)(r + 1), -powers[k]), w);
        }
        struct spectrum all, most, again;
        assert_int_equal(spectrum_mpo(w, N, N, N, N_MOST, &all, NULL), WL_OK);
        assert_int_equal(spectrum_mpo(w, N, N, N - 1, N_MOST, &most, NULL), WL_OK);
        assert_int_equal(spectrum_mpo(w, N, N, N - 1, N_MOST, &again, NULL), WL_OK);
        assert_true(all.n == N && most.n == N_MOST && most.n_all == N);
        assert_true(all.total == most.total);
        assert_near(sum_of(&all), all.total, 1e-5 * all.total);
        double worst = 0;
        for (size_t i = 0; i < N_MOST; i++) {
            double off = fabs(most.values[i] - all.values[i]);
            worst = fmax(worst, fmax(off - 5e-7 * all.values[0], 0) / all.values[i]);
        }
        print_message("power %g: off by %.2g at most\n", powers[k], worst);
        assert_true(worst < 0.02);
        assert_memory_equal(most.values, again.values, N_MOST * sizeof *most.values);
        // What is not known is bounded from above.
        assert_true(spectrum_entropy(&most) >= spectrum_entropy(&all) - 1e-3);
        for (size_t rank = 0; rank <= N; rank += 8) {
            assert_true(spectrum_tail(&most, rank) >= spectrum_tail(&all, rank) - 1e-3);
        }
        for (double share = 0.001; share < 1; share *= 2) {
            assert_true(spectrum_rank(&most, share + 1e-3) >= spectrum_rank(&all, share + 2e-3));
        }
        spectrum_release(&all);
        spectrum_release(&most);
        spectrum_release(&again);
        free(w);
    }
}

static void test_entropy_tail_and_rank(void **state) {
    (void)state;
    double flat[] = {2, 2, 2, 2, 2}, falling[] = {8, 4, 2, 1, 1};
    struct spectrum s = {.n = 5, .n_all = 5, .values = flat, .total = 10};
    assert_near(spectrum_entropy(&s), log(5), 1e-12);
    assert_near(spectrum_tail(&s, 2), 0.6, 1e-12);
    s = (struct spectrum){.n = 5, .n_all = 5, .values = falling, .total = 16};
    const double tails[] = {1, 0.5, 0.25, 0.125, 0.0625, 0, 0};
    for (size_t rank = 0; rank < 7; rank++) {
        assert_near(spectrum_tail(&s, rank), tails[rank], 1e-12);
    }
    for (size_t rank = 0; rank < 6; rank++) {
        assert_int_equal(spectrum_rank(&s, tails[rank]), rank);
        assert_int_equal(spectrum_rank(&s, tails[rank] + 0.01), rank);
    }
    assert_int_equal(spectrum_rank(&s, -1), 5);
    assert_near(spectrum_entropy(&s), log(2) * 1.875, 1e-12);
    // 8 is known, and that the other 8 are 4 values: taken as 2 each.
    s = (struct spectrum){.n = 1, .n_all = 5, .values = falling, .total = 16};
    assert_near(spectrum_entropy(&s), log(2) * 2, 1e-12);
    assert_near(spectrum_tail(&s, 1), 0.5, 1e-12);
    assert_near(spectrum_tail(&s, 3), 0.25, 1e-12);
    assert_near(spectrum_tail(&s, 5), 0, 0);
    assert_int_equal(spectrum_rank(&s, 0.25), 3);
    assert_int_equal(spectrum_rank(&s, 0.24), 4);
    assert_int_equal(spectrum_rank(&s, 0), 5);
    assert_int_equal(spectrum_rank(&s, 0.5), 1);
    s = (struct spectrum){0};
    spectrum_release(&s);
}

static void test_refusals(void **state) {
    (void)state;
    struct wl_err err;
    struct spectrum s;
    float w[12] = {1, 2, 3, 4}, square[4 * 4] = {0}, small[2 * 2] = {1, 0, 0, 1};
    for (size_t i = 0; i < 4; i++) {
        square[i * 4 + i] = 1;
    }
    assert_int_equal(spectrum_weighted(w, 0, 4, square, &s, &err), WL_INPUT);
    assert_int_equal(spectrum_mpo(w, 3, 0, 8, 8, &s, &err), WL_INPUT);
    assert_int_equal(spectrum_mpo(w, 3, SIZE_MAX / 8, 8, 8, &s, &err), WL_LIMIT);
    assert_int_equal(spectrum_mpo(w, 3, 4, 0, 0, &s, &err), WL_INPUT);
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e30f};
    for (size_t k = 0; k < 4; k++) {
        w[5] = bad[k];
        assert_int_equal(spectrum_weighted(w, 3, 4, square, &s, &err), WL_INPUT);
        assert_int_equal(spectrum_weighted(w, 6, 2, small, &s, &err), WL_INPUT);
        assert_int_equal(spectrum_mpo(w, 3, 4, 0, 1, &s, &err), WL_INPUT);
        assert_int_equal(spectrum_mpo(w, 3, 4, 8, 1, &s, &err), WL_INPUT);
        assert_null(s.values);
    }
    w[5] = 0;
    small[0] = -1;
    assert_int_equal(spectrum_weighted(w, 6, 2, small, &s, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "second moment 1 of 2 is -1"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail_is_the_floor),
        cmocka_unit_test(test_diagonal_reaches_the_floor),
        cmocka_unit_test(test_sides_agree),
        cmocka_unit_test(test_singular_moments),
        cmocka_unit_test(test_huge_input_drowns_nothing),
        cmocka_unit_test(test_rotations_change_nothing),
        cmocka_unit_test(test_kronecker_ranks),
        cmocka_unit_test(test_sides_that_do_not_factor),
        cmocka_unit_test(test_range_finder_agrees),
        cmocka_unit_test(test_entropy_tail_and_rank),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
