// The RuiDeng source against an emulated meter at the other end of a pseudo-terminal. The clock of
// the readings is injected, so that joules are exact; waits for bytes are real.
#include "test_meter_tree.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "meter/device.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "meter/rdtech_frame.h"
#include "near.h"

static const int64_t MS = 1000000;
enum { UM24C = 0x0963, UM25C = 0x09C9, UM34C = 0x0D4C };

// --- the format ---------------------------------------------------------------------------------

static void put_be(uint8_t *out, size_t n, uint32_t value) {
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(value >> (8 * (n - 1 - i)));
    }
}

static void sign(uint8_t frame[RDTECH_FRAME_BYTES]) {
    static const int ODD[] = {1,  3,  7,  9,  15, 17, 19, 23, 31, 39, 41,  45,  49,  53,  55,  57,
                              59, 63, 67, 69, 73, 79, 83, 89, 97, 99, 109, 111, 113, 119, 121, 127};
    frame[128] = 0xFF;
    frame[129] = 0xF1;
    if (frame[0] == 0x0D) {
        frame[129] = 0;
        for (size_t i = 0; i < sizeof ODD / sizeof ODD[0]; i++) {
            frame[129] ^= frame[ODD[i]];
        }
    }
}

// 5.07 V and the current that gives `power_w`, as the display of that model would round them.
static void make_frame(uint8_t frame[RDTECH_FRAME_BYTES], unsigned model, double power_w) {
    double volt = model == UM25C ? 1e-3 : 1e-2, ampere = model == UM25C ? 1e-4 : 1e-3;
    memset(frame, 0, RDTECH_FRAME_BYTES);
    put_be(frame, 2, model);
    put_be(frame + 2, 2, (uint32_t)lround(5.07 / volt));
    put_be(frame + 4, 2, (uint32_t)lround(power_w / 5.07 / ampere));
    put_be(frame + 6, 4, (uint32_t)(power_w * 1e3));
    put_be(frame + 10, 2, 27);
    put_be(frame + 14, 2, 3);           // group 3
    put_be(frame + 16 + 24 + 4, 4, 77); // mWh
    put_be(frame + 106, 4, 5);
    sign(frame);
}

static void every_model_has_its_units(void **state) {
    (void)state;
    static const struct {
        unsigned model;
        const char *name;
        double step_w; // by which the power taken may be off
    } CASES[] = {{UM24C, "UM24C", 1e-3}, {UM25C, "UM25C", 3e-4}, {UM34C, "UM34C", 1e-3}};
    for (size_t i = 0; i < 3; i++) {
        for (double power_w = 0; power_w < 25; power_w += 0.377) {
            uint8_t bytes[RDTECH_FRAME_BYTES];
            struct rdtech_frame frame;
            make_frame(bytes, CASES[i].model, power_w);
            assert_true(rdtech_frame_parse(bytes, &frame));
            assert_string_equal(frame.model->name, CASES[i].name);
            assert_near(frame.voltage_v, 5.07, 1e-9);
            assert_near(frame.current_a, power_w / 5.07, 6e-4);
            assert_near(frame.power_w, power_w, CASES[i].step_w);
            assert_near(frame.temperature_c, 27, 0);
            assert_int_equal(frame.group_mwh, 77);
        }
    }
}

static void broken_answers_are_refused(void **state) {
    (void)state;
    uint8_t good[RDTECH_FRAME_BYTES], bytes[RDTECH_FRAME_BYTES];
    struct rdtech_frame frame;
    static const unsigned MODELS[] = {UM24C, UM25C, UM34C};
    for (size_t m = 0; m < 3; m++) {
        make_frame(good, MODELS[m], 6);
        static const struct {
            size_t at;
            uint8_t value;
        } BAD[] = {{0, 0x0A}, {1, 0}, {129, 0xF2}, {2, 0x7F}, {4, 0x7F}, {6, 1}, {7, 9}};
        for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
            memcpy(bytes, good, sizeof bytes);
            bytes[BAD[i].at] = BAD[i].value;
            if (i > 2) {
                sign(bytes); // only the watts give it away
            }
            assert_false(rdtech_frame_parse(bytes, &frame));
        }
        memcpy(bytes, good, sizeof bytes);
        put_be(bytes + 14, 2, 0xFFFF); // no such group: no counter, but power
        sign(bytes);
        assert_true(rdtech_frame_parse(bytes, &frame));
        assert_int_equal(frame.group_mwh, 0);
    }
    memset(bytes, 0, sizeof bytes);
    assert_false(rdtech_frame_parse(bytes, &frame));
    make_frame(bytes, UM34C, 6);
    bytes[1] ^= 1;
    bytes[1] ^= 1;
    bytes[53] ^= 0x40; // counted by the checksum
    assert_false(rdtech_frame_parse(bytes, &frame));
}

