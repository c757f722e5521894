#include "eval/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "stats/bootstrap.h"
#include "stats/special.h"

// Bootstraps of many items take fewer draws: their cost stays that of this many looks at an item.
enum { MAX_LOOKS = 20000000, MIN_DRAWS = 200 };

static const struct stats_interval UNKNOWN = {NAN, NAN};

struct stats_interval tally_wilson(size_t n_right, size_t n, double confidence) {
    if (n == 0) {
        return UNKNOWN;
    }
    double count = (double)n, share = (double)n_right / count;
    double z = stats_normal_quantile(0.5 + confidence / 2);
    double scale = 1 + z * z / count;
    double centre = (share + z * z / (2 * count)) / scale;
    double half = z / scale * sqrt(share * (1 - share) / count + z * z / (4 * count * count));
    return (struct stats_interval){fmax(centre - half, 0), fmin(centre + half, 1)};
}

const char *tally_cost_name(enum tally_cost_id id) {
    static const char *const NAMES[TALLY_N_COSTS] = {"time_s", "cpu_core_s", "gross_j", "net_j"};
    return (size_t)id < TALLY_N_COSTS ? NAMES[id] : "unknown";
}

static size_t draws_for(size_t n) {
    size_t most = n ? MAX_LOOKS / n : STATS_BOOTSTRAP_DRAWS;
    return most > STATS_BOOTSTRAP_DRAWS ? STATS_BOOTSTRAP_DRAWS
           : most < MIN_DRAWS           ? MIN_DRAWS
                                        : most;
}

// ---- one run

// An answer in the order of kinds.
struct ref {
    const struct tally_answer *answer;
};

struct cost_sample {
    const struct ref *answers;
    enum tally_cost_id id;
};

// Right answers per unit of cost: unlike its reciprocal it is finite when a draw has no right one.
static double right_per_cost(const size_t *rows, size_t n, void *context) {
    const struct cost_sample *sample = context;
    double total = 0, n_right = 0;
    for (size_t i = 0; i < n; i++) {
        const struct tally_answer *answer = sample->answers[rows[i]].answer;
        total += answer->cost[sample->id];
        n_right += answer->is_right;
    }
    return total > 0 ? n_right / total : (double)NAN;
}

static void sum_cost(const struct ref *answers, const struct tally_line *line,
                     enum tally_cost_id id, uint64_t seed, struct tally_cost *out) {
    double total = 0, variance = 0;
    for (size_t i = 0; i < line->n; i++) {
        double sd = answers[i].answer->cost_sd[id];
        total += answers[i].answer->cost[id];
        variance += sd * sd;
    }
    *out = (struct tally_cost){NAN, NAN, NAN, NAN, UNKNOWN};
    if (line->n == 0 || !isfinite(total)) {
        return;
    }
    out->total = total;
    out->sd = sqrt(variance);
    out->per_answer = total / (double)line->n;
    if (line->n_right == 0) {
        return;
    }
    out->per_right = total / (double)line->n_right;
    struct cost_sample sample = {answers, id};
    struct stats_estimate estimate;
    // Of too few items the figure stands without an interval.
    if (stats_bootstrap(line->n, right_per_cost, &sample, STATS_BOOTSTRAP_EXPANDED,
                        draws_for(line->n), seed, &estimate, NULL) == WL_OK) {
        double most = estimate.ci95.low > 0 ? 1 / estimate.ci95.low : (double)INFINITY;
        out->per_right_ci95 = (struct stats_interval){1 / estimate.ci95.high, most};
    }
}

static void fill_line(const struct ref *answers, size_t n, uint64_t seed, struct tally_line *out) {
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        out->n_right += answers[i].answer->is_right;
        out->n_empty += answers[i].answer->defect == SCORE_EMPTY;
        out->n_looping += answers[i].answer->defect == SCORE_LOOPING;
        out->prompt_tokens += answers[i].answer->prompt_tokens;
        out->generated_tokens += answers[i].answer->generated_tokens;
    }
    out->accuracy = n ? (double)out->n_right / (double)n : (double)NAN;
    out->accuracy_ci95 = tally_wilson(out->n_right, n, 0.95);
    for (int id = 0; id < TALLY_N_COSTS; id++) {
        sum_cost(answers, out, (enum tally_cost_id)id, seed, &out->cost[id]);
    }
}

// By kind; within one in the order of the run, so that the same seed draws the same.
static int compare_kinds(const void *a, const void *b) {
    const struct tally_answer *x = ((const struct ref *)a)->answer;
    const struct tally_answer *y = ((const struct ref *)b)->answer;
    int order = strcmp(x->kind, y->kind);
    return order ? order : (x > y) - (x < y);
}

static size_t count_kinds(const struct ref *sorted, size_t n) {
    size_t n_kinds = n > 0;
    for (size_t i = 1; i < n; i++) {
        n_kinds += strcmp(sorted[i].answer->kind, sorted[i - 1].answer->kind) != 0;
    }
    return n_kinds;
}

