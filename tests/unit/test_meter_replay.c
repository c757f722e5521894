// Recorded traces: what a meter read comes back the same, at its own pace; what is no trace is
// refused.
#include "test_meter_tree.h"

#include <math.h>

#include "base/buf.h"
#include "base/rng.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "meter/replay_trace.h"
#include "meter/replay_writer.h"
#include "meter/synthetic.h"

static const int64_t MS = 1000000;

struct fake_clock {
    int64_t t_ns;
};

static int64_t fake_now(void *context) {
    return ((struct fake_clock *)context)->t_ns;
}

static struct meter_info two_channels(enum meter_kind kind) {
    bool is_counter = meter_kind_is_counter(kind);
    return (struct meter_info){
        .name = "powercap",
        .title = "RAPL through powercap",
        .kind = kind,
        .scope = METER_SCOPE_CPU,
        .unit = is_counter ? "uJ" : "W",
        .native_period_ns = MS,
        .lag_ns = -5 * MS,
        .lag_sd_ns = MS,
        .quantum = 61e-6,
        .includes_dram = true,
        .is_stamped = true,
        .gain_error_rel = 0.2,
        .offset_error_w = 0.5,
        .offset_w = -0.25,
        .max_power_w = 500,
        .label = LABEL_CALIBRATED,
        .n_channels = 2,
        .channel = {{.name = "package-0",
                     .range = UINT64_MAX,
                     .scale = is_counter ? 1e-6 : 1,
                     .is_counted = true,
                     .parent = -1},
                    {.name = "core", .range = 7, .scale = is_counter ? 1e-6 : 1, .parent = 0}}};
}

static void assert_same_info(const struct meter_info *a, const struct meter_info *b) {
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->title, b->title);
    assert_string_equal(a->unit, b->unit);
    assert_true(a->kind == b->kind && a->scope == b->scope && a->label == b->label);
    assert_true(a->native_period_ns == b->native_period_ns && a->lag_ns == b->lag_ns &&
                a->lag_sd_ns == b->lag_sd_ns && a->smoothing_ns == b->smoothing_ns);
    assert_true(a->quantum == b->quantum && a->noise_sd_w == b->noise_sd_w &&
                a->gain_error_rel == b->gain_error_rel && a->offset_error_w == b->offset_error_w &&
                a->offset_w == b->offset_w && a->max_power_w == b->max_power_w);
    assert_true(a->includes_dram == b->includes_dram && a->is_stamped == b->is_stamped &&
                a->n_channels == b->n_channels);
    for (size_t i = 0; i < a->n_channels; i++) {
        assert_string_equal(a->channel[i].name, b->channel[i].name);
        assert_true(a->channel[i].range == b->channel[i].range &&
                    a->channel[i].scale == b->channel[i].scale &&
                    a->channel[i].is_counted == b->channel[i].is_counted &&
                    a->channel[i].parent == b->channel[i].parent);
    }
}

// --- the text -----------------------------------------------------------------------------------

static void headers_come_back_the_same(void **state) {
    (void)state;
    for (int kind = METER_COUNTER; kind <= METER_MODEL; kind++) {
        struct meter_info info = two_channels((enum meter_kind)kind);
        struct replay_header header;
        struct buf text;
        struct wl_err err;
        buf_init(&text, REPLAY_HEADER_BYTES);
        assert_int_equal(replay_header_write(&info, &text, &err), WL_OK);
        if (replay_header_parse(buf_text(&text), &header, &err) != WL_OK) {
            fail_msg("%s", err.message);
        }
        assert_same_info(&header.info, &info);
        buf_release(&text);
    }
}

static void the_longest_header_fits(void **state) {
    (void)state;
    struct meter_info info = two_channels(METER_COUNTER);
    info.n_channels = METER_MAX_CHANNELS;
    for (size_t i = 0; i < METER_MAX_CHANNELS; i++) {
        info.channel[i] = info.channel[0];
        info.channel[i].scale = 1.2345678901234567e-10;
        memset(info.channel[i].name, 1, METER_NAME_BYTES - 1); // six bytes each in JSON
    }
    struct buf text;
    buf_init(&text, REPLAY_HEADER_BYTES);
    assert_int_equal(replay_header_write(&info, &text, NULL), WL_OK);
    buf_release(&text);
}

