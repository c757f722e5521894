// Asks a model every question of a task file, one measured window each, and scores the answers.
#ifndef WATTLAW_MEASURE_EVAL_RUN_H
#define WATTLAW_MEASURE_EVAL_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/result.h"
#include "eval/score.h"
#include "eval/task.h"
#include "measure/idle.h"
#include "measure/subject.h"
#include "os/file.h"
#include "record/record.h"

enum {
    EVAL_MAX_TOKENS = 64,            // of an answer where nobody says otherwise
    EVAL_MAX_IMAGE_BYTES = 64 << 20, // of one file, what a frame to the engine takes
};

struct eval_item_result {
    const struct task_item *item; // borrowed
    char *answer;                 // valid UTF-8
    enum engine_stop stop;
    bool is_right;
    enum score_defect defect;
    struct record record;
};
void eval_item_result_release(struct eval_item_result *result);
// Sets is_right and defect from item, answer and stop.
void eval_score(struct eval_item_result *result);

struct eval_options {
    const char *images_dir;    // where relative names of images begin; NULL = the current folder
    uint32_t max_tokens;       // of an answer, where the item says nothing; 0 = EVAL_MAX_TOKENS
    bool is_raw;               // without the model's chat template
    const bool *is_done;       // one per item: not asked again; NULL = none
    const struct idle *before; // for net energies; NULL = none
};

// Any may be NULL.
struct eval_events {
    void (*on_start)(void *context, size_t index); // before an item is asked
    // The result is released afterwards. A failure ends the run with it.
    enum wl_status (*on_result)(void *context, size_t index, const struct eval_item_result *result,
                                struct wl_err *err);
    void (*on_warning)(void *context, const char *text);
    void *context;
};

// Before a model is loaded: every image is there and small enough, prompts have as many markers as
// images, and none has images when there is no image encoder. INPUT, NOT_FOUND, LIMIT name the
// item.
enum wl_status eval_check(const struct task_set *set, const char *images_dir, bool has_encoder,
                          struct wl_err *err);

// Greedy answers in the order of the file, each from an empty context, after a warm-up request. An
// engine that dies is started again once per item. INTERRUPTED on Ctrl-C, also within an answer,
// which is then lost; other failures name the item.
enum wl_status eval_run(struct subject *subject, const struct task_set *set,
                        const struct eval_options *options, const struct eval_events *events,
                        struct wl_err *err);

// The file of an image: `name` itself when it is absolute.
enum wl_status eval_image_path(const char *images_dir, const char *name, char out[OS_PATH_BYTES],
                               struct wl_err *err);

#endif
