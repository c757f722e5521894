#include "cli/eval_result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/term.h"

#define Z95 1.96
static const uint64_t BOOTSTRAP_SEED = 1;

static enum wl_status compare(struct eval_result *result, const struct eval_side *vs,
                              struct wl_err *err) {
    const struct eval_side *side = result->side;
    struct tally_answer *base = malloc((side->n + 1) * sizeof *base);
    struct tally_answer *changed = malloc((side->n + 1) * sizeof *changed);
    if (!base || !changed) {
        free(base);
        free(changed);
        return wl_err_set(err, WL_MEMORY, "no memory for the comparison");
    }
    size_t n = 0;
    for (size_t i = 0; i < side->n; i++) {
        if (side->has_answer[i] && vs->has_answer[i]) {
            base[n] = vs->answers[i];
            changed[n++] = side->answers[i];
        }
    }
    enum wl_status status = tally_compare(base, changed, n, BOOTSTRAP_SEED, &result->pair, err);
    if (status != WL_OK) {
        wl_err_prefix(err, "--vs '%s'", result->vs);
    }
    free(base);
    free(changed);
    return status;
}

enum wl_status eval_result_make(struct eval_result *result, const struct eval_side *vs,
                                struct wl_err *err) {
    const struct eval_side *side = result->side;
    enum wl_status status = tally_make(side->answers, side->n, BOOTSTRAP_SEED, &result->tally, err);
    if (status == WL_OK && vs) {
        status = compare(result, vs, err);
        result->has_energy_pair = !side->is_mixed && !vs->is_mixed &&
                                  strcmp(side->source, vs->source) == 0 &&
                                  strcmp(side->scope, vs->scope) == 0 &&
                                  eval_side_is_resolved(side, &result->tally.all, TALLY_GROSS) &&
                                  vs->systematic_rel <= side->systematic_rel;
    }
    return status;
}

static bool floor_is_met(const struct eval_result *result) {
    return 100 * result->tally.all.accuracy >= result->floor_pct - 1e-9;
}

// One-sided: with 95 % confidence the accuracy on such items is not below the floor.
static bool floor_is_shown(const struct eval_result *result) {
    const struct tally_line *all = &result->tally.all;
    return 100 * tally_wilson(all->n_right, all->n, 0.90).low >= result->floor_pct;
}

enum wl_status eval_result_verdict(const struct eval_result *result, struct wl_err *err) {
    const struct tally_line *all = &result->tally.all;
    if (isfinite(result->floor_pct) && !floor_is_met(result)) {
        return wl_err_set(err, WL_GATE, "accuracy %.1f %% (%zu of %zu) is below the floor of %g %%",
                          100 * all->accuracy, all->n_right, all->n, result->floor_pct);
    }
    if (2 * result->side->n_flagged > result->side->n) {
        return wl_err_set(err, WL_UNTRUSTED,
                          "%zu of %zu windows carry a flag: the answers count, but what they cost "
                          "may not be normal; stop other programs and ask again",
                          result->side->n_flagged, result->side->n);
    }
    return WL_OK;
}

// ---- text

// What the table shows: net energy where it is known, else gross; CPU time where energy says
// nothing.
static enum tally_cost_id shown_cost(const struct eval_result *result) {
    const struct tally_line *all = &result->tally.all;
    enum tally_cost_id id = isfinite(all->cost[TALLY_NET].total) ? TALLY_NET : TALLY_GROSS;
    return eval_side_is_resolved(result->side, all, id) ? id : TALLY_CPU;
}

struct unit {
    double factor;
    const char *name;
};

// The unit for a table of such values: one to three digits before the point.
static struct unit unit_for(enum tally_cost_id id, double value) {
    static const struct unit SECONDS[] = {{1, "s"}, {1e-3, "ms"}};
    static const struct unit HOURS[] = {
        {UNITS_J_PER_WH, "Wh"}, {UNITS_J_PER_WH * 1e-3, "mWh"}, {UNITS_J_PER_WH * 1e-6, "uWh"}};
    const struct unit *units = id == TALLY_CPU ? SECONDS : HOURS;
    size_t n = id == TALLY_CPU ? 2 : 3, i = 0;
    while (i + 1 < n && !(value >= units[i].factor)) {
        i++;
    }
    return units[i];
}

struct table {
    const struct eval_result *result;
    enum tally_cost_id cost;
    struct unit unit;
    double systematic_rel; // of what is shown
    int name_width;
};

// The statistical interval and the systematic error of the source together.
static struct stats_interval widen(const struct tally_cost *cost, double systematic_rel) {
    double systematic = Z95 * systematic_rel * cost->per_right;
    double below = hypot(cost->per_right - cost->per_right_ci95.low, systematic);
    double above = hypot(cost->per_right_ci95.high - cost->per_right, systematic);
    return (struct stats_interval){fmax(cost->per_right - below, 0), cost->per_right + above};
}