static void rows_come_back_the_same(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 3);
    for (int i = 0; i < 2000; i++) {
        struct meter_info info = two_channels(i % 2 ? METER_COUNTER : METER_GAUGE_INSTANT);
        struct replay_row row = {.t_before_ns = (int64_t)rng_below(&rng, 2000000000)}, back;
        row.t_after_ns = row.t_before_ns + (int64_t)rng_below(&rng, 1000000000);
        for (size_t k = 0; k < 2; k++) {
            row.channel[k].is_valid = rng_below(&rng, 4) > 0;
            if (row.channel[k].is_valid && i % 2) {
                row.channel[k].raw = rng_next(&rng);
            } else if (row.channel[k].is_valid) {
                row.channel[k].value = 100 * rng_uniform(&rng);
            }
        }
        struct buf text;
        struct wl_err err;
        buf_init(&text, REPLAY_ROW_BYTES);
        assert_true(replay_row_write(&info, &row, &text));
        if (replay_row_parse(buf_text(&text), &info, NULL, &back, &err) != WL_OK) {
            fail_msg("%s: %s", buf_text(&text), err.message);
        }
        assert_memory_equal(&back, &row, sizeof row);
        buf_release(&text);
    }
}

static void impossible_values_are_recorded_as_gaps(void **state) {
    (void)state;
    static const double BAD[] = {-1, (double)NAN, HUGE_VAL, 1e300};
    struct meter_info info = two_channels(METER_GAUGE_INSTANT);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct replay_row row = {
            .channel = {{.value = BAD[i], .is_valid = true}, {.value = 2, .is_valid = true}}};
        struct replay_row back;
        struct buf text;
        buf_init(&text, REPLAY_ROW_BYTES);
        assert_true(replay_row_write(&info, &row, &text));
        assert_int_equal(replay_row_parse(buf_text(&text), &info, NULL, &back, NULL), WL_OK);
        assert_true(!back.channel[0].is_valid && back.channel[1].is_valid);
        buf_release(&text);
    }
}

static void bad_rows_are_refused(void **state) {
    (void)state;
    static const char *const BAD[] = {"",
                                      "\n",
                                      "1",
                                      "1,2",
                                      "1,2,3",
                                      "1,2,3,4,5",
                                      "2,1,3,4",
                                      "1,x,3,4",
                                      "1,2,-3,4",
                                      "1,2,3.5,4",
                                      "1,2,nan,4",
                                      "1,2,18446744073709551616,4",
                                      "0,99999999999999999,3,4",
                                      "-9000000000000,0,3,4"};
    struct meter_info info = two_channels(METER_COUNTER);
    struct replay_row row, first = {.t_before_ns = 100, .t_after_ns = 100};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct wl_err err = {0};
        if (replay_row_parse(BAD[i], &info, NULL, &row, &err) != WL_INPUT) {
            fail_msg("'%s' was taken", BAD[i]);
        }
        assert_true(err.message[0]);
    }
    assert_int_equal(replay_row_parse("99,100,1,1", &info, &first, &row, NULL), WL_INPUT);
    assert_int_equal(replay_row_parse("100,100,1,", &info, &first, &row, NULL), WL_OK);
    assert_false(row.channel[1].is_valid);
    info.kind = METER_GAUGE_INSTANT;
    assert_int_equal(replay_row_parse("1,2,-0.5,4", &info, NULL, &row, NULL), WL_INPUT);
    assert_int_equal(replay_row_parse("1,2,1e300,4", &info, NULL, &row, NULL), WL_INPUT);
}

// --- the source ---------------------------------------------------------------------------------

// A ramp with a wrap, recorded at 10 Hz for 20 s, with a gap; its true joules are known.
static const struct meter_synthetic RAMP = {.knot = {{5000 * 1000000LL, 4}, {25000 * 1000000LL, 9}},
                                            .n_knots = 2,
                                            .kind = METER_COUNTER,
                                            .scope = METER_SCOPE_BOARD,
                                            .range_uj = 50000000,
                                            .gap_t0_ns = 11000 * 1000000LL,
                                            .gap_t1_ns = 11150 * 1000000LL};

static void record(const struct meter_synthetic *truth, const char *path,
                   struct meter_total **total) {
    struct fake_clock fake = {5000 * MS};
    struct os_clock clock = {.now_ns = fake_now, .context = &fake};
    struct meter_env env = {.clock = &clock, .synthetic = truth};
    struct meter *meter;
    struct replay_writer *writer;
    assert_int_equal(meter_open(&env, "synthetic", &meter, NULL), WL_OK);
    assert_int_equal(replay_writer_open(path, meter_info(meter), &writer, NULL), WL_OK);
    assert_int_equal(meter_total_new(meter_info(meter), NULL, total, NULL), WL_OK);
    for (; fake.t_ns <= 25000 * MS; fake.t_ns += 100 * MS) {
        struct meter_reading reading;
        assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
        assert_int_equal(meter_total_feed(*total, &reading, NULL, NULL), WL_OK);
        assert_int_equal(replay_writer_add(writer, &reading, NULL), WL_OK);
    }
    struct meter_reading empty = {.is_empty = true};
    assert_int_equal(replay_writer_add(writer, &empty, NULL), WL_OK);
    assert_int_equal(replay_writer_close(writer, NULL), WL_OK);
    meter_close(meter);
}

