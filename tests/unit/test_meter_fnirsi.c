// The FNIRSI source against an emulated meter: a socket pair in place of the hidraw node, which
// keeps the borders of reports as hidraw does. Time is injected where it matters.
#include "test_meter_tree.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/rng.h"
#include "meter/device.h"
#include "meter/fnirsi_pace.h"
#include "meter/fnirsi_report.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "near.h"

static const int64_t MS = 1000000;
enum { COMMAND_BYTES = FNIRSI_REPORT_BYTES + 1 };

// --- the format ---------------------------------------------------------------------------------

static void put_le32(uint8_t *out, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(value >> (8 * i));
    }
}

// A report of four samples of 5 V, with the current that gives `power_w`.
static void make_report(uint8_t out[FNIRSI_REPORT_BYTES], const double power_w[4]) {
    memset(out, 0, FNIRSI_REPORT_BYTES);
    out[0] = 0xAA;
    out[1] = 0x04;
    for (int i = 0; i < 4; i++) {
        uint8_t *sample = out + 2 + 15 * i;
        put_le32(sample, 500000);
        put_le32(sample + 4, (uint32_t)lround(power_w[i] / 5 * 1e5));
        sample[12] = 1;
        sample[13] = 0xfa; // 25.0 degrees
    }
    out[63] = fnirsi_crc8(out + 1, 62);
}

static void commands_are_those_that_meters_know(void **state) {
    (void)state;
    static const struct {
        enum fnirsi_command command;
        uint8_t crc; // as captured
    } KNOWN[] = {{FNIRSI_HELLO, 0x8E}, {FNIRSI_STREAM, 0x96}, {FNIRSI_STAY, 0x9E}};
    for (size_t i = 0; i < 3; i++) {
        uint8_t out[FNIRSI_REPORT_BYTES];
        fnirsi_command_write(out, KNOWN[i].command);
        assert_int_equal(out[0], 0xAA);
        assert_int_equal(out[1], KNOWN[i].command);
        assert_int_equal(out[63], KNOWN[i].crc);
        for (int k = 2; k < 63; k++) {
            assert_int_equal(out[k], 0);
        }
    }
}

static void reports_are_parsed_or_refused(void **state) {
    (void)state;
    const double truth_w[4] = {0, 1.5, 7.25, 24.9995};
    double power_w[4];
    uint8_t good[FNIRSI_REPORT_BYTES + 1] = {0}, bad[FNIRSI_REPORT_BYTES];
    make_report(good, truth_w);
    assert_int_equal(fnirsi_report_parse(good, 64, power_w), FNIRSI_DATA);
    for (int i = 0; i < 4; i++) {
        assert_near(power_w[i], truth_w[i], 5e-5);
    }
    for (size_t len = 0; len <= 65; len++) {
        if (len != 64) {
            assert_int_equal(fnirsi_report_parse(good, len, power_w), FNIRSI_DAMAGED);
        }
    }
    for (int bit = 0; bit < 64 * 8; bit++) { // every single bit matters
        memcpy(bad, good, sizeof bad);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(fnirsi_report_parse(bad, 64, power_w), FNIRSI_DATA);
    }
    memcpy(bad, good, sizeof bad);
    bad[1] = 0x03;
    assert_int_equal(fnirsi_report_parse(bad, 64, power_w), FNIRSI_OTHER);
    // 188 V, as a first report after a start was seen to hold: the checksum fits all the same.
    memcpy(bad, good, sizeof bad);
    put_le32(bad + 2, 18874370);
    bad[63] = fnirsi_crc8(bad + 1, 62);
    assert_int_equal(fnirsi_report_parse(bad, 64, power_w), FNIRSI_DAMAGED);
}

