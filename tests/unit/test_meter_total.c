// From readings to joules: gauges, several channels, gaps, ambiguous pauses, bounded memory.
#include "test_meter_tree.h"

#include <math.h>

#include "meter/meter_total.h"
#include "meter/synthetic.h"

static const int64_t MS = 1000000, S = 1000000000;

static struct meter_info counter_info(void) {
    struct meter_info info = {.name = "test",
                              .kind = METER_COUNTER,
                              .quantum = 1e-6,
                              .max_power_w = 100,
                              .n_channels = 2};
    info.channel[0] =
        (struct meter_channel){.name = "a", .range = 1000000000, .scale = 1e-6, .is_counted = true};
    info.channel[1] =
        (struct meter_channel){.name = "b", .range = 50000000, .scale = 1e-6, .is_counted = true};
    return info;
}

static struct meter_info gauge_info(void) {
    struct meter_info info = {
        .name = "gauge", .kind = METER_GAUGE_INSTANT, .quantum = 0.1, .n_channels = 2};
    info.channel[0] = (struct meter_channel){.name = "rail", .scale = 1, .is_counted = true};
    info.channel[1] = (struct meter_channel){.name = "other", .scale = 1, .is_counted = false};
    return info;
}

static struct meter_total *new_total(const struct meter_info *info, size_t max_points) {
    struct meter_total_options options = {.period_ns = 100 * MS, .max_points = max_points};
    struct meter_total *total;
    assert_int_equal(meter_total_new(info, &options, &total, NULL), WL_OK);
    return total;
}

static struct meter_total_sample feed_raw(struct meter_total *total, int64_t t_ns, uint64_t a,
                                          uint64_t b) {
    struct meter_reading reading = {.t_before_ns = t_ns - 5, .t_after_ns = t_ns + 5};
    reading.channel[0].raw = a;
    reading.channel[0].is_valid = true;
    reading.channel[1].raw = b;
    reading.channel[1].is_valid = true;
    struct meter_total_sample sample;
    struct wl_err err;
    if (meter_total_feed(total, &reading, &sample, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return sample;
}

static struct meter_total_sample feed_watts(struct meter_total *total, int64_t t_ns,
                                            double power_w) {
    struct meter_reading reading = {.t_before_ns = t_ns, .t_after_ns = t_ns};
    reading.channel[0].value = power_w;
    reading.channel[0].is_valid = isfinite(power_w);
    reading.channel[1].value = 1e6;
    reading.channel[1].is_valid = true;
    struct meter_total_sample sample;
    assert_int_equal(meter_total_feed(total, &reading, &sample, NULL), WL_OK);
    return sample;
}

static void channels_wrap_apart(void **state) {
    (void)state;
    struct meter_info info = counter_info();
    struct meter_total *total = new_total(&info, 0);
    struct meter_total_sample sample = feed_raw(total, S, 10, 49000000);
    assert_int_equal(sample.t_ns, S);
    assert_int_equal(sample.half_width_ns, 5);
    assert_true(isnan(sample.power_w));
    sample = feed_raw(total, S + 100 * MS, 1000010, 1000000);
    assert_true(fabs(sample.total_j - 3) < 1e-9);
    assert_true(fabs(sample.power_w - 30) < 1e-6);
    assert_int_equal(sample.flags, RECORD_WRAP);
    meter_total_free(total);
}

static void a_missing_channel_keeps_the_total(void **state) {
    (void)state;
    struct meter_info info = counter_info();
    struct meter_total *total = new_total(&info, 0);
    feed_raw(total, S, 0, 0);
    struct meter_reading reading = {.t_before_ns = S + 100 * MS, .t_after_ns = S + 100 * MS};
    reading.channel[0].raw = 2000000;
    reading.channel[0].is_valid = true;
    struct meter_total_sample sample;
    assert_int_equal(meter_total_feed(total, &reading, &sample, NULL), WL_OK);
    assert_false(sample.is_valid);
    assert_int_equal(sample.flags, RECORD_GAP);
    // Windows reach as far as every channel was read.
    assert_int_equal(meter_total_known_until_ns(total), S);
    assert_int_equal(meter_total_known_from_ns(total), S);
    sample = feed_raw(total, S + 200 * MS, 3000000, 4000000);
    assert_true(fabs(sample.total_j - 7) < 1e-9);
    assert_int_equal(meter_total_known_until_ns(total), S + 200 * MS);
    meter_total_free(total);
}

static void a_gap_inside_a_window_loses_nothing_of_a_counter(void **state) {
    (void)state;
    struct meter_info info = counter_info();
    struct meter_total *total = new_total(&info, 0);
    feed_raw(total, S, 0, 0);
    feed_raw(total, S + 100 * MS, 1000000, 0);
    struct meter_total_sample sample = feed_raw(total, S + 600 * MS, 6000000, 0);
    assert_int_equal(sample.flags, RECORD_GAP);
    feed_raw(total, S + 700 * MS, 7000000, 0);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(total, S, S + 700 * MS, &energy, NULL), WL_OK);
    assert_true(fabs(energy.gross_j - 7) < 1e-6);
    assert_true(energy.coverage == 1);
    assert_true(energy.flags & RECORD_GAP);
    assert_true(fabs(energy.mean_w - 10) < 1e-6);
    // An edge in the gap cannot be split honestly.
    assert_int_equal(meter_total_window(total, S + 400 * MS, S + 700 * MS, &energy, NULL), WL_OK);
    assert_true(fabs(energy.coverage - 1.0 / 3) < 1e-6);
    meter_total_free(total);
}

static void a_pause_longer_than_a_wrap_is_unknown(void **state) {
    (void)state;
    struct meter_info info = counter_info(); // b: 50 J at 100 W wraps in 0.5 s
    assert_int_equal(meter_max_poll_ns(&info), 250 * MS);
    struct meter_total *total = new_total(&info, 0);
    feed_raw(total, S, 0, 0);
    feed_raw(total, S + 100 * MS, 0, 1000000);
    struct meter_total_sample sample = feed_raw(total, S + 1100 * MS, 0, 11000000);
    assert_true(sample.flags & RECORD_GAP);
    feed_raw(total, S + 1200 * MS, 0, 12000000);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(total, S, S + 1200 * MS, &energy, NULL), WL_OK);
    assert_true(fabs(energy.coverage - 0.2 / 1.2) < 1e-6);
    meter_total_free(total);
}

