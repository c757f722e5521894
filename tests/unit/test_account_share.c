// Energy divided among requests: nothing is lost and nothing made, what is known of the work
// decides, and the stated errors are the derivatives of the shares.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "account/share.h"
#include "base/rng.h"
#include "near.h"

enum { MAX_LIVES = 16 };
static const double NOT_KNOWN = (double)NAN;
static const int64_t MS = 1000000;

// ---- one step

static struct share_step step_of(double energy_j, double seconds, double idle_w) {
    return (struct share_step){
        .energy_j = energy_j, .seconds = seconds, .busy_s = NOT_KNOWN, .idle_w = idle_w};
}

static void net_goes_by_work_and_floor_by_time(void **state) {
    (void)state;
    struct share_account a = {0}, b = {0};
    struct share_totals totals = {0};
    struct share_work work[] = {{.account = &a, .active_s = 2, .work_s = 3},
                                {.account = &b, .active_s = 1, .work_s = 1}};
    struct share_step step = step_of(50, 2, 5);
    share_step(&step, work, 2, &totals); // floor 10 J, net 40 J
    assert_near(a.net_j, 30, 1e-12);
    assert_near(b.net_j, 10, 1e-12);
    assert_near(a.gross_j, 30 + 10 * 2 / 3.0, 1e-12);
    assert_near(b.gross_j, 10 + 10 / 3.0, 1e-12);
    assert_true(a.active_s == 2 && b.active_s == 1 && a.n_shared == 2 && b.n_shared == 2);
    assert_near(totals.shared_j, 50, 1e-12);
    assert_near(totals.net_j, 40, 1e-12);
    assert_true(totals.measured_j == 50 && totals.idle_j == 0);
    assert_true(totals.busy_s == 2 && totals.idle_s == 0);
}

static void time_decides_where_no_work_is_known(void **state) {
    (void)state;
    struct share_account accounts[4] = {0};
    struct share_totals totals = {0};
    struct share_work work[4];
    for (int i = 0; i < 4; i++) {
        work[i] = (struct share_work){.account = &accounts[i], .active_s = i < 3 ? 1 : 0.5};
    }
    struct share_step step = step_of(35, 1, 0);
    share_step(&step, work, 4, &totals);
    for (int i = 0; i < 4; i++) {
        assert_near(accounts[i].gross_j, i < 3 ? 10 : 5, 1e-12);
        assert_near(accounts[i].net_j, i < 3 ? 10 : 5, 1e-12);
    }
}

static void a_step_without_anybody_is_idle(void **state) {
    (void)state;
    struct share_account a = {0};
    struct share_totals totals = {0};
    struct share_work work = {.account = &a, .active_s = 0, .work_s = 7};
    struct share_step step = step_of(30, 2, 5);
    share_step(&step, NULL, 0, &totals);
    share_step(&step, &work, 1, &totals);
    assert_true(totals.idle_j == 60 && totals.measured_j == 60 && totals.shared_j == 0);
    assert_true(totals.idle_s == 4 && totals.busy_s == 0 && totals.net_j == 0);
    assert_true(a.gross_j == 0 && a.n_shared == 0);
    // So is energy without time.
    step = step_of(3, 0, 5);
    work.active_s = 1;
    share_step(&step, &work, 1, &totals);
    assert_true(totals.idle_j == 63 && a.gross_j == 0);
}

static void the_floor_is_never_larger_than_the_energy(void **state) {
    (void)state;
    struct share_account a = {0};
    struct share_totals totals = {0};
    struct share_work work = {.account = &a, .active_s = 2, .work_s = 1};
    struct share_step step = step_of(8, 2, 5);
    share_step(&step, &work, 1, &totals);
    assert_true(a.gross_j == 8 && a.net_j == 0);
    step.idle_w = (double)INFINITY;
    share_step(&step, &work, 1, &totals);
    assert_true(a.gross_j == 16 && a.net_j == 0);
    step.idle_w = NOT_KNOWN;
    share_step(&step, &work, 1, &totals);
    assert_true(a.gross_j == 24 && a.net_j == 8);
}

