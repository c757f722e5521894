// Choosing inputs: every step of the curve is the least-squares optimum, found in double by
// elimination, and the choice is the best single step; duplicates, groups, sizes, bad data.
#include <cblas.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/obs.h"
#include "near.h"

// C = F F^T / n_factors + noise I: `n_factors` common causes of falling strength.
struct layer {
    size_t n_in, n_out;
    float *c, *w;
};

static float *floats(size_t n) {
    float *x = calloc(n, sizeof *x);
    assert_non_null(x);
    return x;
}

static struct layer make_layer(uint64_t seed, size_t n_in, size_t n_out, size_t n_factors,
                               float noise) {
    struct layer layer = {n_in, n_out, floats(n_in * n_in), floats(n_out * n_in)};
    float *factors = floats(n_in * n_factors);
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n_in * n_factors; i++) {
        factors[i] = (float)(rng_normal(&rng) / sqrt(1 + 0.1 * (double)(i % n_factors)));
    }
    for (size_t i = 0; i < n_out * n_in; i++) {
        layer.w[i] = (float)rng_normal(&rng);
    }
    for (size_t i = 0; i < n_in; i++) {
        layer.c[i * n_in + i] = noise * (float)(0.5 + rng_uniform(&rng));
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n_in, (int)n_in, (int)n_factors,
                1 / (float)n_factors, factors, (int)n_factors, factors, (int)n_factors, 1, layer.c,
                (int)n_in);
    free(factors);
    return layer;
}

static void free_layer(struct layer *layer) {
    free(layer->c);
    free(layer->w);
}

static void choose(const struct layer *layer, const struct obs_options *options, uint32_t *order,
                   double *error) {
    float *square = floats(layer->n_in * layer->n_in);
    memcpy(square, layer->c, layer->n_in * layer->n_in * sizeof *square);
    struct wl_err err = {0};
    enum wl_status status =
        obs_order(options, layer->w, layer->n_out, layer->n_in, square, order, error, &err);
    free(square);
    if (status != WL_OK) {
        fail_msg("%s", err.message);
    }
}

// C in double, with the ridge on its diagonal.
static double *with_ridge(const struct layer *layer, double ridge) {
    size_t n = layer->n_in;
    double mean = 0, *c = calloc(n * n, sizeof *c);
    assert_non_null(c);
    for (size_t i = 0; i < n * n; i++) {
        c[i] = (double)layer->c[i];
        mean += i % (n + 1) == 0 ? c[i] / (double)n : 0;
    }
    for (size_t i = 0; i < n; i++) {
        c[i * n + i] += ridge * mean;
    }
    return c;
}

// tr(W C W^T), W's columns those of `is_in` (NULL: all).
static double energy(const struct layer *layer, const double *c, const bool *is_in) {
    size_t n = layer->n_in;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++) {
            if (is_in && !(is_in[i] && is_in[j])) {
                continue;
            }
            double ww = 0;
            for (size_t o = 0; o < layer->n_out; o++) {
                ww += (double)layer->w[o * n + i] * (double)layer->w[o * n + j];
            }
            sum += ww * c[i * n + j];
        }
    }
    return sum;
}

// The least that can be lost without the inputs of `is_gone`: what the others cannot explain of
// them (Schur's complement, by Gauss-Jordan elimination of those that stay).
static double least_error(const struct layer *layer, double ridge, const bool *is_gone) {
    size_t n = layer->n_in;
    double *c = with_ridge(layer, ridge), *plain = with_ridge(layer, 0);
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < n && !is_gone[k]; i++) {
            double share = c[i * n + k] / c[k * n + k];
            for (size_t j = 0; j < n && i != k; j++) {
                c[i * n + j] -= share * c[k * n + j];
            }
        }
    }
    double error = energy(layer, c, is_gone) / energy(layer, plain, NULL);
    free(c);
    free(plain);
    return error;
}

