// Lines of watts: the parser, the stream of lines, and the sources exec, fifo and csv.
#include "test_meter_tree.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <time.h>

#include "base/buf.h"
#include "base/rng.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "meter/watt_lines.h"
#include "meter/watt_source.h"
#include "os/clock.h"

static const int64_t S = 1000000000;

// --- one line -----------------------------------------------------------------------------------

struct expected_line {
    const char *text;
    enum watt_clock clock;
    int64_t t_ns;
    double power_w;
};

static void good_lines_are_understood(void **state) {
    (void)state;
    static const struct expected_line EXPECTED[] = {
        {"4.53", WATT_CLOCK_ARRIVAL, 0, 4.53},
        {"  4530 mW\r", WATT_CLOCK_ARRIVAL, 0, 4.53},
        {"0.00453kW", WATT_CLOCK_ARRIVAL, 0, 4.53},
        {"4.53e0", WATT_CLOCK_ARRIVAL, 0, 4.53},
        {"12.5 4.53", WATT_CLOCK_OWN, 12500000000, 4.53},
        {"12.5;4.53 W", WATT_CLOCK_OWN, 12500000000, 4.53},
        {"1700000000 4.53", WATT_CLOCK_UNIX, 1700000000000000000, 4.53},
        {"1700000000.25,4.53W", WATT_CLOCK_UNIX, 1700000000250000000, 4.53},
        {"1700000000250\t4.53", WATT_CLOCK_UNIX, 1700000000250000000, 4.53},
        {"1700000000250000 , 4.53", WATT_CLOCK_UNIX, 1700000000250000000, 4.53},
        {"1700000000250000000 4.53", WATT_CLOCK_UNIX, 1700000000250000000, 4.53},
        {"2023-11-14T22:13:20Z 4.53", WATT_CLOCK_UNIX, 1700000000000000000, 4.53},
        {"2023-11-14 23:13:20.25+01:00,4.53", WATT_CLOCK_UNIX, 1700000000250000000, 4.53},
        {"2023-11-14T18:43:20-0330;4530 mW", WATT_CLOCK_UNIX, 1700000000000000000, 4.53},
        {"2023-11-14T22:13:20 4.53", WATT_CLOCK_UNIX, 1700000000000000000, 4.53}, // TZ=UTC
        {"\"2.5\",\"4.53\"", WATT_CLOCK_OWN, 2500000000, 4.53},
        {"2000-02-29T00:00:00Z 1", WATT_CLOCK_UNIX, 951782400000000000, 1},
        {"3 0", WATT_CLOCK_OWN, 3000000000, 0},
    };
    setenv("TZ", "UTC", 1);
    tzset();
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        const struct expected_line *e = &EXPECTED[i];
        struct watt_line line;
        enum watt_line_kind kind = watt_line_parse(e->text, 0, &line);
        if (kind != WATT_LINE_POWER || line.clock != e->clock || llabs(line.t_ns - e->t_ns) > 300 ||
            fabs(line.power_w - e->power_w) > 1e-12) {
            fail_msg("'%s': kind %d, clock %d, %lld ns, %g W", e->text, (int)kind, (int)line.clock,
                     (long long)line.t_ns, line.power_w);
        }
    }
}

static void bad_lines_are_refused(void **state) {
    (void)state;
    static const char *const BAD[] = {"nan",
                                      "inf",
                                      "-4.5",
                                      "1 -4.5",
                                      "1 nan",
                                      "watts",
                                      "4.5 V",
                                      "4,53 W 1",
                                      "1;4,53",
                                      "1 2 3",
                                      "-1 4.5",
                                      "1e300 4.5",
                                      "9e16 1 1",
                                      "1 1e9",
                                      "4.5.6",
                                      "0x10",
                                      "1,",
                                      "1,,2",
                                      ",",
                                      "\"",
                                      "2023-13-14T22:13:20Z 4.5",
                                      "2023-11-14T22:13Z 4.5",
                                      "2023-11-14T22:13:20+99:00 4",
                                      "2023-11-14T22:13:20Z"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct watt_line line;
        if (watt_line_parse(BAD[i], 0, &line) != WATT_LINE_BAD) {
            fail_msg("'%s' was taken as %g W", BAD[i], line.power_w);
        }
    }
    static const char *const SKIPPED[] = {"", "   ", "# time watts", "// x", "\r"};
    for (size_t i = 0; i < sizeof SKIPPED / sizeof SKIPPED[0]; i++) {
        struct watt_line line;
        assert_int_equal(watt_line_parse(SKIPPED[i], 0, &line), WATT_LINE_SKIPPED);
    }
}

