// The public library as a program outside this repository would use it: only its header is
// included.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "wattlaw/wattlaw.h"

#define assert_near(found, expected, tolerance)                                                    \
    assert_true(fabs((found) - (expected)) <= (tolerance))

static void test_names(void **state) {
    (void)state;
    assert_string_equal(wattlaw_version(), "0.1.0");
    assert_string_equal(wattlaw_status_name(WATTLAW_OK), "ok");
    assert_string_equal(wattlaw_status_name(WATTLAW_INPUT), "bad-input");
    assert_true(wattlaw_now_ns() > 0);
}

static void test_area(void **state) {
    (void)state;
    struct wattlaw_sample samples[51];
    for (int i = 0; i <= 50; i++) {
        samples[i] = (struct wattlaw_sample){i * 200000000LL, 5 + i};
    }
    struct wattlaw_area_options options = {.size = sizeof options, .baseline = 5};
    struct wattlaw_area area = {.size = sizeof area};
    struct wattlaw_error error;
    assert_int_equal(wattlaw_area(samples, 51, 0, 10000000000, &options, &area, &error),
                     WATTLAW_OK);
    assert_near(area.area_value_s, 250, 1e-9);
    assert_near(area.coverage, 1, 1e-12);
    assert_int_equal(area.n_samples, 51);
    assert_int_equal(wattlaw_area(samples, 51, 0, 0, NULL, &area, &error), WATTLAW_INPUT);
    assert_true(strlen(error.message) > 0 && error.status == WATTLAW_INPUT);
    samples[7].t_ns = 0;
    assert_int_equal(wattlaw_area(samples, 51, 0, 10, NULL, &area, NULL), WATTLAW_INPUT);
}

// A caller built against a smaller struct gets what it has room for and no more.
static void test_small_structs(void **state) {
    (void)state;
    struct wattlaw_sample samples[] = {{0, 1}, {100, 1}, {200, 1}};
    union {
        struct wattlaw_area area;
        unsigned char bytes[sizeof(struct wattlaw_area)];
    } out;
    memset(out.bytes, 0xee, sizeof out.bytes);
    out.area.size = offsetof(struct wattlaw_area, peak);
    assert_int_equal(wattlaw_area(samples, 3, 0, 200, NULL, &out.area, NULL), WATTLAW_OK);
    assert_near(out.area.mean, 1, 1e-12);
    assert_int_equal(out.bytes[offsetof(struct wattlaw_area, peak)], 0xee);
    struct wattlaw_area unset = {0};
    struct wattlaw_error error;
    assert_int_equal(wattlaw_area(samples, 3, 0, 200, NULL, &unset, &error), WATTLAW_INPUT);
    assert_non_null(strstr(error.message, "size"));
    assert_int_equal(wattlaw_area(samples, 3, 0, 200, NULL, NULL, NULL), WATTLAW_INPUT);
}

static void test_counter(void **state) {
    (void)state;
    struct wattlaw_counter_options options = {
        .size = sizeof options, .range = 1000, .max_readings = 10};
    struct wattlaw_counter *counter = NULL;
    struct wattlaw_error error;
    assert_int_equal(wattlaw_counter_new(&options, &counter, &error), WATTLAW_OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(
            wattlaw_counter_feed(counter, (uint64_t)(i * 300 % 1000), i * 1000000000LL, &error),
            WATTLAW_OK);
    }
    assert_true(wattlaw_counter_total(counter) == 2700);
    assert_int_equal(wattlaw_counter_wraps(counter), 2);
    assert_int_equal(wattlaw_counter_resets(counter), 0);
    assert_int_equal(wattlaw_counter_feed(counter, 5, 10000000000, &error), WATTLAW_LIMIT);
    struct wattlaw_delta delta = {.size = sizeof delta};
    assert_int_equal(wattlaw_counter_window(counter, 1500000000, 4500000000, &delta, &error),
                     WATTLAW_OK);
    assert_near(delta.delta, 900, 1e-9);
    assert_int_equal(wattlaw_counter_window(counter, 0, 99000000000, &delta, &error),
                     WATTLAW_NOT_FOUND);
    wattlaw_counter_free(counter);
    wattlaw_counter_free(NULL);
    assert_true(wattlaw_counter_max_poll_ns(1000, 250) == 2000000000);
}