static void what_nobody_was_there_for_is_idle(void **state) {
    (void)state;
    struct share_account a = {0}, b = {0};
    struct share_totals totals = {0};
    struct share_work work[] = {{.account = &a, .active_s = 0.5, .work_s = 1},
                                {.account = &b, .active_s = 0.5, .work_s = 1}};
    struct share_step step = step_of(60, 4, 5); // floor 20 J, net 40 J
    share_step(&step, work, 2, &totals);        // one after the other: busy for a second
    assert_near(totals.idle_j, 15, 1e-12);
    assert_near(a.gross_j, 20 + 2.5, 1e-12);
    assert_near(totals.busy_s, 1, 1e-12);
    step.busy_s = 0.5; // at the same time
    share_step(&step, work, 2, &totals);
    assert_near(totals.idle_j, 15 + 17.5, 1e-12);
    assert_near(a.gross_j, 22.5 + 21.25, 1e-12);
    assert_near(totals.idle_s, 3 + 3.5, 1e-12);
    step.busy_s = 0.1; // cannot be less than the longest
    share_step(&step, work, 2, &totals);
    assert_near(totals.busy_s, 2, 1e-12);
    step.busy_s = 3; // nor more than both together
    share_step(&step, work, 2, &totals);
    assert_near(totals.busy_s, 3, 1e-12);
}

static void steps_that_are_none_change_nothing(void **state) {
    (void)state;
    static const double BAD[] = {-1, (double)NAN, (double)INFINITY};
    struct share_account a = {0};
    struct share_totals totals = {0}, zero = {0};
    struct share_work work = {.account = &a, .active_s = 1, .work_s = 1};
    for (size_t i = 0; i < 3; i++) {
        struct share_step step = step_of(BAD[i], 1, 5);
        share_step(&step, &work, 1, &totals);
        step = step_of(10, BAD[i], 5);
        share_step(&step, &work, 1, &totals);
    }
    assert_true(a.gross_j == 0 && a.n_shared == 0);
    assert_memory_equal(&totals, &zero, sizeof zero);
}

// ---- many steps

// Mostly what can be, now and then what cannot.
static double odd_number(struct rng *rng, double usual) {
    switch (rng_below(rng, 40)) {
    case 0: return 0;
    case 1: return -usual;
    case 2: return NOT_KNOWN;
    case 3: return (double)INFINITY;
    case 4: return usual * 1e9;
    case 5: return usual * 1e-9;
    default: return usual;
    }
}

static size_t random_work(struct rng *rng, struct share_account *accounts, double seconds,
                          struct share_work *work) {
    size_t n = rng_below(rng, MAX_LIVES + 1);
    for (size_t i = 0; i < n; i++) {
        bool is_whole = rng_below(rng, 3) > 0;
        double work_s = rng_below(rng, 4) ? rng_uniform(rng) : 0;
        work[i] = (struct share_work){
            .account = &accounts[rng_below(rng, MAX_LIVES)],
            .active_s = odd_number(rng, is_whole ? seconds : seconds * rng_uniform(rng)),
            .work_s = odd_number(rng, work_s),
            .prompt_s = odd_number(rng, work_s * rng_uniform(rng))};
    }
    return n;
}

static void assert_conserved(const struct share_account *accounts, const struct share_totals *t,
                             double seconds) {
    double gross_j = 0, net_j = 0;
    for (int i = 0; i < MAX_LIVES; i++) {
        const struct share_account *a = &accounts[i];
        gross_j += a->gross_j;
        net_j += a->net_j;
        assert_true(a->net_j >= 0 && a->gross_j >= a->net_j * (1 - 1e-12));
        assert_true(a->prompt_net_j >= 0 && a->prompt_net_j <= a->net_j * (1 + 1e-9));
        assert_true(a->prompt_net_s <= a->net_s * (1 + 1e-9));
    }
    assert_near(gross_j + t->idle_j, t->measured_j, 1e-9 * t->measured_j);
    assert_near(gross_j, t->shared_j, 1e-9 * t->measured_j);
    assert_near(net_j, t->net_j, 1e-9 * t->measured_j);
    assert_near(t->shared_j + t->idle_j, t->measured_j, 1e-9 * t->measured_j);
    assert_near(t->busy_s + t->idle_s, seconds, 1e-9 * seconds);
    assert_true(t->idle_j >= 0 && t->busy_s >= 0 && t->idle_s >= -1e-9 * seconds);
}