static void per_right_text(const struct table *table, const struct tally_cost *cost, char *out,
                           size_t size) {
    char value[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    double scale = 1 / table->unit.factor;
    struct stats_interval ci = widen(cost, table->systematic_rel);
    units_number(value, scale * cost->per_right);
    if (isnan(cost->per_right)) {
        snprintf(out, size, "none is right");
    } else if (isnan(cost->per_right_ci95.low)) {
        snprintf(out, size, "%s", value);
    } else if (isinf(ci.high)) {
        snprintf(out, size, "%s (%s or more)", value, units_number(low, scale * ci.low));
    } else {
        snprintf(out, size, "%s (%s to %s)", value, units_number(low, scale * ci.low),
                 units_number(high, scale * ci.high));
    }
}

static void print_line(const struct table *table, const struct tally_line *line, const char *name) {
    char right[48], accuracy[48], each[UNITS_TEXT_BYTES], per_right[128], time[UNITS_TEXT_BYTES];
    const struct tally_cost *cost = &line->cost[table->cost];
    snprintf(right, sizeof right, "%zu/%zu", line->n_right, line->n);
    snprintf(accuracy, sizeof accuracy, "%5.1f (%.1f to %.1f)", 100 * line->accuracy,
             100 * line->accuracy_ci95.low, 100 * line->accuracy_ci95.high);
    if (eval_side_is_resolved(table->result->side, line, table->cost)) {
        units_number(each, cost->per_answer / table->unit.factor);
        per_right_text(table, cost, per_right, sizeof per_right);
    } else {
        snprintf(each, sizeof each, "unresolved");
        snprintf(per_right, sizeof per_right, "unresolved");
    }
    printf("%-*s %9s  %-21s %5zu %4zu  %13s  %-21s %8s\n", table->name_width, name, right, accuracy,
           line->n_empty, line->n_looping, each, per_right,
           units_seconds(time, line->cost[TALLY_TIME].per_answer));
}

static const char *kind_name(const struct tally_line *line) {
    return line->kind[0] ? line->kind : "(none)";
}

static void print_table(const struct eval_result *result) {
    const struct tally *tally = &result->tally;
    struct table table = {.result = result, .cost = shown_cost(result), .name_width = 4};
    bool is_energy = table.cost != TALLY_CPU;
    char each[40], right[40];
    bool has_kinds = tally->n_kinds > 1 || (tally->n_kinds == 1 && tally->kinds[0].kind[0]);
    for (size_t i = 0; has_kinds && i < tally->n_kinds; i++) {
        int width = (int)strlen(kind_name(&tally->kinds[i]));
        table.name_width = width > table.name_width ? width : table.name_width;
    }
    table.systematic_rel = is_energy ? result->side->systematic_rel : 0;
    table.unit = unit_for(table.cost, tally->all.cost[table.cost].per_answer);
    snprintf(each, sizeof each, "%s%s/answer", is_energy ? "" : "CPU ", table.unit.name);
    snprintf(right, sizeof right, "%s%s/right answer", is_energy ? "" : "CPU ", table.unit.name);
    printf("%s%-*s %9s  %-21s %5s %4s  %13s  %-21s %8s%s\n", term_bold(stdout), table.name_width,
           "kind", "right", "accuracy %", "empty", "loop", each, right, "time", term_reset(stdout));
    for (size_t i = 0; has_kinds && i < tally->n_kinds; i++) {
        print_line(&table, &tally->kinds[i], kind_name(&tally->kinds[i]));
    }
    print_line(&table, &tally->all, "all");
}

static void print_source(const struct eval_result *result) {
    const struct eval_side *side = result->side;
    enum tally_cost_id shown = shown_cost(result);
    puts("Ranges are 95 % intervals.");
    if (side->is_mixed) {
        puts("energy  the answers have different sources, which are not added");
    } else if (!side->source[0]) {
        puts("energy  not measured ('wattlaw doctor' tells why)");
    } else if (shown == TALLY_CPU) {
        printf("energy  unresolved (%s, scope %s)\n", side->source, side->scope);
    } else {
        printf("energy  %s, %s, %s, scope %s\n", shown == TALLY_NET ? "net of idle" : "gross",
               record_label_name(side->label), side->source, side->scope);
    }
}

static void print_ratio(const char *title, const struct tally_pair *pair, enum tally_cost_id id) {
    char change[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    if (!isfinite(pair->cost_ratio[id])) {
        return;
    }
    printf("  %-9s %s", title, units_signed_pct(change, pair->cost_ratio[id]));
    if (isfinite(pair->cost_ratio_ci95[id].low)) {
        printf(" (%s to %s)", units_signed_pct(low, pair->cost_ratio_ci95[id].low),
               units_signed_pct(high, pair->cost_ratio_ci95[id].high));
    }
    putchar('\n');
}

static void print_pair(const struct eval_result *result) {
    const struct tally_pair *pair = &result->pair;
    printf("\nAgainst %s, %zu items that both have:\n"
           "  accuracy  %+.1f points (%+.1f to %+.1f); %zu won, %zu lost, p = %.2g\n",
           result->vs, pair->n, 100 * pair->difference, 100 * pair->difference_ci95.low,
           100 * pair->difference_ci95.high, pair->n_only_changed, pair->n_only_base,
           pair->p_equal);
    print_ratio("time", pair, TALLY_TIME);
    print_ratio("CPU time", pair, TALLY_CPU);
    if (result->has_energy_pair) {
        print_ratio("energy", pair, TALLY_GROSS);
    } else {
        puts("  energy    unresolved");
    }
}

void eval_result_print(const struct eval_result *result) {
    print_table(result);
    print_source(result);
    if (result->vs) {
        print_pair(result);
    }
    if (isfinite(result->floor_pct)) {
        printf("floor   %g %%: %s\n", result->floor_pct,
               !floor_is_met(result)    ? "not met"
               : floor_is_shown(result) ? "met"
                                        : "met, but within chance: the interval reaches below it");
    }
}

// ---- JSON

static json_t *interval_json(const struct stats_interval *interval) {
    return json_pack("[o,o]", wl_json_real(interval->low), wl_json_real(interval->high));
}

static json_t *cost_json(const struct eval_side *side, const struct tally_line *line,
                         enum tally_cost_id id) {
    const struct tally_cost *cost = &line->cost[id];
    return json_pack("{s:o, s:o, s:b, s:o, s:o, s:o}", "total", wl_json_real(cost->total),
                     "total_sd", wl_json_real(cost->sd), "is_resolved",
                     (int)eval_side_is_resolved(side, line, id), "per_answer",
                     wl_json_real(cost->per_answer), "per_right", wl_json_real(cost->per_right),
                     "per_right_ci95", interval_json(&cost->per_right_ci95));
}

static json_t *line_json(const struct eval_side *side, const struct tally_line *line) {
    json_t *costs = json_object();
    for (int i = 0; i < TALLY_N_COSTS; i++) {
        enum tally_cost_id id = (enum tally_cost_id)i;
        json_object_set_new(costs, tally_cost_name(id), cost_json(side, line, id));
    }
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:o}", "kind", line->kind, "n",
                     (json_int_t)line->n, "n_right", (json_int_t)line->n_right, "accuracy",
                     wl_json_real(line->accuracy), "accuracy_ci95",
                     interval_json(&line->accuracy_ci95), "n_empty", (json_int_t)line->n_empty,
                     "n_looping", (json_int_t)line->n_looping, "prompt_tokens",
                     (json_int_t)line->prompt_tokens, "generated_tokens",
                     (json_int_t)line->generated_tokens, "costs", costs);
}

