// Whether an answer is right. PURE.
#ifndef WATTLAW_EVAL_SCORE_H
#define WATTLAW_EVAL_SCORE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum score_method {
    SCORE_EXACT,      // the same bytes
    SCORE_NORMALISED, // the same after case, white space, punctuation at the ends, and leading
                      // articles are taken away
    SCORE_NUMBER,     // the first number in the answer is within the tolerance of the reference's
    SCORE_CONTAINS,   // the normalised reference is in the normalised answer, at word borders
};
const char *score_method_name(enum score_method method);
enum wl_status score_method_by_name(const char *name, enum score_method *out, struct wl_err *err);

struct score_rule {
    enum score_method method;
    double tolerance;     // of SCORE_NUMBER: absolute
    double tolerance_rel; // of SCORE_NUMBER: of the reference; the larger of the two counts
};

// INPUT when nothing, or everything, would match the reference under this rule.
enum wl_status score_check_reference(const struct score_rule *rule, const char *reference,
                                     struct wl_err *err);
// Right when it matches any reference.
bool score_answer(const struct score_rule *rule, const char *answer, const char *const *references,
                  size_t n_references);

// Answers that are no answers, counted apart.
enum score_defect { SCORE_FINE, SCORE_EMPTY, SCORE_LOOPING };
const char *score_defect_name(enum score_defect defect);
// Looping: the same 1 to 32 words at least 4 times in a row to the end of an answer that was cut.
enum score_defect score_defect(const char *answer, bool is_cut);

#endif