static void every_joule_goes_somewhere_once(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rng rng;
        struct share_account accounts[MAX_LIVES] = {0};
        struct share_totals totals = {0};
        double measured_j = 0, seconds = 0;
        rng_seed(&rng, seed);
        for (int i = 0; i < 2000; i++) {
            struct share_work work[MAX_LIVES];
            struct share_step step = step_of(rng_below(&rng, 20) ? 100 * rng_uniform(&rng) : 0,
                                             rng_below(&rng, 50) ? 2 * rng_uniform(&rng) : 0,
                                             odd_number(&rng, 60 * rng_uniform(&rng)));
            step.busy_s = rng_below(&rng, 2) ? odd_number(&rng, rng_uniform(&rng)) : NOT_KNOWN;
            step.sd_j = odd_number(&rng, 0.1);
            size_t n = random_work(&rng, accounts, step.seconds, work);
            share_step(&step, work, n, &totals);
            measured_j += step.energy_j;
            seconds += step.seconds;
        }
        assert_near(totals.measured_j, measured_j, 1e-9 * measured_j);
        assert_conserved(accounts, &totals, seconds);
        assert_true(totals.net_j > 0.1 * measured_j && totals.idle_j > 0.01 * measured_j);
    }
}

// ---- errors

// Twenty steps of three requests; each figure of the meter may be a little wrong.
static void run_meter(double gain, double idle_error_w, int wrong_step, struct share_account *out) {
    struct rng rng;
    struct share_totals totals = {0};
    memset(out, 0, 3 * sizeof *out);
    rng_seed(&rng, 4);
    for (int i = 0; i < 20; i++) {
        struct share_work work[3];
        for (int k = 0; k < 3; k++) {
            work[k] = (struct share_work){
                .account = &out[k], .active_s = 1 - 0.3 * k, .work_s = rng_uniform(&rng)};
        }
        struct share_step step =
            step_of((30 + 20 * rng_uniform(&rng)) * gain + (i == wrong_step ? 0.01 : 0), 1,
                    8 * gain + idle_error_w);
        step.sd_j = 0.1 + 0.02 * i;
        share_step(&step, work, 3, &totals);
    }
}

static void errors_are_what_the_shares_would_change_by(void **state) {
    (void)state;
    struct share_account truth[3], wrong[3];
    run_meter(1, 0, -1, truth);
    double variance_j2[3] = {0};
    for (int i = 0; i < 20; i++) {
        run_meter(1, 0, i, wrong);
        for (int k = 0; k < 3; k++) {
            double slope = (wrong[k].gross_j - truth[k].gross_j) / 0.01;
            variance_j2[k] += pow(slope * (0.1 + 0.02 * i), 2);
        }
    }
    for (int k = 0; k < 3; k++) {
        assert_near(share_gross_sd_j(&truth[k], 0, 0), sqrt(variance_j2[k]), 1e-6);
        assert_near(share_net_sd_j(&truth[k], 0, 0), sqrt(variance_j2[k]), 1e-6);
    }
    run_meter(1.02, 0, -1, wrong); // the meter's gain, in all that it read
    for (int k = 0; k < 3; k++) {
        assert_near(sqrt(pow(wrong[k].gross_j - truth[k].gross_j, 2) + variance_j2[k]),
                    share_gross_sd_j(&truth[k], 0.02, 0), 1e-6);
        assert_near(sqrt(pow(wrong[k].net_j - truth[k].net_j, 2) + variance_j2[k]),
                    share_net_sd_j(&truth[k], 0.02, 0), 1e-6);
    }
    run_meter(1, 0.5, -1, wrong); // the idle power
    for (int k = 0; k < 3; k++) {
        double gross_error_j = wrong[k].gross_j - truth[k].gross_j;
        assert_near(sqrt(pow(gross_error_j, 2) + variance_j2[k]),
                    share_gross_sd_j(&truth[k], 0, 0.5), 1e-6);
        assert_near(sqrt(pow(wrong[k].net_j - truth[k].net_j, 2) + variance_j2[k]),
                    share_net_sd_j(&truth[k], 0, 0.5), 1e-6);
        assert_true(fabs(gross_error_j) > 0.05); // presence and work differ here
    }
}

