// The text that Prometheus reads: its numbers, what must be escaped, and histograms that add up.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "account/metrics.h"
#include "base/rng.h"

static struct buf empty(void) {
    struct buf buf;
    buf_init(&buf, 1 << 20);
    return buf;
}

static void assert_text(struct buf *buf, const char *expected) {
    assert_string_equal(buf_text(buf), expected);
    buf_clear(buf);
}

static void numbers(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } ROWS[] = {
        {0, "m 0\n"},
        {-0.0, "m 0\n"},
        {1, "m 1\n"},
        {-42, "m -42\n"},
        {0.1, "m 0.1\n"},
        {1234567.125, "m 1234567.125\n"},
        {1e15, "m 1000000000000000\n"},
        {1e21, "m 1e+21\n"},
        {9007199254740991, "m 9007199254740991\n"}, // 2^53 - 1
        {9007199254740992, "m 9007199254740992\n"},
        {-9007199254740992, "m -9007199254740992\n"},
        {1e-9, "m 1e-09\n"},
        {(double)NAN, "m NaN\n"},
        {-(double)NAN, "m NaN\n"},
        {(double)INFINITY, "m +Inf\n"},
        {-(double)INFINITY, "m -Inf\n"},
    };
    struct buf buf = empty();
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        metric_sample(&buf, "m", NULL, ROWS[i].value);
        assert_text(&buf, ROWS[i].text);
    }
    buf_release(&buf);
}

static void labels(void **state) {
    (void)state;
    struct buf buf = empty();
    metric_sample(&buf, "m", (struct metric_label[]){{NULL, NULL}}, 1);
    assert_text(&buf, "m 1\n");
    metric_sample(&buf, "m_total",
                  (struct metric_label[]){{"key", "kitchen"}, {"model", NULL}, {NULL, NULL}}, 2.5);
    assert_text(&buf, "m_total{key=\"kitchen\",model=\"\"} 2.5\n");
    buf_release(&buf);
}

static void label_values_cannot_break_out(void **state) {
    (void)state;
    static const struct {
        const char *value, *text;
    } ROWS[] = {
        {"a\"} 1\nb\\c", "m{l=\"a\\\"} 1\\nb\\\\c\"} 1\n"},
        {"\\n", "m{l=\"\\\\n\"} 1\n"},
        {"\r\t\x01\x7f\xc2\x80", "m{l=\"?????\"} 1\n"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x8b",
         "m{l=\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x8b\"} 1\n"},
        {"a\xff\xe2\x82", "m{l=\"a???\"} 1\n"},
        {"\xed\xa0\x80", "m{l=\"???\"} 1\n"}, // half of a surrogate pair
    };
    struct buf buf = empty();
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        metric_sample(&buf, "m", (struct metric_label[]){{"l", ROWS[i].value}, {NULL, NULL}}, 1);
        assert_text(&buf, ROWS[i].text);
    }
    buf_release(&buf);
}

static void families(void **state) {
    (void)state;
    struct buf buf = empty();
    metric_family(&buf, "wattlaw_requests_total", "counter", "Requests that ended.");
    assert_text(&buf, "# HELP wattlaw_requests_total Requests that ended.\n"
                      "# TYPE wattlaw_requests_total counter\n");
    metric_family(&buf, "m", "gauge", "Quotes \"stay\", \\ and\nlines do not.\xff");
    assert_text(&buf, "# HELP m Quotes \"stay\", \\\\ and\\nlines do not.?\n# TYPE m gauge\n");
    buf_release(&buf);
}

// ---- histograms

