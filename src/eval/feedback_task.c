#include "eval/feedback_task.h"

#include <string.h>

#include "base/json.h"
#include "eval/score.h"
#include "eval/task.h"

static enum wl_status check(const struct feedback_task *task, struct wl_err *err) {
    const struct score_rule rule = {.method = SCORE_NORMALISED};
    if (!task->prompt[0]) {
        return wl_err_set(err, WL_INPUT, "request '%s' has no prompt", task->id);
    }
    if (task->n_images > 0) {
        return wl_err_set(err, WL_INPUT, "request '%s' had images, which are not kept", task->id);
    }
    if (strlen(task->answer) > FEEDBACK_MAX_REFERENCE_BYTES) {
        return wl_err_set(err, WL_INPUT,
                          "the answer to request '%s' has %zu bytes: expected at most %d for a "
                          "reference",
                          task->id, strlen(task->answer), FEEDBACK_MAX_REFERENCE_BYTES);
    }
    enum wl_status status = score_check_reference(&rule, task->answer, err);
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "request '%s'", task->id);
}

enum wl_status feedback_task_write(const struct feedback_task *task, struct buf *out,
                                   struct wl_err *err) {
    enum wl_status status = check(task, err);
    if (status != WL_OK) {
        return status;
    }
    struct buf line;
    buf_init(&line, TASK_MAX_LINE_BYTES);
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "id", task->id, "kind",
                               "feedback", "prompt", task->prompt, "reference", task->answer,
                               "scorer", score_method_name(SCORE_NORMALISED), "x-model",
                               task->model, "x-score", wl_json_real(task->score));
    if (!object) {
        status = wl_err_set(err, WL_INPUT, "request '%s' is not UTF-8 text", task->id);
    } else if (!wl_json_write(&line, object)) {
        status = wl_err_set(err, WL_INPUT, "request '%s': expected at most %d bytes of text",
                            task->id, TASK_MAX_LINE_BYTES);
    } else if (!buf_append(out, line.data, line.len) || !buf_puts(out, "\n")) {
        status = wl_err_set(err, WL_LIMIT, "the task file would have more than %zu bytes",
                            out->max_bytes);
    }
    json_decref(object);
    buf_release(&line);
    return status;
}