static void errors_of_one_alone(void **state) {
    (void)state;
    struct share_account a = {0};
    struct share_totals totals = {0};
    struct share_work work = {.account = &a, .active_s = 1, .work_s = 0.2};
    for (int i = 0; i < 9; i++) {
        struct share_step step = step_of(20, 1, 5);
        step.sd_j = i == 8 ? NOT_KNOWN : 0.5;
        share_step(&step, &work, 1, &totals);
    }
    struct share_step low = step_of(1, 1, 5); // below the floor: all of the error is its floor's
    low.sd_j = 0.5;
    share_step(&low, &work, 1, &totals);
    assert_near(a.variance_j2, 9 * 0.25, 1e-12);
    assert_near(share_gross_sd_j(&a, 0, 0), 1.5, 1e-12);
    assert_near(share_gross_sd_j(&a, 0, 7), 1.5, 1e-12); // alone, gross does not know of idle
    assert_near(share_net_sd_j(&a, 0, 0.1), sqrt(2.25 + 1), 1e-12);
    assert_true(isnan(share_gross_sd_j(&a, NOT_KNOWN, 0)));
    assert_true(isnan(share_net_sd_j(&a, 0, NOT_KNOWN)));
}

// ---- lives

static const struct share_pace PACE = {.token_s = 0.05, .prompt_s = 0.001};

static double take_one(struct share_life *life, int64_t t_ns, const struct share_pace *pace,
                       double *active_s) {
    struct share_work work;
    double busy_s = share_lives_take(&life, 1, t_ns, pace, &work);
    assert_ptr_equal(work.account, &life->account);
    assert_true(busy_s == work.active_s);
    *active_s = work.active_s;
    return work.work_s;
}

static void the_life_of_one_alone(void **state) {
    (void)state;
    struct share_life life;
    double active_s;
    share_life_begin(&life, 100 * MS, 0);
    assert_near(take_one(&life, 600 * MS, &PACE, &active_s), 0.5, 1e-12); // its prompt
    assert_near(active_s, 0.5, 1e-12);
    share_life_piece(&life, 800 * MS, 0); // the role, without a token
    share_life_piece(&life, 900 * MS, 1);
    share_life_piece(&life, 950 * MS, 1);
    share_life_piece(&life, 1000 * MS, 2);
    assert_near(take_one(&life, 1100 * MS, &PACE, &active_s), 0.3 + 3 * 0.05, 1e-12);
    assert_near(active_s, 0.5, 1e-12);
    assert_near(take_one(&life, 1100 * MS, &PACE, &active_s), 0, 0); // the same time again
    assert_near(active_s, 0, 0);
    share_life_piece(&life, 1150 * MS, 1);
    assert_near(take_one(&life, 1000 * MS, &PACE, &active_s), 0, 0); // a clock that goes back
    share_life_end(&life, 1160 * MS);
    assert_near(take_one(&life, 1200 * MS, &PACE, &active_s), 0.05, 1e-12);
    assert_near(active_s, 0.06, 1e-12);
    assert_near(take_one(&life, 1300 * MS, &PACE, &active_s), 0, 0);
    assert_near(active_s, 0, 0);
    assert_false(life.was_shared);
}

static void all_of_its_time_where_tokens_are_not_known(void **state) {
    (void)state;
    struct share_pace none = {0};
    struct share_life life;
    double active_s;
    share_life_begin(&life, 0, 0);
    share_life_piece(&life, 300 * MS, 4);
    assert_near(take_one(&life, 1000 * MS, &none, &active_s), 1, 1e-12);
    assert_near(take_one(&life, 1500 * MS, &none, &active_s), 0.5, 1e-12);
}

// What is not active yet is not looked at: a reading that was taken before it came.
static void readings_from_before_its_begin(void **state) {
    (void)state;
    struct share_life life;
    double active_s;
    share_life_begin(&life, 500 * MS, 0);
    assert_near(take_one(&life, 400 * MS, &PACE, &active_s), 0, 0);
    assert_near(take_one(&life, 600 * MS, &PACE, &active_s), 0.1, 1e-12);
}

struct scene {
    struct share_life lives[3];
    struct share_life *list[3];
    struct share_work work[3];
};

static void begin_scene(struct scene *scene, double need_a_s, double need_b_s, double need_c_s) {
    double needs_s[] = {need_a_s, need_b_s, need_c_s};
    for (int i = 0; i < 3; i++) {
        share_life_begin(&scene->lives[i], 0, needs_s[i]);
        scene->list[i] = &scene->lives[i];
    }
}

static void assert_work(struct scene *scene, int64_t t_ns, double a_s, double b_s, double c_s) {
    double busy_s = share_lives_take(scene->list, 3, t_ns, &PACE, scene->work);
    assert_true(busy_s > 0);
    assert_near(scene->work[0].work_s, a_s, 1e-9);
    assert_near(scene->work[1].work_s, b_s, 1e-9);
    assert_near(scene->work[2].work_s, c_s, 1e-9);
}