static void models_are_known_by_their_usb_numbers(void **state) {
    (void)state;
    static const struct {
        const char *uevent, *name;
    } CASES[] = {
        {"DRIVER=hid-generic\nHID_ID=0003:00002E3C:00005558\nHID_NAME=FNIRSI FNB-58\n", "FNB58"},
        {"HID_ID=0003:00002E3C:00000049\n", "FNB48S"},
        {"HID_ID=0003:00000483:0000003A", "FNB48"},
        {"HID_ID=0003:00000483:0000003b\n", "C1"},
        {"HID_ID=0005:00002E3C:00005558\n", NULL}, // Bluetooth
        {"HID_ID=0003:00002E3C:00005559\n", NULL},
        {"HID_ID=0003:00002E3C:00005558x\n", NULL},
        {"HID_ID=0003:00002E3C\n", NULL},
        {"HID_ID=0003::00005558\n", NULL},
        {"HID_ID=0003:100002E3C:00005558\n", NULL},
        {"HID_ID=", NULL},
        {"XHID_ID=0003:00002E3C:00005558\n", NULL},
        {"\n\n", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const struct fnirsi_model *model = fnirsi_model_of_uevent(CASES[i].uevent);
        if (!CASES[i].name) {
            assert_null(model);
        } else {
            assert_non_null(model);
            assert_string_equal(model->name, CASES[i].name);
        }
    }
}

// --- times --------------------------------------------------------------------------------------

// A meter whose crystal is off by `ppm`; reports arrive late by what USB and a busy machine add.
static void follow(double ppm, double late_ms, uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    struct fnirsi_pace pace = FNIRSI_PACE_INIT;
    double report_ns = 40e6 * (1 + ppm * 1e-6);
    int64_t last_ns = INT64_MIN;
    for (int i = 0; i < 5000; i++) {
        int64_t true_ns = 1000000000 + (int64_t)(i * report_ns);
        int64_t arrival_ns = true_ns + (int64_t)(rng_uniform(&rng) * late_ms * 1e6);
        assert_false(fnirsi_pace_arrive(&pace, 1, arrival_ns));
        int64_t found_ns = fnirsi_pace_sample_ns(&pace, 1, 0, 3);
        assert_true(found_ns <= arrival_ns);
        if (i > 200) {
            // Never further off than the delay itself plus what the loop adds.
            assert_near((double)(found_ns - true_ns) * 1e-6, late_ms / 2, late_ms / 2 + 1);
            assert_near((double)(found_ns - last_ns) * 1e-6, report_ns * 1e-6, late_ms + 0.1);
        }
        last_ns = found_ns;
    }
}

static void stamps_follow_the_meters_own_clock(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        follow(0, 0.1, seed);
        follow(100, 1, seed);
        follow(-100, 1, seed);
        follow(5000, 3, seed); // half a percent: a resonator, no crystal
        follow(-5000, 3, seed);
        follow(24000, 2, seed); // 1024 samples where 1000 were promised
    }
}

static void a_machine_that_stalls_loses_nothing(void **state) {
    (void)state;
    struct fnirsi_pace pace = FNIRSI_PACE_INIT;
    int64_t t_ns = 5000000000;
    for (int i = 0; i < 100; i++) {
        assert_false(fnirsi_pace_arrive(&pace, 1, t_ns += 40 * MS));
    }
    t_ns += 10 * 40 * MS; // ten reports wait in the queue; taken 39 ms after the last one
    assert_false(fnirsi_pace_arrive(&pace, 10, t_ns + 39 * MS));
    assert_near((double)fnirsi_pace_sample_ns(&pace, 10, 9, 3), (double)t_ns, 1e6);
    assert_near((double)fnirsi_pace_sample_ns(&pace, 10, 0, 0), (double)(t_ns - 390 * MS), 1e6);
    // Three of five are missing: the two that came are placed by their arrival, and it is said.
    t_ns += 5 * 40 * MS;
    assert_true(fnirsi_pace_arrive(&pace, 2, t_ns));
    assert_int_equal(fnirsi_pace_sample_ns(&pace, 2, 1, 3), t_ns);
    // A queue that ran over holds the oldest: they go on from where we were.
    assert_false(fnirsi_pace_arrive(&pace, 63, t_ns + 200 * 40 * MS));
    assert_near((double)fnirsi_pace_sample_ns(&pace, 63, 0, 3), (double)(t_ns + 40 * MS), 2e6);
    assert_true(fnirsi_pace_arrive(&pace, 1, t_ns + 201 * 40 * MS));
}

