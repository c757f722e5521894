// Budgets: windows and the clocks that make them, what running requests hold, and limits that many
// requests at once do not pass.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "account/budget.h"
#include "base/rng.h"
#include "near.h"

enum { MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400 };
static const int64_t MIDNIGHT_S = 20000 * (int64_t)DAY_S; // some day's, in UTC

static struct budget limited(double requests, double tokens, double wh) {
    struct budget budget;
    budget_init(&budget);
    budget.limit[BUDGET_REQUESTS] = requests;
    budget.limit[BUDGET_TOKENS] = tokens;
    budget.limit[BUDGET_WH] = wh;
    return budget;
}

static struct budget_verdict ask(struct budget *budget, double tokens, double wh, int64_t unix_s) {
    return budget_ask(budget, (double[]){1, tokens, wh}, unix_s, 0);
}

static void settle(struct budget *budget, double held_tokens, double used_tokens) {
    budget_settle(budget, (double[]){1, held_tokens, 0}, (double[]){1, used_tokens, 0});
}

static void assert_verdict(struct budget_verdict found, enum budget_answer answer,
                           enum budget_kind kind, int64_t retry_after_s) {
    assert_int_equal(found.answer, answer);
    if (answer != BUDGET_GRANTED) {
        assert_int_equal(found.kind, kind);
    }
    if (answer == BUDGET_EXHAUSTED) {
        assert_int_equal(found.retry_after_s, retry_after_s);
    }
}

static void assert_granted(struct budget_verdict found) {
    assert_verdict(found, BUDGET_GRANTED, BUDGET_REQUESTS, 0);
}

static void without_limits_all_is_granted(void **state) {
    (void)state;
    struct budget budget;
    budget_init(&budget);
    for (int i = 0; i < 1000; i++) {
        assert_granted(ask(&budget, 1e12, 1e6, MIDNIGHT_S));
    }
    for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
        assert_true(budget_left(&budget, (enum budget_kind)kind) == (double)INFINITY);
    }
    assert_true(budget.held[BUDGET_TOKENS] == 1e15 && budget.n_running == 1000);
}

static void names(void **state) {
    (void)state;
    assert_string_equal(budget_kind_name(BUDGET_REQUESTS), "requests");
    assert_string_equal(budget_kind_name(BUDGET_TOKENS), "tokens");
    assert_string_equal(budget_kind_name(BUDGET_WH), "wh");
    assert_string_equal(budget_kind_name(BUDGET_N_KINDS), "unknown");
}

// ---- windows

static void requests_a_minute(void **state) {
    (void)state;
    struct budget budget = limited(3, (double)NAN, (double)NAN);
    int64_t t = MIDNIGHT_S + 7 * MINUTE_S;
    for (int i = 0; i < 3; i++) {
        assert_granted(ask(&budget, 0, 0, t + 15));
    }
    assert_true(budget_left(&budget, BUDGET_REQUESTS) == 0);
    assert_verdict(ask(&budget, 0, 0, t + 15), BUDGET_EXHAUSTED, BUDGET_REQUESTS, 45);
    assert_verdict(ask(&budget, 0, 0, t + 59), BUDGET_EXHAUSTED, BUDGET_REQUESTS, 1);
    // They count when they begin: one that ends gives nothing back, nor counts where it ends.
    settle(&budget, 0, 0);
    assert_verdict(ask(&budget, 0, 0, t + 59), BUDGET_EXHAUSTED, BUDGET_REQUESTS, 1);
    assert_granted(ask(&budget, 0, 0, t + 60));
    settle(&budget, 0, 0);
    assert_true(budget_left(&budget, BUDGET_REQUESTS) == 2);
}

static void an_asking_is_one_request(void **state) {
    (void)state;
    struct budget budget = limited(3, (double)NAN, (double)NAN);
    assert_granted(budget_ask(&budget, (double[]){2, 0, 0}, MIDNIGHT_S, 0));
    assert_granted(budget_ask(&budget, (double[]){0, 0, 0}, MIDNIGHT_S, 0));
    assert_granted(budget_ask(&budget, (double[]){9, 0, 0}, MIDNIGHT_S, 0));
    assert_verdict(budget_ask(&budget, (double[]){0, 0, 0}, MIDNIGHT_S, 0), BUDGET_EXHAUSTED,
                   BUDGET_REQUESTS, 60);
}