static void prompts_are_computed_as_they_came(void **state) {
    (void)state;
    struct scene scene;
    begin_scene(&scene, 0.5, 1.5, 1);
    assert_work(&scene, 1000 * MS, 0.5, 0.5, 0);
    assert_true(scene.work[1].prompt_s == scene.work[1].work_s);
    assert_work(&scene, 2000 * MS, 0, 1, 0);
    assert_work(&scene, 3000 * MS, 0, 0, 1);
    // Longer than thought: by their sizes.
    assert_work(&scene, 4000 * MS, 0.5 / 3, 1.5 / 3, 1.0 / 3);
    assert_true(scene.lives[0].was_shared && scene.lives[2].was_shared);
}

static void a_prompt_done_within_the_step_comes_first(void **state) {
    (void)state;
    struct scene scene;
    begin_scene(&scene, 5, 5, 0.3);
    share_life_piece(&scene.lives[2], 900 * MS, 1);
    assert_work(&scene, 1000 * MS, 0.7, 0, 0.3);
}

static void prompts_of_unknown_size_share_the_time(void **state) {
    (void)state;
    struct scene scene;
    begin_scene(&scene, 0, 0, 0);
    share_life_end(&scene.lives[2], 400 * MS);
    assert_work(&scene, 1000 * MS, 1 / 2.4, 1 / 2.4, 0.4 / 2.4);
}

static void answers_come_before_prompts(void **state) {
    (void)state;
    struct scene scene;
    begin_scene(&scene, 0.1, 2, 0);
    scene.lives[2].prompt_s = scene.lives[2].prompt_left_s = 2;
    share_life_piece(&scene.lives[0], 1, 1);
    assert_int_equal(scene.lives[0].first_ns, 1);
    share_life_piece(&scene.lives[0], 500 * MS, 4); // 0.2 s of the second
    assert_work(&scene, 1000 * MS, 0.2 + 1e-9 * 0.8, 0.8, 0);
    assert_true(scene.work[0].prompt_s < 1e-8 && scene.work[1].prompt_s == scene.work[1].work_s);
    // Several answers at once take less than each alone: their prompts' share stays.
    share_life_piece(&scene.lives[0], 1500 * MS, 100);
    assert_work(&scene, 2000 * MS, 5, 0.5, 0);
}

// Their prompts have got what they need, and answers take all of the time: they wait for a place.
static void waiting_for_a_place_costs_nothing(void **state) {
    (void)state;
    struct scene scene;
    begin_scene(&scene, 0.1, 0.1, 0.1);
    assert_work(&scene, 300 * MS, 0.1, 0.1, 0.1);
    share_life_piece(&scene.lives[0], 300 * MS, 1);
    share_life_piece(&scene.lives[0], 900 * MS, 20);
    assert_work(&scene, 1300 * MS, 1, 0, 0);
    share_life_piece(&scene.lives[0], 1900 * MS, 10);
    assert_work(&scene, 2300 * MS, 0.5, 0.25, 0.25);
}

static void share_all(struct scene *scene, double energy_j, int64_t t_ns,
                      struct share_totals *totals) {
    struct share_step step = step_of(energy_j, 1, 0);
    step.busy_s = share_lives_take(scene->list, 3, t_ns, &PACE, scene->work);
    share_step(&step, scene->work, 3, totals);
}

