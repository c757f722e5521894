#include "cli/eval_side.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum wl_status eval_side_init(struct eval_side *side, size_t n, struct wl_err *err) {
    *side = (struct eval_side){.n = n,
                               .answers = calloc(n + 1, sizeof *side->answers),
                               .has_answer = calloc(n + 1, sizeof *side->has_answer)};
    return side->answers && side->has_answer
               ? WL_OK
               : wl_err_set(err, WL_MEMORY, "no memory for %zu answers", n);
}

void eval_side_release(struct eval_side *side) {
    free(side->answers);
    free(side->has_answer);
    *side = (struct eval_side){0};
}

// The energies that were taken before another source came are worth nothing then.
static void forget_energies(struct eval_side *side) {
    side->is_mixed = true;
    for (size_t i = 0; i < side->n; i++) {
        side->answers[i].cost[TALLY_GROSS] = side->answers[i].cost[TALLY_NET] = NAN;
    }
}

static void take_energy(struct eval_side *side, const struct record *record,
                        struct tally_answer *answer) {
    if (record->n_energies == 0 || side->is_mixed) {
        return;
    }
    const struct record_energy *energy = &record->energy[0];
    if (!side->source[0]) {
        str_copy(side->source, sizeof side->source, energy->source);
        str_copy(side->scope, sizeof side->scope, energy->scope);
        side->label = energy->label;
    }
    if (strcmp(side->source, energy->source) != 0 || strcmp(side->scope, energy->scope) != 0 ||
        side->label != energy->label) {
        forget_energies(side);
        return;
    }
    side->systematic_rel = fmax(side->systematic_rel, energy->systematic_rel);
    answer->cost[TALLY_GROSS] = energy->gross_j;
    answer->cost_sd[TALLY_GROSS] = energy->gross_sd_j;
    answer->cost[TALLY_NET] = energy->net_j;
    answer->cost_sd[TALLY_NET] = energy->net_sd_j;
}

void eval_side_take(struct eval_side *side, size_t index, const struct eval_item_result *result) {
    const struct record *record = &result->record;
    struct tally_answer *answer = &side->answers[index];
    *answer = (struct tally_answer){
        .kind = result->item->kind,
        .is_right = result->is_right,
        .defect = result->defect,
        .prompt_tokens = record->prompt_tokens,
        .generated_tokens = record->generated_tokens,
        .cost = {record->value[METRIC_time_s], record->value[METRIC_cpu_core_s], NAN, NAN}};
    take_energy(side, record, answer);
    side->has_answer[index] = true;
    side->n_answers++;
    side->n_right += result->is_right;
    // A handled wrap, and a window that a slow meter needed help with, are no distortion.
    side->n_flagged += (record->flags & ~(uint32_t)(RECORD_WRAP | RECORD_SHORT)) != 0;
}

bool eval_side_is_resolved(const struct eval_side *side, const struct tally_line *line,
                           enum tally_cost_id id) {
    const struct tally_cost *cost = &line->cost[id];
    bool is_energy = id == TALLY_GROSS || id == TALLY_NET; // times are exact
    return record_is_resolved(cost->total, cost->sd, is_energy ? side->systematic_rel : 0);
}
