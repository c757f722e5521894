#include "account/share.h"

#include <math.h>

// NaN gives 0.
static double limited(double value, double most) {
    return value > 0 ? fmin(value, most) : 0;
}

// Work is compared with work only; the limit keeps sums finite.
static double work_of(const struct share_work *work) {
    return limited(work->work_s, 1e15);
}

struct sums {
    double active_s, longest_s, work_s;
    uint32_t n;
};

static struct sums add_up(const struct share_work *work, size_t n, double seconds) {
    struct sums sums = {0};
    for (size_t i = 0; i < n; i++) {
        double active_s = limited(work[i].active_s, seconds);
        if (active_s > 0) {
            sums.active_s += active_s;
            sums.longest_s = fmax(sums.longest_s, active_s);
            sums.work_s += work_of(&work[i]);
            sums.n++;
        }
    }
    return sums;
}

static double busy_time(const struct share_step *step, const struct sums *sums) {
    double most_s = fmin(step->seconds, sums->active_s);
    return isnan(step->busy_s) ? most_s : fmax(sums->longest_s, fmin(step->busy_s, most_s));
}

// The step as it is divided.
struct parts {
    double floor_j, net_j; // of the requests
    double busy_s;
    double sd_j;
    struct sums sums;
};

// Remembers which part of the net energy was the prompt's: it may be handed over.
static void give_prompt(struct share_account *account, const struct share_work *work, double net_j,
                        double net_s) {
    double work_s = work_of(work), prompt_s = limited(work->prompt_s, work_s);
    if (prompt_s > 0) {
        account->prompt_work_s += prompt_s;
        account->prompt_net_j += net_j * (prompt_s / work_s);
        account->prompt_net_s += net_s * (prompt_s / work_s);
    }
}

static void give(const struct parts *parts, const struct share_work *work, double seconds) {
    double active_s = limited(work->active_s, seconds);
    if (active_s <= 0) {
        return;
    }
    const struct sums *sums = &parts->sums;
    double by_time = active_s / sums->active_s;
    double by_work = sums->work_s > 0 ? work_of(work) / sums->work_s : by_time;
    struct share_account *account = work->account;
    account->gross_j += parts->floor_j * by_time + parts->net_j * by_work;
    account->net_j += parts->net_j * by_work;
    account->active_s += active_s;
    account->floor_s += parts->busy_s * by_time;
    account->net_s += seconds * by_work;
    give_prompt(account, work, parts->net_j * by_work, seconds * by_work);
    // One more joule in the reading would have been net; only below the idle floor it is floor.
    double by_error = parts->net_j > 0 ? by_work : by_time;
    account->variance_j2 += by_error * by_error * parts->sd_j * parts->sd_j;
    account->n_shared = sums->n > account->n_shared ? sums->n : account->n_shared;
}

static bool is_amount(double value) {
    return value >= 0 && isfinite(value);
}

void share_step(const struct share_step *step, const struct share_work *work, size_t n,
                struct share_totals *totals) {
    if (!is_amount(step->energy_j) || !is_amount(step->seconds)) {
        return;
    }
    struct parts parts = {.sums = add_up(work, n, step->seconds),
                          .sd_j = is_amount(step->sd_j) ? step->sd_j : 0};
    bool is_busy = parts.sums.active_s > 0;
    parts.busy_s = is_busy ? busy_time(step, &parts.sums) : 0;
    double floor_j = limited(step->idle_w * step->seconds, step->energy_j);
    double idle_j = step->energy_j;
    if (is_busy) {
        parts.net_j = step->energy_j - floor_j;
        parts.floor_j = floor_j * (parts.busy_s / step->seconds);
        idle_j = floor_j - parts.floor_j;
    }
    for (size_t i = 0; i < n; i++) {
        give(&parts, &work[i], step->seconds);
    }
    totals->measured_j += step->energy_j;
    totals->shared_j += parts.floor_j + parts.net_j;
    totals->idle_j += idle_j;
    totals->net_j += parts.net_j;
    totals->busy_s += parts.busy_s;
    totals->idle_s += step->seconds - parts.busy_s;
}

static double root_of_squares(double variance_j2, double a_j, double b_j) {
    return sqrt(variance_j2 + a_j * a_j + b_j * b_j);
}

// Where presence and work differ, the idle power moves energy from one request to another.
double share_gross_sd_j(const struct share_account *account, double gain_error_rel,
                        double idle_sd_w) {
    return root_of_squares(account->variance_j2, account->gross_j * gain_error_rel,
                           (account->floor_s - account->net_s) * idle_sd_w);
}

double share_net_sd_j(const struct share_account *account, double gain_error_rel,
                      double idle_sd_w) {
    return root_of_squares(account->variance_j2, account->net_j * gain_error_rel,
                           account->net_s * idle_sd_w);
}
