// The energy of a machine divided among the requests that it works for at the same time. PURE.
//
// A meter's step is the energy E between two readings. What the idle machine would have taken,
// min(E, idle_w dt), is the floor, the rest is net. The net part is divided by the work that each
// request had done for it in the step, in seconds that the machine would need for it alone; the
// floor by the time that each was there. The floor of the time when nobody was there belongs to
// nobody: it is idle, and so is a whole step without any request. Every joule goes somewhere once:
// the shares and the idle account add up to what the meter counted.
#ifndef WATTLAW_ACCOUNT_SHARE_H
#define WATTLAW_ACCOUNT_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One request's. Zeroed at its beginning.
struct share_account {
    double gross_j, net_j;
    double active_s;    // time that the readings have covered
    double floor_s;     // of the machine's time, by presence: its gross part bears this idle power
    double net_s;       // of the machine's time, by work: from its net part this was taken off
    double variance_j2; // of the random errors of its steps, as if they did not know each other
    uint32_t n_shared;  // requests in one of its steps at most, itself included
    double prompt_work_s, prompt_net_j, prompt_net_s; // of them, for its prompt
};

// What a request did between two readings.
struct share_work {
    struct share_account *account;
    double active_s; // of the step; 0 to its length; without it the request was not there
    double work_s;   // >= 0
    double prompt_s; // of work_s
};

// Its ends are where the meter's counter moved: a step between two movements has no energy and no
// floor, and the next one's net part is too large by it. One that is not finite, or negative, is
// left out.
struct share_step {
    double energy_j; // >= 0
    double seconds;  // >= 0
    double busy_s;   // in which a request at least was there; NaN: not known, as many as can be
    double idle_w;   // >= 0
    double sd_j;     // random error of energy_j; NaN: not known (counts as 0)
};

struct share_totals {
    double measured_j, shared_j, idle_j; // measured = shared + idle
    double net_j;                        // of shared_j
    double busy_s, idle_s;
};

// Without any work (all work_s 0) the net part goes by time, too. When nobody was active (the sum
// of active_s is 0) all of the step is idle.
void share_step(const struct share_step *step, const struct share_work *work, size_t n,
                struct share_totals *totals);

// Standard deviations of an account with the meter's systematic errors: a relative one of its gain,
// which the idle power shares because the same meter measured it, and that of the idle power. NaN
// when one of them is not known.
double share_gross_sd_j(const struct share_account *account, double gain_error_rel,
                        double idle_sd_w);
double share_net_sd_j(const struct share_account *account, double gain_error_rel, double idle_sd_w);

// ---- how much work a request did ----

// Seconds alone on the machine, learned from requests that ended; 0: nothing learned.
struct share_pace {
    double token_s;  // one token of an answer
    double prompt_s; // one unit of a prompt's size
};

// The life of one request, from what can be seen outside of the model server: the prompt is
// computed until the first piece of the answer comes, then tokens come one by one.
struct share_life {
    struct share_account account;
    int64_t begin_ns;          // it was sent to the model server
    int64_t seen_ns;           // up to here its work was counted
    int64_t first_ns, last_ns; // pieces
    int64_t end_ns;            // INT64_MAX: not yet
    bool has_first;            // a piece has come
    bool was_shared;           // another one was there at the same time
    double prompt_s;           // work that its prompt will probably need; 0: not known
    double prompt_left_s;      // of it, not yet counted
    uint64_t n_tokens;         // since seen_ns
    uint64_t n_later_tokens;   // after the first piece, altogether
};

// `prompt_s` is pace.prompt_s * size; 0: not known.
void share_life_begin(struct share_life *life, int64_t t_ns, double prompt_s);
void share_life_piece(struct share_life *life, int64_t t_ns, uint64_t n_tokens); // 0: no piece
void share_life_end(struct share_life *life, int64_t t_ns);

// The work of all lives from their seen_ns to t_ns, for share_step: fills work[n] and returns the
// step's busy_s. `lives` are in the order of their begin; one that ended is among them until a
// reading after its end was shared. Steps of a quarter of a second to a second divide best: in
// shorter ones tokens are lumps, in longer ones too much happens at once.
//
// An answer did its tokens times the token time (all of its time when that is not known). Prompts
// had what these left of the time: model servers compute them as they came, so each gets up to what
// it will probably need, the oldest one first; what is left then is divided by their needs (by the
// time that they waited, where one's need is not known). A prompt that is done before its turn came
// was computed out of it: those that still wait hand over what they had got in its place. Until the
// first piece an account can therefore fall as well as rise.
double share_lives_take(struct share_life *const *lives, size_t n, int64_t t_ns,
                        const struct share_pace *pace, struct share_work *work);

// Learns from a life that ended: falls to faster values quickly and rises slowly, and never rises
// by one that was shared, since sharing and waiting only add. `prompt_size` is what was computed of
// its prompt, in any unit (tokens without the cached ones); 0: not known.
void share_pace_learn(struct share_pace *pace, const struct share_life *life, double prompt_size);

#endif
