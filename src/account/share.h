// The energy of a machine divided among the requests that it works for at the same time. PURE.
//
// A meter's step is the energy E between two readings. What the idle machine would have taken,
// min(E, idle_w dt), is the floor, the rest is net. The net part is divided by the work that each
// request had done for it in the step, in seconds that the machine would need for it alone; the
// floor by the time that each was there. A step without any request belongs to nobody: it is idle.
// Every joule goes somewhere once: the shares and the idle account add up to what the meter
// counted.
#ifndef WATTLAW_ACCOUNT_SHARE_H
#define WATTLAW_ACCOUNT_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One request's. Zeroed at its beginning.
struct share_account {
    double gross_j, net_j;
    double active_s;    // time that the readings have covered
    double variance_j2; // of the random errors of its steps
    uint32_t n_shared;  // requests at once at most
};

// What a request did between two readings.
struct share_work {
    struct share_account *account;
    double active_s; // of the step; 0 to its length
    double work_s;   // >= 0
};

struct share_step {
    double energy_j; // >= 0
    double seconds;  // > 0
    double idle_w;   // >= 0
    double sd_j;     // random error of energy_j; NaN: not known (counts as 0)
};

struct share_totals {
    double measured_j, shared_j, idle_j; // measured = shared + idle
    double net_j;
    double busy_s, idle_s;
};

// Without any work (all work_s 0) the net part goes by time, too. When nobody was active for the
// whole step (the sum of active_s is 0) all of it is idle. Where requests were there for a part of
// the step only, the floor of the rest is idle, the net part is theirs.
void share_step(const struct share_step *step, const struct share_work *work, size_t n,
                struct share_totals *totals);

// Standard deviations of an account with the meter's systematic errors: a relative one of its gain,
// and that of the idle power (net only).
double share_gross_sd_j(const struct share_account *account, double gain_error_rel);
double share_net_sd_j(const struct share_account *account, double gain_error_rel, double idle_sd_w);

// ---- how much work a request did ----

// The life of one request, from what can be seen outside of the model server: the prompt is
// computed until the first piece of the answer comes, then tokens come one by one.
struct share_life {
    int64_t begin_ns;  // it was sent to the model server
    int64_t seen_ns;   // up to here its work was counted
    bool has_first;    // a piece has come
    uint64_t n_tokens; // pieces since `seen_ns`
};

// Seconds that one token of an answer takes alone: learned from answers that had the machine for
// themselves, from one token to the next; falls to the faster values quickly and rises slowly,
// since sharing and waiting only add.
struct share_token_time {
    double seconds; // 0: nothing learned
};
void share_token_time_learn(struct share_token_time *time, double seconds);

void share_life_begin(struct share_life *life, int64_t t_ns);
void share_life_piece(struct share_life *life, int64_t t_ns, uint64_t n_tokens);
// The work from life->seen_ns to t_ns: all of the time until the first piece (also of answers that
// come whole), then its tokens times the token time (all of the time when that is not known).
struct share_work share_life_take(struct share_life *life, int64_t t_ns,
                                  const struct share_token_time *time,
                                  struct share_account *account);

#endif
