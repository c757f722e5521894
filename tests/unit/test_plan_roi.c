// The calculator: its formulas, its intervals, and what it refuses.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "plan/roi.h"

static void near(double got, double expected, double tolerance) {
    if (!(fabs(got - expected) <= tolerance)) {
        fail_msg("got %.12g, expected %.12g", got, expected);
    }
}

static struct roi_value value(double v, double half) {
    return (struct roi_value){v, {v - half, v + half}};
}

static void a_year_is_365_times_a_day(void **state) {
    (void)state;
    const struct roi_request request = {value(0.002, 0.0001), value(3.6, 0.36)};
    const struct roi_rates rates = {1000, 0.30, 400, 30, "$"};
    struct roi_year year;
    roi_year(&request, &rates, &year);
    near(year.kwh.value, 0.73, 1e-12);      // 2 mWh x 1000 x 365
    near(year.kwh.ci95.low, 0.6935, 1e-12); // 5 % less
    near(year.cost.value, 0.219, 1e-12);    // x 0.30
    near(year.co2_kg.value, 0.292, 1e-12);  // x 0.4 kg
    near(year.wait_hours.value, 365, 1e-9); // an hour a day
    near(year.wait_hours.ci95.high, 401.5, 1e-9);
}

static void saving_is_the_difference(void **state) {
    (void)state;
    const struct roi_request base = {value(0.004, 0.0003), value(7.2, 0.3)};
    const struct roi_request changed = {value(0.002, 0.0004), value(3.6, 0.4)};
    const struct roi_rates rates = {1000, 0.30, 400, 30, "$"};
    struct roi_saving saving;
    roi_saving(&base, &changed, &rates, &saving);
    near(saving.saved.kwh.value, 0.73, 1e-12);
    near(saving.saved.kwh.ci95.low, (0.002 - 0.0005) * 365, 1e-12); // hypot(3, 4) = 5
    near(saving.saved.kwh.ci95.high, (0.002 + 0.0005) * 365, 1e-12);
    near(saving.saved.wait_hours.value, 365, 1e-9);
    near(saving.hours_value.value, 365 * 30, 1e-6);
    near(saving.total.value, 365 * 30 + 0.219, 1e-6);
    near(saving.total.ci95.low, saving.saved.cost.ci95.low + saving.hours_value.ci95.low, 1e-9);
}

static void a_dearer_model_saves_less_than_nothing(void **state) {
    (void)state;
    const struct roi_request base = {value(0.002, 0), value(1, 0)};
    const struct roi_request changed = {value(0.003, 0), value(2, 0)};
    const struct roi_rates rates = {1000, 1, 0, 1, ""};
    struct roi_saving saving;
    roi_saving(&base, &changed, &rates, &saving);
    near(saving.saved.cost.value, -0.365, 1e-12);
    assert_true(saving.total.value < 0);
}

static void unknown_energy_stays_unknown(void **state) {
    (void)state;
    const struct roi_value unknown = {NAN, {NAN, NAN}};
    const struct roi_request base = {unknown, value(2, 0.1)},
                             changed = {value(1, 0), value(1, 0.1)};
    struct roi_rates rates;
    struct roi_saving saving;
    roi_rates_init(&rates);
    roi_saving(&base, &changed, &rates, &saving);
    assert_true(isnan(saving.saved.kwh.value));
    assert_true(isnan(saving.saved.co2_kg.value));
    near(saving.total.value, saving.hours_value.value, 0);
    assert_true(saving.total.value > 0);
}

// The interval of a difference must cover the true one in about 95 of 100 cases.
static void difference_interval_is_honest(void **state) {
    (void)state;
    enum { N = 4000 };
    struct rng rng;
    rng_seed(&rng, 3);
    int n_covered = 0;
    const struct roi_rates rates = {1000 / ROI_DAYS_PER_YEAR, 1, 1, 1, ""}; // kWh = Wh
    for (int i = 0; i < N; i++) {
        struct roi_saving saving;
        const struct roi_request base = {value(10 + 0.5 * rng_normal(&rng), 1.96 * 0.5),
                                         value(1, 0)};
        const struct roi_request changed = {value(4 + 0.9 * rng_normal(&rng), 1.96 * 0.9),
                                            value(1, 0)};
        roi_saving(&base, &changed, &rates, &saving);
        n_covered += saving.saved.kwh.ci95.low <= 6 && saving.saved.kwh.ci95.high >= 6;
    }
    near((double)n_covered / N, 0.95, 0.012);
}

static void absurd_rates_are_refused(void **state) {
    (void)state;
    struct wl_err err = {0};
    struct roi_rates rates;
    roi_rates_init(&rates);
    assert_int_equal(roi_rates_check(&rates, &err), WL_OK);
    rates.tariff_per_kwh = -0.1;
    assert_int_equal(roi_rates_check(&rates, &err), WL_USAGE);
    assert_non_null(strstr(err.message, "tariff per kWh"));
    roi_rates_init(&rates);
    rates.carbon_g_per_kwh = NAN;
    assert_int_equal(roi_rates_check(&rates, &err), WL_USAGE);
    roi_rates_init(&rates);
    rates.requests_per_day = INFINITY;
    assert_int_equal(roi_rates_check(&rates, &err), WL_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_year_is_365_times_a_day),
        cmocka_unit_test(saving_is_the_difference),
        cmocka_unit_test(a_dearer_model_saves_less_than_nothing),
        cmocka_unit_test(unknown_energy_stays_unknown),
        cmocka_unit_test(difference_interval_is_honest),
        cmocka_unit_test(absurd_rates_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
