// Scored answers: the share that is right and what an answer costs, for text and for each image
// budget, and what a smaller budget changes.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "eval/tally.h"
#include "report/clean.h"
#include "report/vision_parts.h"

#define NORMAL_95 1.959963984540054

struct scored {
    const struct record *record;
    const struct report_answer *answer;
    uint64_t rank; // of its group: text, the file's own budget, then falling budgets
};

struct scored_list {
    struct scored *at;
    size_t n;
};

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the report");
}

static uint64_t rank_of(const struct record_vision *seen) {
    return seen->n_images == 0           ? 0
           : seen->image_max_tokens == 0 ? 1
                                         : 2 + (uint64_t)(UINT32_MAX - seen->image_max_tokens);
}

// ---- answers with their records ----

struct answer_of_record {
    int64_t record_id;
    const struct report_answer *answer;
};

static int by_record(const void *a, const void *b) {
    const struct answer_of_record *x = a, *y = b;
    return (x->record_id > y->record_id) - (x->record_id < y->record_id);
}

static int by_group_and_item(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    if (x->rank != y->rank) {
        return x->rank < y->rank ? -1 : 1;
    }
    int order = strcmp(x->answer->item, y->answer->item);
    return order ? order : (x->record->seq > y->record->seq) - (x->record->seq < y->record->seq);
}

static const struct report_answer *answer_of(const struct answer_of_record *sorted, size_t n,
                                             int64_t record_id) {
    const struct answer_of_record key = {record_id, NULL};
    const struct answer_of_record *found =
        n > 0 ? bsearch(&key, sorted, n, sizeof *sorted, by_record) : NULL;
    return found ? found->answer : NULL;
}

static enum wl_status list_scored(const struct report_model *model,
                                  const struct report_model_input *input, struct scored_list *out,
                                  struct wl_err *err) {
    struct answer_of_record *sorted = calloc(input->n_answers + 1, sizeof *sorted);
    *out = (struct scored_list){calloc(model->n_records + 1, sizeof *out->at), 0};
    if (!sorted || !out->at) {
        free(sorted);
        return no_memory(err);
    }
    for (size_t i = 0; i < input->n_answers; i++) {
        sorted[i] = (struct answer_of_record){input->answers[i].record_id, &input->answers[i]};
    }
    qsort(sorted, input->n_answers, sizeof *sorted, by_record);
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        const struct report_answer *answer =
            record->flags & RECORD_SCORED ? answer_of(sorted, input->n_answers, record->id) : NULL;
        if (answer && answer->item && answer->kind) {
            out->at[out->n++] = (struct scored){record, answer, rank_of(&record->vision)};
        }
    }
    qsort(out->at, out->n, sizeof *out->at, by_group_and_item);
    free(sorted);
    return WL_OK;
}

static size_t group_length(const struct scored *at, size_t n) {
    size_t length = 0;
    while (length < n && at[length].rank == at[0].rank) {
        length++;
    }
    return length;
}

// Text and the first group with images, which lie side by side.
static size_t default_length(const struct scored_list *list) {
    size_t n = list->n > 0 ? group_length(list->at, list->n) : 0;
    bool is_text = n > 0 && list->at[0].rank == 0;
    return is_text && n < list->n ? n + group_length(list->at + n, list->n - n) : n;
}

// ---- one table line ----

static double seconds(const struct record *record) {
    return record->value[METRIC_time_s];
}

static double joules(const struct record *record) {
    return record->value[METRIC_energy_net_j];
}

static double image_tokens(const struct record *record) {
    return record->vision.n_images > 0 ? record->vision.image_tokens : (double)NAN;
}

// `scratch` has room for n values.
static struct report_accuracy_cost cost_of(const struct scored *at, size_t n,
                                           double (*value)(const struct record *record),
                                           double *scratch) {
    struct report_accuracy_cost cost = {NAN, {NAN, NAN}};
    struct stats_summary summary;
    size_t n_known = 0;
    for (size_t i = 0; i < n; i++) {
        double x = value(at[i].record);
        if (isfinite(x)) {
            scratch[n_known++] = x;
        }
    }
    if (n_known > 0 && stats_describe(scratch, n_known, &summary, NULL) == WL_OK) {
        cost = (struct report_accuracy_cost){summary.mean, summary.ci95_mean};
    }
    return cost;
}

