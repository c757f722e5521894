// A stored knee predicts and compares like the fresh one; a damaged one is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "stats/knee_json.h"

enum kind { WITH_KNEE, STRAIGHT, AT_EDGE, CONSTANT };

static struct knee_fit some_fit(enum kind kind) {
    static const double knees[] = {[WITH_KNEE] = 5, [STRAIGHT] = 100, [AT_EDGE] = 1.5};
    struct rng rng;
    struct knee_point points[36];
    rng_seed(&rng, 1);
    for (size_t i = 0; i < 36; i++) {
        double x = 1 + (double)(i % 12);
        double y = kind == CONSTANT ? 1 : 1 + fmin(x, knees[kind]);
        points[i] = (struct knee_point){x, y * (1 + 0.02 * rng_normal(&rng))};
    }
    struct knee_fit fit;
    assert_int_equal(knee_fit(points, 36, 1, &fit, NULL), WL_OK);
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
    for (enum kind kind = WITH_KNEE; kind <= CONSTANT; kind++) {
        struct knee_fit fit = some_fit(kind), back;
        assert_true(fit.has_knee == (kind == WITH_KNEE));
        json_t *json = through_text(knee_to_json(&fit));
        struct wl_err err = {0};
        if (knee_from_json(json, &back, &err) != WL_OK) {
            fail_msg("%s", err.message);
        }
        for (double x = 0; x < 14; x += 0.5) {
            assert_true(knee_predict(&fit, x) == knee_predict(&back, x));
        }
        assert_true(back.has_knee == fit.has_knee && back.is_at_edge == fit.is_at_edge);
        assert_true(back.is_flat_above == fit.is_flat_above && back.n_outliers == fit.n_outliers);
        assert_true(isnan(back.knee_x) == isnan(fit.knee_x) && back.n == 36 && back.n_x == 12);
        assert_true(back.level_above_ci95.low == fit.level_above_ci95.low);
        assert_true(back.slope_ci95.high == fit.slope_ci95.high && back.r2 == fit.r2);
        json_decref(json);
    }
}

static void assert_refused(json_t *json) {
    struct knee_fit fit;
    struct wl_err err = {0};
    assert_int_equal(knee_from_json(json, &fit, &err), WL_INPUT);
    assert_true(strlen(err.message) > 0 && fit.n == 0);
    json_decref(json);
}

static json_t *with(const struct knee_fit *fit, const char *key, json_t *value) {
    json_t *json = knee_to_json(fit);
    assert_non_null(json_object_get(json, key));
    assert_int_equal(json_object_set_new(json, key, value), 0);
    return json;
}

static void test_damaged_knees_are_refused(void **state) {
    (void)state;
    struct knee_fit fit = some_fit(WITH_KNEE), straight = some_fit(STRAIGHT);
    static const char *const keys[] = {"version",   "has_knee", "knee_x", "fixed",
                                       "knee_ci95", "n",        "dof"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *json = knee_to_json(&fit);
        json_object_del(json, keys[i]);
        assert_refused(json);
        assert_refused(with(&fit, keys[i], json_string("x")));
    }
    assert_refused(with(&fit, "version", json_integer(2)));
    assert_refused(with(&fit, "knee_x", json_real(13)));
    assert_refused(with(&fit, "knee_x", json_null()));
    assert_refused(with(&fit, "p_no_knee", json_real(1.5)));
    assert_refused(with(&fit, "p_no_knee", json_null()));
    assert_refused(with(&fit, "slope", json_null()));
    assert_refused(with(&fit, "dof", json_real(0)));
    assert_refused(with(&fit, "noise_share", json_real(-1)));
    assert_refused(with(&fit, "n", json_integer(-1)));
    assert_refused(with(&fit, "n_outliers", json_integer(37)));
    assert_refused(with(&fit, "is_at_edge", json_true()));
    assert_refused(with(&fit, "knee_ci95", json_pack("{s:f,s:f}", "low", 6.0, "high", 5.0)));
    assert_refused(with(&fit, "knee_ci95", json_pack("{s:f,s:n}", "low", 6.0, "high")));
    assert_refused(with(&fit, "knee_ci95", json_pack("{s:f,s:f}", "low", 1.0, "high", 50.0)));
    assert_refused(with(&straight, "has_knee", json_true()));
    assert_refused(json_array());
    assert_refused(json_null());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damaged_knees_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