// Every value of the curve, and that no other single step (of a group) would have been cheaper.
static void check_curve(const struct layer *layer, const struct obs_options *options) {
    size_t n = layer->n_in, group = options->group, n_groups = n / group;
    uint32_t order[64];
    double error[65];
    bool is_gone[64] = {false};
    choose(layer, options, order, error);
    assert_near(error[0], 0, 0);
    for (size_t k = 0; k < (n - options->n_min) / group; k++) {
        double least = INFINITY;
        for (size_t g = 0; g < n_groups; g++) {
            if (is_gone[g * group]) {
                continue;
            }
            memset(is_gone + g * group, true, group);
            least = fmin(least, least_error(layer, options->ridge, is_gone));
            memset(is_gone + g * group, false, group);
        }
        for (size_t i = 0; i < group; i++) {
            assert_int_equal(order[k * group + i], order[k * group] + i);
            is_gone[order[k * group + i]] = true;
        }
        double optimum = least_error(layer, options->ridge, is_gone);
        assert_near(error[k + 1] / optimum, 1, 2e-4);
        assert_near(optimum / least, 1, 1e-4);
    }
}

static void test_curve_is_the_optimum_of_each_step(void **state) {
    (void)state;
    const double ridges[] = {0, 1e-4, 1e-2, 0.3};
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct layer layer = make_layer(seed, 14, 5, 6, 0.3F);
        for (size_t block = 1; block <= 64; block *= 4) { // from 4 on all are in the pool
            check_curve(&layer, &(struct obs_options){.ridge = ridges[seed % 4],
                                                      .block = block,
                                                      .group = 1,
                                                      .n_min = seed % 3});
        }
        free_layer(&layer);
    }
}

static void test_groups_go_whole(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        struct layer layer = make_layer(seed, 24, 5, 9, 0.3F);
        check_curve(&layer, &(struct obs_options){.ridge = 1e-2,
                                                  .block = seed % 2 ? 16 : 1,
                                                  .group = 2 + 2 * (seed % 2),
                                                  .n_min = 4});
        check_curve(&layer,
                    &(struct obs_options){.ridge = 1e-2, .block = 64, .group = 24, .n_min = 0});
        free_layer(&layer);
    }
}

// Makes input `to` the same as input `from`.
static void duplicate(struct layer *layer, size_t from, size_t to) {
    size_t n = layer->n_in;
    for (size_t i = 0; i < n; i++) {
        layer->c[to * n + i] = layer->c[from * n + i];
    }
    for (size_t i = 0; i < n; i++) {
        layer->c[i * n + to] = layer->c[i * n + from];
    }
}

// 16 of 32 inputs are copies, 4 have no weights: 20 can go for nothing, but never both of a pair,
// and in blocks as well as one by one.
static void test_duplicates_and_zero_columns_go_first(void **state) {
    (void)state;
    enum { N = 32, PAIRS = 12, ZERO = 4 };
    for (size_t block = 1; block <= 32; block *= 2) {
        struct layer layer = make_layer(5, N, 8, 40, 0.5F);
        uint32_t order[N];
        double error[N + 1];
        bool is_gone[N] = {false};
        for (size_t i = 0; i < PAIRS; i++) {
            duplicate(&layer, i, N - 1 - i);
        }
        for (size_t o = 0; o < layer.n_out; o++) {
            for (size_t j = PAIRS; j < PAIRS + ZERO; j++) {
                layer.w[o * N + j] = 0;
            }
        }
        choose(&layer, &(struct obs_options){.ridge = 1e-4, .block = block, .group = 1}, order,
               error);
        for (size_t i = 0; i < PAIRS + ZERO; i++) {
            is_gone[order[i]] = true;
        }
        for (size_t i = 0; i < PAIRS; i++) {
            assert_int_equal(is_gone[i] + is_gone[N - 1 - i], 1);
        }
        for (size_t i = PAIRS; i < PAIRS + ZERO; i++) {
            assert_true(is_gone[i]);
        }
        assert_near(error[ZERO], 0, 1e-12);
        assert_near(error[PAIRS + ZERO], 0, 1e-3);
        assert_true(error[PAIRS + ZERO + 1] > 10 * error[PAIRS + ZERO]);
        free_layer(&layer);
    }
}