// The third was answered although the first two came before: it gets what it needed out of theirs.
static void who_is_done_before_his_turn_is_paid(void **state) {
    (void)state;
    struct scene scene;
    struct share_totals totals = {0};
    begin_scene(&scene, 5, 4, 1.5);
    share_all(&scene, 10, 1000 * MS, &totals);
    share_all(&scene, 10, 2000 * MS, &totals);
    assert_near(scene.lives[0].account.net_j, 20, 1e-9);
    share_life_piece(&scene.lives[2], 2500 * MS, 1);
    share_all(&scene, 10, 3000 * MS, &totals);
    assert_near(scene.lives[2].account.net_j, 15, 1e-9);
    assert_near(scene.lives[2].account.gross_j, 15, 1e-9);
    assert_near(scene.lives[2].account.net_s, 1.5, 1e-9);
    assert_near(scene.lives[0].account.net_j, 15, 1e-9);
    assert_near(scene.lives[0].account.net_s, 1.5, 1e-9);
    assert_near(scene.lives[0].prompt_left_s, 3.5, 1e-9); // it has still to be computed
    // Once only, and never from one that has its answer.
    share_all(&scene, 10, 4000 * MS, &totals);
    assert_near(scene.lives[2].account.net_j, 15, 1e-9);
    share_life_piece(&scene.lives[0], 4500 * MS, 1);
    share_all(&scene, 10, 5000 * MS, &totals);
    share_life_piece(&scene.lives[1], 5500 * MS, 1);
    double before_j = scene.lives[0].account.net_j;
    share_all(&scene, 10, 6000 * MS, &totals);
    assert_true(scene.lives[0].account.net_j == before_j);
    double sum_j = 0;
    for (int i = 0; i < 3; i++) {
        sum_j += scene.lives[i].account.gross_j;
    }
    assert_near(sum_j + totals.idle_j, 60, 1e-9);
}

// ---- random lives

// Milliseconds in which the condition holds for any life, counted one by one.
static int count_ms(const int (*from_to)[2], int n, int begin_ms, int end_ms) {
    int count = 0;
    for (int ms = begin_ms; ms < end_ms; ms++) {
        bool is_in = false;
        for (int i = 0; i < n; i++) {
            is_in = is_in || (ms >= from_to[i][0] && ms < from_to[i][1]);
        }
        count += is_in;
    }
    return count;
}

struct crowd {
    int n;
    int times_ms[MAX_LIVES][2]; // begin and end
    struct share_life lives[MAX_LIVES], *list[MAX_LIVES];
    struct share_account accounts[MAX_LIVES];
};

static void begin_crowd(struct crowd *crowd, struct rng *rng) {
    int at_ms = 0;
    crowd->n = (int)rng_below(rng, MAX_LIVES + 1);
    for (int i = 0; i < crowd->n; i++) {
        at_ms += (int)rng_below(rng, 400);
        int length_ms = (int)rng_below(rng, 3000), first_ms = (int)rng_below(rng, 2000);
        struct share_life *life = crowd->list[i] = &crowd->lives[i];
        crowd->times_ms[i][0] = at_ms;
        crowd->times_ms[i][1] = at_ms + length_ms;
        share_life_begin(life, at_ms * MS, rng_below(rng, 4) ? rng_uniform(rng) : 0);
        if (first_ms <= length_ms) {
            share_life_piece(life, (at_ms + first_ms) * MS, 1);
            share_life_piece(life, (at_ms + length_ms) * MS, rng_below(rng, 60));
        }
        share_life_end(life, (at_ms + length_ms) * MS);
    }
}

// Through readings at any time: each life is covered once, the busy time is that of any of them,
// and prompts together never had more work than time.
static void lives_are_covered_once(void **state) {
    (void)state;
    struct rng rng;
    rng_seed(&rng, 8);
    for (int run = 0; run < 300; run++) {
        struct crowd crowd;
        struct share_totals totals = {0};
        double seconds = 0;
        begin_crowd(&crowd, &rng);
        for (int read_ms = 0, last_ms = 0; last_ms < 12000; last_ms = read_ms) {
            read_ms += 1 + (int)rng_below(&rng, 1500);
            struct share_work work[MAX_LIVES];
            struct share_step step = step_of(10 * rng_uniform(&rng), (read_ms - last_ms) * 1e-3, 3);
            step.busy_s = share_lives_take(crowd.list, (size_t)crowd.n, read_ms * MS, &PACE, work);
            int busy_ms = count_ms((const int(*)[2])crowd.times_ms, crowd.n, last_ms, read_ms);
            assert_near(step.busy_s, busy_ms * 1e-3, 1e-9);
            double prompts_s = 0;
            for (int i = 0; i < crowd.n; i++) {
                assert_true(work[i].work_s >= work[i].prompt_s && work[i].prompt_s >= 0);
                prompts_s += work[i].prompt_s;
            }
            assert_true(prompts_s <= step.busy_s + 1e-9);
            share_step(&step, work, (size_t)crowd.n, &totals);
            seconds += step.seconds;
        }
        memset(crowd.accounts, 0, sizeof crowd.accounts);
        for (int i = 0; i < crowd.n; i++) {
            crowd.accounts[i] = crowd.lives[i].account;
            assert_near(crowd.accounts[i].active_s,
                        (crowd.times_ms[i][1] - crowd.times_ms[i][0]) * 1e-3, 1e-9);
        }
        assert_conserved(crowd.accounts, &totals, seconds);
    }
}

