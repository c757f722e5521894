// An answer that a user liked, as a line of a task file. PURE.
#ifndef WATTLAW_EVAL_FEEDBACK_TASK_H
#define WATTLAW_EVAL_FEEDBACK_TASK_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

// Longer answers are never said the same way twice: as a reference they would call every model
// wrong.
enum { FEEDBACK_MAX_REFERENCE_BYTES = 200 };

struct feedback_task {
    const char *id, *model, *prompt, *answer;
    double score; // what the user gave
    int64_t n_images;
};

// Appends one line (task.h) with its end: the prompt, the answer as its reference, scorer
// 'normalised', kind 'feedback', the model and the score as 'x-' keys. INPUT, and nothing is
// appended, for what makes no task: without a prompt, with images (they are not kept), with an
// answer that is too long or that would match everything.
enum wl_status feedback_task_write(const struct feedback_task *task, struct buf *out,
                                   struct wl_err *err);

#endif