static int compare_scores(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

// The error without the `n_go` inputs of least |W_j|^2 (times C_jj), with the best repair.
static double magnitude_error(const struct layer *layer, bool with_moments, size_t n_go,
                              double ridge) {
    double scores[64][2];
    bool is_gone[64] = {false};
    size_t n = layer->n_in;
    for (size_t j = 0; j < n; j++) {
        scores[j][0] = 0;
        scores[j][1] = (double)j;
        for (size_t o = 0; o < layer->n_out; o++) {
            scores[j][0] += (double)layer->w[o * n + j] * (double)layer->w[o * n + j];
        }
        scores[j][0] *= with_moments ? (double)layer->c[j * n + j] : 1;
    }
    qsort(scores, n, sizeof scores[0], compare_scores);
    for (size_t i = 0; i < n_go; i++) {
        is_gone[(size_t)scores[i][1]] = true;
    }
    return least_error(layer, ridge, is_gone);
}

// Largest of OBS's error / the better magnitude's, with half of the inputs gone.
static double compare_with_magnitude(const struct layer *layer, size_t n_go) {
    uint32_t order[64];
    double error[65];
    struct obs_options options = {
        .ridge = 1e-4, .block = 8, .group = 1, .n_min = layer->n_in - n_go};
    choose(layer, &options, order, error);
    double by_weight = magnitude_error(layer, false, n_go, options.ridge);
    double by_output = magnitude_error(layer, true, n_go, options.ridge);
    return error[n_go] / fmin(by_weight, by_output);
}

// Inputs that differ in nothing but chance: still never worse.
static void test_beats_magnitude_on_correlated_data(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct layer layer = make_layer(seed, 48, 12, 16, 0.05F);
        double ratio = compare_with_magnitude(&layer, 24);
        free_layer(&layer);
        assert_true(ratio < 1);
    }
}

// Strong inputs of which there are three of a kind, and weak ones of which there is one.
static void test_beats_magnitude_clearly_on_clusters(void **state) {
    (void)state;
    enum { N = 48, STRONG = 24 };
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct layer layer = make_layer(seed, N, 12, 60, 0.5F);
        for (size_t i = 0; i < STRONG; i++) {
            duplicate(&layer, i - i % 3, i);
        }
        for (size_t i = 0; i < STRONG; i++) {
            layer.c[i * N + i] += 0.02F;
            cblas_sscal(N, 2, layer.c + i * N, 1);
            cblas_sscal(N, 2, layer.c + i, N);
        }
        double ratio = compare_with_magnitude(&layer, 16);
        free_layer(&layer);
        assert_true(ratio < 0.75);
    }
}

// Order is a permutation, those that stay are in order, the curve rises and stops where it should.
static void check_form(const struct layer *layer, const struct obs_options *options,
                       const uint32_t *order, const double *error) {
    size_t n = layer->n_in, n_gone = n - options->n_min;
    bool *is_seen = calloc(n, sizeof *is_seen);
    assert_non_null(is_seen);
    for (size_t i = 0; i < n; i++) {
        assert_true(order[i] < n && !is_seen[order[i]]);
        is_seen[order[i]] = true;
        assert_true(i <= n_gone || order[i] > order[i - 1]);
    }
    for (size_t k = 1; k <= n / options->group; k++) {
        if (k * options->group <= n_gone) {
            assert_true(error[k] >= error[k - 1]);
        } else {
            assert_true(isnan(error[k]));
        }
    }
    free(is_seen);
}

static void test_form_of_the_answer(void **state) {
    (void)state;
    enum { N = 60 };
    struct layer layer = make_layer(3, N, 7, 20, 0.2F);
    const struct obs_options cases[] = {
        {.ridge = 1e-2, .block = 1, .group = 1, .n_min = 0},
        {.ridge = 1e-2, .block = 16, .group = 1, .n_min = 7},
        {.ridge = 1e-2, .block = 256, .group = 1, .n_min = 59},
        {.ridge = 1e-2, .block = 64, .group = 1, .n_min = 60},
        {.ridge = 1e-2, .block = 64, .group = 20, .n_min = 20},
        {.ridge = 1e-2, .block = 64, .group = 60, .n_min = 60},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t order[N];
        double error[N + 1];
        choose(&layer, &cases[i], order, error);
        check_form(&layer, &cases[i], order, error);
    }
    free_layer(&layer);
}