// ---- learning

static struct share_life lived(double prompt_s, double token_s, uint64_t n_tokens,
                               bool was_shared) {
    struct share_life life;
    share_life_begin(&life, 0, 0);
    int64_t first_ns = (int64_t)(prompt_s * 1e9);
    share_life_piece(&life, first_ns, 1);
    share_life_piece(&life, first_ns + (int64_t)(token_s * 1e9) * (int64_t)n_tokens, n_tokens);
    life.was_shared = was_shared;
    return life;
}

static void learn(struct share_pace *pace, double prompt_s, double token_s, bool was_shared) {
    struct share_life life = lived(prompt_s, token_s, 100, was_shared);
    share_pace_learn(pace, &life, 1000);
}

static void paces_fall_quickly_and_rise_slowly(void **state) {
    (void)state;
    struct share_pace pace = {0};
    learn(&pace, 8, 0.2, true); // better than nothing
    assert_near(pace.token_s, 0.2, 1e-9);
    assert_near(pace.prompt_s, 0.008, 1e-12);
    for (int i = 0; i < 5; i++) {
        learn(&pace, 4, 0.1, true);
    }
    assert_near(pace.token_s, 0.1, 0.005);
    assert_near(pace.prompt_s, 0.004, 0.0002);
    struct share_pace before = pace;
    learn(&pace, 40, 1, true); // sharing adds: nothing is learned of it
    assert_memory_equal(&pace, &before, sizeof pace);
    learn(&pace, 40, 1, false);
    assert_true(pace.token_s > before.token_s && pace.token_s < 0.06 + before.token_s);
    for (int i = 0; i < 100; i++) {
        learn(&pace, 8, 0.2, false);
    }
    assert_near(pace.token_s, 0.2, 0.01);
    assert_near(pace.prompt_s, 0.008, 0.0004);
}

static void what_tells_nothing_is_not_learned(void **state) {
    (void)state;
    struct share_pace pace = {.token_s = 0.1, .prompt_s = 0.01};
    struct share_pace before = pace;
    struct share_life life = lived(0.001, 0.001, 7, false); // few tokens
    share_pace_learn(&pace, &life, 0);                      // of a prompt of unknown size
    share_pace_learn(&pace, &life, NOT_KNOWN);
    life = lived(0, 0, 100, false); // all at once
    share_pace_learn(&pace, &life, 1000);
    share_life_begin(&life, 0, 0); // no answer
    share_life_end(&life, 10 * MS);
    share_pace_learn(&pace, &life, 1000);
    assert_memory_equal(&pace, &before, sizeof pace);
    life = lived(5, 0.05, 8, false);
    share_pace_learn(&pace, &life, 1000);
    assert_true(pace.token_s < 0.08 && pace.prompt_s < 0.008);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(net_goes_by_work_and_floor_by_time),
        cmocka_unit_test(time_decides_where_no_work_is_known),
        cmocka_unit_test(a_step_without_anybody_is_idle),
        cmocka_unit_test(the_floor_is_never_larger_than_the_energy),
        cmocka_unit_test(what_nobody_was_there_for_is_idle),
        cmocka_unit_test(steps_that_are_none_change_nothing),
        cmocka_unit_test(every_joule_goes_somewhere_once),
        cmocka_unit_test(errors_are_what_the_shares_would_change_by),
        cmocka_unit_test(errors_of_one_alone),
        cmocka_unit_test(the_life_of_one_alone),
        cmocka_unit_test(all_of_its_time_where_tokens_are_not_known),
        cmocka_unit_test(readings_from_before_its_begin),
        cmocka_unit_test(prompts_are_computed_as_they_came),
        cmocka_unit_test(a_prompt_done_within_the_step_comes_first),
        cmocka_unit_test(prompts_of_unknown_size_share_the_time),
        cmocka_unit_test(answers_come_before_prompts),
        cmocka_unit_test(waiting_for_a_place_costs_nothing),
        cmocka_unit_test(who_is_done_before_his_turn_is_paid),
        cmocka_unit_test(lives_are_covered_once),
        cmocka_unit_test(paces_fall_quickly_and_rise_slowly),
        cmocka_unit_test(what_tells_nothing_is_not_learned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
