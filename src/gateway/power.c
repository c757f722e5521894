#include "gateway/power.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/power_idle.h"
#include "meter/meter_total.h"
#include "os/clock.h"

enum { MAX_PENDING = 256, MAX_KEPT_READINGS = 4096 };

// Steps of a quarter of a second divide the joules best (account/share.h).
static const int64_t STEP_NS = 250000000;
// A source that moves at least this often is read at the borders of requests, too.
static const int64_t FAST_NS = 20000000;
// But not more often than this, however many requests come.
static const int64_t SHORTEST_STEP_NS = 5000000;
// The machine needs a while to come to rest: what it takes until then is idle but teaches nothing.
static const double REST_S = 2;
static const double IDLE_BIN_S = 1;

// A step whose work is known, while its joules are not.
struct step {
    int64_t t0_ns, t1_ns;
    double busy_s;
    size_t n;
    struct share_work *work; // of users[i]
    struct power_user **users;
};

struct power {
    struct meter *meter;
    struct meter_total *total;
    const struct os_clock *clock;
    struct meter_reading reading;              // large
    struct power_user *users[POWER_MAX_USERS]; // in the order in which they came
    struct share_life *lives[POWER_MAX_USERS];
    size_t n_users;
    struct step pending[MAX_PENDING];
    size_t n_pending;
    int64_t step_ns; // end of the last step
    double rested_s; // since the last user left
    struct power_idle idle;
    struct share_pace pace;
    struct power_state state;
    bool is_lost;
};

static int64_t now_ns(const struct power *power) {
    return power->clock->now_ns(power->clock->context);
}

// ---- steps ----

static void release_step(struct step *step) {
    free(step->work);
    free(step->users);
    *step = (struct step){0};
}

// Users of the next step, those that have ended since the last one included.
static bool take_work(struct power *power, int64_t t_ns, struct step *step) {
    size_t n = power->n_users;
    *step = (struct step){.t0_ns = power->step_ns, .t1_ns = t_ns, .n = n};
    if (n == 0) {
        return true;
    }
    step->work = calloc(n, sizeof *step->work);
    step->users = calloc(n, sizeof(struct power_user *));
    if (!step->work || !step->users) {
        release_step(step);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        power->lives[i] = &power->users[i]->life;
        step->users[i] = power->users[i];
        power->users[i]->n_waiting++;
    }
    step->busy_s = share_lives_take(power->lives, n, t_ns, &power->pace, step->work);
    return true;
}

static void drop_ended(struct power *power) {
    size_t n = 0;
    for (size_t i = 0; i < power->n_users; i++) {
        if (!power->users[i]->is_over) {
            power->users[n++] = power->users[i];
        }
    }
    power->n_users = n;
}

static void settle(struct power_user *user) {
    if (user->is_over && user->n_waiting == 0 && !user->is_settled) {
        user->is_settled = true;
        if (user->on_settled) {
            user->on_settled(user->context, user);
        }
    }
}

static void learn_idle(struct power *power, const struct step *step, double energy_j) {
    double seconds = (double)(step->t1_ns - step->t0_ns) * 1e-9;
    if (step->n > 0) {
        power->rested_s = 0;
        power_idle_break(&power->idle);
    } else if ((power->rested_s += seconds) > REST_S) {
        power_idle_add(&power->idle, energy_j, seconds);
    }
}

