// What a key may still use: requests a minute, tokens and Wh a day. PURE: the caller tells the
// time.
//
// What running requests may come to is held back while they run, so that many at once cannot spend
// the same tokens: a budget is exceeded by no more than what the requests that run at its end use
// above their own estimates.
#ifndef WATTLAW_ACCOUNT_BUDGET_H
#define WATTLAW_ACCOUNT_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum budget_kind { BUDGET_REQUESTS, BUDGET_TOKENS, BUDGET_WH, BUDGET_N_KINDS };
const char *budget_kind_name(enum budget_kind kind); // "requests", "tokens", "wh"

// Limits: requests a minute, tokens a day, Wh a day; NaN: none; 0: nothing at all.
struct budget {
    double limit[BUDGET_N_KINDS];
    double spent[BUDGET_N_KINDS];     // since window_s[]
    double held[BUDGET_N_KINDS];      // of tokens and Wh: a request is spent when it begins
    int64_t window_s[BUDGET_N_KINDS]; // Unix time of the window's begin
    uint32_t n_running;               // granted, not yet settled
};

// No limits, nothing spent.
void budget_init(struct budget *budget);
// Windows are whole minutes, and days that begin at `day_offset_s` after midnight UTC (the user's
// midnight). What is behind its window's end is forgotten; clocks that go back forget nothing, nor
// does an offset that changes during the day (summer time).
void budget_roll(struct budget *budget, int64_t unix_s, int64_t day_offset_s);

enum budget_answer {
    BUDGET_GRANTED,
    BUDGET_WAIT,     // only what running requests hold is in the way: ask again when one ends
    BUDGET_EXHAUSTED // nothing is left until `retry_after_s`
};
struct budget_verdict {
    enum budget_answer answer;
    enum budget_kind kind; // that is in the way; of several the one that is for longest
    int64_t retry_after_s; // of EXHAUSTED; at least 1
};
// Asks for one request with `need` of tokens and Wh (need[BUDGET_REQUESTS] is taken as 1). When it
// is granted, the request is spent and the rest held. A request that needs more than the whole
// limit is granted when nothing is spent or held: it could never run else.
struct budget_verdict budget_ask(struct budget *budget, const double need[BUDGET_N_KINDS],
                                 int64_t unix_s, int64_t day_offset_s);
// The request ended: gives back what was held (the same numbers as `need`) and counts what it used;
// NaN: not known, counts as what was held.
void budget_settle(struct budget *budget, const double held[BUDGET_N_KINDS],
                   const double used[BUDGET_N_KINDS]);
// limit - spent - held, at least 0; infinity without a limit.
double budget_left(const struct budget *budget, enum budget_kind kind);

#endif