static void a_replay_gives_the_joules_of_the_original(void **state) {
    (void)state;
    struct test_tree tree;
    struct meter_total *original, *again;
    char name[512];
    struct wl_err err;
    test_tree_make(&tree);
    record(&RAMP, test_tree_path(&tree, "/t.wlt"), &original);
    struct fake_clock fake = {777000 * MS};
    struct os_clock clock = {.now_ns = fake_now, .context = &fake};
    struct meter_env env = {.clock = &clock};
    struct meter *meter;
    snprintf(name, sizeof name, "replay:%s/t.wlt", tree.root);
    if (meter_open(&env, name, &meter, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    const struct meter_info *info = meter_info(meter);
    assert_string_equal(info->name, "replay");
    assert_non_null(strstr(info->title, "replay of synthetic"));
    assert_true(info->scope == METER_SCOPE_BOARD && info->label == LABEL_MEASURED);
    assert_int_equal(info->poll_period_ns, 100 * MS);
    assert_int_equal(meter_total_new(info, NULL, &again, NULL), WL_OK);
    // Read at another pace than the recorder's: several readings are due at once, or none.
    size_t n = 0;
    for (int64_t t0_ns = fake.t_ns; fake.t_ns <= t0_ns + 20000 * MS; fake.t_ns += 70 * MS) {
        struct meter_reading reading = {.has_more = true};
        while (reading.has_more) {
            assert_int_equal(meter_read(meter, &reading, NULL), WL_OK);
            assert_int_equal(meter_total_feed(again, &reading, NULL, &err), WL_OK);
            assert_true(reading.is_empty || reading.t_after_ns <= fake.t_ns);
            n += !reading.is_empty;
        }
    }
    assert_true(n >= 200);
    struct meter_energy a, b;
    assert_int_equal(meter_total_window(original, 8000 * MS, 20000 * MS, &a, NULL), WL_OK);
    assert_int_equal(meter_total_window(again, 780000 * MS, 792000 * MS, &b, NULL), WL_OK);
    assert_true(fabs(a.gross_j - b.gross_j) < 1e-9);
    assert_true(fabs(a.sd_j - b.sd_j) < 1e-9 && a.flags == b.flags);
    double true_j = meter_synthetic_joules(&RAMP, 8000 * MS, 20000 * MS);
    assert_true(fabs(b.gross_j - true_j) < 0.01);
    // Behind its end it is of no further use, and says so.
    fake.t_ns += 1000 * MS;
    struct meter_reading reading;
    while (meter_read(meter, &reading, &err) == WL_OK) {
        assert_false(reading.is_empty);
    }
    assert_non_null(strstr(err.message, "has ended after 20"));
    meter_total_free(original);
    meter_total_free(again);
    meter_close(meter);
    test_tree_remove(&tree);
}

static enum wl_status open_text(const struct test_tree *tree, const char *text,
                                struct wl_err *err) {
    struct meter_env env = {0};
    struct meter *meter = NULL;
    char name[512];
    assert_int_equal(os_write_atomic(test_tree_path(tree, "/t.wlt"), text, strlen(text), NULL),
                     WL_OK);
    snprintf(name, sizeof name, "replay:%s/t.wlt", tree->root);
    enum wl_status status = meter_open(&env, name, &meter, err);
    meter_close(status == WL_OK ? meter : NULL);
    return status;
}

// The header of a gauge, with `from` replaced by `to`, and a row.
static void change(const char *from, const char *to, char *out, size_t size) {
    struct meter_info info = two_channels(METER_GAUGE_INSTANT);
    struct buf text;
    buf_init(&text, REPLAY_HEADER_BYTES);
    assert_int_equal(replay_header_write(&info, &text, NULL), WL_OK);
    const char *at = from ? strstr(buf_text(&text), from) : buf_text(&text);
    assert_non_null(at);
    snprintf(out, size, "%.*s%s%s0,1,5,2\n", (int)(at - buf_text(&text)), buf_text(&text),
             from ? to : "", at + (from ? strlen(from) : 0));
    buf_release(&text);
}

static void bad_headers_are_refused(void **state) {
    (void)state;
    static const char *const CHANGES[][2] = {{"\"version\":1", "\"version\":2"},
                                             {"wattlaw-trace", "other-trace"},
                                             {"gauge-instant", "gauge"},
                                             {"\"cpu\"", "\"desk\""},
                                             {"\"parent\":-1", "\"parent\":5"},
                                             {"\"parent\":0", "\"parent\":1"},
                                             {"\"scale\":1.0", "\"scale\":0.0"},
                                             {"\"scale\":1.0", "\"scale\":-1.0"},
                                             {"\"is_counted\":true", "\"is_counted\":false"},
                                             {"\"quantum\":", "\"quantum\":-"},
                                             {"\"gain_error_rel\":", "\"gain\":"},
                                             {"\"max_power_w\":", "\"max_power_w\":null,\"x\":"},
                                             {"\"native_period_ns\":", "\"native_period_ns\":-"},
                                             {"\"range\":\"7\"", "\"range\":\"x\""},
                                             {"{", "["}};
    struct test_tree tree;
    char text[4096];
    struct wl_err err;
    test_tree_make(&tree);
    change(NULL, NULL, text, sizeof text);
    if (open_text(&tree, text, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < sizeof CHANGES / sizeof CHANGES[0]; i++) {
        change(CHANGES[i][0], CHANGES[i][1], text, sizeof text);
        if (open_text(&tree, text, &err) != WL_INPUT) {
            fail_msg("%s was taken", CHANGES[i][1]);
        }
        assert_non_null(strstr(err.message, "line 1"));
    }
    test_tree_remove(&tree);
}

static void bad_files_are_refused(void **state) {
    (void)state;
    struct test_tree tree;
    char text[8192], name[512];
    struct wl_err err;
    struct meter_env env = {0};
    struct meter *meter;
    test_tree_make(&tree);
    assert_int_equal(open_text(&tree, "", &err), WL_INPUT);
    assert_int_equal(open_text(&tree, "hello\n", &err), WL_INPUT);
    change(NULL, NULL, text, sizeof text);
    *strrchr(text, '\n') = '\0'; // the only row is half written
    assert_int_equal(open_text(&tree, text, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "no readings"));
    assert_int_equal(meter_open(&env, "replay", &meter, &err), WL_USAGE);
    assert_int_equal(meter_open(&env, "replay:/no/such/trace", &meter, &err), WL_NOT_FOUND);
    assert_int_equal(mkfifo(test_tree_path(&tree, "/pipe"), 0600), 0);
    snprintf(name, sizeof name, "replay:%s/pipe", tree.root);
    assert_int_equal(meter_open(&env, name, &meter, &err), WL_INPUT); // and does not hang
    test_tree_remove(&tree);
}

// What is wrong later in the file is said when it is reached, with its line.
static void a_bad_row_later_on_ends_it_there(void **state) {
    (void)state;
    struct test_tree tree;
    char text[8192], name[512];
    struct wl_err err;
    struct fake_clock fake = {0};
    struct os_clock clock = {.now_ns = fake_now, .context = &fake};
    struct meter_env env = {.clock = &clock};
    struct meter *meter;
    struct meter_reading reading;
    test_tree_make(&tree);
    change(NULL, NULL, text, sizeof text);
    size_t len = strlen(text);
    snprintf(text + len, sizeof text - len, "100,101,6,2\nrubbish\n300,301,7,2\n");
    assert_int_equal(os_write_atomic(test_tree_path(&tree, "/t.wlt"), text, strlen(text), NULL),
                     WL_OK);
    snprintf(name, sizeof name, "replay:%s/t.wlt", tree.root);
    assert_int_equal(meter_open(&env, name, &meter, &err), WL_OK);
    fake.t_ns = 1000;
    assert_int_equal(meter_read(meter, &reading, &err), WL_OK);
    assert_true(reading.channel[0].value == 5 && reading.has_more);
    assert_int_equal(meter_read(meter, &reading, &err), WL_OK);
    assert_true(reading.channel[0].value == 6 && !reading.has_more);
    assert_int_equal(meter_read(meter, &reading, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "line 4"));
    meter_close(meter);
    test_tree_remove(&tree);
}

static void a_full_disk_is_said(void **state) {
    (void)state;
    struct meter_info info = two_channels(METER_COUNTER);
    struct replay_writer *writer;
    struct wl_err err;
    assert_int_equal(replay_writer_open("/no/such/folder/t.wlt", &info, &writer, &err),
                     WL_NOT_FOUND);
    if (access("/dev/full", W_OK) != 0) {
        print_message("no /dev/full here\n");
        skip();
    }
    assert_int_equal(replay_writer_open("/dev/full", &info, &writer, &err), WL_IO);
    assert_non_null(strstr(err.message, "/dev/full"));
    assert_int_equal(replay_writer_close(NULL, &err), WL_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_come_back_the_same),
        cmocka_unit_test(the_longest_header_fits),
        cmocka_unit_test(rows_come_back_the_same),
        cmocka_unit_test(impossible_values_are_recorded_as_gaps),
        cmocka_unit_test(bad_rows_are_refused),
        cmocka_unit_test(a_replay_gives_the_joules_of_the_original),
        cmocka_unit_test(bad_headers_are_refused),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(a_bad_row_later_on_ends_it_there),
        cmocka_unit_test(a_full_disk_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
