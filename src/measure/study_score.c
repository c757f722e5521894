// Accuracy within a study: the task file's questions, those with images once under each budget.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "measure/eval_run.h"
#include "measure/study_state.h"
#include "store/store_answer.h"
#include "store/store_record.h"

// One group: the questions without images, or those with images under one budget.
struct group {
    struct study *study;
    struct side *side;
    size_t index; // of the side
    bool has_images;
    uint32_t budget; // image_max_tokens
    size_t n, n_done, n_right;
};

static void say_group(const struct group *group) {
    char what[128], under[48] = "";
    if (group->has_images && group->budget) {
        snprintf(under, sizeof under, " with images of at most %u tokens", group->budget);
    } else if (group->has_images) {
        snprintf(under, sizeof under, " with images");
    }
    snprintf(what, sizeof what, "%.40s: questions%s, %zu of %zu right (%zu to ask)",
             group->study->options->label[group->index], under, group->n_right, group->n_done,
             group->n - group->n_done);
    study_say(group->study, what);
}

static void on_start(void *context, size_t index) {
    (void)index;
    say_group(context);
}

static enum wl_status on_result(void *context, size_t index, const struct eval_item_result *result,
                                struct wl_err *err) {
    (void)index;
    struct group *group = context;
    struct study *study = group->study;
    struct record record = result->record;
    record.model_id = group->side->model_id;
    record.seq = study->next_seq++;
    record.cell = SCHEDULE_SCORED_CELL;
    record.flags |= RECORD_SCORED;
    struct store_answer answer = {.item = result->item->id,
                                  .kind = result->item->kind,
                                  .text = result->answer,
                                  .defect = (char *)score_defect_name(result->defect),
                                  .is_right = result->is_right};
    enum wl_status status = store_record_add(study->store, &record, NULL, 0, err);
    answer.record_id = record.id;
    if (status == WL_OK) {
        status = store_answer_add(study->store, &answer, err);
    }
    group->n_done++;
    group->n_right += result->is_right;
    study_count_window(study, group->side, &record);
    return status;
}

static void on_warning(void *context, const char *text) {
    study_warn(((struct group *)context)->study, text);
}

// Answers of an earlier run of this study.
static enum wl_status mark_stored(struct group *group, bool *is_done, struct wl_err *err) {
    const struct task_set *tasks = group->study->options->score.tasks;
    struct store_answer *answers;
    struct record *records = NULL;
    size_t n_answers, n_records = 0;
    enum wl_status status =
        store_answer_list(group->study->store, group->study->id, &answers, &n_answers, err);
    if (status == WL_OK) {
        status = store_record_list_model(group->study->store, group->side->model_id, &records,
                                         &n_records, err);
    }
    for (size_t r = 0; r < n_records && status == WL_OK; r++) {
        bool is_of_group =
            (records[r].flags & RECORD_SCORED) &&
            (records[r].vision.n_images > 0) == group->has_images &&
            (!group->has_images || records[r].vision.image_max_tokens == group->budget);
        for (size_t a = 0; a < n_answers && is_of_group; a++) {
            for (size_t i = 0; i < tasks->n && answers[a].record_id == records[r].id; i++) {
                if (!is_done[i] && strcmp(tasks->items[i].id, answers[a].item) == 0) {
                    is_done[i] = true;
                    group->n_done++;
                    group->n_right += answers[a].is_right;
                }
            }
        }
    }
    free(records);
    if (status == WL_OK) {
        store_answer_free_list(answers, n_answers);
    }
    return status;
}

// Of the group's items, every so many-th when there are more than wanted: kinds that follow each
// other in the file all get their share.
static void choose_items(struct group *group, bool *is_done) {
    const struct study_score_options *score = &group->study->options->score;
    size_t n_all = 0, seen = 0;
    for (size_t i = 0; i < score->tasks->n; i++) {
        n_all += (score->tasks->items[i].n_images > 0) == group->has_images;
    }
    size_t wanted = score->max_items && score->max_items < n_all ? score->max_items : n_all;
    for (size_t i = 0; i < score->tasks->n; i++) {
        bool is_of_group = (score->tasks->items[i].n_images > 0) == group->has_images;
        bool is_chosen = is_of_group && (seen + 1) * wanted / n_all != seen * wanted / n_all;
        seen += is_of_group;
        is_done[i] = !is_chosen;
        group->n += is_chosen;
    }
}

static enum wl_status run_group(struct group *group, struct wl_err *err) {
    struct study *study = group->study;
    const struct study_score_options *score = &study->options->score;
    bool *is_done = calloc(score->tasks->n, sizeof *is_done);
    if (!is_done) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    choose_items(group, is_done);
    enum wl_status status = mark_stored(group, is_done, err);
    if (status == WL_OK && group->has_images) {
        status = study_use_budget(group->side, group->budget, err);
    }
    if (status == WL_OK && group->n_done < group->n) {
        struct eval_options options = {
            .images_dir = score->folder, .is_done = is_done, .before = &group->side->idle};
        struct eval_events events = {.on_start = on_start,
                                     .on_result = on_result,
                                     .on_warning = on_warning,
                                     .context = group};
        status = eval_run(&group->side->subject, score->tasks, &options, &events, err);
    }
    free(is_done);
    return status;
}

enum wl_status study_score(struct study *study, size_t index, struct wl_err *err) {
    const struct study_score_options *score = &study->options->score;
    if (!score->tasks) {
        return WL_OK;
    }
    struct group text = {.study = study, .side = &study->sides[index], .index = index};
    enum wl_status status = run_group(&text, err);
    bool has_vision = study->sides[index].subject.model.has_vision;
    for (size_t i = 0; i < score->n_budgets && has_vision && status == WL_OK; i++) {
        struct group images = text;
        images.has_images = true;
        images.budget = score->budgets[i];
        images.n = images.n_done = images.n_right = 0;
        status = run_group(&images, err);
    }
    return status;
}