static void test_one_output_one_input(void **state) {
    (void)state;
    struct layer layer = make_layer(3, 1, 1, 1, 0.2F);
    uint32_t order[1];
    double error[2];
    choose(&layer, &(struct obs_options){.block = 64, .group = 1}, order, error);
    assert_near(error[1], 1, 1e-6);
    layer.w[0] = 0; // no output: nothing to lose
    choose(&layer, &(struct obs_options){.block = 64, .group = 1}, order, error);
    assert_near(error[1], 0, 0);
    free_layer(&layer);
}

// Two inputs that fire as one, a thousand times as strong as the rest (as on a text's first token).
static struct layer make_massive_twins(uint64_t seed, size_t n) {
    struct layer layer = make_layer(seed, n, 16, 24, 0.2F);
    cblas_sscal((int)n, 1000, layer.c + 5 * n, 1);
    cblas_sscal((int)n, 1000, layer.c + 5, (int)n);
    duplicate(&layer, 5, 40);
    return layer;
}

// What is left of C^-1 at the second twin is 1e-6 of what it was: with a ridge that is much too
// small float's rounding shows (obs.h), but must not take over or break the form.
static void test_massive_twins(void **state) {
    (void)state;
    enum { N = 64 };
    uint32_t order[N];
    double error[N + 1];
    bool is_gone[N];
    memset(is_gone, true, sizeof is_gone);
    for (uint64_t seed = 0; seed < 40; seed++) {
        size_t group = seed % 2 ? 4 : 1;
        struct layer layer = make_massive_twins(seed, N);
        struct obs_options options = {.ridge = 1e-5, .block = 16, .group = group};
        choose(&layer, &options, order, error);
        check_form(&layer, &options, order, error);
        assert_true(error[N / group] < 1.2 * least_error(&layer, options.ridge, is_gone));
        options.ridge = 1e-2;
        choose(&layer, &options, order, error);
        check_form(&layer, &options, order, error);
        assert_near(error[N / group] / least_error(&layer, options.ridge, is_gone), 1, 1e-2);
        assert_near(error[N / group - 1], 0, 0.05); // one twin is enough
        bool is_last = false;
        for (size_t i = N - group; i < N; i++) {
            is_last = is_last || order[i] == 5 || order[i] == 40;
        }
        assert_true(is_last);
        free_layer(&layer);
    }
}

static void test_blocks_choose_nearly_as_well(void **state) {
    (void)state;
    enum { N = 2048, OUT = 128 };
    struct layer layer = make_layer(21, N, OUT, 700, 0.05F);
    uint32_t *order = calloc(N, sizeof *order);
    double *one = calloc(N + 1, sizeof *one), *many = calloc(N + 1, sizeof *many);
    struct obs_options options = {.ridge = 1e-2, .block = 1, .group = 1, .n_min = 256};
    choose(&layer, &options, order, one);
    check_form(&layer, &options, order, one);
    options.block = 64;
    choose(&layer, &options, order, many);
    check_form(&layer, &options, order, many);
    for (size_t k = 64; k <= N - options.n_min; k += 64) {
        assert_near(many[k] / one[k], 1, 0.03);
    }
    free(order);
    free(one);
    free(many);
    free_layer(&layer);
}

static void refuse(const struct obs_options *options, const float *c, const char *expected) {
    const float w[] = {1, 2, 3, 4};
    float square[4];
    uint32_t order[2];
    double error[3];
    struct wl_err err = {0};
    memcpy(square, c, sizeof square);
    assert_int_equal(obs_order(options, w, 2, 2, square, order, error, &err), WL_INPUT);
    if (!strstr(err.message, expected)) {
        fail_msg("'%s' does not say '%s'", err.message, expected);
    }
}

