// The meter in production: shares add up to what it counted, idle power is learned, late readings
// settle later, a source that fails loses no request.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "gateway/power.h"
#include "gateway/power_idle.h"
#include "meter/synthetic.h"
#include "os/clock.h"

static const int64_t MS = 1000000, S = 1000000000;

struct bench {
    int64_t t_ns;
    struct os_clock clock;
    struct meter_synthetic truth;
    struct power *power;
    int n_settled;
};

static int64_t bench_now(void *context) {
    return ((struct bench *)context)->t_ns;
}

static void no_sleep(void *context, int64_t t_ns) {
    ((struct bench *)context)->t_ns = t_ns;
}

static void on_settled(void *context, struct power_user *user) {
    struct bench *b = context;
    assert_true(user->is_over);
    b->n_settled++;
}

// 5 W at rest, 25 W from 10 s to 20 s.
static void open_bench(struct bench *b, enum meter_kind kind, int64_t period_ns, int64_t lag_ns) {
    *b = (struct bench){.t_ns = 0};
    b->clock = (struct os_clock){bench_now, no_sleep, b};
    b->truth =
        (struct meter_synthetic){.knot = {{10 * S, 5}, {10 * S, 25}, {20 * S, 25}, {20 * S, 5}},
                                 .n_knots = 4,
                                 .kind = kind,
                                 .period_ns = period_ns,
                                 .lag_ns = lag_ns,
                                 .seed = 1};
    struct power_options options = {
        .env = {.clock = &b->clock, .synthetic = &b->truth, .has_no_threads = true},
        .meter = "synthetic",
        .idle_w = (double)NAN};
    struct wl_err err;
    if (power_open(&options, &b->power, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
}

// Ticks every `step_ns` until `t_ns`.
static void run_until(struct bench *b, int64_t t_ns, int64_t step_ns) {
    while (b->t_ns < t_ns) {
        b->t_ns = b->t_ns + step_ns < t_ns ? b->t_ns + step_ns : t_ns;
        power_tick(b->power);
    }
}

static struct power_state state_of(const struct bench *b) {
    struct power_state state;
    power_state(b->power, &state);
    return state;
}

static void near_by(double found, double expected, double relative) {
    if (!(fabs(found - expected) <= relative * fabs(expected))) {
        fail_msg("%.9g is not within %g of %.9g", found, relative, expected);
    }
}

static void test_one_request_gets_the_joules_of_its_time(void **state) {
    struct bench b;
    struct power_user user;
    struct power_cost cost;
    (void)state;
    open_bench(&b, METER_COUNTER, MS, 0);
    run_until(&b, 10 * S, 250 * MS);
    assert_int_equal(power_enter(b.power, &user, 0, NULL), WL_OK);
    run_until(&b, 13 * S, 250 * MS);
    for (int i = 0; i < 70; i++) {
        run_until(&b, b.t_ns + 100 * MS, 100 * MS);
        power_piece(b.power, &user, 1);
    }
    assert_int_equal(b.t_ns, 20 * S);
    power_leave(b.power, &user, on_settled, &b);
    run_until(&b, 21 * S, 250 * MS);
    assert_int_equal(b.n_settled, 1);
    power_cost(b.power, &user, &cost);
    near_by(cost.gross_j, 250, 0.002);
    near_by(cost.net_j, 200, 0.002);
    assert_true(cost.estimated_share == 0);
    assert_int_equal(cost.n_shared, 1);
    near_by(state_of(&b).idle_w, 5, 0.001);
    near_by(state_of(&b).totals.idle_j, 55, 0.01);
    power_close(b.power);
}

// Random requests, up to `n_most` at once; every joule is somewhere.
static void check_conservation(size_t n_most, enum meter_kind kind, int64_t period_ns,
                               int64_t lag_ns) {
    enum { MOST = 16 };
    struct bench b;
    struct power_user users[MOST];
    bool is_there[MOST] = {false};
    double sum_j = 0;
    int n_begun = 0;
    struct rng rng;
    rng_seed(&rng, 7);
    open_bench(&b, kind, period_ns, lag_ns);
    run_until(&b, 6 * S, 250 * MS);
    while (b.t_ns < 22 * S) {
        size_t i = rng_below(&rng, (uint32_t)n_most);
        if (is_there[i] && users[i].is_over) {
            if (users[i].is_settled) {
                sum_j += users[i].life.account.gross_j;
                is_there[i] = false;
            }
        } else if (!is_there[i]) {
            assert_int_equal(power_enter(b.power, &users[i], 1 + rng_below(&rng, 500), NULL),
                             WL_OK);
            is_there[i] = true;
            n_begun++;
        } else if (rng_below(&rng, 8) == 0) {
            power_leave(b.power, &users[i], on_settled, &b);
        } else {
            power_piece(b.power, &users[i], 1 + rng_below(&rng, 3));
        }
        run_until(&b, b.t_ns + rng_below(&rng, 60) * MS, 250 * MS);
        if (rng_below(&rng, 4) == 0) {
            power_tick(b.power);
        }
    }
    for (size_t i = 0; i < n_most; i++) {
        if (is_there[i] && !users[i].is_over) {
            power_leave(b.power, &users[i], on_settled, &b);
        }
    }
    run_until(&b, 30 * S, 250 * MS);
    for (size_t i = 0; i < n_most; i++) {
        if (is_there[i]) {
            assert_true(users[i].is_settled);
            sum_j += users[i].life.account.gross_j;
        }
    }
    assert_int_equal(b.n_settled, n_begun);
    assert_true(n_begun > 20);
    struct power_state end = state_of(&b);
    near_by(sum_j + end.totals.idle_j, end.totals.measured_j, 1e-9);
    near_by(sum_j, end.totals.shared_j, 1e-9);
    double true_j = meter_synthetic_joules(&b.truth, 0, 30 * S);
    near_by(end.totals.measured_j, true_j, kind == METER_COUNTER ? 0.001 : 0.02);
    power_close(b.power);
}

static void test_every_joule_goes_somewhere(void **state) {
    (void)state;
    check_conservation(1, METER_COUNTER, MS, 0);
    check_conservation(4, METER_COUNTER, MS, 0);
    check_conservation(16, METER_COUNTER, MS, 0);
    check_conservation(4, METER_GAUGE_INSTANT, 100 * MS, 300 * MS);
}

static void test_late_readings_settle_later(void **state) {
    struct bench b;
    struct power_user user;
    struct power_cost before, after;
    (void)state;
    open_bench(&b, METER_GAUGE_INSTANT, 100 * MS, 800 * MS);
    run_until(&b, 10 * S, 100 * MS);
    assert_int_equal(power_enter(b.power, &user, 0, NULL), WL_OK);
    run_until(&b, 20 * S, 100 * MS);
    power_leave(b.power, &user, on_settled, &b);
    assert_int_equal(b.n_settled, 0);
    power_cost(b.power, &user, &before);
    assert_true(before.estimated_share > 0.02 && before.estimated_share < 0.2);
    near_by(before.gross_j, 250, 0.15);
    run_until(&b, 22 * S, 100 * MS);
    assert_int_equal(b.n_settled, 1);
    power_cost(b.power, &user, &after);
    assert_true(after.estimated_share == 0);
    near_by(after.gross_j, 250, 0.02);
    assert_true(before.gross_sd_j > after.gross_sd_j);
    power_close(b.power);
}

static void test_idle_power_is_given_or_learned(void **state) {
    struct power_idle idle;
    double watts, sd_w;
    (void)state;
    power_idle_init(&idle, 3, 0.1, 1);
    power_idle_add(&idle, 100, 10);
    power_idle_level(&idle, &watts, &sd_w);
    assert_true(watts == 3 && sd_w == 0.1);
    power_idle_init(&idle, (double)NAN, (double)NAN, 1);
    power_idle_level(&idle, &watts, &sd_w);
    assert_true(isnan(watts) && isnan(sd_w));
    for (int i = 0; i < 1000; i++) { // one in ten is a cron job
        power_idle_add(&idle, (i % 10 == 0 ? 20 : 4) + 0.01 * (i % 7), 1);
    }
    power_idle_level(&idle, &watts, &sd_w);
    near_by(watts, 4.03, 0.005);
    assert_true(sd_w > 0 && sd_w < 0.02);
    power_idle_add(&idle, 1000, 0.5); // half a bin, and somebody came
    power_idle_break(&idle);
    double after_w;
    power_idle_level(&idle, &after_w, &sd_w);
    assert_true(after_w == watts);
}

static void test_too_many_at_once(void **state) {
    struct bench b;
    struct wl_err err;
    (void)state;
    struct power_user *users = calloc(POWER_MAX_USERS + 1, sizeof *users);
    open_bench(&b, METER_COUNTER, MS, 0);
    for (size_t i = 0; i < POWER_MAX_USERS; i++) {
        assert_int_equal(power_enter(b.power, &users[i], 0, &err), WL_OK);
    }
    assert_int_equal(power_enter(b.power, &users[POWER_MAX_USERS], 0, &err), WL_LIMIT);
    for (size_t i = 0; i < POWER_MAX_USERS; i++) {
        power_leave(b.power, &users[i], on_settled, &b);
    }
    run_until(&b, S, 250 * MS);
    assert_int_equal(b.n_settled, POWER_MAX_USERS);
    assert_int_equal(state_of(&b).n_users, 0);
    power_close(b.power);
    free(users);
}

static void test_a_gap_has_no_joules(void **state) {
    struct bench b;
    struct power_user user;
    (void)state;
    open_bench(&b, METER_COUNTER, MS, 0);
    b.truth.gap_t0_ns = 12 * S;
    b.truth.gap_t1_ns = 14 * S;
    run_until(&b, 10 * S, 250 * MS);
    assert_int_equal(power_enter(b.power, &user, 0, NULL), WL_OK);
    run_until(&b, 20 * S, 250 * MS);
    power_leave(b.power, &user, on_settled, &b);
    run_until(&b, 22 * S, 250 * MS);
    assert_int_equal(b.n_settled, 1);
    // A counter goes on counting while it cannot be read: the joules are there, late.
    assert_true(state_of(&b).n_gaps > 0);
    near_by(user.life.account.gross_j, 250, 0.01);
    power_close(b.power);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_request_gets_the_joules_of_its_time),
        cmocka_unit_test(test_every_joule_goes_somewhere),
        cmocka_unit_test(test_late_readings_settle_later),
        cmocka_unit_test(test_idle_power_is_given_or_learned),
        cmocka_unit_test(test_too_many_at_once),
        cmocka_unit_test(test_a_gap_has_no_joules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