// The joules of a step, or none where the readings have a gap: that time is told apart.
static void share(struct power *power, struct step *step) {
    struct meter_energy energy = {0};
    double seconds = (double)(step->t1_ns - step->t0_ns) * 1e-9, idle_w, idle_sd_w;
    bool is_known =
        meter_total_window(power->total, step->t0_ns, step->t1_ns, &energy, NULL) == WL_OK &&
        isfinite(energy.gross_j) && energy.gross_j >= 0;
    if (is_known) {
        power_idle_level(&power->idle, &idle_w, &idle_sd_w);
        struct share_step shared = {.energy_j = energy.gross_j,
                                    .seconds = seconds,
                                    .busy_s = step->busy_s,
                                    .idle_w = isfinite(idle_w) ? idle_w : 0,
                                    .sd_j = energy.sd_j};
        share_step(&shared, step->work, step->n, &power->state.totals);
        power->state.watts = seconds > 0 ? energy.gross_j / seconds : power->state.watts;
        learn_idle(power, step, energy.gross_j);
    }
    if (!is_known || energy.coverage < 1) {
        power->state.n_gaps++;
        power->state.gap_s += is_known ? (1 - energy.coverage) * seconds : seconds;
    }
    for (size_t i = 0; i < step->n; i++) {
        step->users[i]->n_waiting--;
    }
}

// Settling may bring new users or let old ones go: the step is out of the list before.
static void share_first(struct power *power) {
    struct step step = power->pending[0];
    memmove(power->pending, power->pending + 1, --power->n_pending * sizeof step);
    share(power, &step);
    for (size_t i = 0; i < step.n; i++) {
        settle(step.users[i]);
    }
    release_step(&step);
}

static void share_known(struct power *power) {
    while (power->n_pending > 0 &&
           (power->is_lost || power->n_pending == MAX_PENDING ||
            power->pending[0].t1_ns <= meter_total_known_until_ns(power->total))) {
        share_first(power);
    }
}

static bool read_meter(struct power *power) {
    bool is_new = false;
    do {
        struct meter_total_sample sample;
        if (meter_read(power->meter, &power->reading, NULL) != WL_OK ||
            meter_total_feed(power->total, &power->reading, &sample, NULL) != WL_OK) {
            power->is_lost = true;
            return false;
        }
        power->state.n_readings += !power->reading.is_empty;
        is_new = is_new || !power->reading.is_empty;
    } while (power->reading.has_more);
    return is_new;
}

// A step ends at a reading where the source is read when asked, else where it is.
static void step(struct power *power) {
    bool is_fast = power_info(power)->native_period_ns <= FAST_NS;
    if (!power->is_lost) {
        read_meter(power);
    }
    int64_t t_ns = now_ns(power);
    int64_t known_ns = meter_total_known_until_ns(power->total);
    if (is_fast && known_ns > power->step_ns && known_ns < t_ns) {
        t_ns = known_ns;
    }
    if (t_ns > power->step_ns && power->n_pending < MAX_PENDING &&
        take_work(power, t_ns, &power->pending[power->n_pending])) {
        power->n_pending++;
        power->step_ns = t_ns;
        drop_ended(power);
    }
    share_known(power);
}

void power_tick(struct power *power) {
    step(power);
}

// The border of a request: a step ends there if the source can tell it.
static void border(struct power *power) {
    if (power_info(power)->native_period_ns <= FAST_NS &&
        now_ns(power) - power->step_ns >= SHORTEST_STEP_NS) {
        step(power);
    }
}

// ---- users ----

enum wl_status power_enter(struct power *power, struct power_user *user, double prompt_size,
                           struct wl_err *err) {
    *user = (struct power_user){0};
    if (power->n_users == POWER_MAX_USERS) {
        return wl_err_set(err, WL_LIMIT, "more than %d requests at once", POWER_MAX_USERS);
    }
    border(power);
    share_life_begin(&user->life, now_ns(power), power->pace.prompt_s * prompt_size);
    power->users[power->n_users++] = user;
    return WL_OK;
}

void power_piece(struct power *power, struct power_user *user, uint64_t n_tokens) {
    share_life_piece(&user->life, now_ns(power), n_tokens);
}

void power_leave(struct power *power, struct power_user *user,
                 void (*on_settled)(void *context, struct power_user *user), void *context) {
    user->on_settled = on_settled;
    user->context = context;
    user->is_over = true;
    share_life_end(&user->life, now_ns(power));
    border(power);
    if (power->is_lost) {
        step(power);
    }
}