static void days_begin_at_the_users_midnight(void **state) {
    (void)state;
    static const int64_t OFFSETS_S[] = {0, 22 * HOUR_S, -2 * HOUR_S, 5 * HOUR_S + 1800};
    for (size_t i = 0; i < sizeof OFFSETS_S / sizeof OFFSETS_S[0]; i++) {
        struct budget budget = limited((double)NAN, 100, (double)NAN);
        int64_t midnight_s = MIDNIGHT_S + OFFSETS_S[i];
        double need[] = {1, 100, 0};
        assert_granted(budget_ask(&budget, need, midnight_s - 1, OFFSETS_S[i]));
        budget_settle(&budget, need, need);
        assert_int_equal(budget.window_s[BUDGET_TOKENS], midnight_s - DAY_S);
        assert_verdict(budget_ask(&budget, need, midnight_s - 1, OFFSETS_S[i]), BUDGET_EXHAUSTED,
                       BUDGET_TOKENS, 1);
        assert_granted(budget_ask(&budget, need, midnight_s, OFFSETS_S[i]));
        budget_settle(&budget, need, need);
        assert_int_equal(budget.window_s[BUDGET_TOKENS], midnight_s);
        assert_verdict(budget_ask(&budget, need, midnight_s + 1, OFFSETS_S[i]), BUDGET_EXHAUSTED,
                       BUDGET_TOKENS, DAY_S - 1);
    }
}

static void time_before_1970(void **state) {
    (void)state;
    struct budget budget = limited(1, (double)NAN, (double)NAN);
    budget_roll(&budget, -90, -HOUR_S);
    assert_int_equal(budget.window_s[BUDGET_REQUESTS], -120);
    assert_int_equal(budget.window_s[BUDGET_TOKENS], -HOUR_S);
    budget_roll(&budget, -10 * (int64_t)DAY_S, 0);
    assert_int_equal(budget.window_s[BUDGET_TOKENS], -10 * (int64_t)DAY_S);
}

static void what_runs_over_the_border_stays_held(void **state) {
    (void)state;
    struct budget budget = limited((double)NAN, 100, (double)NAN);
    assert_granted(ask(&budget, 60, 0, MIDNIGHT_S - 10));
    assert_verdict(ask(&budget, 50, 0, MIDNIGHT_S + 10), BUDGET_WAIT, BUDGET_TOKENS, 0);
    settle(&budget, 60, 40); // counts where it ends
    assert_true(budget.spent[BUDGET_TOKENS] == 40 && budget.held[BUDGET_TOKENS] == 0);
    assert_granted(ask(&budget, 60, 0, MIDNIGHT_S + 20));
    assert_true(budget_left(&budget, BUDGET_TOKENS) == 0);
}

static void clocks_that_go_back_forget_nothing(void **state) {
    (void)state;
    struct budget budget = limited(2, 100, (double)NAN);
    assert_granted(ask(&budget, 100, 0, MIDNIGHT_S + 5));
    settle(&budget, 100, 100);
    // Around midnight: yesterday, and today again.
    assert_verdict(ask(&budget, 1, 0, MIDNIGHT_S - 5), BUDGET_EXHAUSTED, BUDGET_TOKENS, DAY_S + 5);
    assert_verdict(ask(&budget, 1, 0, MIDNIGHT_S + 6), BUDGET_EXHAUSTED, BUDGET_TOKENS, DAY_S - 6);
    assert_true(budget.spent[BUDGET_TOKENS] == 100 && budget.spent[BUDGET_REQUESTS] == 1);
    // The clock had been a year ahead: nobody waits for a year.
    int64_t before_s = MIDNIGHT_S - 365 * (int64_t)DAY_S + HOUR_S;
    assert_verdict(ask(&budget, 1, 0, before_s), BUDGET_EXHAUSTED, BUDGET_TOKENS, DAY_S - HOUR_S);
    assert_true(budget.spent[BUDGET_TOKENS] == 100 && budget.spent[BUDGET_REQUESTS] == 1);
    assert_granted(ask(&budget, 1, 0, before_s + DAY_S));
}

static void summer_time_gives_no_second_day(void **state) {
    (void)state;
    // East of Greenwich by 2 hours until 01:00 UTC, then by one; midnight is at 22:00, at 23:00.
    struct budget budget = limited((double)NAN, 100, (double)NAN);
    double need[] = {1, 100, 0};
    assert_granted(budget_ask(&budget, need, MIDNIGHT_S, -2 * HOUR_S));
    budget_settle(&budget, need, need);
    assert_verdict(budget_ask(&budget, need, MIDNIGHT_S + HOUR_S, -1 * HOUR_S), BUDGET_EXHAUSTED,
                   BUDGET_TOKENS, 22 * HOUR_S);
    assert_verdict(budget_ask(&budget, need, MIDNIGHT_S + 22 * HOUR_S, -1 * HOUR_S),
                   BUDGET_EXHAUSTED, BUDGET_TOKENS, HOUR_S);
    assert_granted(budget_ask(&budget, need, MIDNIGHT_S + 23 * HOUR_S, -1 * HOUR_S));
    budget_settle(&budget, need, need);
    // And back, which makes a short day.
    assert_verdict(budget_ask(&budget, need, MIDNIGHT_S + 30 * HOUR_S, -2 * HOUR_S),
                   BUDGET_EXHAUSTED, BUDGET_TOKENS, 16 * HOUR_S);
    assert_granted(budget_ask(&budget, need, MIDNIGHT_S + 46 * HOUR_S, -2 * HOUR_S));
}