// The source's gain error is the same in every answer: repeats do not shrink it.
static void judge_energy(const struct scored *at, size_t n, struct report_accuracy *out) {
    double systematic_rel = 0, variance_j2 = 0, mean_j = out->net_j.mean;
    for (size_t i = 0; i < n; i++) {
        const struct record *record = at[i].record;
        if (record->n_energies > 0) {
            const struct record_energy *energy = &record->energy[0];
            systematic_rel = fmax(systematic_rel, energy->systematic_rel);
            variance_j2 += isfinite(energy->net_sd_j) ? energy->net_sd_j * energy->net_sd_j : 0;
        }
    }
    double sd_j = sqrt(variance_j2) / (double)n; // of the mean
    out->is_energy_resolved = record_is_resolved(mean_j, sd_j, systematic_rel);
    double extra_j = NORMAL_95 * systematic_rel * fabs(mean_j);
    struct stats_interval *ci = &out->net_j.ci95;
    *ci = (struct stats_interval){mean_j - hypot(mean_j - ci->low, extra_j),
                                  mean_j + hypot(ci->high - mean_j, extra_j)};
}

static void fill_line(const struct scored *at, size_t n, double *scratch,
                      struct report_accuracy *out) {
    *out = (struct report_accuracy){.n = n};
    for (size_t i = 0; i < n; i++) {
        const char *defect = at[i].answer->defect ? at[i].answer->defect : "";
        out->n_right += at[i].answer->is_right;
        out->n_empty += strcmp(defect, score_defect_name(SCORE_EMPTY)) == 0;
        out->n_looping += strcmp(defect, score_defect_name(SCORE_LOOPING)) == 0;
    }
    out->ci95 = tally_wilson(out->n_right, n, 0.95);
    out->time_s = cost_of(at, n, seconds, scratch);
    out->net_j = cost_of(at, n, joules, scratch);
    out->image_tokens = cost_of(at, n, image_tokens, scratch);
    judge_energy(at, n, out);
}

static int by_kind(const void *a, const void *b) {
    const struct scored *x = a, *y = b;
    int order = strcmp(x->answer->kind, y->answer->kind);
    return order ? order : by_group_and_item(a, b);
}

// Kinds beyond the last that there is room for are in the group's total only.
static void fill_kinds(struct scored *at, size_t n, double *scratch,
                       struct report_accuracy_group *out) {
    qsort(at, n, sizeof *at, by_kind);
    for (size_t begin = 0, end; begin < n && out->n_kinds < REPORT_MAX_KINDS; begin = end) {
        for (end = begin + 1; end < n; end++) {
            if (strcmp(at[end].answer->kind, at[begin].answer->kind) != 0) {
                break;
            }
        }
        struct report_accuracy *line = &out->kind[out->n_kinds++];
        fill_line(at + begin, end - begin, scratch, line);
        str_copy(line->kind, sizeof line->kind, at[begin].answer->kind);
        clean_text(line->kind);
    }
    qsort(at, n, sizeof *at, by_group_and_item);
}

// ---- two groups side by side ----

static struct tally_answer tally_of(const struct scored *scored) {
    struct tally_answer out = {.kind = "", .is_right = scored->answer->is_right};
    for (unsigned i = 0; i < TALLY_N_COSTS; i++) {
        out.cost[i] = NAN;
    }
    out.cost[TALLY_TIME] = seconds(scored->record);
    out.cost[TALLY_NET] = joules(scored->record);
    return out;
}

static int compare_items(const struct scored *a, const struct scored *b) {
    bool has_a = a->rank > 0, has_b = b->rank > 0;
    return has_a != has_b ? (int)has_a - (int)has_b : strcmp(a->answer->item, b->answer->item);
}

static bool is_repeated(const struct scored *at, size_t i) {
    return i > 0 && compare_items(&at[i], &at[i - 1]) == 0;
}

// Over the items that both have; both ascend by item. No such item: all NaN.
static enum wl_status compare(const struct scored *base, size_t n_base,
                              const struct scored *changed, size_t n_changed, uint64_t seed,
                              struct tally_pair *out, struct wl_err *err) {
    size_t room = (n_base < n_changed ? n_base : n_changed) + 1, n = 0;
    struct tally_answer *a = calloc(room, sizeof *a), *b = calloc(room, sizeof *b);
    enum wl_status status = a && b ? WL_OK : no_memory(err);
    for (size_t i = 0, k = 0; status == WL_OK && i < n_base && k < n_changed;) {
        int order = compare_items(&base[i], &changed[k]);
        if (order == 0 && !is_repeated(base, i) && !is_repeated(changed, k)) {
            a[n] = tally_of(&base[i]);
            b[n++] = tally_of(&changed[k]);
        }
        i += order <= 0;
        k += order >= 0;
    }
    if (status == WL_OK && tally_compare(a, b, n, seed, out, NULL) != WL_OK) {
        *out = (struct tally_pair){.difference = NAN, .difference_ci95 = {NAN, NAN}};
        for (unsigned i = 0; i < TALLY_N_COSTS; i++) {
            out->cost_ratio[i] = NAN;
            out->cost_ratio_ci95[i] = (struct stats_interval){NAN, NAN};
        }
    }
    free(a);
    free(b);
    return status;
}