static void a_gauge_is_integrated_by_trapezoid(void **state) {
    (void)state;
    struct meter_info info = gauge_info();
    struct meter_total *total = new_total(&info, 0);
    // 5 W rising to 15 W in a second: 10 J, whatever the uneven sampling.
    static const int64_t AT_MS[] = {0, 70, 200, 290, 400, 550, 640, 800, 910, 1000};
    struct meter_total_sample sample = {0};
    for (size_t i = 0; i < sizeof AT_MS / sizeof AT_MS[0]; i++) {
        sample = feed_watts(total, S + AT_MS[i] * MS, 5 + (double)AT_MS[i] / 100);
    }
    assert_true(fabs(sample.total_j - 10) < 1e-9);
    assert_true(fabs(sample.power_w - 15) < 1e-9);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(total, S + 250 * MS, S + 750 * MS, &energy, NULL), WL_OK);
    assert_true(fabs(energy.gross_j - 5) < 1e-9);
    assert_true(energy.coverage == 1 && energy.flags == 0);
    meter_total_free(total);
}

static void a_missing_gauge_reading_lowers_the_coverage(void **state) {
    (void)state;
    struct meter_info info = gauge_info();
    struct meter_total *total = new_total(&info, 0);
    for (int i = 0; i <= 20; i++) {
        bool is_missing = i > 5 && i < 12;
        struct meter_total_sample sample =
            feed_watts(total, S + i * 100 * MS, is_missing ? (double)NAN : 10);
        assert_int_equal(sample.is_valid, !is_missing);
    }
    struct meter_energy energy;
    assert_int_equal(meter_total_window(total, S, 3 * S, &energy, NULL), WL_OK);
    assert_true(fabs(energy.coverage - 1.3 / 2) < 1e-6);
    assert_true(energy.flags & RECORD_GAP);
    meter_total_free(total);
}