static void a_column_can_be_named(void **state) {
    (void)state;
    struct watt_line line;
    assert_int_equal(watt_line_parse("1700000000,5.1,0.9,4.59,31", 4, &line), WATT_LINE_POWER);
    assert_true(fabs(line.power_w - 4.59) < 1e-12);
    assert_int_equal(line.clock, WATT_CLOCK_UNIX);
    assert_int_equal(watt_line_parse("4.59 5.1", 1, &line), WATT_LINE_POWER);
    assert_int_equal(line.clock, WATT_CLOCK_ARRIVAL);
    assert_int_equal(watt_line_parse("2023-11-14 22:13:20Z,5.1,4.59", 3, &line), WATT_LINE_POWER);
    assert_true(fabs(line.power_w - 4.59) < 1e-12);
    assert_int_equal(watt_line_parse("1700000000,5.1", 3, &line), WATT_LINE_BAD);
}

static void steps_follow_what_is_written(void **state) {
    (void)state;
    struct watt_line line;
    watt_line_parse("1700000000 4.53", 0, &line);
    assert_true(line.resolution_ns == S && fabs(line.quantum_w - 0.01) < 1e-12);
    watt_line_parse("1700000000.001 4530 mW", 0, &line);
    assert_true(line.resolution_ns == 1000000 && fabs(line.quantum_w - 0.001) < 1e-12);
}

// --- a stream of them ---------------------------------------------------------------------------

static void add(struct watt_stream *stream, const char *text, int64_t after_ns, int64_t t_ns) {
    watt_stream_add(stream, text, strlen(text), after_ns, t_ns, 1700000000 * S);
}

static void lines_may_arrive_in_pieces(void **state) {
    (void)state;
    struct watt_stream stream = {0};
    struct watt_point point;
    const char *text = "time,watts\n1700000005.000,4.5\n1700000006.000,5.5\n";
    size_t n = 0;
    for (const char *at = text; *at; at++) {
        watt_stream_add(&stream, at, 1, 7 * S, 7 * S, 1700000000 * S);
        while (watt_stream_next(&stream, &point)) {
            assert_false(point.is_gap);
            assert_true(llabs(point.t_before_ns - (n ? 6 : 5) * S) < 1000);
            assert_int_equal(point.t_after_ns - point.t_before_ns, 1000000);
            assert_true(point.power_w == (n ? 5.5 : 4.5));
            n++;
        }
    }
    assert_int_equal(n, 2);
    assert_int_equal(stream.n_bad, 1); // the header; no gap before the first point
}

static void garbage_is_one_gap_at_the_last_point(void **state) {
    (void)state;
    struct watt_stream stream = {0};
    struct watt_point point;
    add(&stream, "1700000001.0 4\noops\n\x01\x02\n1700000002.0 -1\n1700000003.0 6\n", 9 * S, 9 * S);
    assert_true(watt_stream_next(&stream, &point) && !point.is_gap);
    int64_t last_ns = point.t_before_ns + (point.t_after_ns - point.t_before_ns) / 2;
    size_t n_gaps = 0;
    while (watt_stream_next(&stream, &point) && point.is_gap) {
        assert_int_equal(point.t_before_ns, last_ns);
        n_gaps++;
    }
    assert_int_equal(n_gaps, 1);
    assert_true(!point.is_gap && point.power_w == 6);
    assert_false(watt_stream_next(&stream, &point));
    assert_int_equal(stream.n_bad, 3);
    assert_int_equal(stream.n_good, 2);
}