static struct wattlaw_law *some_law(double factor) {
    struct wattlaw_law_point points[48];
    size_t n = 0;
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 3; j++) {
            double p = 16 + 100 * i, g = 16 + 40 * j, wobble = 1 + 0.01 * ((i * 7 + j * 5) % 5 - 2);
            points[n++] =
                (struct wattlaw_law_point){p, g, factor * (3 + 0.05 * p + 0.4 * g) * wobble};
        }
    }
    struct wattlaw_law *law = NULL;
    assert_int_equal(wattlaw_law_fit(points, n, &law, NULL), WATTLAW_OK);
    return law;
}

static void test_law(void **state) {
    (void)state;
    struct wattlaw_law *law = some_law(1), *half = some_law(0.5), *back = NULL;
    struct wattlaw_coefficient slope = {.size = sizeof slope};
    struct wattlaw_law_quality quality = {.size = sizeof quality};
    struct wattlaw_prediction a = {.size = sizeof a}, b = {.size = sizeof b};
    struct wattlaw_ratio ratio = {.size = sizeof ratio};
    struct wattlaw_error error;
    assert_int_equal(wattlaw_law_coefficient(law, WATTLAW_LAW_PROMPT, &slope, &error), WATTLAW_OK);
    assert_true(slope.is_used && slope.low < 0.05 && 0.05 < slope.high);
    assert_int_equal(wattlaw_law_coefficient(law, (enum wattlaw_law_term)9, &slope, &error),
                     WATTLAW_INPUT);
    assert_int_equal(wattlaw_law_quality(law, &quality, &error), WATTLAW_OK);
    assert_true(quality.r2 > 0.99 && quality.mean_abs_pct_error < 5 && quality.n == 48);
    assert_int_equal(wattlaw_law_compare(law, half, 300, 64, &ratio, &error), WATTLAW_OK);
    assert_true(ratio.low < 0.5 && 0.5 < ratio.high && ratio.p_equal < 1e-6);
    char *text = NULL;
    assert_int_equal(wattlaw_law_to_json(law, &text, &error), WATTLAW_OK);
    assert_int_equal(wattlaw_law_from_json(text, strlen(text), &back, &error), WATTLAW_OK);
    wattlaw_free(text);
    assert_int_equal(wattlaw_law_predict(law, 700, 64, &a, &error), WATTLAW_OK);
    assert_int_equal(wattlaw_law_predict(back, 700, 64, &b, &error), WATTLAW_OK);
    assert_memory_equal(&a, &b, sizeof a);
    wattlaw_law_free(law);
    wattlaw_law_free(half);
    wattlaw_law_free(back);
    assert_int_equal(wattlaw_law_from_json("{}", 2, &back, &error), WATTLAW_INPUT);
    assert_null(back);
    assert_int_equal(wattlaw_law_fit(NULL, 0, &back, &error), WATTLAW_INPUT);
}

// A machine with one package counter under a folder of its own.
static char g_root[64] = "/tmp/wattlaw-api-XXXXXX";

static void write_file(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/sys/class/powercap/intel-rapl:0/%s", g_root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_machine(void **state) {
    (void)state;
    static const char *const folders[] = {"", "/sys", "/sys/class", "/sys/class/powercap",
                                          "/sys/class/powercap/intel-rapl:0"};
    if (!mkdtemp(g_root)) {
        return -1;
    }
    for (size_t i = 1; i < sizeof folders / sizeof *folders; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s%s", g_root, folders[i]);
        if (mkdir(path, 0700) != 0) {
            return -1;
        }
    }
    write_file("name", "package-0\n");
    write_file("enabled", "1\n");
    write_file("max_energy_range_uj", "262143328850\n");
    write_file("energy_uj", "262143000000\n");
    return 0;
}

