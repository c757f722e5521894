// What a key may still use: requests a minute, tokens and Wh a day. PURE: the caller tells the
// time.
//
// What running requests may come to is held back while they run, so that many at once cannot spend
// the same tokens: a budget is exceeded by no more than what one request needs above its own
// estimate.
#ifndef WATTLAW_ACCOUNT_BUDGET_H
#define WATTLAW_ACCOUNT_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum budget_kind { BUDGET_REQUESTS, BUDGET_TOKENS, BUDGET_WH, BUDGET_N_KINDS };
const char *budget_kind_name(enum budget_kind kind); // "requests", "tokens", "wh"

// Limits: requests a minute, tokens a day, Wh a day; NaN: none.
struct budget {
    double limit[BUDGET_N_KINDS];
    double spent[BUDGET_N_KINDS]; // since window_s[]
    double held[BUDGET_N_KINDS];
    int64_t window_s[BUDGET_N_KINDS]; // Unix time of the window's begin
};

// No limits, nothing spent.
void budget_init(struct budget *budget);
// Windows are whole minutes, and days that begin at `day_offset_s` after midnight UTC (the user's
// midnight). What is behind its window's end is forgotten; clocks that go back forget nothing.
void budget_roll(struct budget *budget, int64_t unix_s, int64_t day_offset_s);

enum budget_answer {
    BUDGET_GRANTED,
    BUDGET_WAIT,     // only what running requests hold is in the way: ask again when one ends
    BUDGET_EXHAUSTED // nothing is left until `retry_after_s`
};
struct budget_verdict {
    enum budget_answer answer;
    enum budget_kind kind; // that is in the way
    int64_t retry_after_s; // of EXHAUSTED; at least 1
};
// Asks for `need` of each kind (need[BUDGET_REQUESTS] is 1) and holds it when granted. A request
// that needs more than the whole limit is granted when nothing is spent or held: it could never run
// else.
struct budget_verdict budget_ask(struct budget *budget, const double need[BUDGET_N_KINDS],
                                 int64_t unix_s, int64_t day_offset_s);
// The request ended: gives back what was held and counts what it used.
void budget_settle(struct budget *budget, const double held[BUDGET_N_KINDS],
                   const double used[BUDGET_N_KINDS]);
// limit - spent - held, at least 0; infinity without a limit.
double budget_left(const struct budget *budget, enum budget_kind kind);

#endif