static struct stats_interval in_points(struct stats_interval share) {
    return (struct stats_interval){100 * share.low, 100 * share.high};
}

static void set_change(struct report_accuracy_group *group, const struct tally_pair *pair) {
    group->accuracy_change = 100 * pair->difference;
    group->accuracy_change_ci95 = in_points(pair->difference_ci95);
    group->time_ratio = pair->cost_ratio[TALLY_TIME];
    group->time_ratio_ci95 = pair->cost_ratio_ci95[TALLY_TIME];
    group->net_j_ratio = pair->cost_ratio[TALLY_NET];
    group->net_j_ratio_ci95 = pair->cost_ratio_ci95[TALLY_NET];
}

// ---- the groups ----

static void open_group(const struct scored *at, struct report_accuracy_group *group) {
    static const struct stats_interval UNKNOWN = {NAN, NAN};
    *group = (struct report_accuracy_group){.has_images = at->rank > 0,
                                            .image_max_tokens = at->record->vision.image_max_tokens,
                                            .accuracy_change = NAN,
                                            .accuracy_change_ci95 = UNKNOWN,
                                            .net_j_ratio = NAN,
                                            .net_j_ratio_ci95 = UNKNOWN,
                                            .time_ratio = NAN,
                                            .time_ratio_ci95 = UNKNOWN};
}

static size_t count_groups(const struct scored_list *list) {
    size_t n = 0;
    for (size_t i = 0; i < list->n; i += group_length(list->at + i, list->n - i)) {
        n++;
    }
    return n;
}

static enum wl_status fill_groups(const struct scored_list *list, uint64_t seed, double *scratch,
                                  struct report_vision *vision, struct wl_err *err) {
    const struct scored *first = NULL; // of the first group with images
    size_t n_first = 0, length;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < list->n && status == WL_OK; i += length) {
        struct scored *at = list->at + i;
        struct report_accuracy_group *group = &vision->accuracy[vision->n_accuracies++];
        length = group_length(at, list->n - i);
        open_group(at, group);
        fill_line(at, length, scratch, &group->all);
        fill_kinds(at, length, scratch, group);
        if (group->has_images && first) {
            struct tally_pair pair;
            status = compare(first, n_first, at, length, seed + i, &pair, err);
            set_change(group, &pair);
        } else if (group->has_images) {
            first = at;
            n_first = length;
        }
    }
    return status;
}

// The fewest tokens among the budgets that save some and lose next to nothing.
static int find_saving(const struct report_vision *vision) {
    int best = -1;
    double fewest = INFINITY;
    for (size_t i = 0; i < vision->n_accuracies; i++) {
        const struct report_accuracy_group *group = &vision->accuracy[i];
        double tokens = group->all.image_tokens.mean;
        bool is_first = group->has_images && isinf(fewest);
        if (is_first) {
            fewest = tokens;
        } else if (group->has_images && tokens < fewest &&
                   group->accuracy_change >= -REPORT_SAVING_POINTS - 1e-9) {
            best = (int)i;
            fewest = tokens;
        }
    }
    return best;
}

enum wl_status vision_accuracy(struct report_model *model, const struct report_model_input *input,
                               uint64_t seed, struct wl_err *err) {
    struct report_vision *vision = &model->vision;
    struct scored_list list;
    enum wl_status status = list_scored(model, input, &list, err);
    if (status == WL_OK && list.n > 0) {
        double *scratch = calloc(list.n, sizeof *scratch);
        vision->accuracy = calloc(count_groups(&list), sizeof *vision->accuracy);
        if (scratch && vision->accuracy) {
            status = fill_groups(&list, seed, scratch, vision, err);
            fill_line(list.at, default_length(&list), scratch, &vision->right);
            vision->saving = find_saving(vision);
        } else {
            status = no_memory(err);
        }
        free(scratch);
    }
    free(list.at);
    return status;
}

enum wl_status vision_compare_right(const struct report_result *result,
                                    const struct report_input *input,
                                    struct report_right_change *out, struct wl_err *err) {
    struct scored_list base = {NULL, 0}, changed = {NULL, 0};
    struct tally_pair pair = {.n = 0};
    enum wl_status status = list_scored(&result->model[0], &input->model[0], &base, err);
    if (status == WL_OK) {
        status = list_scored(&result->model[1], &input->model[1], &changed, err);
    }
    if (status == WL_OK) {
        status = compare(base.at, default_length(&base), changed.at, default_length(&changed),
                         result->seed, &pair, err);
    }
    if (status == WL_OK && pair.n > 0) {
        *out = (struct report_right_change){pair.n, 100 * pair.difference,
                                            in_points(pair.difference_ci95)};
    }
    free(base.at);
    free(changed.at);
    return status;
}