static void a_line_without_end_is_no_line(void **state) {
    (void)state;
    struct watt_stream stream = {0};
    struct watt_point point;
    char flood[WATT_CHUNK_BYTES];
    memset(flood, '7', sizeof flood);
    add(&stream, "5\n", S, S);
    assert_true(watt_stream_next(&stream, &point));
    for (int i = 0; i < 10; i++) {
        watt_stream_add(&stream, flood, sizeof flood, 2 * S, 2 * S, 0);
        while (watt_stream_next(&stream, &point)) {
            assert_true(point.is_gap);
        }
    }
    add(&stream, "7\n6\n", 3 * S, 3 * S);
    assert_true(watt_stream_next(&stream, &point));
    assert_true(!point.is_gap && point.power_w == 6);
    assert_int_equal(stream.n_bad, 1);
    watt_stream_add(&stream, "\0\0\n7\n", 5, 4 * S, 4 * S, 0);
    assert_true(watt_stream_next(&stream, &point) && point.is_gap);
    assert_true(watt_stream_next(&stream, &point) && point.power_w == 7);
}

static void time_never_goes_back(void **state) {
    (void)state;
    struct watt_stream stream = {0};
    struct watt_point point;
    add(&stream, "1700000003.0 4\n1700000002.0 5\n1700000003.0 6\n1700000004.0 7\n", 9 * S, 9 * S);
    assert_true(watt_stream_next(&stream, &point) && point.power_w == 4);
    assert_true(watt_stream_next(&stream, &point) && point.power_w == 7);
    assert_false(watt_stream_next(&stream, &point));
    assert_int_equal(stream.n_back, 2);
    // Nor does it run ahead: a clock that is an hour off gives no points but a reason.
    add(&stream, "1700003600.0 8\n", 10 * S, 10 * S);
    assert_true(watt_stream_next(&stream, &point) && point.is_gap);
    assert_false(watt_stream_next(&stream, &point));
    assert_true(llabs(stream.ahead_ns - 3590 * S) < S);
}

static void lines_that_arrive_together_are_their_mean(void **state) {
    (void)state;
    struct watt_stream stream = {0};
    struct watt_point point;
    add(&stream, "4\n5\n9\n", 1 * S, 2 * S);
    assert_true(watt_stream_next(&stream, &point));
    assert_true(point.t_before_ns == S && point.t_after_ns == 2 * S && point.power_w == 6);
    assert_false(watt_stream_next(&stream, &point));
}

static void another_clock_is_anchored_at_arrival(void **state) {
    (void)state;
    struct watt_stream stream = {0};
    struct watt_point point;
    // The first line was held up by 0.5 s, which the second one shows.
    add(&stream, "0.000 4\n", 100 * S, 100 * S);
    assert_true(watt_stream_next(&stream, &point) && point.t_before_ns == 100 * S);
    add(&stream, "2.000 4\n", 101 * S + S / 2, 101 * S + S / 2);
    assert_true(watt_stream_next(&stream, &point) && point.t_before_ns == 101 * S + S / 2);
    add(&stream, "3.000 4\n", 102 * S + S / 2, 102 * S + S / 2);
    assert_true(watt_stream_next(&stream, &point) && point.t_before_ns == 102 * S + S / 2);
    // Started again: a gap, and a new anchor.
    add(&stream, "0.000 5\n", 110 * S, 110 * S);
    assert_true(watt_stream_next(&stream, &point) && point.is_gap);
    assert_true(watt_stream_next(&stream, &point) && point.t_before_ns == 110 * S);
    // CLOCK_MONOTONIC itself needs no anchor.
    struct watt_stream same = {0};
    add(&same, "99.750 4\n", 100 * S, 100 * S);
    assert_true(watt_stream_next(&same, &point) && point.t_before_ns == 99 * S + 3 * S / 4);
}

