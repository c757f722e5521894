// A meter on its own thread: nothing lost, nothing twice, in order, bounded, and its failure told.
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "meter/meter_set.h"
#include "meter/meter_thread.h"
#include "meter/synthetic.h"
#include "os/clock.h"

static const int64_t MS = 1000000;

// Counts its reads; every third one is empty; fails after n_good.
struct fake {
    atomic_uint n_reads;
    unsigned n_good; // 0: never fails
    int64_t read_ns; // how long a read takes
    bool is_burst;   // has_more, so that it is read without a pause
};

static enum wl_status fake_read(void *state, struct meter_reading *out, struct wl_err *err) {
    struct fake *fake = state;
    unsigned n = atomic_fetch_add(&fake->n_reads, 1);
    if (fake->n_good && n >= fake->n_good) {
        return wl_err_set(err, WL_IO, "unplugged");
    }
    if (fake->read_ns) {
        os_sleep_until_ns(os_now_ns() + fake->read_ns);
    }
    out->t_before_ns = n;
    out->t_after_ns = n + 1;
    out->is_empty = n % 3 == 2;
    out->has_more = fake->is_burst;
    out->channel[0].raw = n;
    out->channel[0].is_valid = true;
    out->channel[1].raw = 7 * n;
    return WL_OK;
}

static const struct meter_source FAKE = {.name = "fake", .read = fake_read};
static const struct meter_info INFO = {.poll_period_ns = 1000000, .n_channels = 2};

static struct meter_thread *start(struct fake *fake) {
    struct meter_thread *thread = NULL;
    struct wl_err err;
    assert_int_equal(meter_thread_start(&FAKE, fake, &INFO, &OS_CLOCK_REAL, &thread, &err), WL_OK);
    return thread;
}

static void wait_for_reads(struct fake *fake, unsigned n) {
    int64_t until_ns = os_now_ns() + 5000 * MS;
    while (atomic_load(&fake->n_reads) < n) {
        assert_true(os_now_ns() < until_ns);
        os_sleep_until_ns(os_now_ns() + MS);
    }
}

static void hands_out_every_reading_once_and_in_order(void **state) {
    (void)state;
    struct fake fake = {.n_good = 60};
    struct meter_thread *thread = start(&fake);
    struct meter_reading reading;
    struct wl_err err = {0};
    unsigned n = 0, expected = 0;
    enum wl_status status;
    int64_t until_ns = os_now_ns() + 5000 * MS;
    while ((reading = (struct meter_reading){0},
            status = meter_thread_read(thread, &reading, &err)) == WL_OK) {
        assert_true(os_now_ns() < until_ns);
        if (reading.is_empty) {
            os_sleep_until_ns(os_now_ns() + MS);
            continue;
        }
        expected += expected % 3 == 2; // the empty ones are not kept
        assert_int_equal(reading.channel[0].raw, expected);
        assert_int_equal(reading.t_before_ns, expected);
        assert_true(reading.channel[0].is_valid && !reading.channel[1].is_valid);
        assert_int_equal(reading.channel[1].raw, 7 * expected);
        expected++;
        n++;
    }
    assert_int_equal(status, WL_IO); // told once all its readings have been taken
    assert_string_equal(err.message, "unplugged");
    assert_int_equal(n, 40);
    meter_thread_stop(thread);
}

static void forgets_the_oldest_when_nobody_reads(void **state) {
    (void)state;
    struct fake fake = {.n_good = 30000, .is_burst = true};
    struct meter_thread *thread = start(&fake);
    struct meter_reading reading = {0};
    wait_for_reads(&fake, 30001);
    uint64_t last = 0;
    unsigned n = 0;
    while (meter_thread_read(thread, &reading, NULL) == WL_OK) {
        assert_true(n == 0 || reading.channel[0].raw > last);
        last = reading.channel[0].raw;
        n++;
        reading = (struct meter_reading){0};
    }
    assert_int_equal(last, 29998); // the newest that was not empty
    assert_in_range(n, 1000, 10000);
    meter_thread_stop(thread);
}