static void a_lag_moves_the_samples_back(void **state) {
    (void)state;
    struct meter_info info = gauge_info();
    info.lag_ns = 300 * MS;
    info.native_period_ns = 100 * MS;
    struct meter_total *total = new_total(&info, 0);
    struct meter_total_sample sample = feed_watts(total, 10 * S, 5);
    assert_int_equal(sample.t_ns, 10 * S - 350 * MS); // lag, and half a refresh of age
    info.kind = METER_GAUGE_AVERAGED;
    struct meter_total *averaged = new_total(&info, 0);
    sample = feed_watts(averaged, 10 * S, 5);
    assert_int_equal(sample.t_ns, 10 * S - 400 * MS);
    // Not yet known: the meter shows what was.
    struct meter_energy energy;
    assert_int_equal(meter_total_window(averaged, 20 * S, 21 * S, &energy, NULL), WL_NOT_FOUND);
    meter_total_free(total);
    meter_total_free(averaged);
}

static void smoothing_is_undone(void **state) {
    (void)state;
    struct meter_info info = gauge_info();
    info.smoothing_ns = 2 * S;
    info.quantum = 0;
    struct meter_total *total = new_total(&info, 0);
    // 4 W, from 10 s on 12 W, seen through a time constant of 2 s.
    for (int64_t t_ns = 0; t_ns <= 30 * S; t_ns += 50 * MS) {
        double since_s = (double)(t_ns - 10 * S) * 1e-9;
        feed_watts(total, t_ns, since_s < 0 ? 4 : 12 - 8 * exp(-since_s / 2));
    }
    struct meter_energy energy;
    assert_int_equal(meter_total_window(total, 5 * S, 12 * S, &energy, NULL), WL_OK);
    assert_true(fabs(energy.gross_j - (5 * 4 + 2 * 12)) < 0.2); // 34.9 J as shown
    assert_true(fabs(energy.gross_j - 44) < 1.96 * energy.sd_j);
    meter_total_free(total);
}

static void no_gauge_gives_less_than_nothing(void **state) {
    (void)state;
    struct meter_info info = gauge_info();
    info.native_period_ns = 500 * MS;
    struct meter_total *total = new_total(&info, 0);
    for (int i = 0; i <= 40; i++) {
        feed_watts(total, i * 100 * MS, i < 20 ? 50 : 0);
    }
    for (int64_t t0_ns = S; t0_ns < 3 * S; t0_ns += 20 * MS) {
        struct meter_energy energy;
        assert_int_equal(meter_total_window(total, t0_ns, t0_ns + 60 * MS, &energy, NULL), WL_OK);
        assert_true(energy.gross_j >= 0);
        assert_true(energy.flags & RECORD_SHORT);
    }
    meter_total_free(total);
}

// A steady 4.4 W behind steps of 1 W: every reading rounds the same way.
static void rounding_that_never_changes_does_not_average_out(void **state) {
    (void)state;
    struct meter_info info = gauge_info();
    info.quantum = 1;
    struct meter_total *total = new_total(&info, 0);
    for (int i = 0; i <= 200; i++) {
        feed_watts(total, i * 100 * MS, 4);
    }
    struct meter_energy energy;
    assert_int_equal(meter_total_window(total, 5 * S, 15 * S, &energy, NULL), WL_OK);
    assert_true(1.96 * energy.sd_j > 0.4 * 10);
    meter_total_free(total);
}

static void memory_is_bounded_and_recent_windows_stay(void **state) {
    (void)state;
    struct meter_info info = counter_info();
    struct meter_total *total = new_total(&info, 64);
    for (int i = 0; i < 1000; i++) {
        feed_raw(total, S + i * 100 * MS, (uint64_t)i * 1000000 % 1000000000, 0);
    }
    struct meter_energy energy;
    int64_t last_ns = S + 999 * 100 * MS;
    assert_int_equal(meter_total_window(total, last_ns - 2 * S, last_ns, &energy, NULL), WL_OK);
    assert_true(fabs(energy.gross_j - 20) < 1e-6);
    assert_int_equal(meter_total_window(total, S, 2 * S, &energy, NULL), WL_NOT_FOUND);
    meter_total_free(total);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    struct meter_info info = counter_info();
    struct meter_total *total = new_total(&info, 0);
    struct meter_energy energy;
    struct wl_err err;
    assert_int_equal(meter_total_window(total, 0, S, &energy, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "'test'"));
    feed_raw(total, 2 * S, 0, 0);
    struct meter_reading late = {.t_before_ns = S, .t_after_ns = S};
    assert_int_equal(meter_total_feed(total, &late, NULL, &err), WL_INPUT);
    struct meter_reading inverted = {.t_before_ns = 4 * S, .t_after_ns = 3 * S};
    assert_int_equal(meter_total_feed(total, &inverted, NULL, &err), WL_INPUT);
    feed_raw(total, 3 * S, 0, 0);
    assert_int_equal(meter_total_window(total, 3 * S, 2 * S, &energy, &err), WL_INPUT);
    meter_total_free(total);
    meter_total_free(NULL);
    info.channel[0].is_counted = info.channel[1].is_counted = false;
    assert_int_equal(meter_total_new(&info, NULL, &total, &err), WL_INPUT);
}