// --- the sources --------------------------------------------------------------------------------

static void options_come_in_front(void **state) {
    (void)state;
    struct watt_options options;
    const char *rest;
    struct wl_err err;
    assert_int_equal(watt_options_parse("/a:b", &options, &rest, &err), WL_OK);
    assert_string_equal(rest, "/a:b");
    assert_int_equal(options.scope, METER_SCOPE_WALL);
    assert_int_equal(watt_options_parse("scope=board:gain=0.01:offset=0:period=0.5:lag=1:mean=1:"
                                        "column=3:sh -c 'x=1:2'",
                                        &options, &rest, &err),
                     WL_OK);
    assert_string_equal(rest, "sh -c 'x=1:2'");
    assert_true(options.scope == METER_SCOPE_BOARD && options.gain_error_rel == 0.01 &&
                options.offset_error_w == 0 && options.period_s == 0.5 && options.lag_s == 1 &&
                options.meaning == WATT_MEANING_MEAN && options.column == 3);
    static const char *const BAD[] = {
        "scope=desk:x", "gain=2:x",   "mean=2:x",  "mean=:x", "gain=nan:x",
        "period=0:x",   "column=0:x", "scope=cpu", "",        "scope=cpu:"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(watt_options_parse(BAD[i], &options, &rest, &err), WL_USAGE);
    }
    assert_int_equal(watt_options_parse(NULL, &options, &rest, &err), WL_USAGE);
}

// Readings until `n` are there or 5 s are over; false when the source fails before.
static bool gather(struct meter *meter, double *watts, size_t n, struct wl_err *err) {
    int64_t end_ns = os_now_ns() + 5 * S;
    for (size_t i = 0; i < n && os_now_ns() < end_ns;) {
        struct meter_reading reading;
        if (meter_read(meter, &reading, err) != WL_OK) {
            return false;
        }
        if (reading.is_empty) {
            usleep(2000);
            continue;
        }
        assert_true(reading.t_after_ns >= reading.t_before_ns);
        watts[i++] = reading.channel[0].is_valid ? reading.channel[0].value : -1;
        if (i == n) {
            return true;
        }
    }
    wl_err_set(err, WL_TIMEOUT, "too few readings");
    return false;
}