// ---- holding

static void waiting_is_not_being_exhausted(void **state) {
    (void)state;
    struct budget budget = limited((double)NAN, 100, (double)NAN);
    assert_granted(ask(&budget, 70, 0, MIDNIGHT_S));
    assert_true(budget_left(&budget, BUDGET_TOKENS) == 30);
    assert_verdict(ask(&budget, 40, 0, MIDNIGHT_S), BUDGET_WAIT, BUDGET_TOKENS, 0);
    settle(&budget, 70, 20); // less than was held
    assert_true(budget_left(&budget, BUDGET_TOKENS) == 80);
    assert_granted(ask(&budget, 40, 0, MIDNIGHT_S));
    settle(&budget, 40, 45); // more
    assert_verdict(ask(&budget, 40, 0, MIDNIGHT_S), BUDGET_EXHAUSTED, BUDGET_TOKENS, DAY_S);
    assert_granted(ask(&budget, 35, 0, MIDNIGHT_S));
    settle(&budget, 35, 50);
    assert_true(budget_left(&budget, BUDGET_TOKENS) == 0);
    assert_verdict(ask(&budget, 0.5, 0, MIDNIGHT_S + 1), BUDGET_EXHAUSTED, BUDGET_TOKENS,
                   DAY_S - 1);
}

static void nothing_is_held_by_a_refused_one(void **state) {
    (void)state;
    struct budget budget = limited(10, 100, 1);
    assert_granted(ask(&budget, 50, 0.5, MIDNIGHT_S));
    struct budget before = budget;
    assert_verdict(ask(&budget, 60, 0.1, MIDNIGHT_S), BUDGET_WAIT, BUDGET_TOKENS, 0);
    assert_verdict(ask(&budget, 10, 0.6, MIDNIGHT_S), BUDGET_WAIT, BUDGET_WH, 0);
    assert_memory_equal(&before, &budget, sizeof before);
}

// Waiting is of no use when another kind is exhausted; of two that are, the later one counts.
static void the_worst_kind_is_told(void **state) {
    (void)state;
    struct budget budget = limited(1, 100, (double)NAN);
    assert_granted(ask(&budget, 60, 0, MIDNIGHT_S + 30));
    assert_verdict(ask(&budget, 60, 0, MIDNIGHT_S + 30), BUDGET_EXHAUSTED, BUDGET_REQUESTS, 30);
    settle(&budget, 60, 60);
    assert_verdict(ask(&budget, 60, 0, MIDNIGHT_S + 30), BUDGET_EXHAUSTED, BUDGET_TOKENS,
                   DAY_S - 30);
}

static void larger_than_the_whole_limit(void **state) {
    (void)state;
    struct budget budget = limited((double)NAN, 100, (double)NAN);
    assert_granted(ask(&budget, 10, 0, MIDNIGHT_S));
    assert_verdict(ask(&budget, 500, 0, MIDNIGHT_S), BUDGET_WAIT, BUDGET_TOKENS, 0);
    settle(&budget, 10, 0); // it failed
    assert_granted(ask(&budget, 500, 0, MIDNIGHT_S));
    assert_true(budget_left(&budget, BUDGET_TOKENS) == 0);
    assert_verdict(ask(&budget, 1, 0, MIDNIGHT_S), BUDGET_WAIT, BUDGET_TOKENS, 0);
    settle(&budget, 500, 1);
    assert_verdict(ask(&budget, 500, 0, MIDNIGHT_S), BUDGET_EXHAUSTED, BUDGET_TOKENS, DAY_S);
    assert_granted(ask(&budget, 99, 0, MIDNIGHT_S));
}

static void a_limit_of_nothing_grants_nothing(void **state) {
    (void)state;
    struct budget budget = limited((double)NAN, 0, (double)NAN);
    assert_verdict(ask(&budget, 1, 0, MIDNIGHT_S), BUDGET_EXHAUSTED, BUDGET_TOKENS, DAY_S);
    budget = limited(0, (double)NAN, (double)NAN);
    assert_verdict(ask(&budget, 1, 0, MIDNIGHT_S), BUDGET_EXHAUSTED, BUDGET_REQUESTS, 60);
}