static void the_newest_whole_answer_is_found(void **state) {
    (void)state;
    uint8_t bytes[500];
    struct rdtech_frame frame;
    memset(bytes, 0x09, sizeof bytes); // looks like beginnings of answers
    make_frame(bytes + 61, UM25C, 4);
    make_frame(bytes + 61 + 130, UM25C, 8);
    for (size_t n = 0; n < 61 + 130; n++) {
        assert_false(rdtech_frame_find(bytes, n, &frame));
    }
    assert_true(rdtech_frame_find(bytes, 61 + 130, &frame));
    assert_near(frame.power_w, 4, 1e-3);
    assert_true(rdtech_frame_find(bytes, 61 + 259, &frame));
    assert_near(frame.power_w, 4, 1e-3);
    assert_true(rdtech_frame_find(bytes, sizeof bytes, &frame));
    assert_near(frame.power_w, 8, 1e-3);
    assert_true(rdtech_frame_find(bytes + 62, sizeof bytes - 62, &frame));
    assert_near(frame.power_w, 8, 1e-3);
}

// --- the emulated meter -------------------------------------------------------------------------

enum fault { NONE, PIECES, DROPPED, STALE, WRONG_SUM, WRONG_MODEL, DEAF, SLOW, LEFTOVER, BABBLE };

struct emulator {
    int master;
    char slave[128];
    unsigned model;
    double power_w;
    enum fault fault;
    int n_requests, n_strange;
    bool is_stopping;
    pthread_mutex_t lock; // all above
    pthread_t thread;
};

static void say(const struct emulator *emulator, const uint8_t *bytes, size_t n) {
    assert_int_equal(write(emulator->master, bytes, n), n);
}

static void answer(const struct emulator *emulator, enum fault fault) {
    uint8_t frame[RDTECH_FRAME_BYTES], other[2 * RDTECH_FRAME_BYTES];
    make_frame(frame, emulator->model, emulator->power_w);
    switch (fault) {
    case PIECES:
        say(emulator, frame, 1);
        usleep(30000);
        say(emulator, frame + 1, 20);
        usleep(60000);
        say(emulator, frame + 21, 109);
        return;
    case DROPPED: // one byte got lost
        say(emulator, frame, 60);
        say(emulator, frame + 61, 69);
        return;
    case STALE: // what had piled up in the radio comes first
        make_frame(other, emulator->model, 20);
        say(emulator, other + 70, 60);
        usleep(20000);
        break;
    case WRONG_SUM: frame[129] ^= 1; break;
    case WRONG_MODEL: put_be(frame, 2, 0x1234); break;
    case DEAF: return;
    case SLOW: usleep(1100000); break;
    case LEFTOVER: // and a second answer behind it, which nobody asked for
        say(emulator, frame, sizeof frame);
        usleep(20000);
        make_frame(frame, emulator->model, 20);
        break;
    case BABBLE:
        memset(other, 0xF0, sizeof other);
        for (int i = 0; i < 10; i++) {
            say(emulator, other, sizeof other);
            usleep(100000);
        }
        return;
    case NONE: break;
    }
    say(emulator, frame, sizeof frame);
}

static void *emulate(void *context) {
    struct emulator *emulator = context;
    for (;;) {
        struct pollfd ready = {.fd = emulator->master, .events = POLLIN};
        uint8_t request;
        bool has_request = poll(&ready, 1, 20) > 0 && read(emulator->master, &request, 1) == 1;
        pthread_mutex_lock(&emulator->lock);
        struct emulator copy = *emulator;
        if (has_request) {
            emulator->n_requests++;
            emulator->n_strange += request != RDTECH_REQUEST;
            if (emulator->fault != DEAF && emulator->fault != WRONG_MODEL) {
                emulator->fault = NONE; // once
            }
        }
        pthread_mutex_unlock(&emulator->lock);
        if (copy.is_stopping) {
            return NULL;
        }
        if (has_request) {
            answer(&copy, copy.fault);
        } else if (ready.revents & POLLHUP) {
            usleep(5000); // nobody has it open
        }
    }
}

