#include "cli/study_pair.h"

#include <stdio.h>

#include "cli/progress.h"
#include "cli/study_result.h"
#include "cli/task_file.h"
#include "measure/study.h"

static const uint32_t LENGTHS[] = {16, 64, 256};
enum {
    N_LENGTHS = sizeof LENGTHS / sizeof LENGTHS[0],
    ANSWER = 24,
    FRAME = 16,
    MIN_REPEATS = 3,
    MAX_REPEATS = 12
};
static const double TARGET = 0.02, IDLE_S = 2;

struct view {
    const struct cli_context *context;
    struct progress progress;
    int64_t study_id;
};

static void on_start(void *context, int64_t study_id, size_t n_done) {
    struct view *view = context;
    (void)n_done;
    view->study_id = study_id;
}

static void on_progress(void *context, double done, double seconds_left, const char *what) {
    struct view *view = context;
    progress_update(&view->progress, done, seconds_left, what);
}

static void on_warning(void *context, const char *message) {
    struct view *view = context;
    progress_end(&view->progress);
    cli_warn(view->context, "%s", message);
}

static enum wl_status read_tasks(const struct study_pair *pair, struct task_set *tasks,
                                 char folder[OS_PATH_BYTES], struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < pair->n_tasks && status == WL_OK; i++) {
        struct task_set more = {0};
        status = task_file_read(pair->tasks[i], &more, folder, err);
        if (status == WL_OK) {
            status = task_set_append(tasks, &more, err);
        }
        task_set_release(&more);
    }
    return status;
}

static enum wl_status load(struct store *store, int64_t study_id, struct report_result **out,
                           struct wl_err *err) {
    char name[32];
    snprintf(name, sizeof name, "%lld", (long long)study_id);
    enum wl_status status = study_result_load(store, name, NULL, out, err);
    return status == WL_OK ? study_result_save_fits(store, name, *out, err) : status;
}

static enum wl_status run(struct cli_context *context, const struct study_options *options,
                          struct report_result **out, struct wl_err *err) {
    struct store *store;
    struct view view = {.context = context};
    struct study_events events = {.on_start = on_start,
                                  .on_progress = on_progress,
                                  .on_warning = on_warning,
                                  .context = &view};
    enum wl_status status = study_store_open(context, STORE_READ_WRITE_CREATE, &store, err);
    if (status != WL_OK) {
        return status;
    }
    progress_begin(&view.progress, context->common.quiet);
    status = study_run(store, options, &events, &view.study_id, err);
    progress_end(&view.progress);
    if (status == WL_OK) {
        status = load(store, view.study_id, out, err);
    }
    store_close(store);
    return status;
}

// Those that the model's context holds with an answer behind them.
static size_t count_lengths(uint32_t n_ctx_train) {
    size_t n = N_LENGTHS;
    while (n > 1 && n_ctx_train > 0 && LENGTHS[n - 1] + ANSWER + FRAME > n_ctx_train) {
        n--;
    }
    return n;
}

enum wl_status study_pair_run(struct cli_context *context, const struct study_pair *pair,
                              struct report_result **out, struct wl_err *err) {
    struct task_set tasks = {0};
    char folder[OS_PATH_BYTES] = "";
    struct study_options options = {
        .title = pair->title,
        .subject = pair->subject,
        .n_models = 2,
        .prompt_tokens = LENGTHS,
        .n_prompts = count_lengths(pair->n_ctx_train),
        .generate = ANSWER,
        .seed = pair->seed,
        .rule = {.min_repeats = MIN_REPEATS, .max_repeats = MAX_REPEATS, .target_rel_ci = TARGET},
        .budget_s = pair->budget_s,
        .idle_s = IDLE_S,
        .is_fresh = true};
    for (int i = 0; i < 2; i++) {
        options.model_path[i] = pair->path[i];
        options.mmproj_path[i] = pair->mmproj[i];
        options.label[i] = pair->label[i];
    }
    *out = NULL;
    enum wl_status status = read_tasks(pair, &tasks, folder, err);
    if (tasks.n > 0) {
        options.score.tasks = &tasks;
        options.score.folder = folder;
        options.score.n_budgets = 1; // the file's own
        options.score.max_items = pair->task_limit;
    }
    if (status == WL_OK) {
        status = run(context, &options, out, err);
    }
    task_set_release(&tasks);
    return status;
}
