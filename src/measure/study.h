// The experiment: windows over prompt lengths, for one model or two, interleaved in a seeded order,
// repeated until the times are known well enough or the budget is spent. Every window is stored
// when it ends; a study that was cut off goes on where it stopped.
#ifndef WATTLAW_MEASURE_STUDY_H
#define WATTLAW_MEASURE_STUDY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "eval/task.h"
#include "measure/schedule.h"
#include "measure/study_images.h"
#include "measure/subject.h"
#include "record/record.h"
#include "store/store.h"

// Questions with known answers: accuracy, and for those with images accuracy against the budget.
struct study_score_options {
    const struct task_set *tasks;
    const char *folder;                  // that the tasks' image paths start from
    uint32_t budgets[STUDY_MAX_BUDGETS]; // image_max_tokens for tasks with images; 0 = the file's
    size_t n_budgets;
    size_t max_items; // of each group (text, each budget); 0 = all
};

struct study_options {
    const char *title;
    struct subject_options subject; // model_path is set per model below
    const char *model_path[SCHEDULE_MAX_MODELS];
    const char *mmproj_path[SCHEDULE_MAX_MODELS]; // image encoders; NULL: text alone
    struct study_image_options images;            // the second law's sweep; no sizes: left out
    struct study_score_options score;             // accuracy; no tasks: left out
    const char *label[SCHEDULE_MAX_MODELS];
    size_t n_models;
    const uint32_t *prompt_tokens; // the sweep
    size_t n_prompts;
    const char *const *prompt_texts; // instead of the sweep: texts of the user's
    size_t n_prompt_texts;
    uint32_t generate; // tokens per answer
    uint64_t seed;
    struct schedule_rule rule;
    double budget_s; // of measured windows; each cell runs at least once whatever it says
    double idle_s;   // length of each idle baseline
    double paper_s;  // length of the window in which both modes are compared; 0 = none
    bool is_fresh;   // do not go on with an unfinished study of the same options
};

// Under this name the exact token counts of a model's images are kept among its fits
// (struct study_counts, json).
#define STUDY_IMAGE_TOKENS "image_tokens"

struct study_events {
    // Before the first window: the study's id in the store, and how many windows it has already.
    void (*on_start)(void *context, int64_t study_id, size_t n_done);
    void (*on_progress)(void *context, double done, double seconds_left, const char *what);
    void (*on_record)(void *context, const struct record *record);
    // Something that went wrong and was mended ("the engine was killed ...; restarted").
    void (*on_warning)(void *context, const char *message);
    void *context;
};

// INTERRUPTED leaves a study that the same call continues. *study_id is set as soon as it exists.
enum wl_status study_run(struct store *store, const struct study_options *options,
                         const struct study_events *events, int64_t *study_id, struct wl_err *err);

// All that decides what the study measures, with the models' fingerprints; two studies with the
// same text are the same study.
json_t *study_options_json(const struct study_options *options, struct wl_err *err);

#endif
