#include "account/budget.h"

#include <math.h>

static const int64_t WINDOW_S[BUDGET_N_KINDS] = {
    [BUDGET_REQUESTS] = 60, [BUDGET_TOKENS] = 86400, [BUDGET_WH] = 86400};
// Sums of Wh are not exact: ten times 0.1 is to fit into 1.
static const double SLACK = 1e-9;

const char *budget_kind_name(enum budget_kind kind) {
    static const char *const NAMES[] = {"requests", "tokens", "wh"};
    return kind < BUDGET_N_KINDS ? NAMES[kind] : "unknown";
}

void budget_init(struct budget *budget) {
    *budget = (struct budget){0};
    for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
        budget->limit[kind] = NAN;
    }
}

// ---- windows

static int64_t window_begin(int kind, int64_t unix_s, int64_t day_offset_s) {
    int64_t length_s = WINDOW_S[kind];
    int64_t offset_s = kind == BUDGET_REQUESTS ? 0 : day_offset_s;
    int64_t since_s = (unix_s - offset_s) % length_s;
    return unix_s - (since_s < 0 ? since_s + length_s : since_s);
}

void budget_roll(struct budget *budget, int64_t unix_s, int64_t day_offset_s) {
    for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
        int64_t length_s = WINDOW_S[kind];
        int64_t begin_s = window_begin(kind, unix_s, day_offset_s);
        int64_t moved_s = begin_s - budget->window_s[kind];
        if (moved_s >= length_s / 2) {
            budget->spent[kind] = 0;
            budget->window_s[kind] = begin_s;
        } else if (moved_s > -length_s / 2 || moved_s < -length_s) {
            // The same day with another offset; or a clock that was far ahead, for whose wrong day
            // nobody has to wait. One window back is a clock set around the border: it comes again.
            budget->window_s[kind] = begin_s;
        }
    }
}

// ---- requests

static double amount(double value) {
    return value > 0 ? fmin(value, 1e300) : 0;
}

static double need_of(const double need[BUDGET_N_KINDS], int kind) {
    return kind == BUDGET_REQUESTS ? 1 : amount(need[kind]);
}

static bool fits(const struct budget *budget, int kind, double need, double held) {
    double limit = budget->limit[kind], taken = budget->spent[kind] + held;
    return isnan(limit) || taken + need <= limit * (1 + SLACK) || (taken <= 0 && limit > 0);
}

static struct budget_verdict judge(const struct budget *budget, int kind, double need,
                                   int64_t unix_s) {
    struct budget_verdict verdict = {.answer = BUDGET_GRANTED, .kind = (enum budget_kind)kind};
    if (fits(budget, kind, need, budget->held[kind])) {
        return verdict;
    }
    verdict.answer = BUDGET_WAIT;
    if (!fits(budget, kind, need, 0)) {
        verdict.answer = BUDGET_EXHAUSTED;
        int64_t end_s = budget->window_s[kind] + WINDOW_S[kind];
        verdict.retry_after_s = end_s > unix_s ? end_s - unix_s : 1;
    }
    return verdict;
}

static bool is_worse(const struct budget_verdict *a, const struct budget_verdict *b) {
    return a->answer != b->answer ? a->answer > b->answer : a->retry_after_s > b->retry_after_s;
}

struct budget_verdict budget_ask(struct budget *budget, const double need[BUDGET_N_KINDS],
                                 int64_t unix_s, int64_t day_offset_s) {
    budget_roll(budget, unix_s, day_offset_s);
    struct budget_verdict worst = {.answer = BUDGET_GRANTED};
    for (int kind = 0; kind < BUDGET_N_KINDS; kind++) {
        struct budget_verdict verdict = judge(budget, kind, need_of(need, kind), unix_s);
        if (is_worse(&verdict, &worst)) {
            worst = verdict;
        }
    }
    if (worst.answer != BUDGET_GRANTED) {
        return worst;
    }
    budget->spent[BUDGET_REQUESTS] += 1;
    for (int kind = BUDGET_TOKENS; kind < BUDGET_N_KINDS; kind++) {
        budget->held[kind] += amount(need[kind]);
    }
    budget->n_running++;
    return worst;
}

void budget_settle(struct budget *budget, const double held[BUDGET_N_KINDS],
                   const double used[BUDGET_N_KINDS]) {
    budget->n_running -= budget->n_running > 0;
    for (int kind = BUDGET_TOKENS; kind < BUDGET_N_KINDS; kind++) {
        double was_held = amount(held[kind]);
        budget->spent[kind] += isnan(used[kind]) ? was_held : amount(used[kind]);
        // What rounding leaves behind would refuse large requests for ever.
        double rest = budget->held[kind] - was_held;
        budget->held[kind] = budget->n_running > 0 ? amount(rest) : 0;
    }
}

double budget_left(const struct budget *budget, enum budget_kind kind) {
    double limit = budget->limit[kind];
    return isnan(limit) ? INFINITY : fmax(0, limit - budget->spent[kind] - budget->held[kind]);
}
