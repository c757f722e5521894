// What the answers of a run come to: a table by kind, and two runs of the same items against each
// other. PURE.
#ifndef WATTLAW_EVAL_TALLY_H
#define WATTLAW_EVAL_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "eval/score.h"
#include "eval/task.h"
#include "stats/describe.h"

// What an answer costs, in seconds, core-seconds and joules.
enum tally_cost_id { TALLY_TIME, TALLY_CPU, TALLY_GROSS, TALLY_NET, TALLY_N_COSTS };
const char *tally_cost_name(enum tally_cost_id id); // "time_s", "cpu_core_s", "gross_j", "net_j"

// One answer, scored and measured.
struct tally_answer {
    const char *kind; // borrowed
    bool is_right;
    enum score_defect defect; // also of an answer that is right
    uint32_t prompt_tokens, generated_tokens;
    double cost[TALLY_N_COSTS];    // NaN when not known
    double cost_sd[TALLY_N_COSTS]; // 1 sigma, random part; 0 when exact
};

// NaN throughout unless every answer has the figure.
struct tally_cost {
    double total;
    double sd; // of the total, random part
    double per_answer;
    // All the cost over the answers that are right; NaN when none is. The interval is a bootstrap
    // over the items: other items of the same sort, not the meter's systematic error. Its upper end
    // is infinite when other items might have no right answer at all.
    double per_right;
    struct stats_interval per_right_ci95;
};

struct tally_line {
    char kind[TASK_KIND_BYTES];
    size_t n, n_right;
    size_t n_empty, n_looping;           // counted apart; wrong unless n_right has them
    double accuracy;                     // share, 0..1
    struct stats_interval accuracy_ci95; // Wilson
    uint64_t prompt_tokens, generated_tokens;
    struct tally_cost cost[TALLY_N_COSTS];
};

struct tally {
    struct tally_line all;
    struct tally_line *kinds; // in alphabetical order
    size_t n_kinds;
};

// Bootstraps draw from `seed`. MEMORY. No answers: all counts 0, shares NaN.
enum wl_status tally_make(const struct tally_answer *answers, size_t n, uint64_t seed,
                          struct tally *out, struct wl_err *err);
void tally_release(struct tally *tally); // zeroed ones are fine

// Wilson's (1927) interval of a share. `confidence` is two-sided; NaN for n = 0.
struct stats_interval tally_wilson(size_t n_right, size_t n, double confidence);

struct tally_pair {
    size_t n;
    size_t n_both, n_only_base, n_only_changed, n_neither; // right
    double difference;                                     // of the accuracies, changed - base
    struct stats_interval difference_ci95; // adjusted Wald for pairs (Bonett & Price 2012)
    double p_equal;                        // exact McNemar test, two-sided
    double cost_ratio[TALLY_N_COSTS]; // changed / base, of the totals; NaN when one is not known
    struct stats_interval cost_ratio_ci95[TALLY_N_COSTS]; // bootstrap over the items
};

// Answer i of both is to the same item. INPUT: no items.
enum wl_status tally_compare(const struct tally_answer *base, const struct tally_answer *changed,
                             size_t n, uint64_t seed, struct tally_pair *out, struct wl_err *err);

#endif
