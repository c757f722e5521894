// The meter in production: read all the time, its joules divided among the requests that run. Reads
// when asked to (the gateway's timer, the borders of requests); starts no thread of its own.
#ifndef WATTLAW_GATEWAY_POWER_H
#define WATTLAW_GATEWAY_POWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account/share.h"
#include "base/err.h"
#include "meter/meter.h"

enum { POWER_MAX_USERS = 4096 };

struct power;

// A request while it uses the machine. Stays where it is until it is settled.
struct power_user {
    struct share_life life;
    bool is_over, is_settled;
    size_t n_waiting; // steps whose joules are not known yet
    void (*on_settled)(void *context, struct power_user *user);
    void *context;
};

struct power_options {
    struct meter_env env; // its clock is ours
    const char *meter;    // a source's name, or "auto"
    double idle_w;        // of the machine at rest; NaN: learned whenever nobody is there
    double idle_sd_w;
};

// As meter_open.
enum wl_status power_open(const struct power_options *options, struct power **out,
                          struct wl_err *err);
void power_close(struct power *power); // users that are left are not settled. NULL is fine
const struct meter_info *power_info(const struct power *power);
// How often power_tick is to be called.
int64_t power_period_ns(const struct power *power);

// A reading, and what it settles. A source that failed is read no more: power_is_lost.
void power_tick(struct power *power);
bool power_is_lost(const struct power *power);

// A request goes to the model server. `prompt_size`: what has to be computed of its prompt, as
// exactly as it is known, in the unit of power_learn; 0: not known. LIMIT: POWER_MAX_USERS.
enum wl_status power_enter(struct power *power, struct power_user *user, double prompt_size,
                           struct wl_err *err);
void power_piece(struct power *power, struct power_user *user, uint64_t n_tokens);
// It is over. on_settled comes when readings cover its end (from here, or from a later tick);
// until then power_cost has an estimate.
void power_leave(struct power *power, struct power_user *user,
                 void (*on_settled)(void *context, struct power_user *user), void *context);
// What was computed of its prompt, once that is known: later requests are shared by it.
void power_learn(struct power *power, const struct power_user *user, double prompt_size);

struct power_cost {
    double gross_j, gross_sd_j; // sd with the source's systematic errors; NaN: not known
    double net_j, net_sd_j;     // NaN without an idle level
    double estimated_share;     // of gross_j, that no reading covers yet
    uint32_t n_shared;
};
void power_cost(struct power *power, const struct power_user *user, struct power_cost *out);

struct power_state {
    struct share_totals totals;  // since power_open
    double watts;                // of the last step; NaN: not known
    double idle_w, idle_sd_w;    // NaN: not known yet
    uint64_t n_readings, n_gaps; // gaps: readings were missing; their time has no joules
    double gap_s;
    size_t n_users;
};
void power_state(const struct power *power, struct power_state *out);

#endif