static void emulator_start(struct emulator *emulator, unsigned model) {
    *emulator = (struct emulator){.model = model, .power_w = 5};
    emulator->master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(emulator->master >= 0);
    assert_int_equal(grantpt(emulator->master), 0);
    assert_int_equal(unlockpt(emulator->master), 0);
    assert_int_equal(ptsname_r(emulator->master, emulator->slave, sizeof emulator->slave), 0);
    pthread_mutex_init(&emulator->lock, NULL);
    assert_int_equal(pthread_create(&emulator->thread, NULL, emulate, emulator), 0);
}

static void emulator_set(struct emulator *emulator, enum fault fault, double power_w) {
    pthread_mutex_lock(&emulator->lock);
    emulator->fault = fault;
    emulator->power_w = power_w;
    pthread_mutex_unlock(&emulator->lock);
}

static void emulator_stop(struct emulator *emulator) {
    pthread_mutex_lock(&emulator->lock);
    emulator->is_stopping = true;
    pthread_mutex_unlock(&emulator->lock);
    pthread_join(emulator->thread, NULL);
    close(emulator->master);
    pthread_mutex_destroy(&emulator->lock);
    assert_int_equal(emulator->n_strange, 0);
}

struct rig {
    struct emulator emulator;
    int64_t t_ns;
    struct os_clock clock;
    struct meter_device_ops devices;
    struct meter_env env;
    int refusal, n_opened;
    struct meter *meter;
    struct meter_total *total;
};

static int64_t rig_now(void *context) {
    return ((struct rig *)context)->t_ns;
}

static int rig_open(void *context, const char *path, int flags) {
    struct rig *rig = context;
    rig->n_opened++;
    assert_string_equal(path, "/dev/rfcomm0");
    assert_true(flags & O_NOCTTY);
    assert_true(flags & O_NONBLOCK);
    errno = rig->refusal;
    return rig->refusal ? -1 : open(rig->emulator.slave, flags);
}

static void rig_make(struct rig *rig, unsigned model) {
    *rig = (struct rig){.t_ns = 5000000000};
    emulator_start(&rig->emulator, model);
    rig->clock = (struct os_clock){.now_ns = rig_now, .context = rig};
    rig->devices = (struct meter_device_ops){.context = rig, .open = rig_open};
    rig->env =
        (struct meter_env){.clock = &rig->clock, .devices = &rig->devices, .has_no_threads = true};
}