static void true_joules_are_exact(void **state) {
    (void)state;
    struct meter_synthetic truth = {.n_knots = 4, .knot = {{0, 4}, {S, 4}, {S, 10}, {3 * S, 20}}};
    assert_true(fabs(meter_synthetic_joules(&truth, 0, S) - 4) < 1e-9);
    assert_true(fabs(meter_synthetic_joules(&truth, S, 3 * S) - 30) < 1e-9);
    assert_true(fabs(meter_synthetic_joules(&truth, 0, 5 * S) - 74) < 1e-9);
    assert_true(fabs(meter_synthetic_joules(&truth, 1500 * MS, 2500 * MS) - 15) < 1e-9);
    assert_true(meter_synthetic_power_w(&truth, S) == 10);
    assert_true(meter_synthetic_power_w(&truth, S - 1) == 4);
}

// A gauge's gap is bridged by a straight line: its joules count, so do its seconds.
static void a_gap_does_not_move_a_gauges_mean(void **state) {
    (void)state;
    struct meter_info info = {.name = "gauge",
                              .kind = METER_GAUGE_INSTANT,
                              .native_period_ns = 100000000,
                              .poll_period_ns = 100000000,
                              .offset_w = 1,
                              .n_channels = 1};
    info.channel[0] = (struct meter_channel){.scale = 1, .is_counted = true, .parent = -1};
    struct meter_total *total;
    struct meter_total_options options = {.period_ns = 100000000};
    struct meter_energy energy;
    assert_int_equal(meter_total_new(&info, &options, &total, NULL), WL_OK);
    for (int64_t t = 0; t <= 60; t++) {
        struct meter_reading reading = {.t_before_ns = t * 1000000000 / 10,
                                        .t_after_ns = t * 1000000000 / 10};
        reading.channel[0].value = 10;
        reading.channel[0].is_valid = t < 20 || t > 35;
        assert_int_equal(meter_total_feed(total, &reading, NULL, NULL), WL_OK);
    }
    assert_int_equal(meter_total_window(total, 1000000000, 5000000000, &energy, NULL), WL_OK);
    assert_true(energy.flags & RECORD_GAP && energy.coverage < 0.7);
    assert_true(fabs(energy.gross_j - 44) < 1e-6);
    assert_true(fabs(energy.mean_w - 11) < 1e-6);
    struct meter_net net;
    meter_energy_net(&info, &energy, 4, 11, 0, &net);
    assert_true(fabs(net.net_j) < 1e-6);
    meter_total_free(total);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gap_does_not_move_a_gauges_mean),
        cmocka_unit_test(channels_wrap_apart),
        cmocka_unit_test(a_missing_channel_keeps_the_total),
        cmocka_unit_test(a_gap_inside_a_window_loses_nothing_of_a_counter),
        cmocka_unit_test(a_pause_longer_than_a_wrap_is_unknown),
        cmocka_unit_test(a_gauge_is_integrated_by_trapezoid),
        cmocka_unit_test(a_missing_gauge_reading_lowers_the_coverage),
        cmocka_unit_test(a_lag_moves_the_samples_back),
        cmocka_unit_test(smoothing_is_undone),
        cmocka_unit_test(no_gauge_gives_less_than_nothing),
        cmocka_unit_test(rounding_that_never_changes_does_not_average_out),
        cmocka_unit_test(memory_is_bounded_and_recent_windows_stay),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(true_joules_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
