// A short study of two models for commands that made the second one: cost side by side, and the
// answers to questions.
#ifndef WATTLAW_CLI_STUDY_PAIR_H
#define WATTLAW_CLI_STUDY_PAIR_H

#include "cli/command.h"
#include "eval/task.h"
#include "measure/subject.h"
#include "report/result.h"

struct study_pair {
    const char *path[2], *label[2];
    const char *mmproj[2]; // NULL: text alone
    const char *title;
    const char *const *tasks; // names of task files, asked of both; those with pictures need mmproj
    size_t n_tasks, task_limit; // of each group; 0 = all
    uint32_t n_ctx_train;       // of the models; 0 = unknown
    double budget_s;
    uint64_t seed;
    struct subject_options subject; // threads and so on; paths are set here
};

// The study is stored as any other. *out is the caller's (report_result_free).
enum wl_status study_pair_run(struct cli_context *context, const struct study_pair *pair,
                              struct report_result **out, struct wl_err *err);

#endif