static void is_empty_at_once_while_a_read_blocks(void **state) {
    (void)state;
    struct fake fake = {.read_ns = 300 * MS};
    struct meter_thread *thread = start(&fake);
    struct meter_reading reading = {0};
    wait_for_reads(&fake, 1);
    int64_t before_ns = os_now_ns();
    assert_int_equal(meter_thread_read(thread, &reading, NULL), WL_OK);
    assert_true(reading.is_empty);
    assert_true(os_now_ns() - before_ns < 100 * MS);
    meter_thread_stop(thread); // waits for the read under way, no longer
    assert_true(os_now_ns() - before_ns < 2000 * MS);
}

// ---- sets of meters -----------------------------------------------------------------------------

static struct meter_synthetic truth = {
    .knot = {{0, 10}}, .n_knots = 1, .kind = METER_COUNTER, .scope = METER_SCOPE_CPU};

static void opens_named_meters_in_order(void **state) {
    (void)state;
    struct meter_env env = {.synthetic = &truth};
    struct meter_set set;
    struct wl_err err;
    assert_int_equal(meter_set_open(&env, "estimate:raspberry-pi-5,synthetic", &set, &err), WL_OK);
    assert_int_equal(set.n, 2);
    assert_string_equal(meter_info(set.meter[0])->name, "estimate");
    assert_string_equal(meter_info(set.meter[1])->name, "synthetic");
    meter_set_close(&set);
    assert_int_equal(set.n, 0);
    meter_set_close(&set);
}

static void closes_all_when_one_fails(void **state) {
    (void)state;
    struct meter_env env = {.synthetic = &truth};
    struct meter_set set;
    struct wl_err err;
    assert_int_equal(meter_set_open(&env, "synthetic,powercop", &set, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "did you mean 'powercap'"));
    assert_int_equal(set.n, 0);
    assert_int_equal(meter_set_open(&env, "", &set, &err), WL_USAGE);
    assert_int_equal(meter_set_open(&env, ",", &set, &err), WL_NOT_FOUND); // an empty name
}

static void a_comma_can_belong_to_an_argument(void **state) {
    (void)state;
    struct meter_env env = {0};
    struct meter_set set;
    struct wl_err err;
    assert_int_equal(meter_set_open(&env, "estimate:a\\,b", &set, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "'a,b'"));
    char name[3000];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(meter_set_open(&env, name, &set, &err), WL_USAGE);
}

static void auto_ends_with_the_model(void **state) {
    (void)state;
    struct meter_env env = {.root = TEST_ROOTS_DIR "/x86_rapl_laptop"};
    struct meter_set set;
    struct wl_err err;
    assert_int_equal(meter_set_open(&env, NULL, &set, &err), WL_OK);
    assert_string_equal(meter_info(set.meter[0])->name, "powercap");
    assert_string_equal(meter_info(set.meter[set.n - 1])->name, "estimate");
    meter_set_close(&set);
    assert_int_equal(meter_set_open(&env, "auto", &set, &err), WL_OK);
    meter_set_close(&set);
}

static void the_shortest_window_follows_period_and_quantum(void **state) {
    (void)state;
    struct meter_info info = {.kind = METER_COUNTER, .native_period_ns = MS, .quantum = 61e-6};
    int64_t fast_ns = meter_min_window_ns(&info, 10);
    info.native_period_ns = 1000 * MS;
    int64_t slow_ns = meter_min_window_ns(&info, 10);
    assert_true(fast_ns >= 100 * MS && fast_ns <= 1000 * MS);
    assert_true(slow_ns > 5 * fast_ns);
    info.native_period_ns = MS;
    info.quantum = 3.6; // a milliwatt hour
    assert_true(meter_min_window_ns(&info, 10) > fast_ns);
    assert_true(meter_min_window_ns(&info, 1) > meter_min_window_ns(&info, 10));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_every_reading_once_and_in_order),
        cmocka_unit_test(forgets_the_oldest_when_nobody_reads),
        cmocka_unit_test(is_empty_at_once_while_a_read_blocks),
        cmocka_unit_test(opens_named_meters_in_order),
        cmocka_unit_test(closes_all_when_one_fails),
        cmocka_unit_test(a_comma_can_belong_to_an_argument),
        cmocka_unit_test(auto_ends_with_the_model),
        cmocka_unit_test(the_shortest_window_follows_period_and_quantum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
