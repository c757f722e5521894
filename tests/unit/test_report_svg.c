// Charts: round ticks, values that cannot be drawn, escaping. And the small text tools of the
// report.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "base/str.h"
#include "report/clean.h"
#include "report/html.h"
#include "report/svg.h"
#include "report/svg_names.h"

static void ticks_are_round_and_cover(void **state) {
    (void)state;
    double at[8];
    assert_int_equal(svg_round_ticks(0, 10.6, 6, at), 6);
    assert_true(fabs(at[1] - 2.5) < 1e-12);
    assert_int_equal(svg_round_ticks(-3, 3, 6, at), 5);
    assert_true(fabs(at[0] + 4) < 1e-12 && fabs(at[4] - 4) < 1e-12);
    struct rng rng;
    rng_seed(&rng, 5);
    for (int i = 0; i < 5000; i++) {
        double min = (rng_uniform(&rng) - 0.5) * pow(10, (double)rng_below(&rng, 12) - 6);
        double max = min + rng_uniform(&rng) * pow(10, (double)rng_below(&rng, 12) - 6) + 1e-7;
        size_t n = svg_round_ticks(min, max, 6, at);
        assert_in_range(n, 2, 6);
        double step = at[1] - at[0];
        assert_true(step > 0);
        assert_true(at[0] <= min + step * 1e-6 && at[n - 1] >= max - step * 1e-6);
        assert_true(at[0] > min - step && at[n - 1] < max + step); // no empty steps at the ends
    }
}

static void equal_ends_still_make_an_axis(void **state) {
    (void)state;
    double at[8];
    size_t n = svg_round_ticks(5, 5, 6, at);
    assert_true(n >= 2 && at[0] <= 5 && at[n - 1] >= 5);
    n = svg_round_ticks(0, 0, 6, at);
    assert_true(n >= 2 && at[0] <= 0 && at[n - 1] > 0);
}

static void log_ticks_are_decades(void **state) {
    (void)state;
    double at[8];
    assert_int_equal(svg_log_ticks(16, 2048, 8, at), 7); // 20 50 100 200 500 1000 2000
    assert_int_equal(svg_log_ticks(1, 1e12, 8, at), 7);  // every second decade
}

static const char *draw(struct buf *out, double low, double high, const char *text) {
    const struct svg_axis x = {.title = text, .min = low, .max = high, .from_zero = true};
    const struct svg_axis y = {.title = text, .min = low, .max = high};
    const struct svg_legend legend[] = {{"base", text, true}, {"vs", text, false}};
    const double xs[] = {1, NAN, 2, 3}, ys[] = {1, 2, INFINITY, 4};
    const struct svg_band_point band[] = {{1, 0, 2}, {NAN, 0, 1}, {3, NAN, 4}, {4, 1, 3}};
    struct svg_plot plot;
    buf_init(out, 1 << 20);
    svg_open(&plot, out, "id", text, text, &x, &y, legend, 2);
    svg_line(&plot, "base", xs, ys, 4);
    svg_band(&plot, "base", band, 4);
    svg_dot(&plot, "raw", NAN, 1, 3, text);
    svg_dot(&plot, "raw", 1, 1, 3, text);
    svg_whisker(&plot, "base", 1, NAN, 2);
    svg_whisker_across(&plot, "base", 1, NAN, 2);
    svg_whisker_across(&plot, "base", 1, 1, 2);
    svg_bar(&plot, "p0", 0, 1, 0, INFINITY, NULL);
    svg_rule(&plot, "limit", 1);
    svg_vertical(&plot, "exact", NAN);
    svg_vertical(&plot, "exact", 2);
    svg_strip(&plot, "base", NAN, 1);
    svg_strip(&plot, "base", -1e300, 1e300);
    svg_diamond(&plot, "open", NAN, 1, 3, text);
    svg_diamond(&plot, "open", 1, 1, 3, text);
    svg_close(&plot);
    return buf_text(out);
}

static void bad_values_are_left_out(void **state) {
    (void)state;
    static const double RANGES[][2] = {{0, 4},  {NAN, 3},        {1, NAN},
                                       {5, 5},  {-1e300, 1e300}, {INFINITY, 1},
                                       {4, -4}, {0, 0},          {1e-300, 2e-300}};
    for (size_t i = 0; i < sizeof RANGES / sizeof RANGES[0]; i++) {
        struct buf out;
        const char *svg = draw(&out, RANGES[i][0], RANGES[i][1], "t");
        const char *body = strstr(svg, "</desc>");
        assert_non_null(body);
        assert_null(strstr(body, "nan"));
        assert_null(strstr(body, "inf"));
        buf_release(&out);
    }
}

// A knee may lie outside of what is shown, its interval partly.
static void marks_stay_within_the_axis(void **state) {
    (void)state;
    const struct svg_axis axis = {.title = "x", .min = 0, .max = 10};
    struct svg_plot plot;
    struct buf out;
    buf_init(&out, 1 << 20);
    svg_open(&plot, &out, "a", "t", "d", &axis, &axis, NULL, 0);
    svg_vertical(&plot, "far", 11);
    svg_strip(&plot, "gone", 11, 12);
    svg_strip(&plot, "part", 5, 12);
    svg_close(&plot);
    char right[32];
    snprintf(right, sizeof right, "H%.1fV", plot.right);
    const char *part = strstr(buf_text(&out), "strip part");
    assert_null(strstr(buf_text(&out), "far"));
    assert_null(strstr(buf_text(&out), "gone"));
    assert_non_null(part);
    assert_non_null(strstr(part, right));
    buf_release(&out);
}

