// What `wattlaw eval` found: the table by kind, the comparison with another run, the floor; as text
// and as JSON.
#ifndef WATTLAW_CLI_EVAL_RESULT_H
#define WATTLAW_CLI_EVAL_RESULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/eval_side.h"
#include "eval/tally.h"

struct eval_result {
    const char *tasks, *model, *mmproj; // paths; mmproj NULL without
    const char *answers;                // path; NULL when not kept
    const struct eval_side *side;       // complete
    size_t n_kept;                      // answers that were there before
    struct tally tally;
    double floor_pct; // NaN without
    const char *vs;   // path of the other run's answers; NULL without
    struct tally_pair pair;
    bool has_energy_pair; // both runs have energies of one source, which say something
};

// Makes the table and, when `vs` is given, compares with it the items that both have. The caller
// releases the tally.
enum wl_status eval_result_make(struct eval_result *result, const struct eval_side *vs,
                                struct wl_err *err);
void eval_result_print(const struct eval_result *result);
json_t *eval_result_json(const struct eval_result *result); // a new reference
// GATE below the floor; UNTRUSTED when most windows were distorted.
enum wl_status eval_result_verdict(const struct eval_result *result, struct wl_err *err);

#endif