static void test_bad_moments(void **state) {
    (void)state;
    const struct obs_options options = {.ridge = 0.01, .block = 1, .group = 1};
    refuse(&options, (float[]){1, 2, 2, 1}, "not positive definite (found at input 1)");
    refuse(&options, (float[]){1, 2, 2, 1}, "larger ridge");
    refuse(&options, (float[]){0, 0, 0, 0}, "all zero");
    refuse(&options, (float[]){1, 0, 0, NAN}, "not finite");
    refuse(&options, (float[]){1, NAN, NAN, 1}, "finite");
    refuse(&options, (float[]){1, INFINITY, INFINITY, 1}, "finite");
    refuse(&options, (float[]){-3, 0, 0, 1}, "more than 0");
    refuse(&(struct obs_options){.block = 1, .group = 1}, (float[]){1, 1, 1, 1},
           "not positive definite");
    float square[] = {1, 0, 0, 1};
    const float w[] = {1, NAN};
    struct wl_err err;
    uint32_t order[2];
    double error[3];
    assert_int_equal(obs_order(&options, w, 1, 2, square, order, error, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "outputs that are not finite"));
}

static void test_bad_options(void **state) {
    (void)state;
    const float c[] = {1, 0, 0, 1};
    refuse(&(struct obs_options){.block = 0, .group = 1}, c, "blocks of 0");
    refuse(&(struct obs_options){.block = 3, .group = 1}, c, "power of two");
    refuse(&(struct obs_options){.block = 512, .group = 1}, c, "up to 256");
    refuse(&(struct obs_options){.ridge = -1, .block = 1, .group = 1}, c, "ridge of -1");
    refuse(&(struct obs_options){.ridge = NAN, .block = 1, .group = 1}, c, "ridge of nan");
    refuse(&(struct obs_options){.block = 1, .group = 0}, c, "groups of 0");
    refuse(&(struct obs_options){.block = 1, .group = 4}, c, "groups of 4");
    refuse(&(struct obs_options){.block = 1, .group = 2, .n_min = 1}, c, "1 stay");
    refuse(&(struct obs_options){.block = 1, .group = 1, .n_min = 3}, c, "3 stay");
    struct wl_err err;
    const struct obs_options options = {.block = 1, .group = 1};
    assert_int_equal(obs_order(&options, c, 0, 2, NULL, NULL, NULL, &err), WL_INPUT);
    assert_int_equal(obs_order(&options, c, 1, SIZE_MAX, NULL, NULL, NULL, &err), WL_INPUT);
}

static bool twice(void *context) {
    int *n_asked = context;
    return ++*n_asked <= 2;
}

static void test_stops_when_asked(void **state) {
    (void)state;
    enum { N = 8 };
    int n_asked = 0;
    const struct obs_options options = {
        .ridge = 0.01, .block = 2, .group = 1, .go_on = twice, .context = &n_asked};
    float square[N * N] = {0}, w[N] = {0};
    for (size_t i = 0; i < N; i++) {
        square[i * N + i] = w[i] = 1;
    }
    struct wl_err err;
    uint32_t order[N];
    double error[N + 1];
    assert_int_equal(obs_order(&options, w, 1, N, square, order, error, &err), WL_INTERRUPTED);
    assert_int_equal(n_asked, 3);
    assert_non_null(strstr(err.message, "4 of 8"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_curve_is_the_optimum_of_each_step),
        cmocka_unit_test(test_groups_go_whole),
        cmocka_unit_test(test_duplicates_and_zero_columns_go_first),
        cmocka_unit_test(test_beats_magnitude_on_correlated_data),
        cmocka_unit_test(test_beats_magnitude_clearly_on_clusters),
        cmocka_unit_test(test_form_of_the_answer),
        cmocka_unit_test(test_one_output_one_input),
        cmocka_unit_test(test_massive_twins),
        cmocka_unit_test(test_blocks_choose_nearly_as_well),
        cmocka_unit_test(test_bad_moments),
        cmocka_unit_test(test_stops_when_asked),
        cmocka_unit_test(test_bad_options),
    };
    openblas_set_num_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