void power_learn(struct power *power, const struct power_user *user, double prompt_size) {
    share_pace_learn(&power->pace, &user->life, prompt_size);
}

// ---- what is known ----

// From its last shared step to its end: as if it had gone on like the last step of the machine,
// divided by those who are there.
static double unread_s(const struct power *power, const struct power_user *user) {
    int64_t from_ns = power->n_pending > 0 ? power->pending[0].t0_ns : power->step_ns;
    int64_t to_ns = user->is_over ? user->life.end_ns : now_ns(power);
    from_ns = from_ns > user->life.begin_ns ? from_ns : user->life.begin_ns;
    return to_ns > from_ns && !user->is_settled ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

void power_cost(struct power *power, const struct power_user *user, struct power_cost *out) {
    const struct share_account *account = &user->life.account;
    const struct meter_info *info = power_info(power);
    double idle_w, idle_sd_w, seconds = unread_s(power, user);
    power_idle_level(&power->idle, &idle_w, &idle_sd_w);
    double n = power->n_users > 0 ? (double)power->n_users : 1;
    double more_j = isfinite(power->state.watts) ? power->state.watts * seconds / n : 0;
    double more_net_j = fmax(more_j - (isfinite(idle_w) ? idle_w : 0) * seconds / n, 0);
    // Nothing is known of it but the order of magnitude; before the first step not even that.
    double error_j = seconds > 0 && !isfinite(power->state.watts) ? (double)NAN : more_j;
    *out =
        (struct power_cost){.gross_j = account->gross_j + more_j,
                            .net_j = isfinite(idle_w) ? account->net_j + more_net_j : (double)NAN,
                            .n_shared = account->n_shared};
    out->gross_sd_j = hypot(share_gross_sd_j(account, info->gain_error_rel, 0), error_j);
    out->net_sd_j = isfinite(idle_w)
                        ? hypot(share_net_sd_j(account, info->gain_error_rel, idle_sd_w), error_j)
                        : (double)NAN;
    out->estimated_share = out->gross_j > 0 ? more_j / out->gross_j : 0;
}

void power_state(const struct power *power, struct power_state *out) {
    *out = power->state;
    power_idle_level(&power->idle, &out->idle_w, &out->idle_sd_w);
    out->n_users = power->n_users;
}

const struct meter_info *power_info(const struct power *power) {
    return meter_info(power->meter);
}

bool power_is_lost(const struct power *power) {
    return power->is_lost;
}

int64_t power_period_ns(const struct power *power) {
    int64_t poll_ns = power_info(power)->poll_period_ns;
    return poll_ns > STEP_NS ? poll_ns : STEP_NS;
}

// ---- opening ----

enum wl_status power_open(const struct power_options *options, struct power **out,
                          struct wl_err *err) {
    struct power *power = calloc(1, sizeof *power);
    *out = NULL;
    if (!power) {
        return wl_err_set(err, WL_MEMORY, "no memory for the meter");
    }
    power->clock = options->env.clock ? options->env.clock : &OS_CLOCK_REAL;
    power->state.watts = (double)NAN;
    power_idle_init(&power->idle, options->idle_w, options->idle_sd_w, IDLE_BIN_S);
    enum wl_status status = meter_open(&options->env, options->meter, &power->meter, err);
    if (status == WL_OK) {
        struct meter_total_options kept = {.period_ns = power_period_ns(power),
                                           .max_points = MAX_KEPT_READINGS};
        status = meter_total_new(meter_info(power->meter), &kept, &power->total, err);
    }
    if (status != WL_OK) {
        power_close(power);
        return status;
    }
    power->step_ns = now_ns(power);
    read_meter(power);
    *out = power;
    return WL_OK;
}

void power_close(struct power *power) {
    if (power) {
        for (size_t i = 0; i < power->n_pending; i++) {
            release_step(&power->pending[i]);
        }
        meter_total_free(power->total);
        meter_close(power->meter);
        free(power);
    }
}