// A name goes where it covers neither another one nor a dot or whisker; without room it is drawn
// all the same.
static void names_keep_apart(void **state) {
    (void)state;
    const struct svg_axis axis = {.title = "x", .min = 0, .max = 10};
    const struct svg_name names[] = {
        {5, 5, "first", NAN, NAN, NAN, NAN},     {5.4, 5, "second", NAN, NAN, NAN, NAN},
        {10, 1, "at the edge", NAN, NAN, 0, 2},  {2, 8, "whisker", 1, 4, NAN, NAN},
        {NAN, 1, "nowhere", NAN, NAN, NAN, NAN}, {3, 2, "<\xc3\xa4>", NAN, NAN, NAN, NAN}};
    struct svg_name many[2 * SVG_MAX_NAMES];
    struct svg_plot plot;
    struct buf out;
    buf_init(&out, 1 << 20);
    svg_open(&plot, &out, "a", "t", "d", &axis, &axis, NULL, 0);
    svg_names(&plot, names, 6);
    const char *text = buf_text(&out);
    assert_non_null(strstr(text, "\"legend end\" x=\"")); // the dot of the second is to the right
    assert_non_null(strstr(text, ">first</text>"));
    assert_non_null(strstr(text, ">at the edge</text>"));
    assert_non_null(strstr(text, ">&lt;\xc3\xa4&gt;</text>"));
    assert_null(strstr(text, "nowhere"));
    assert_null(strstr(text, "nan"));
    assert_non_null(strstr(text, "\"legend mid\"")); // beside its whisker: above or below
    for (size_t i = 0; i < 2 * SVG_MAX_NAMES; i++) {
        many[i] = names[0];
    }
    svg_names(&plot, many, 2 * SVG_MAX_NAMES);
    svg_close(&plot);
    buf_release(&out);
}

static void text_is_escaped(void **state) {
    (void)state;
    struct buf out;
    const char *svg = draw(&out, 0, 4, "\"><script>alert('1')</script>&\x01");
    assert_null(strstr(svg, "<script"));
    assert_null(strchr(svg, '\x01'));
    assert_non_null(strstr(svg, "&quot;&gt;&lt;script&gt;"));
    buf_release(&out);
}

static void log_axis_of_tokens(void **state) {
    (void)state;
    static const double TOKENS[] = {16, 32, 2048};
    const struct svg_axis x = {
        .title = "x", .min = 16, .max = 2048, .is_log = true, .ticks = TOKENS, .n_ticks = 3};
    const struct svg_axis y = {.title = "y", .min = 0, .max = 1};
    struct svg_plot plot;
    struct buf out;
    buf_init(&out, 1 << 20);
    svg_open(&plot, &out, "a", "t", "d", &x, &y, NULL, 0);
    svg_close(&plot);
    assert_non_null(strstr(buf_text(&out), ">16</text>"));
    assert_non_null(strstr(buf_text(&out), ">2048</text>"));
    buf_release(&out);
}

// ---- text tools ----

static void names_are_made_harmless(void **state) {
    (void)state;
    static const char *const ROWS[][2] = {
        {"plain name", "plain name"},
        {"tab\tnew\nline", "tab new line"},
        {"esc\x1b[31m", "esc?[31m"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"bad \xff\xc3 utf8", "bad ?? utf8"},
        {"cut \xe2\x82", "cut ??"},
        {"overlong \xc0\xaf", "overlong ??"},
        {"surrogate \xed\xa0\x80", "surrogate ???"},
        {"rtl \xe2\x80\xae"
         "exe",
         "rtl ?exe"},
        {"c1 \xc2\x9b"
         "m",
         "c1 ?m"},
        {"", ""}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        char text[64];
        str_copy(text, sizeof text, ROWS[i][0]);
        clean_text(text);
        assert_string_equal(text, ROWS[i][1]);
    }
}

static void any_bytes_become_valid_text(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 6);
    for (int i = 0; i < 20000; i++) {
        char text[24];
        size_t len = rng_below(&rng, 23);
        for (size_t k = 0; k < len; k++) {
            text[k] = (char)(1 + rng_below(&rng, 255));
        }
        text[len] = '\0';
        clean_text(text);
        assert_true(strlen(text) <= len);
        for (size_t k = 0; text[k];) {
            size_t char_len = clean_char_length(text + k);
            assert_true(char_len > 0);
            k += char_len;
        }
    }
}

static void figures_get_real_signs(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 1000);
    html_figure(&out, "-63.1 to -60.8 %, 1.0 to 2.0, a-1 <b>");
    assert_string_equal(buf_text(&out), "\xe2\x88\x92"
                                        "63.1 to \xe2\x88\x92"
                                        "60.8 %, 1.0 "
                                        "\xe2\x80\x93 2.0, a-1 &lt;b&gt;");
    buf_clear(&out);
    html_text_cut(&out, "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 2);
    assert_string_equal(buf_text(&out), "\xe2\x82\xac\xe2\x82\xac\xe2\x80\xa6");
    buf_release(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_are_round_and_cover),
        cmocka_unit_test(equal_ends_still_make_an_axis),
        cmocka_unit_test(log_ticks_are_decades),
        cmocka_unit_test(bad_values_are_left_out),
        cmocka_unit_test(marks_stay_within_the_axis),
        cmocka_unit_test(names_keep_apart),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(log_axis_of_tokens),
        cmocka_unit_test(names_are_made_harmless),
        cmocka_unit_test(any_bytes_become_valid_text),
        cmocka_unit_test(figures_get_real_signs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