static json_t *pair_json(const struct eval_result *result) {
    const struct tally_pair *pair = &result->pair;
    if (!result->vs) {
        return json_null();
    }
    json_t *ratios = json_object();
    for (int id = 0; id < TALLY_N_COSTS; id++) {
        json_object_set_new(ratios, tally_cost_name((enum tally_cost_id)id),
                            json_pack("{s:o, s:o}", "ratio", wl_json_real(pair->cost_ratio[id]),
                                      "ci95", interval_json(&pair->cost_ratio_ci95[id])));
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:b}", "answers",
                     result->vs, "n", (json_int_t)pair->n, "n_both", (json_int_t)pair->n_both,
                     "n_only_base", (json_int_t)pair->n_only_base, "n_only_changed",
                     (json_int_t)pair->n_only_changed, "n_neither", (json_int_t)pair->n_neither,
                     "difference", wl_json_real(pair->difference), "difference_ci95",
                     interval_json(&pair->difference_ci95), "p_equal", wl_json_real(pair->p_equal),
                     "cost_ratios", ratios, "is_energy_resolved", (int)result->has_energy_pair);
}

static json_t *floor_json(const struct eval_result *result) {
    if (!isfinite(result->floor_pct)) {
        return json_null();
    }
    return json_pack("{s:f, s:b, s:b}", "pct", result->floor_pct, "is_met",
                     (int)floor_is_met(result), "is_shown", (int)floor_is_shown(result));
}

static json_t *source_json(const struct eval_side *side) {
    if (!side->source[0] || side->is_mixed) {
        return json_null();
    }
    return json_pack("{s:s, s:s, s:s, s:o}", "source", side->source, "scope", side->scope, "label",
                     record_label_name(side->label), "systematic_rel",
                     wl_json_real(side->systematic_rel));
}

json_t *eval_result_json(const struct eval_result *result) {
    const struct eval_side *side = result->side;
    json_t *kinds = json_array();
    for (size_t i = 0; i < result->tally.n_kinds; i++) {
        json_array_append_new(kinds, line_json(side, &result->tally.kinds[i]));
    }
    return json_pack("{s:i, s:s, s:s, s:s?, s:s?, s:I, s:I, s:o, s:o, s:o, s:o, s:o}",
                     "schema_version", 1, "tasks", result->tasks, "model", result->model, "mmproj",
                     result->mmproj, "answers", result->answers, "n_kept",
                     (json_int_t)result->n_kept, "n_flagged", (json_int_t)side->n_flagged,
                     "energy_source", source_json(side), "all", line_json(side, &result->tally.all),
                     "kinds", kinds, "floor", floor_json(result), "vs", pair_json(result));
}