static int remove_machine(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", g_root);
    return system(command);
}

static void wait_ms(long ms) {
    const struct timespec time = {.tv_nsec = ms * 1000000};
    nanosleep(&time, NULL);
}

static void test_meter_window(void **state) {
    (void)state;
    struct wattlaw_meter_options options = {.size = sizeof options, .root = g_root};
    struct wattlaw_meter *meter = NULL;
    struct wattlaw_window *window = NULL;
    struct wattlaw_energy energy = {.size = sizeof energy};
    struct wattlaw_error error = {0};
    if (wattlaw_meter_open("powercap", &options, &meter, &error) != WATTLAW_OK) {
        fail_msg("%s", error.message);
    }
    assert_true(wattlaw_meter_max_poll_ns(meter) > 1000000000);
    assert_int_equal(wattlaw_window_start(meter, &window, &error), WATTLAW_OK);
    wait_ms(100);
    write_file("energy_uj", "1000000\n"); // wrapped: 1.32885 J
    assert_int_equal(wattlaw_meter_read(meter, &error), WATTLAW_OK);
    wait_ms(100);
    write_file("energy_uj", "3000000\n");
    if (wattlaw_window_stop(window, &energy, &error) != WATTLAW_OK) {
        fail_msg("%s", error.message);
    }
    print_message("%g J, %g to %g\n", energy.joules, energy.low_j, energy.high_j);
    // The meter corrects for the age of a counter's value, by half its 1 ms refresh here.
    assert_near(energy.joules, 3.32885, 0.05);
    assert_true(energy.low_j < 3.32885 && 3.32885 < energy.high_j && energy.is_resolved);
    assert_true(energy.seconds > 0.19 && energy.seconds < 5 && !energy.has_reset);
    assert_string_equal(energy.label, "measured");
    assert_string_equal(energy.scope, "cpu");
    // Nothing used: the interval is wider than the value.
    assert_int_equal(wattlaw_window_start(meter, &window, &error), WATTLAW_OK);
    wait_ms(10);
    assert_int_equal(wattlaw_window_stop(window, &energy, &error), WATTLAW_OK);
    assert_false(energy.is_resolved);
    wattlaw_meter_close(meter);
    wattlaw_meter_close(NULL);
}

static void test_meter_list(void **state) {
    (void)state;
    struct wattlaw_meter_options options = {.size = sizeof options, .root = g_root};
    struct wattlaw_meter_entry entries[32] = {{.size = sizeof entries[0]}};
    size_t n = 0;
    assert_int_equal(wattlaw_meter_list(&options, entries, 32, &n, NULL), WATTLAW_OK);
    int has_powercap = 0;
    for (size_t i = 0; i < n; i++) {
        has_powercap |= strcmp(entries[i].name, "powercap") == 0 && entries[i].is_available;
        assert_true(strlen(entries[i].title) > 0);
    }
    assert_true(n >= 2 && has_powercap);
    size_t n_again = 0;
    assert_int_equal(wattlaw_meter_list(&options, entries, 1, &n_again, NULL), WATTLAW_OK);
    assert_int_equal(n_again, n);
    struct wattlaw_meter *meter = NULL;
    struct wattlaw_error error;
    assert_int_equal(wattlaw_meter_open("powercab", &options, &meter, &error), WATTLAW_NOT_FOUND);
    assert_null(meter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),         cmocka_unit_test(test_area),
        cmocka_unit_test(test_small_structs), cmocka_unit_test(test_counter),
        cmocka_unit_test(test_law),           cmocka_unit_test(test_meter_window),
        cmocka_unit_test(test_meter_list),
    };
    return cmocka_run_group_tests(tests, make_machine, remove_machine);
}
