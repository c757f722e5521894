// Where to cut, under a budget: the plan with the least predicted loss, from what each part is
// worth (analysis.h) and what it costs (costs.h).
#ifndef WATTLAW_COMPRESSOR_ALLOCATE_H
#define WATTLAW_COMPRESSOR_ALLOCATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "compress/budget.h"
#include "compressor/analysis.h"
#include "compressor/costs.h"
#include "compressor/plan.h"

struct allocate_options {
    enum allocate_budget kind;
    double budget;
    double joules_per_s;         // of CALIBRATED or estimated power over idle; for ALLOCATE_JOULES
    uint32_t n_prompt, n_decode; // of the usual answer: 256 and 64
    bool may_mix;    // sizes of its own for each block, where the architecture allows that
    bool may_remove; // whole blocks
    bool may_cut_heads;
    double mix_gain; // least relative gain of a mixed plan over the best uniform one: 0.03
};

struct allocate_result {
    double loss;         // predicted divergence, nats a token
    double uniform_loss; // of the best plan with the same sizes in all blocks; NaN: none fits
    double cost;         // in units of the budget
};

// LIMIT: the budget is below what is possible; the message tells the least. Where the architecture
// has no twin (relabel.h) the plan is a uniform one, whatever may_mix says. `costs` may be NULL for
// budgets of weights and bytes. INPUT: an analysis of another model. What the plan says passes
// plan_check.
enum wl_status allocate_plan(const struct compress_source *source, const struct analysis *analysis,
                             const struct costs *costs, const struct allocate_options *options,
                             struct plan *plan, struct allocate_result *result, struct wl_err *err);

// The forms of compress/budget.h.
enum wl_status allocate_parse(const char *text, enum allocate_budget *kind, double *budget,
                              struct wl_err *err);

#endif