// --- the emulated meter -------------------------------------------------------------------------

struct rig {
    struct test_tree tree;
    int64_t t_ns; // the injected clock
    struct os_clock clock;
    struct meter_device_ops devices;
    struct meter_env env;
    int peer;    // the meter's end; -1 unplugged
    int refusal; // errno of open
    int n_opened;
    char opened[64];
    struct meter *meter;
    struct meter_total *total;
    int64_t last_t_ns;
    size_t n_valid, n_gaps;
};

static int64_t rig_now(void *context) {
    return ((struct rig *)context)->t_ns;
}

static int rig_open(void *context, const char *path, int flags) {
    struct rig *rig = context;
    int pair[2];
    rig->n_opened++;
    assert_true(flags & O_NONBLOCK);
    snprintf(rig->opened, sizeof rig->opened, "%s", path);
    if (rig->refusal) {
        errno = rig->refusal;
        return -1;
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    rig->peer = pair[1];
    return pair[0];
}

static void rig_plug(const struct rig *rig, const char *node, const char *hid_id) {
    char inner[128];
    snprintf(inner, sizeof inner, "/sys/class/hidraw/%s/device/uevent", node);
    test_tree_write(&rig->tree, inner, "DRIVER=hid-generic\nHID_ID=%s\nHID_NAME=x\n", hid_id);
}

static void rig_unplug(struct rig *rig, const char *node) {
    char inner[128];
    snprintf(inner, sizeof inner, "/sys/class/hidraw/%s/device/uevent", node);
    assert_int_equal(unlink(test_tree_path(&rig->tree, inner)), 0);
    close(rig->peer);
    rig->peer = -1;
}

static void rig_make(struct rig *rig) {
    *rig = (struct rig){.t_ns = 1000000000, .peer = -1, .last_t_ns = INT64_MIN};
    test_tree_make(&rig->tree);
    rig->clock = (struct os_clock){.now_ns = rig_now, .context = rig};
    rig->devices = (struct meter_device_ops){.context = rig, .open = rig_open};
    rig->env = (struct meter_env){.root = rig->tree.root,
                                  .clock = &rig->clock,
                                  .devices = &rig->devices,
                                  .has_no_threads = true};
    rig_plug(rig, "hidraw0", "0003:0000046D:0000C534"); // a mouse
}

static void rig_start(struct rig *rig, const char *name) {
    struct wl_err err = {0};
    if (meter_open(&rig->env, name, &rig->meter, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    struct meter_total_options options = {.period_ns = 10 * MS};
    assert_int_equal(meter_total_new(meter_info(rig->meter), &options, &rig->total, NULL), WL_OK);
}

static void rig_drop(struct rig *rig) {
    meter_close(rig->meter);
    meter_total_free(rig->total);
    if (rig->peer >= 0) {
        close(rig->peer);
    }
    test_tree_remove(&rig->tree);
}

// The next command the meter gets; 0 when there is none. Its form is checked.
static int rig_command(const struct rig *rig) {
    uint8_t message[COMMAND_BYTES + 1], expected[FNIRSI_REPORT_BYTES];
    struct pollfd ready = {.fd = rig->peer, .events = POLLIN};
    if (poll(&ready, 1, 0) <= 0) {
        return 0;
    }
    ssize_t n = read(rig->peer, message, sizeof message);
    if (n <= 0) {
        return 0;
    }
    assert_int_equal(n, COMMAND_BYTES);
    assert_int_equal(message[0], 0);
    fnirsi_command_write(expected, (enum fnirsi_command)message[2]);
    assert_memory_equal(message + 1, expected, sizeof expected);
    return message[2];
}

static void rig_expect_start(const struct rig *rig, int c) {
    assert_int_equal(rig_command(rig), 0x81);
    assert_int_equal(rig_command(rig), 0x82);
    assert_int_equal(rig_command(rig), c);
}

static void rig_send(const struct rig *rig, const void *data, size_t len) {
    assert_int_equal(send(rig->peer, data, len, MSG_NOSIGNAL), len);
}

static void rig_send_power(const struct rig *rig, double power_w) {
    uint8_t report[FNIRSI_REPORT_BYTES];
    make_report(report, (double[4]){power_w, power_w, power_w, power_w});
    rig_send(rig, report, sizeof report);
}

// Takes what the source has now. Times ascend, whatever happened.
static void rig_read(struct rig *rig) {
    struct meter_reading reading;
    do {
        struct meter_total_sample sample;
        assert_int_equal(meter_read(rig->meter, &reading, NULL), WL_OK);
        assert_int_equal(meter_total_feed(rig->total, &reading, &sample, NULL), WL_OK);
        if (!reading.is_empty) {
            assert_true(reading.t_before_ns > rig->last_t_ns);
            assert_true(reading.t_after_ns <= rig->t_ns);
            rig->last_t_ns = reading.t_before_ns;
            rig->n_valid += reading.channel[0].is_valid;
            rig->n_gaps += !reading.channel[0].is_valid;
            assert_true(sample.total_j >= 0);
        }
    } while (reading.has_more);
}

static void rig_step(struct rig *rig, double power_w) {
    rig->t_ns += 40 * MS;
    rig_send_power(rig, power_w);
    rig_read(rig);
}

// --- reading ------------------------------------------------------------------------------------

static void joules_are_those_that_flowed(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    rig_plug(&rig, "hidraw2", "0003:00002E3C:00005558");
    rig_start(&rig, "fnirsi");
    assert_string_equal(rig.opened, "/dev/hidraw2");
    rig_expect_start(&rig, 0x82);
    const struct meter_info *info = meter_info(rig.meter);
    assert_int_equal(info->kind, METER_GAUGE_INSTANT);
    assert_int_equal(info->scope, METER_SCOPE_BOARD);
    assert_int_equal(info->native_period_ns, 10 * MS);
    assert_true(info->may_block && info->is_exclusive);
    assert_non_null(strstr(info->title, "FNB58"));
    uint8_t answer[FNIRSI_REPORT_BYTES] = {0xAA, 0x03, 1, 2, 3}; // to the hello
    rig_send(&rig, answer, sizeof answer);
    rig_send_power(&rig, 55);
    rig_read(&rig);
    assert_int_equal(rig.n_valid + rig.n_gaps, 0); // the answer and the first report say nothing
    int64_t t0_ns = rig.t_ns;
    for (int i = 0; i < 250; i++) { // ten seconds: 4 W, and 10 W in the middle four
        rig_step(&rig, i >= 75 && i < 175 ? 10 : 4);
    }
    assert_int_equal(rig.n_valid, 1000);
    assert_int_equal(rig.n_gaps, 0);
    struct meter_energy energy;
    struct wl_err err;
    int64_t edge_ns = 500 * MS;
    assert_int_equal(
        meter_total_window(rig.total, t0_ns + edge_ns, t0_ns + 9500 * MS, &energy, &err), WL_OK);
    assert_near(energy.gross_j, 4 * 5 + 10 * 4, 0.1);
    assert_near(energy.coverage, 1, 1e-9);
    assert_int_equal(energy.flags, 0);
    assert_true(energy.sd_j < 0.05);
    // The step is found where it was.
    assert_int_equal(
        meter_total_window(rig.total, t0_ns + edge_ns, t0_ns + 3000 * MS, &energy, &err), WL_OK);
    assert_near(energy.gross_j, 4 * 2.5, 0.08);
    rig_drop(&rig);
}

static void a_named_node_is_taken(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    rig_plug(&rig, "hidraw2", "0003:00002E3C:00005558");
    rig_plug(&rig, "hidraw5", "0003:00000483:0000003A");
    assert_int_equal(mkdir(test_tree_path(&rig.tree, "/dev"), 0755), 0);
    assert_int_equal(symlink("hidraw5", test_tree_path(&rig.tree, "/dev/usb-meter")), 0);
    rig_start(&rig, "fnirsi:/dev/usb-meter");
    assert_string_equal(rig.opened, "/dev/usb-meter");
    rig_expect_start(&rig, 0x83);
    assert_non_null(strstr(meter_info(rig.meter)->title, "FNB48 "));
    struct wl_err err;
    struct meter *meter;
    assert_int_equal(meter_open(&rig.env, "fnirsi:/dev/hidraw0", &meter, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "not a hidraw node of a FNIRSI meter"));
    assert_int_equal(meter_open(&rig.env, "fnirsi:3", &meter, &err), WL_USAGE);
    assert_int_equal(meter_open(&rig.env, "fnirsi:", &meter, &err), WL_USAGE);
    rig_drop(&rig);
}

static void the_meter_is_kept_awake(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    rig_plug(&rig, "hidraw1", "0003:00002E3C:00005558");
    rig_start(&rig, "fnirsi");
    rig_expect_start(&rig, 0x82);
    size_t n = 0;
    for (int i = 0; i < 100; i++) { // four seconds
        rig_step(&rig, 5);
        int command = rig_command(&rig);
        assert_true(command == 0 || command == 0x83);
        n += command == 0x83;
    }
    assert_in_range(n, 3, 4);
    rig_drop(&rig);
    rig_make(&rig);
    rig_plug(&rig, "hidraw1", "0003:00000483:0000003B"); // the older ones, after every report
    rig_start(&rig, "fnirsi");
    rig_expect_start(&rig, 0x83);
    for (int i = 0; i < 10; i++) {
        rig_step(&rig, 5);
        assert_int_equal(rig_command(&rig), 0x83);
    }
    rig_drop(&rig);
}

// --- faults -------------------------------------------------------------------------------------

static void rig_run(struct rig *rig) {
    rig_make(rig);
    rig_plug(rig, "hidraw1", "0003:00002E3C:00005558");
    rig_start(rig, "fnirsi");
    rig_expect_start(rig, 0x82);
    for (int i = 0; i < 11; i++) {
        rig_step(rig, 5);
    }
    assert_int_equal(rig->n_valid, 40); // the first report holds garbage
    assert_int_equal(rig->n_gaps, 0);
}

static void a_damaged_report_is_a_gap(void **state) {
    (void)state;
    struct rig rig;
    rig_run(&rig);
    uint8_t report[FNIRSI_REPORT_BYTES];
    make_report(report, (double[4]){50, 50, 50, 50});
    report[20] ^= 4;
    rig.t_ns += 40 * MS;
    rig_send(&rig, report, sizeof report);
    rig_read(&rig);
    assert_int_equal(rig.n_gaps, 4);
    report[20] ^= 4;
    rig.t_ns += 40 * MS;
    rig_send(&rig, report, 31); // cut
    rig_read(&rig);
    assert_int_equal(rig.n_gaps, 8);
    uint8_t info[FNIRSI_REPORT_BYTES] = {0xAA, 0x03};
    rig_send(&rig, info, sizeof info); // between reports: neither a gap nor a sample
    rig_read(&rig);
    assert_int_equal(rig.n_gaps, 8);
    assert_int_equal(rig.n_valid, 40);
    int64_t before_ns = rig.last_t_ns;
    rig_step(&rig, 5);
    assert_int_equal(rig.n_valid, 44);
    assert_near((double)(rig.last_t_ns - before_ns), 40e6, 1e6); // the rhythm was kept
    // Bridged at the power around it, and flagged.
    struct meter_energy energy;
    assert_int_equal(
        meter_total_window(rig.total, rig.t_ns - 400 * MS, rig.t_ns - 20 * MS, &energy, NULL),
        WL_OK);
    assert_true(energy.flags & RECORD_GAP);
    assert_near(energy.gross_j, 5 * 0.38, 1e-3);
    rig_drop(&rig);
}

static void lost_reports_are_a_gap(void **state) {
    (void)state;
    struct rig rig;
    rig_run(&rig);
    rig.t_ns += 5 * 40 * MS;
    rig_step(&rig, 5);
    assert_int_equal(rig.n_gaps, 1);
    assert_int_equal(rig.n_valid, 44);
    assert_int_equal(rig.last_t_ns, rig.t_ns);
    rig_drop(&rig);
}

static void a_stalled_reader_catches_up(void **state) {
    (void)state;
    struct rig rig;
    rig_run(&rig);
    for (int i = 0; i < 8; i++) { // the reader slept for 320 ms
        rig.t_ns += 40 * MS;
        rig_send_power(&rig, 5);
    }
    rig_read(&rig);
    assert_int_equal(rig.n_gaps, 0);
    assert_int_equal(rig.n_valid, 72);
    rig_drop(&rig);
}

static void a_silent_meter_is_started_again(void **state) {
    (void)state;
    struct rig rig;
    rig_run(&rig);
    struct meter_reading reading;
    rig.t_ns += 100 * MS;
    rig_read(&rig);
    assert_int_equal(rig.n_gaps, 0); // not yet
    rig.t_ns += 200 * MS;
    rig_read(&rig);
    assert_int_equal(rig.n_gaps, 1);
    for (int command; (command = rig_command(&rig));) {
        assert_int_equal(command, 0x83);
    }
    rig.t_ns += 1000 * MS;
    rig_read(&rig);
    rig_expect_start(&rig, 0x82);
    assert_int_equal(rig.n_gaps, 2);
    assert_int_equal(meter_read(rig.meter, &reading, NULL), WL_OK); // not again at once
    assert_true(reading.is_empty);
    assert_int_equal(rig_command(&rig), 0);
    rig_step(&rig, 33); // garbage, again the first after a start
    size_t n_valid = rig.n_valid;
    rig_step(&rig, 5);
    assert_int_equal(rig.n_valid, n_valid + 4);
    rig_drop(&rig);
}

static void an_unplugged_meter_may_return_elsewhere(void **state) {
    (void)state;
    struct rig rig;
    rig_run(&rig);
    rig_unplug(&rig, "hidraw1");
    rig.t_ns += 10 * MS;
    rig_read(&rig);
    assert_int_equal(rig.n_gaps, 1);
    assert_int_equal(rig.n_opened, 1);
    rig_plug(&rig, "hidraw7", "0003:00000483:0000003A"); // back, behind another hub, an older one
    rig.refusal = EACCES;                                // the udev rule has not run yet
    for (int i = 0; i < 6; i++) {
        rig.t_ns += 300 * MS;
        rig_read(&rig);
    }
    assert_int_equal(rig.n_opened, 2); // once a second, not more
    assert_true(rig.n_gaps >= 5);
    rig.refusal = 0;
    rig.t_ns += 1000 * MS;
    rig_read(&rig);
    assert_int_equal(rig.n_opened, 3);
    assert_string_equal(rig.opened, "/dev/hidraw7");
    rig_expect_start(&rig, 0x83);
    rig_step(&rig, 5);
    rig_step(&rig, 5);
    assert_int_equal(rig.n_valid, 44);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(rig.total, 1100000000, rig.t_ns - 30 * MS, &energy, NULL),
                     WL_OK);
    assert_true(energy.flags & RECORD_GAP);
    assert_true(energy.coverage < 0.5);
    rig_drop(&rig);
}

// A meter whose reports nobody takes may hang: a socket that is closed with bytes in it tells.
static void nothing_is_left_behind_at_the_end(void **state) {
    (void)state;
    struct rig rig;
    rig_run(&rig);
    while (rig_command(&rig)) {
    }
    for (int i = 0; i < 3; i++) {
        rig_send_power(&rig, 5);
    }
    meter_close(rig.meter);
    rig.meter = NULL;
    char byte;
    assert_int_equal(recv(rig.peer, &byte, 1, 0), 0); // -1 and ECONNRESET otherwise
    rig_drop(&rig);
}

static void commands_leave_the_meter_time(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    rig_plug(&rig, "hidraw1", "0003:00002E3C:00005558");
    int64_t begin_ns = os_now_ns();
    rig_start(&rig, "fnirsi");
    assert_true(os_now_ns() - begin_ns >= 3 * 25 * MS);
    rig_drop(&rig);
}

// --- verdicts -----------------------------------------------------------------------------------

static struct meter_verdict verdict_of(const struct meter_env *env) {
    static struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "fnirsi") == 0) {
            return verdicts[i];
        }
    }
    fail_msg("fnirsi is not listed");
    return verdicts[0];
}