// Wh are sums of fractions: they fill a limit, and nothing of them stays held.
static void fractions_add_up(void **state) {
    (void)state;
    struct budget budget = limited((double)NAN, (double)NAN, 0.3);
    double need[] = {1, 0, 0.1}, none[] = {1, 0, 0};
    for (int i = 0; i < 3; i++) {
        assert_granted(budget_ask(&budget, need, MIDNIGHT_S, 0));
    }
    assert_int_equal(budget_ask(&budget, need, MIDNIGHT_S, 0).answer, BUDGET_WAIT);
    for (int i = 0; i < 3; i++) {
        budget_settle(&budget, need, none);
    }
    assert_true(budget.held[BUDGET_WH] == 0);
    assert_granted(ask(&budget, 0, 5, MIDNIGHT_S));
}

static void figures_that_are_none(void **state) {
    (void)state;
    struct budget budget = limited((double)NAN, 100, 100);
    double need[] = {1, 40, (double)NAN};
    assert_granted(budget_ask(&budget, need, MIDNIGHT_S, 0));
    assert_true(budget.held[BUDGET_WH] == 0);
    budget_settle(&budget, need, (double[]){1, (double)NAN, (double)NAN});
    assert_true(budget.spent[BUDGET_TOKENS] == 40); // not known: as if it had used all
    assert_true(budget.spent[BUDGET_WH] == 0);
    assert_granted(ask(&budget, -50, 0, MIDNIGHT_S));
    settle(&budget, -50, -50);
    assert_true(budget_left(&budget, BUDGET_TOKENS) == 60);
    assert_granted(ask(&budget, 0, (double)INFINITY, MIDNIGHT_S));
    budget_settle(&budget, (double[]){1, 0, (double)INFINITY}, (double[]){1, 0, 3});
    assert_true(budget_left(&budget, BUDGET_WH) == 97);
    settle(&budget, 10, 0); // one too many
    assert_true(budget.held[BUDGET_TOKENS] == 0 && budget.n_running == 0);
}

// ---- many at once

enum { N_AT_ONCE = 16 };
struct crowd {
    struct budget budget;
    bool is_running[N_AT_ONCE];
    double need[N_AT_ONCE][BUDGET_N_KINDS];
    double used[N_AT_ONCE][BUDGET_N_KINDS];
    int n_answers[BUDGET_EXHAUSTED + 1][BUDGET_N_KINDS];
    double excess; // of a limit, largest
};

static void begin_one(struct crowd *crowd, int i, double over, int64_t unix_s, struct rng *rng) {
    double *need = crowd->need[i], *used = crowd->used[i];
    need[BUDGET_REQUESTS] = used[BUDGET_REQUESTS] = 1;
    for (int kind = BUDGET_TOKENS; kind < BUDGET_N_KINDS; kind++) {
        double limit = crowd->budget.limit[kind];
        need[kind] = limit * rng_uniform(rng) * (rng_below(rng, 20) ? 0.1 : 1.2);
        used[kind] = need[kind] * (over > 0 ? 1 + over : rng_uniform(rng));
    }
    struct budget before = crowd->budget;
    budget_roll(&before, unix_s, 0);
    struct budget_verdict verdict = budget_ask(&crowd->budget, need, unix_s, 0);
    crowd->is_running[i] = verdict.answer == BUDGET_GRANTED;
    crowd->n_answers[verdict.answer][verdict.kind]++;
    for (int kind = 0; kind < BUDGET_N_KINDS && crowd->is_running[i]; kind++) {
        bool was_empty = before.spent[kind] + before.held[kind] <= 0;
        double taken = crowd->budget.spent[kind] + crowd->budget.held[kind];
        assert_true(was_empty || taken <= before.limit[kind] * (1 + 1e-9));
    }
    assert_true(verdict.answer != BUDGET_EXHAUSTED || verdict.retry_after_s >= 1);
    if (!crowd->is_running[i]) { // the answer was right
        enum budget_kind kind = verdict.kind;
        double of_this = kind == BUDGET_REQUESTS ? 1 : need[kind];
        bool fits_without_held = before.spent[kind] + of_this <= before.limit[kind] * (1 + 1e-9) ||
                                 before.spent[kind] <= 0;
        assert_int_equal(verdict.answer == BUDGET_WAIT, fits_without_held);
    }
}