static void buckets_are_summed_up(void **state) {
    (void)state;
    static const double BOUNDS[] = {0.5, 1, 2.5};
    struct histogram h;
    histogram_init(&h, BOUNDS, 3);
    static const double VALUES[] = {-1, 0.5, 0.75, 1, 2, 3, 1e9};
    for (size_t i = 0; i < sizeof VALUES / sizeof VALUES[0]; i++) {
        histogram_add(&h, VALUES[i]);
    }
    histogram_add(&h, (double)NAN);
    histogram_add(&h, (double)INFINITY);
    histogram_add(&h, -(double)INFINITY);
    struct buf buf = empty();
    metric_histogram(&buf, "s", (struct metric_label[]){{"key", "a\"b"}, {NULL, NULL}}, &h);
    assert_text(&buf, "s_bucket{key=\"a\\\"b\",le=\"0.5\"} 2\n"
                      "s_bucket{key=\"a\\\"b\",le=\"1\"} 4\n"
                      "s_bucket{key=\"a\\\"b\",le=\"2.5\"} 5\n"
                      "s_bucket{key=\"a\\\"b\",le=\"+Inf\"} 7\n"
                      "s_sum{key=\"a\\\"b\"} 1000000006.25\n"
                      "s_count{key=\"a\\\"b\"} 7\n");
    buf_release(&buf);
}

static void histograms_without_anything(void **state) {
    (void)state;
    static const double BOUNDS[] = {1};
    struct histogram h;
    struct buf buf = empty();
    histogram_init(&h, BOUNDS, 1);
    metric_histogram(&buf, "s", NULL, &h);
    assert_text(&buf, "s_bucket{le=\"1\"} 0\ns_bucket{le=\"+Inf\"} 0\ns_sum 0\ns_count 0\n");
    histogram_init(&h, NULL, 0);
    histogram_add(&h, 3);
    metric_histogram(&buf, "s", NULL, &h);
    assert_text(&buf, "s_bucket{le=\"+Inf\"} 1\ns_sum 3\ns_count 1\n");
    buf_release(&buf);
}

static void no_more_bounds_than_there_is_room_for(void **state) {
    (void)state;
    double bounds[HISTOGRAM_MAX_BOUNDS + 5];
    for (int i = 0; i < HISTOGRAM_MAX_BOUNDS + 5; i++) {
        bounds[i] = i;
    }
    struct histogram h;
    histogram_init(&h, bounds, HISTOGRAM_MAX_BOUNDS + 5);
    assert_int_equal(h.n_bounds, HISTOGRAM_MAX_BOUNDS);
    histogram_add(&h, HISTOGRAM_MAX_BOUNDS + 3);
    assert_true(h.n == 1 && h.counts[HISTOGRAM_MAX_BOUNDS - 1] == 0);
}

// Read back from the text: each bucket has what is not above its bound, counted once more here.
static void buckets_count_what_is_below(void **state) {
    (void)state;
    static const double BOUNDS[] = {0.01, 0.1, 0.3, 0.7, 0.9};
    enum { N_BOUNDS = 5, N = 5000 };
    uint64_t expected[N_BOUNDS] = {0};
    double sum = 0;
    struct histogram h;
    struct rng rng;
    rng_seed(&rng, 3);
    histogram_init(&h, BOUNDS, N_BOUNDS);
    for (int i = 0; i < N; i++) {
        double value = rng_uniform(&rng);
        histogram_add(&h, value);
        sum += value;
        for (int k = 0; k < N_BOUNDS; k++) {
            expected[k] += value <= BOUNDS[k];
        }
    }
    struct buf buf = empty();
    metric_histogram(&buf, "s", NULL, &h);
    for (int k = 0; k < N_BOUNDS; k++) {
        char line[64];
        snprintf(line, sizeof line, "s_bucket{le=\"%g\"} %llu\n", BOUNDS[k],
                 (unsigned long long)expected[k]);
        assert_non_null(strstr(buf_text(&buf), line));
    }
    const char *at = strstr(buf_text(&buf), "s_sum ");
    assert_non_null(at);
    assert_true(fabs(strtod(at + 6, NULL) - sum) < 1e-9);
    buf_release(&buf);
}

static void too_long_is_said(void **state) {
    (void)state;
    struct buf buf;
    buf_init(&buf, 10);
    metric_family(&buf, "name", "gauge", "help");
    assert_true(buf.is_failed);
    buf_release(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),
        cmocka_unit_test(labels),
        cmocka_unit_test(label_values_cannot_break_out),
        cmocka_unit_test(families),
        cmocka_unit_test(buckets_are_summed_up),
        cmocka_unit_test(histograms_without_anything),
        cmocka_unit_test(no_more_bounds_than_there_is_room_for),
        cmocka_unit_test(buckets_count_what_is_below),
        cmocka_unit_test(too_long_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