static void a_command_is_read_until_it_ends(void **state) {
    (void)state;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    struct wl_err err = {0};
    double watts[3];
    if (meter_open(
            &env,
            "exec:period=0.02:mean=1:scope=board:sh -c 'for w in 4 5 6; do echo $w; sleep 0.05; "
            "done; exit 3'",
            &meter, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    const struct meter_info *info = meter_info(meter);
    assert_int_equal(info->scope, METER_SCOPE_BOARD);
    assert_int_equal(info->kind, METER_GAUGE_AVERAGED);
    assert_int_equal(info->lag_ns, 0);
    assert_int_equal(info->native_period_ns, 20000000);
    assert_true(info->may_block && info->includes_dram);
    assert_non_null(strstr(info->title, "'sh'"));
    assert_null(strstr(info->title, "echo")); // arguments may have passwords
    assert_true(gather(meter, watts, 3, &err));
    assert_true(watts[0] == 4 && watts[1] == 5 && watts[2] == 6);
    assert_false(gather(meter, watts, 1, &err));
    assert_non_null(strstr(err.message, "exited with code 3"));
    meter_close(meter);
}

static void the_look_finds_the_period(void **state) {
    (void)state;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    struct wl_err err = {0};
    if (meter_open(&env,
                   "exec:sh -c 'i=0; while [ $i -lt 60 ]; do echo 4.25; i=$((i+1)); sleep 0.04; "
                   "done'",
                   &meter, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    const struct meter_info *info = meter_info(meter);
    assert_true(info->native_period_ns > 35000000 && info->native_period_ns < 90000000);
    assert_true(fabs(info->quantum - 0.01) < 1e-9);
    // Means or not, nobody said: the lines are 0 to half a period old.
    assert_true(info->is_stamped && info->kind == METER_GAUGE_INSTANT);
    assert_true(llabs(info->lag_ns - info->native_period_ns / 4) < 1000);
    assert_true(info->lag_sd_ns >= 100000000 && info->lag_sd_ns < 110000000);
    double watts[12]; // what the look saw is not lost
    assert_true(gather(meter, watts, 12, &err));
    assert_true(watts[0] == 4.25 && watts[11] == 4.25);
    meter_close(meter);
}

static void what_is_no_meter_is_refused(void **state) {
    (void)state;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    struct wl_err err = {0};
    assert_int_equal(meter_open(&env, "exec:/no/such/program", &meter, &err), WL_NOT_FOUND);
    assert_int_equal(meter_open(&env, "exec:no-such-program-here -v", &meter, &err), WL_NOT_FOUND);
    assert_int_equal(meter_open(&env, "exec:sh -c 'echo", &meter, &err), WL_USAGE);
    assert_int_equal(meter_open(&env, "exec", &meter, &err), WL_USAGE);
    assert_int_equal(
        meter_open(&env, "exec:sh -c 'echo no meter on /dev/ttyUSB9 >&2; exit 7'", &meter, &err),
        WL_IO);
    assert_non_null(strstr(err.message, "exited with code 7"));
    assert_non_null(strstr(err.message, "no meter on /dev/ttyUSB9"));
    assert_int_equal(
        meter_open(&env, "exec:sh -c 'echo a b; echo c; echo d; exec sleep 9'", &meter, &err),
        WL_INPUT);
    assert_non_null(strstr(err.message, "time watts"));
    assert_int_equal(meter_open(&env, "fifo:/no/such/fifo", &meter, &err), WL_NOT_FOUND);
    assert_int_equal(meter_open(&env, "csv:/no/such/file", &meter, &err), WL_NOT_FOUND);
    assert_int_equal(meter_open(&env, "csv:/tmp", &meter, &err), WL_INPUT);
}

static void closing_ends_what_the_command_started(void **state) {
    (void)state;
    struct test_tree tree;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    char name[512], line[32];
    double watts[1];
    test_tree_make(&tree);
    snprintf(name, sizeof name, "exec:period=1:sh -c 'sleep 60 & echo $! > %s/pid; echo 4; wait'",
             tree.root);
    assert_int_equal(meter_open(&env, name, &meter, NULL), WL_OK);
    assert_true(gather(meter, watts, 1, NULL));
    assert_int_equal(os_slurp_line(test_tree_path(&tree, "/pid"), line, sizeof line, NULL), WL_OK);
    pid_t pid = (pid_t)strtol(line, NULL, 10);
    assert_true(pid > 1);
    meter_close(meter);
    // An orphan is reaped by init, or stays a zombie where there is none: it runs no more.
    char stat_path[64], text[256] = "";
    bool is_gone = false;
    snprintf(stat_path, sizeof stat_path, "/proc/%d/stat", (int)pid);
    for (int i = 0; i < 200 && !is_gone; i++) {
        is_gone = os_slurp_line(stat_path, text, sizeof text, NULL) != WL_OK ||
                  strstr(text, ") Z") != NULL;
        usleep(5000);
    }
    assert_true(is_gone);
    test_tree_remove(&tree);
}

static void put(int fd, const char *text) {
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void writers_of_a_fifo_come_and_go(void **state) {
    (void)state;
    struct test_tree tree;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    char name[512];
    double watts[4];
    test_tree_make(&tree);
    assert_int_equal(mkfifo(test_tree_path(&tree, "/watts"), 0600), 0);
    snprintf(name, sizeof name, "fifo:period=0.1:%s/watts", tree.root);
    assert_int_equal(meter_open(&env, name, &meter, NULL), WL_OK); // without any writer
    struct meter_reading reading;
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
    assert_true(reading.is_empty);
    int fd = open(test_tree_path(&tree, "/watts"), O_WRONLY | O_CLOEXEC);
    put(fd, "4\n");
    assert_true(gather(meter, watts, 1, NULL) && watts[0] == 4);
    put(fd, "5\n99"); // it dies in the middle of a line
    close(fd);
    assert_true(gather(meter, watts, 2, NULL));
    assert_true(watts[0] == 5 && watts[1] < 0); // the loss is a gap
    fd = open(test_tree_path(&tree, "/watts"), O_WRONLY | O_CLOEXEC);
    put(fd, "6\n");
    assert_true(gather(meter, watts, 1, NULL) && watts[0] == 6);
    close(fd);
    meter_close(meter);
    snprintf(name, sizeof name, "fifo:%s", __FILE__);
    struct wl_err err;
    assert_true(meter_open(&env, name, &meter, &err) != WL_OK);
    test_tree_remove(&tree);
}

static void a_file_is_followed_through_rotation(void **state) {
    (void)state;
    struct test_tree tree;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    char name[512], rotated[512];
    double watts[4];
    test_tree_make(&tree);
    test_tree_write(&tree, "/log.csv", "watts\n1\n2\n"); // when these were written nobody knows
    snprintf(name, sizeof name, "csv:period=0.1:%s/log.csv", tree.root);
    assert_int_equal(meter_open(&env, name, &meter, NULL), WL_OK);
    struct meter_reading reading;
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
    assert_true(reading.is_empty);
    test_tree_write(&tree, "/log.csv", "watts\n1\n2\n4\n5"); // the last line is not whole yet
    assert_true(gather(meter, watts, 1, NULL) && watts[0] == 4);
    test_tree_write(&tree, "/log.csv", "watts\n1\n2\n4\n55\n");
    assert_true(gather(meter, watts, 1, NULL) && watts[0] == 55);
    test_tree_write(&tree, "/log.csv", "6\n"); // cut short: a gap, then its new content
    assert_true(gather(meter, watts, 2, NULL));
    assert_true(watts[0] < 0 && watts[1] == 6);
    snprintf(rotated, sizeof rotated, "%s/log.csv.1", tree.root);
    assert_int_equal(rename(test_tree_path(&tree, "/log.csv"), rotated), 0);
    assert_int_equal(meter_read(meter, &reading, NULL), WL_OK); // nobody has made a new one yet
    assert_true(reading.is_empty);
    test_tree_write(&tree, "/log.csv", "7\n");
    assert_true(gather(meter, watts, 2, NULL));
    assert_true(watts[0] < 0 && watts[1] == 7);
    meter_close(meter);
    test_tree_remove(&tree);
}

static void a_finished_file_gives_its_joules(void **state) {
    (void)state;
    struct test_tree tree;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    struct buf text;
    char name[512];
    test_tree_make(&tree);
    // 100 s at 5 W that ended a minute ago, at 10 Hz.
    int64_t t0_ns = os_now_ns() - 160 * S, wall0_ns = os_wall_ns() - 160 * S;
    buf_init(&text, 1 << 20);
    buf_puts(&text, "time,W\n");
    for (int i = 0; i <= 1000; i++) {
        int64_t t_ns = wall0_ns + i * S / 10;
        buf_printf(&text, "%lld.%06lld,5.0\n", (long long)(t_ns / S), (long long)(t_ns % S / 1000));
    }
    assert_int_equal(os_write_atomic(test_tree_path(&tree, "/log.csv"), text.data, text.len, NULL),
                     WL_OK);
    snprintf(name, sizeof name, "csv:%s/log.csv", tree.root);
    assert_int_equal(meter_open(&env, name, &meter, NULL), WL_OK);
    assert_true(llabs(meter_info(meter)->native_period_ns - S / 10) < 100000);
    struct meter_total *total;
    assert_int_equal(meter_total_new(meter_info(meter), NULL, &total, NULL), WL_OK);
    struct meter_reading reading = {.has_more = true};
    size_t n = 0;
    while (reading.has_more) {
        assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
        assert_int_equal(meter_total_feed(total, &reading, NULL, NULL), WL_OK);
        n += !reading.is_empty;
    }
    assert_int_equal(n, 1001);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(total, t0_ns + 10 * S, t0_ns + 90 * S, &energy, NULL),
                     WL_OK);
    assert_true(fabs(energy.gross_j - 400) < 0.01 && energy.coverage > 0.999);
    meter_total_free(total);
    meter_close(meter);
    buf_release(&text);
    test_tree_remove(&tree);
}

// --- intervals ----------------------------------------------------------------------------------

enum { IDLE_W = 3, LOAD_W = 8 };

// True joules from `from_s` to `to_s` when the load lasts from 30 s to `end_s`.
static double true_joules(double from_s, double to_s, double end_s) {
    double loaded_s = fmax(0, fmin(to_s, end_s) - fmax(from_s, 30));
    return IDLE_W * (to_s - from_s) + (LOAD_W - IDLE_W) * loaded_s;
}

// A log of a load of random length and phase, one line per second, which is the power just then or
// the mean since the last line.
static void write_log(const char *path, int64_t wall0_ns, double phase_s, double end_s,
                      bool is_mean) {
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = 1; i < 90; i++) {
        double t_s = phase_s + i;
        double power_w = is_mean                     ? true_joules(t_s - 1, t_s, end_s)
                         : t_s >= 30 && t_s <= end_s ? LOAD_W
                                                     : IDLE_W;
        int64_t t_ns = wall0_ns + (int64_t)(t_s * 1e9);
        buf_printf(&text, "%lld.%06lld %.4f\n", (long long)(t_ns / S), (long long)(t_ns % S / 1000),
                   power_w);
    }
    assert_int_equal(os_write_atomic(path, text.data, text.len, NULL), WL_OK);
    buf_release(&text);
}

static bool is_covered(const char *name, int64_t t0_ns, double end_s) {
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    struct meter_total *total;
    struct meter_energy energy;
    assert_int_equal(meter_open(&env, name, &meter, NULL), WL_OK);
    assert_int_equal(meter_total_new(meter_info(meter), NULL, &total, NULL), WL_OK);
    struct meter_reading reading = {.has_more = true};
    while (reading.has_more) {
        assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
        assert_int_equal(meter_total_feed(total, &reading, NULL, NULL), WL_OK);
    }
    assert_int_equal(
        meter_total_window(total, t0_ns + 30 * S, t0_ns + (int64_t)(end_s * 1e9), &energy, NULL),
        WL_OK);
    meter_total_free(total);
    meter_close(meter);
    assert_true(energy.coverage > 0.999);
    return fabs(energy.gross_j - true_joules(30, end_s, end_s)) <= 1.96 * energy.sd_j;
}

static void the_truth_lies_in_the_interval(void **state) {
    (void)state;
    static const struct {
        const char *options;
        bool is_mean;
    } CASES[] = {{"period=1:", false},
                 {"period=1:", true},
                 {"period=1:mean=1:lag=0:", true},
                 {"period=1:mean=0:lag=0:", false}};
    enum { N = 200 };
    struct test_tree tree;
    struct rng rng;
    test_tree_make(&tree);
    rng_seed(&rng, 21);
    for (size_t c = 0; c < sizeof CASES / sizeof CASES[0]; c++) {
        int n = 0;
        for (int i = 0; i < N; i++) {
            char name[512];
            double end_s = 40 + 20 * rng_uniform(&rng);
            int64_t t0_ns = os_now_ns() - 100 * S, wall0_ns = os_wall_ns() - 100 * S;
            write_log(test_tree_path(&tree, "/log"), wall0_ns, rng_uniform(&rng), end_s,
                      CASES[c].is_mean);
            snprintf(name, sizeof name, "csv:%s%s/log", CASES[c].options, tree.root);
            n += is_covered(name, t0_ns, end_s);
        }
        if (n < N * 92 / 100) {
            fail_msg("options '%s', lines are %s: %d of %d intervals cover the truth",
                     CASES[c].options, CASES[c].is_mean ? "means" : "instants", n, N);
        }
    }
    test_tree_remove(&tree);
}

static void a_thread_stamps_lines_as_they_arrive(void **state) {
    (void)state;
    struct meter_env env = {0};
    struct meter *meter;
    struct wl_err err = {0};
    int64_t start_ns = os_now_ns();
    assert_int_equal(
        meter_open(&env, "exec:period=1:sh -c 'sleep 0.3; echo 4; exec sleep 60'", &meter, &err),
        WL_OK);
    usleep(700000);
    struct meter_reading reading;
    assert_int_equal(meter_read(meter, &reading, &err), WL_OK);
    assert_false(reading.is_empty);
    assert_true(reading.t_before_ns > start_ns + 280000000);
    assert_true(reading.t_after_ns < start_ns + 650000000); // not when it was asked for
    int64_t close_ns = os_now_ns();
    meter_close(meter);
    assert_true(os_now_ns() - close_ns < 2 * S);
}

static void a_hundred_bad_lines_end_it(void **state) {
    (void)state;
    struct meter_env env = {.has_no_threads = true};
    struct meter *meter;
    struct wl_err err = {0};
    double watts[4];
    assert_int_equal(
        meter_open(&env, "exec:period=1:sh -c 'echo 4; yes 12:00 nonsense'", &meter, &err), WL_OK);
    assert_false(gather(meter, watts, 4, &err));
    assert_non_null(strstr(err.message, "12:00 nonsense"));
    meter_close(meter);
}

static void the_verdict_shows_the_form(void **state) {
    (void)state;
    struct meter_env env = {.root = test_root("pi5")};
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n, n_found = 0;
    meter_probe_all(&env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "exec") == 0 || strcmp(verdicts[i].name, "fifo") == 0 ||
            strcmp(verdicts[i].name, "csv") == 0) {
            assert_int_equal(verdicts[i].availability, METER_ON_REQUEST);
            assert_true(verdicts[i].is_external);
            assert_non_null(strstr(verdicts[i].fix, verdicts[i].name));
            assert_non_null(strstr(verdicts[i].fix, "two columns"));
            assert_non_null(strstr(verdicts[i].reason, "mean, column")); // not cut
            n_found++;
        }
    }
    assert_int_equal(n_found, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_lines_are_understood),
        cmocka_unit_test(bad_lines_are_refused),
        cmocka_unit_test(a_column_can_be_named),
        cmocka_unit_test(steps_follow_what_is_written),
        cmocka_unit_test(lines_may_arrive_in_pieces),
        cmocka_unit_test(garbage_is_one_gap_at_the_last_point),
        cmocka_unit_test(a_line_without_end_is_no_line),
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(lines_that_arrive_together_are_their_mean),
        cmocka_unit_test(another_clock_is_anchored_at_arrival),
        cmocka_unit_test(options_come_in_front),
        cmocka_unit_test(a_command_is_read_until_it_ends),
        cmocka_unit_test(the_look_finds_the_period),
        cmocka_unit_test(what_is_no_meter_is_refused),
        cmocka_unit_test(closing_ends_what_the_command_started),
        cmocka_unit_test(writers_of_a_fifo_come_and_go),
        cmocka_unit_test(a_file_is_followed_through_rotation),
        cmocka_unit_test(a_finished_file_gives_its_joules),
        cmocka_unit_test(the_truth_lies_in_the_interval),
        cmocka_unit_test(a_thread_stamps_lines_as_they_arrive),
        cmocka_unit_test(a_hundred_bad_lines_end_it),
        cmocka_unit_test(the_verdict_shows_the_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