static double running_over(const struct crowd *crowd, int kind) {
    double over = 0;
    for (int i = 0; i < N_AT_ONCE; i++) {
        over += crowd->is_running[i] ? fmax(0, crowd->used[i][kind] - crowd->need[i][kind]) : 0;
    }
    return over;
}

// Whatever begins and ends when: after each grant, what is spent in a day cannot pass the limit by
// more than what those running use above their needs.
static struct crowd run_crowd(uint64_t seed, int n_liars) {
    struct crowd crowd = {.budget = limited(9, 1000, 7)};
    struct rng rng;
    rng_seed(&rng, seed);
    double allowed[BUDGET_N_KINDS] = {0};
    int64_t unix_s = MIDNIGHT_S, days_s[BUDGET_N_KINDS] = {0};
    for (int step = 0; step < 20000; step++) {
        int i = (int)rng_below(&rng, N_AT_ONCE);
        unix_s += rng_below(&rng, rng_below(&rng, 60) ? 4 : 12 * HOUR_S);
        if (crowd.is_running[i]) {
            budget_roll(&crowd.budget, unix_s, 0);
            budget_settle(&crowd.budget, crowd.need[i], crowd.used[i]);
            crowd.is_running[i] = false;
        } else {
            begin_one(&crowd, i, i < n_liars ? 0.5 : 0, unix_s, &rng);
        }
        for (int kind = BUDGET_TOKENS; kind < BUDGET_N_KINDS; kind++) {
            double limit = crowd.budget.limit[kind];
            if (days_s[kind] != crowd.budget.window_s[kind]) {
                days_s[kind] = crowd.budget.window_s[kind];
                allowed[kind] = limit + running_over(&crowd, kind);
            }
            if (crowd.is_running[i]) {
                // A large one may start alone.
                allowed[kind] = fmax(limit, crowd.need[i][kind]) + running_over(&crowd, kind);
            }
            double spent = crowd.budget.spent[kind];
            assert_true(spent <= allowed[kind] * (1 + 1e-9) || spent <= limit * (1 + 1e-9));
            crowd.excess = fmax(crowd.excess, (spent - limit) / limit);
        }
        assert_true(crowd.budget.spent[BUDGET_REQUESTS] <= 9);
    }
    for (int i = 0; i < N_AT_ONCE; i++) {
        if (crowd.is_running[i]) {
            budget_settle(&crowd.budget, crowd.need[i], crowd.used[i]);
        }
    }
    assert_true(crowd.budget.held[BUDGET_TOKENS] == 0 && crowd.budget.held[BUDGET_WH] == 0);
    assert_int_equal(crowd.budget.n_running, 0);
    return crowd;
}

static void many_at_once_do_not_spend_the_same(void **state) {
    (void)state;
    double all_excess = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        // Nobody uses more than it needs: only one that is larger than the limit passes it.
        struct crowd honest = run_crowd(seed, 0);
        assert_true(honest.excess <= 0.2 + 1e-9);
        for (int kind = 0; kind < BUDGET_N_KINDS; kind++) { // every answer was asked for
            assert_true(honest.n_answers[BUDGET_EXHAUSTED][kind] > 10);
            assert_true((honest.n_answers[BUDGET_WAIT][kind] > 10) == (kind != BUDGET_REQUESTS));
        }
        // One in sixteen uses half as much again: by what one can use above its need at most.
        assert_true(run_crowd(seed, 1).excess <= 0.2 + 0.6 + 1e-9);
        all_excess = fmax(all_excess, run_crowd(seed, N_AT_ONCE).excess);
    }
    assert_true(all_excess > 0.2); // and the bound is not idle
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_limits_all_is_granted),
        cmocka_unit_test(names),
        cmocka_unit_test(requests_a_minute),
        cmocka_unit_test(an_asking_is_one_request),
        cmocka_unit_test(days_begin_at_the_users_midnight),
        cmocka_unit_test(time_before_1970),
        cmocka_unit_test(what_runs_over_the_border_stays_held),
        cmocka_unit_test(clocks_that_go_back_forget_nothing),
        cmocka_unit_test(summer_time_gives_no_second_day),
        cmocka_unit_test(waiting_is_not_being_exhausted),
        cmocka_unit_test(nothing_is_held_by_a_refused_one),
        cmocka_unit_test(the_worst_kind_is_told),
        cmocka_unit_test(larger_than_the_whole_limit),
        cmocka_unit_test(a_limit_of_nothing_grants_nothing),
        cmocka_unit_test(fractions_add_up),
        cmocka_unit_test(figures_that_are_none),
        cmocka_unit_test(many_at_once_do_not_spend_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
