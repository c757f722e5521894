#include "cli/serve_export.h"

#include <stdio.h>

#include "cli/serve_settings.h"
#include "eval/feedback_task.h"
#include "os/file.h"
#include "store/ledger.h"
#include "store/ledger_export.h"

enum { MAX_FILE_BYTES = 64 << 20 };

struct export {
    struct buf text;
    size_t n_tasks, n_unfit;
};

// Only good answers can be references; what makes no task is counted.
static enum wl_status visit(void *context, const struct ledger_opinion *opinion,
                            struct wl_err *err) {
    struct export *export = context;
    if (opinion->score <= 0.5) {
        return WL_OK;
    }
    struct feedback_task task = {.id = opinion->id,
                                 .model = opinion->model,
                                 .prompt = opinion->prompt,
                                 .answer = opinion->answer,
                                 .score = opinion->score,
                                 .n_images = opinion->n_images};
    enum wl_status status = feedback_task_write(&task, &export->text, err);
    export->n_tasks += status == WL_OK;
    export->n_unfit += status == WL_INPUT;
    return status == WL_INPUT ? WL_OK : status;
}

static enum wl_status export_to(struct export *export, const char *path,
                                struct ledger_opinion_counts *counts, struct wl_err *err) {
    char ledger_path[1024];
    struct store *ledger = NULL;
    enum wl_status status = serve_ledger_path(ledger_path, sizeof ledger_path, err);
    if (status == WL_OK) {
        status = ledger_open(ledger_path, STORE_READ_ONLY, &ledger, err);
    }
    if (status == WL_OK) {
        status = ledger_export_opinions(ledger, 0, INT64_MAX, visit, export, counts, err);
    }
    store_close(ledger);
    if (status == WL_OK && export->n_tasks > 0) {
        status = os_write_atomic(path, export->text.data, export->text.len, err);
    }
    return status;
}

int serve_export(const struct cli_context *context, const char *path) {
    struct export export = {0};
    struct ledger_opinion_counts counts = {0};
    struct wl_err err = {0};
    buf_init(&export.text, MAX_FILE_BYTES);
    enum wl_status status = export_to(&export, path, &counts, &err);
    buf_release(&export.text);
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    if (context->common.json) {
        printf("{\"schema_version\":1,\"opinions\":%lld,\"with_text\":%lld,\"good\":%lld,"
               "\"tasks\":%zu,\"unfit\":%zu}\n",
               (long long)counts.n, (long long)counts.n_with_text, (long long)counts.n_good,
               export.n_tasks, export.n_unfit);
    } else {
        printf(
            "%zu tasks%s%s; %lld opinions, %lld of them good, %lld with their texts (--keep-text "
            "keeps them), %zu that make no task (long answers, pictures)\n",
            export.n_tasks, export.n_tasks ? " in " : "", export.n_tasks ? path : "",
            (long long)counts.n, (long long)counts.n_good, (long long)counts.n_with_text,
            export.n_unfit);
    }
    return 0;
}