// Runs as nobody in a child, because root may open everything. Exit code 0 is success.
static int check_permission(const struct meter_env *env) {
    if (geteuid() == 0 && seteuid(65534) != 0) {
        return 1;
    }
    struct meter_verdict verdict = verdict_of(env);
    return verdict.availability == METER_PERMISSION &&
                   strstr(verdict.fix, "ATTRS{idVendor}==\"2e3c\", ATTRS{idProduct}==\"5558\"") &&
                   strstr(verdict.fix, "sudo chmod a+rw /dev/hidraw3")
               ? 0
               : 2;
}

static void the_verdict_says_what_to_do(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    assert_int_equal(verdict_of(&rig.env).availability, METER_MISSING);
    struct wl_err err;
    assert_int_equal(meter_open(&rig.env, "fnirsi", &rig.meter, &err), WL_NOT_FOUND);
    rig_plug(&rig, "hidraw3", "0003:00002E3C:00005558");
    struct meter_verdict verdict = verdict_of(&rig.env);
    assert_int_equal(verdict.availability, METER_AVAILABLE);
    assert_true(verdict.is_external); // "auto" does not take it
    assert_non_null(strstr(verdict.reason, "FNB58 at /dev/hidraw3"));
    assert_non_null(strstr(verdict.reason, "data port"));
    assert_int_equal(rig.n_opened, 0); // looking opens nothing
    rig.refusal = EACCES;
    assert_int_equal(meter_open(&rig.env, "fnirsi", &rig.meter, &err), WL_PERMISSION);
    assert_non_null(strstr(err.message, "udev"));
    rig.refusal = ENODEV;
    assert_int_equal(meter_open(&rig.env, "fnirsi", &rig.meter, &err), WL_IO);
    assert_int_equal(chmod(rig.tree.root, 0755), 0);
    test_tree_write(&rig.tree, "/dev/hidraw3", "%s", "");
    assert_int_equal(chmod(test_tree_path(&rig.tree, "/dev/hidraw3"), geteuid() == 0 ? 0600 : 0),
                     0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        _exit(check_permission(&rig.env));
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    test_tree_remove(&rig.tree);
}

static int open_file(void *context, const char *path, int flags) {
    (void)path;
    return open(test_tree_path(context, "/dev/hidraw3"), flags);
}

static void a_meter_in_use_is_busy(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    rig_plug(&rig, "hidraw3", "0003:00002E3C:00005558");
    test_tree_write(&rig.tree, "/dev/hidraw3", "%s", "");
    rig.devices = (struct meter_device_ops){.context = &rig.tree, .open = open_file};
    struct meter *first, *second;
    struct wl_err err;
    assert_int_equal(meter_open(&rig.env, "fnirsi", &first, &err), WL_OK);
    assert_int_equal(meter_open(&rig.env, "fnirsi", &second, &err), WL_BUSY);
    assert_non_null(strstr(err.message, "in use"));
    meter_close(first);
    assert_int_equal(meter_open(&rig.env, "fnirsi", &second, &err), WL_OK);
    meter_close(second);
    test_tree_remove(&rig.tree);
}

// --- in real time, on the source's own thread ---------------------------------------------------

struct emulator {
    int fd;
    int stop;
    int n_starts, n_stays, n_wrong;
};

static void obey(struct emulator *emulator, int64_t *awake_until_ns) {
    uint8_t message[COMMAND_BYTES + 1], expected[FNIRSI_REPORT_BYTES];
    struct pollfd ready = {.fd = emulator->fd, .events = POLLIN};
    while (poll(&ready, 1, 0) > 0) {
        ssize_t n = read(emulator->fd, message, sizeof message);
        if (n <= 0) {
            return;
        }
        fnirsi_command_write(expected, (enum fnirsi_command)message[2]);
        emulator->n_wrong += n != COMMAND_BYTES || message[0] != 0 ||
                             memcmp(message + 1, expected, sizeof expected) != 0;
        emulator->n_starts += message[2] == FNIRSI_HELLO;
        emulator->n_stays += message[2] == FNIRSI_STAY;
        *awake_until_ns = os_now_ns() + 1200 * MS;
    }
}

// 4 W and 8 W in turn, every 200 ms.
static double emulated_w(int i) {
    return i / 5 % 2 ? 8 : 4;
}

static void *emulate(void *context) {
    struct emulator *emulator = context;
    int64_t awake_until_ns = 0, next_ns = os_now_ns();
    for (int i = 0; !__atomic_load_n(&emulator->stop, __ATOMIC_SEQ_CST); i++) {
        os_sleep_until_ns(next_ns += 40 * MS);
        obey(emulator, &awake_until_ns);
        if (os_now_ns() < awake_until_ns) {
            uint8_t report[FNIRSI_REPORT_BYTES];
            double power_w = emulated_w(i);
            make_report(report, (double[4]){power_w, power_w, power_w, power_w});
            send(emulator->fd, report, sizeof report, MSG_NOSIGNAL);
        }
    }
    return NULL;
}

static void a_thread_serves_the_meter(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig);
    rig_plug(&rig, "hidraw1", "0003:00002E3C:00005558");
    rig.env.has_no_threads = false;
    rig.env.clock = NULL;
    rig_start(&rig, "fnirsi");
    struct emulator emulator = {.fd = rig.peer};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, emulate, &emulator), 0);
    int64_t end_ns = os_now_ns() + 1700 * MS;
    while (os_now_ns() < end_ns) {
        struct meter_reading reading = {.is_empty = true};
        usleep(50000);
        do {
            assert_int_equal(meter_read(rig.meter, &reading, NULL), WL_OK);
            assert_int_equal(meter_total_feed(rig.total, &reading, NULL, NULL), WL_OK);
        } while (reading.has_more);
    }
    struct meter_energy energy;
    int64_t until_ns = meter_total_known_until_ns(rig.total);
    assert_int_equal(meter_total_window(rig.total, until_ns - 1200 * MS, until_ns, &energy, NULL),
                     WL_OK);
    // Three whole turns are 7.2 J; a busy machine shifts some of it, the emulator's clock included.
    assert_near(energy.gross_j, 7.2, 0.8);
    assert_true(energy.n_readings > 60);
    meter_close(rig.meter); // waits until the meter is silent
    rig.meter = NULL;
    __atomic_store_n(&emulator.stop, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    assert_int_equal(emulator.n_wrong, 0);
    assert_int_equal(emulator.n_starts, 1);
    assert_true(emulator.n_stays >= 1);
    rig_drop(&rig);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_are_those_that_meters_know),
        cmocka_unit_test(reports_are_parsed_or_refused),
        cmocka_unit_test(models_are_known_by_their_usb_numbers),
        cmocka_unit_test(stamps_follow_the_meters_own_clock),
        cmocka_unit_test(a_machine_that_stalls_loses_nothing),
        cmocka_unit_test(joules_are_those_that_flowed),
        cmocka_unit_test(a_named_node_is_taken),
        cmocka_unit_test(the_meter_is_kept_awake),
        cmocka_unit_test(a_damaged_report_is_a_gap),
        cmocka_unit_test(lost_reports_are_a_gap),
        cmocka_unit_test(a_stalled_reader_catches_up),
        cmocka_unit_test(a_silent_meter_is_started_again),
        cmocka_unit_test(an_unplugged_meter_may_return_elsewhere),
        cmocka_unit_test(nothing_is_left_behind_at_the_end),
        cmocka_unit_test(commands_leave_the_meter_time),
        cmocka_unit_test(the_verdict_says_what_to_do),
        cmocka_unit_test(a_meter_in_use_is_busy),
        cmocka_unit_test(a_thread_serves_the_meter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
