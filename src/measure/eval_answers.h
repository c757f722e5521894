// The answers of a run in a file, one JSON line each, so that an interrupted run goes on and two
// runs can be compared. A line is written as soon as the answer is there; a line that was cut by a
// kill is taken away when the file is opened again.
//
// The first line is the head: which model answered with which settings. Answers to a prompt, an
// image or a length that has changed since are refused; the reference and the scorer may change,
// because answers that are read are scored anew.
#ifndef WATTLAW_MEASURE_EVAL_ANSWERS_H
#define WATTLAW_MEASURE_EVAL_ANSWERS_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "eval/task.h"
#include "measure/eval_run.h"

enum { EVAL_KEY_BYTES = 20, EVAL_MAX_ANSWERS_BYTES = 1 << 30 };

// What was asked, in short: prompt, longest answer, bytes of the images.
enum wl_status eval_item_key(const struct task_item *item, const char *images_dir,
                             uint32_t max_tokens, char out[EVAL_KEY_BYTES], struct wl_err *err);

// What decides the answers and their cost: fingerprints of the files and the options. A new
// reference. INPUT, NOT_FOUND from the files.
enum wl_status eval_answers_head(const struct subject_options *subject,
                                 const struct eval_options *options, json_t **out,
                                 struct wl_err *err);

// Calls `visit` for each answer in the file to an item of the set, scored anew; the result is
// released afterwards. INPUT when the file is no such file, its head is not `head` (NULL = any), or
// an item was asked something else then; an empty file has no answers.
struct eval_answers_reader {
    const struct task_set *set;
    const char *const *keys; // of the set's items, as eval_item_key gives them
    const json_t *head;
    void (*visit)(void *context, size_t index, const struct eval_item_result *result);
    void *context;
};
enum wl_status eval_answers_read(const char *path, const struct eval_answers_reader *reader,
                                 struct wl_err *err);

struct eval_answers_writer {
    int fd; // -1 when closed
    char path[OS_PATH_BYTES];
};
// Opens for appending, after eval_answers_read has said that the file is one of these; writes the
// head when it is new or empty. BUSY while another process has it open.
enum wl_status eval_answers_open(const char *path, const json_t *head,
                                 struct eval_answers_writer *out, struct wl_err *err);
enum wl_status eval_answers_add(struct eval_answers_writer *writer,
                                const struct eval_item_result *result, const char *key,
                                struct wl_err *err);
void eval_answers_close(struct eval_answers_writer *writer);

#endif