static void rig_start(struct rig *rig, unsigned model) {
    struct wl_err err = {0};
    rig_make(rig, model);
    if (meter_open(&rig->env, "rdtech:/dev/rfcomm0", &rig->meter, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    struct meter_total_options options = {.period_ns = 500 * MS};
    assert_int_equal(meter_total_new(meter_info(rig->meter), &options, &rig->total, NULL), WL_OK);
}

static void rig_drop(struct rig *rig) {
    meter_close(rig->meter);
    meter_total_free(rig->total);
    emulator_stop(&rig->emulator);
}

// Half a second passes, then one reading. Real time is bounded, whatever the meter does.
static struct meter_total_sample rig_read(struct rig *rig) {
    struct meter_reading reading;
    struct meter_total_sample sample;
    rig->t_ns += 500 * MS;
    int64_t begin_ns = os_now_ns();
    assert_int_equal(meter_read(rig->meter, &reading, NULL), WL_OK);
    assert_true(os_now_ns() - begin_ns < 2000 * MS);
    assert_int_equal(meter_total_feed(rig->total, &reading, &sample, NULL), WL_OK);
    return sample;
}

static void expect_power(struct rig *rig, double power_w) {
    struct meter_total_sample sample = rig_read(rig);
    assert_true(sample.is_valid);
    assert_near(sample.power_w, power_w, 2e-3);
}

static void expect_gap(struct rig *rig) {
    struct meter_total_sample sample = rig_read(rig);
    assert_false(sample.is_valid);
    assert_true(sample.flags & RECORD_GAP);
    assert_true(sample.total_j >= 0);
}

static int rig_requests(struct rig *rig) {
    pthread_mutex_lock(&rig->emulator.lock);
    int n = rig->emulator.n_requests;
    pthread_mutex_unlock(&rig->emulator.lock);
    return n;
}

// --- reading ------------------------------------------------------------------------------------

static void joules_are_those_that_flowed(void **state) {
    (void)state;
    static const unsigned MODELS[] = {UM24C, UM25C, UM34C};
    for (size_t m = 0; m < 3; m++) {
        struct rig rig;
        rig_start(&rig, MODELS[m]);
        const struct meter_info *info = meter_info(rig.meter);
        assert_int_equal(info->kind, METER_GAUGE_INSTANT);
        assert_int_equal(info->native_period_ns, 500 * MS);
        assert_true(info->may_block && info->is_exclusive);
        assert_int_equal(info->label, LABEL_MEASURED);
        int64_t t0_ns = rig.t_ns;
        for (int i = 0; i < 40; i++) { // twenty seconds: 4 W, and 9.5 W in the middle ten
            emulator_set(&rig.emulator, NONE, i >= 10 && i < 30 ? 9.5 : 4);
            rig_read(&rig);
        }
        // Readings show the power of some time before: the whole course is shifted by that.
        int64_t age_ns = info->lag_ns + info->native_period_ns / 2;
        struct meter_energy energy;
        assert_int_equal(meter_total_window(rig.total, t0_ns + 1000 * MS - age_ns,
                                            t0_ns + 19500 * MS - age_ns, &energy, NULL),
                         WL_OK);
        assert_near(energy.gross_j, 4 * 8.5 + 9.5 * 10, 0.1);
        assert_int_equal(energy.flags, 0);
        assert_near(energy.coverage, 1, 1e-9);
        assert_true(energy.sd_j < 2); // each step lies somewhere in half a second
        rig_drop(&rig);
    }
}

static void answers_in_pieces_are_put_together(void **state) {
    (void)state;
    struct rig rig;
    rig_start(&rig, UM25C);
    emulator_set(&rig.emulator, PIECES, 6.5);
    expect_power(&rig, 6.5);
    emulator_set(&rig.emulator, STALE, 7);
    expect_power(&rig, 7);
    emulator_set(&rig.emulator, LEFTOVER, 8);
    expect_power(&rig, 8);
    usleep(60000); // what nobody asked for lies there
    emulator_set(&rig.emulator, NONE, 3);
    expect_power(&rig, 3);
    rig_drop(&rig);
}

static void broken_answers_are_gaps(void **state) {
    (void)state;
    static const enum fault FAULTS[] = {DROPPED, WRONG_SUM, BABBLE};
    struct rig rig;
    rig_start(&rig, UM34C);
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
        expect_power(&rig, 5);
        emulator_set(&rig.emulator, FAULTS[i], 5);
        expect_gap(&rig);
        if (FAULTS[i] == BABBLE) {
            expect_gap(&rig); // until it is quiet
        }
    }
    expect_power(&rig, 5);
    emulator_set(&rig.emulator, WRONG_MODEL, 5);
    expect_gap(&rig);
    emulator_set(&rig.emulator, NONE, 5);
    expect_power(&rig, 5);
    rig_drop(&rig);
}

// An answer that comes after the second in which it was due would be taken for the next one.
static void a_late_answer_is_thrown_away(void **state) {
    (void)state;
    struct rig rig;
    rig_start(&rig, UM25C);
    emulator_set(&rig.emulator, SLOW, 20);
    expect_gap(&rig);
    int n_requests = rig_requests(&rig);
    emulator_set(&rig.emulator, NONE, 4);
    expect_gap(&rig); // here it comes
    assert_int_equal(rig_requests(&rig), n_requests);
    expect_power(&rig, 4);
    rig_drop(&rig);
}

static void a_meter_that_hangs_up_is_opened_again(void **state) {
    (void)state;
    struct rig rig;
    rig_start(&rig, UM25C);
    expect_power(&rig, 5);
    assert_int_equal(rig.n_opened, 1);
    emulator_stop(&rig.emulator);
    expect_gap(&rig);
    rig.refusal = ENOENT;
    for (int i = 0; i < 8; i++) { // four seconds
        expect_gap(&rig);
    }
    assert_in_range(rig.n_opened, 4, 6); // once a second
    rig.refusal = 0;
    emulator_start(&rig.emulator, UM25C);
    rig.t_ns += 1000 * MS;
    expect_power(&rig, 5);
    struct meter_energy energy;
    assert_int_equal(meter_total_window(rig.total, 5000000000, rig.t_ns - 1000 * MS, &energy, NULL),
                     WL_OK);
    assert_true(energy.flags & RECORD_GAP);
    assert_true(energy.coverage < 0.5);
    // Another model behind the same device is another meter.
    emulator_stop(&rig.emulator);
    expect_gap(&rig);
    emulator_start(&rig.emulator, UM24C);
    rig.t_ns += 1000 * MS;
    expect_gap(&rig);
    rig_drop(&rig);
}

// --- opening ------------------------------------------------------------------------------------

static void expect_refusal(struct rig *rig, enum wl_status status, const char *words) {
    struct meter *meter;
    struct wl_err err = {0};
    int64_t begin_ns = os_now_ns();
    assert_int_equal(meter_open(&rig->env, "rdtech:/dev/rfcomm0", &meter, &err), status);
    assert_true(os_now_ns() - begin_ns < 5000 * MS);
    if (!strstr(err.message, words)) {
        fail_msg("'%s' does not say '%s'", err.message, words);
    }
}

static void what_cannot_be_opened_is_explained(void **state) {
    (void)state;
    struct rig rig;
    rig_make(&rig, UM25C);
    rig.refusal = EACCES;
    expect_refusal(&rig, WL_PERMISSION, "dialout");
    rig.refusal = ENOENT;
    expect_refusal(&rig, WL_NOT_FOUND, "rfcomm bind");
    rig.refusal = EBUSY;
    expect_refusal(&rig, WL_BUSY, "in use");
    rig.refusal = EHOSTDOWN;
    expect_refusal(&rig, WL_IO, "/dev/rfcomm0");
    rig.refusal = 0;
    emulator_set(&rig.emulator, WRONG_MODEL, 5);
    expect_refusal(&rig, WL_PROTOCOL, "begin with 12 34");
    emulator_set(&rig.emulator, DEAF, 5);
    expect_refusal(&rig, WL_TIMEOUT, "nothing answers");
    struct meter *meter;
    struct wl_err err;
    rig.n_opened = 0;
    assert_int_equal(meter_open(&rig.env, "rdtech", &meter, &err), WL_USAGE);
    assert_non_null(strstr(err.message, "rdtech:/dev/rfcomm0"));
    assert_int_equal(meter_open(&rig.env, "rdtech:rfcomm0", &meter, &err), WL_USAGE);
    assert_int_equal(rig.n_opened, 0);
    emulator_set(&rig.emulator, NONE, 5);
    assert_int_equal(meter_open(&rig.env, "rdtech:/dev/rfcomm0", &meter, &err), WL_OK);
    expect_refusal(&rig, WL_BUSY, "in use"); // by the one just opened
    meter_close(meter);
    emulator_stop(&rig.emulator);
    // A node that is no serial device.
    snprintf(rig.emulator.slave, sizeof rig.emulator.slave, "/dev/null");
    expect_refusal(&rig, WL_INPUT, "not a serial device");
}

static void it_is_used_only_when_named(void **state) {
    (void)state;
    static struct meter_verdict verdicts[METER_MAX_SOURCES];
    struct rig rig;
    rig_make(&rig, UM25C);
    size_t n;
    meter_probe_all(&rig.env, verdicts, &n);
    assert_int_equal(rig.n_opened, 0);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(verdicts[i].name, "rdtech") == 0) {
            assert_int_equal(verdicts[i].availability, METER_ON_REQUEST);
            assert_true(verdicts[i].is_external);
            assert_non_null(strstr(verdicts[i].fix, "rfcomm bind"));
            emulator_stop(&rig.emulator);
            return;
        }
    }
    fail_msg("rdtech is not listed");
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0) {
        printf("skipped: no pseudo-terminal can be had here (%s)\n", strerror(errno));
        return 77;
    }
    close(master);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_model_has_its_units),
        cmocka_unit_test(broken_answers_are_refused),
        cmocka_unit_test(the_newest_whole_answer_is_found),
        cmocka_unit_test(joules_are_those_that_flowed),
        cmocka_unit_test(answers_in_pieces_are_put_together),
        cmocka_unit_test(broken_answers_are_gaps),
        cmocka_unit_test(a_late_answer_is_thrown_away),
        cmocka_unit_test(a_meter_that_hangs_up_is_opened_again),
        cmocka_unit_test(what_cannot_be_opened_is_explained),
        cmocka_unit_test(it_is_used_only_when_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
