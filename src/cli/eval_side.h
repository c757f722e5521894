// The answers of one run to the items of a set, scored and with what they cost, as far as they are
// there.
#ifndef WATTLAW_CLI_EVAL_SIDE_H
#define WATTLAW_CLI_EVAL_SIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "eval/tally.h"
#include "measure/eval_run.h"

struct eval_side {
    struct tally_answer *answers; // by item
    bool *has_answer;
    size_t n, n_answers, n_right;
    size_t n_flagged; // windows under conditions that distort what they cost
    // Of the primary energy source. Mixed ones are never added: energies are then NaN.
    char source[RECORD_NAME_BYTES], scope[RECORD_NAME_BYTES];
    enum record_label label;
    double systematic_rel;
    bool is_mixed;
};

enum wl_status eval_side_init(struct eval_side *side, size_t n, struct wl_err *err);
void eval_side_release(struct eval_side *side); // zeroed ones are fine
// Once per item. The kind is borrowed from the result's item.
void eval_side_take(struct eval_side *side, size_t index, const struct eval_item_result *result);

// The 95 % interval of a line's total is not wider than the total itself.
bool eval_side_is_resolved(const struct eval_side *side, const struct tally_line *line,
                           enum tally_cost_id id);

#endif