static void fill_kinds(const struct ref *sorted, size_t n, uint64_t seed, struct tally *out) {
    size_t begin = 0;
    for (size_t end = 1; end <= n; end++) {
        if (end < n && strcmp(sorted[end].answer->kind, sorted[begin].answer->kind) == 0) {
            continue;
        }
        struct tally_line *line = &out->kinds[out->n_kinds++];
        str_copy(line->kind, sizeof line->kind, sorted[begin].answer->kind);
        fill_line(sorted + begin, end - begin, seed, line);
        begin = end;
    }
}

enum wl_status tally_make(const struct tally_answer *answers, size_t n, uint64_t seed,
                          struct tally *out, struct wl_err *err) {
    *out = (struct tally){0};
    struct ref *sorted = calloc(n + 1, sizeof *sorted);
    if (!sorted) {
        return wl_err_set(err, WL_MEMORY, "no memory for a table of %zu answers", n);
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i].answer = &answers[i];
    }
    fill_line(sorted, n, seed, &out->all);
    qsort(sorted, n, sizeof *sorted, compare_kinds);
    size_t n_kinds = count_kinds(sorted, n);
    out->kinds = calloc(n_kinds + 1, sizeof *out->kinds);
    if (out->kinds) {
        fill_kinds(sorted, n, seed, out);
    }
    free(sorted);
    return out->kinds ? WL_OK
                      : wl_err_set(err, WL_MEMORY, "no memory for a table of %zu kinds", n_kinds);
}

void tally_release(struct tally *tally) {
    free(tally->kinds);
    *tally = (struct tally){0};
}

// ---- two runs

struct pair_sample {
    const struct tally_answer *base, *changed;
    enum tally_cost_id id;
};

static double cost_ratio(const size_t *rows, size_t n, void *context) {
    const struct pair_sample *sample = context;
    double base = 0, changed = 0;
    for (size_t i = 0; i < n; i++) {
        size_t row = rows ? rows[i] : i;
        base += sample->base[row].cost[sample->id];
        changed += sample->changed[row].cost[sample->id];
    }
    return base > 0 ? changed / base : (double)NAN;
}

static void compare_cost(struct pair_sample *sample, size_t n, uint64_t seed,
                         struct tally_pair *out) {
    out->cost_ratio[sample->id] = cost_ratio(NULL, n, sample);
    out->cost_ratio_ci95[sample->id] = UNKNOWN;
    struct stats_estimate estimate;
    if (isfinite(out->cost_ratio[sample->id]) &&
        stats_bootstrap(n, cost_ratio, sample, STATS_BOOTSTRAP_EXPANDED, draws_for(n), seed,
                        &estimate, NULL) == WL_OK) {
        out->cost_ratio_ci95[sample->id] = estimate.ci95;
    }
}

// Twice the chance of at most the smaller count among the pairs that differ, if heads and tails
// were equal.
static double mcnemar(size_t n_only_base, size_t n_only_changed) {
    size_t n = n_only_base + n_only_changed;
    size_t least = n_only_base < n_only_changed ? n_only_base : n_only_changed;
    if (n == 0 || 2 * least == n) {
        return 1;
    }
    return fmin(2 * stats_incomplete_beta((double)(n - least), (double)least + 1, 0.5), 1);
}

static struct stats_interval difference_interval(const struct tally_pair *pair) {
    double n = (double)pair->n + 2, z = stats_normal_quantile(0.975);
    double lost = ((double)pair->n_only_base + 1) / n;
    double won = ((double)pair->n_only_changed + 1) / n;
    double half = z * sqrt((lost + won - (won - lost) * (won - lost)) / n);
    return (struct stats_interval){fmax(won - lost - half, -1), fmin(won - lost + half, 1)};
}

enum wl_status tally_compare(const struct tally_answer *base, const struct tally_answer *changed,
                             size_t n, uint64_t seed, struct tally_pair *out, struct wl_err *err) {
    *out = (struct tally_pair){.n = n};
    if (n == 0) {
        return wl_err_set(err, WL_INPUT, "the two runs have no item in common");
    }
    for (size_t i = 0; i < n; i++) {
        bool before = base[i].is_right, after = changed[i].is_right;
        out->n_both += before && after;
        out->n_only_base += before && !after;
        out->n_only_changed += !before && after;
        out->n_neither += !before && !after;
    }
    out->difference = ((double)out->n_only_changed - (double)out->n_only_base) / (double)n;
    out->difference_ci95 = difference_interval(out);
    out->p_equal = mcnemar(out->n_only_base, out->n_only_changed);
    for (int id = 0; id < TALLY_N_COSTS; id++) {
        struct pair_sample sample = {base, changed, (enum tally_cost_id)id};
        compare_cost(&sample, n, seed, out);
    }
    return WL_OK;
}
