// A stored law predicts and compares like the fresh one; a damaged one is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "near.h"
#include "stats/law_json.h"

static struct law_fit some_fit(size_t n_generated) {
    struct rng rng;
    rng_seed(&rng, 1);
    struct law_point points[64];
    size_t n = 0;
    for (double p = 16; p <= 2048; p *= 2) {
        for (size_t g = 0; g < 2 * n_generated; g++) {
            double generated = 16.0 * (1 + (double)(g / 2));
            double y = (3 + 0.05 * p + 0.4 * generated) * (1 + 0.03 * rng_normal(&rng));
            points[n++] = (struct law_point){p, generated, y};
        }
    }
    struct law_fit fit;
    assert_int_equal(law_fit(points, n, &fit, NULL), WL_OK);
    return fit;
}

static json_t *through_text(json_t *json) {
    struct buf buf;
    struct wl_err err;
    json_t *out = NULL;
    buf_init(&buf, 1 << 20);
    assert_non_null(json);
    assert_true(wl_json_write(&buf, json));
    assert_int_equal(wl_json_parse(buf_text(&buf), buf.len, &out, &err), WL_OK);
    buf_release(&buf);
    json_decref(json);
    return out;
}

static void test_round_trip(void **state) {
    (void)state;
    for (size_t n_generated = 1; n_generated <= 3; n_generated++) {
        struct law_fit fit = some_fit(n_generated), back;
        json_t *json = through_text(law_to_json(&fit));
        struct wl_err err = {0};
        if (law_from_json(json, &back, &err) != WL_OK) {
            fail_msg("%s", err.message);
        }
        struct law_prediction a, b;
        law_predict(&fit, 300, 20, &a);
        law_predict(&back, 300, 20, &b);
        assert_memory_equal(&a.value, &b.value, sizeof a.value);
        assert_true(a.ci95.low == b.ci95.low && a.pi95.high == b.pi95.high);
        assert_true(a.is_extrapolated == b.is_extrapolated);
        assert_memory_equal(fit.has_term, back.has_term, sizeof fit.has_term);
        assert_true(fit.n == back.n && fit.n_outliers == back.n_outliers);
        assert_true(isnan(back.ci95[LAW_INTERACTION].low));
        json_decref(json);
    }
}

static void assert_refused(json_t *json) {
    struct law_fit fit;
    struct wl_err err = {0};
    assert_int_equal(law_from_json(json, &fit, &err), WL_INPUT);
    assert_true(strlen(err.message) > 0 && fit.n == 0);
    json_decref(json);
}

static void test_damaged_laws_are_refused(void **state) {
    (void)state;
    struct law_fit fit = some_fit(2);
    static const char *const keys[] = {"version",    "terms",         "n", "dof", "r2",
                                       "prompt_min", "is_lack_of_fit"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *json = law_to_json(&fit);
        json_object_del(json, keys[i]);
        assert_refused(json);
        json = law_to_json(&fit);
        json_object_set_new(json, keys[i], json_string("x"));
        assert_refused(json);
    }
    json_t *json = law_to_json(&fit);
    json_object_set_new(json, "dof", json_real(0));
    assert_refused(json);
    json = law_to_json(&fit);
    json_object_set_new(json, "n", json_integer(-1));
    assert_refused(json);
    json = law_to_json(&fit);
    json_t *covariance =
        json_object_get(json_array_get(json_object_get(json, "terms"), 1), "covariance");
    json_array_set_new(covariance, 1, json_real(-1));
    assert_refused(json);
    json = law_to_json(&fit);
    json_array_clear(json_object_get(json, "terms"));
    assert_refused(json);
    assert_refused(json_array());
    assert_refused(json_null());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged_laws_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
