// Answers that were scored: what the model said to an item of a task file, beside the record that
// says what it cost.
#ifndef WATTLAW_STORE_STORE_ANSWER_H
#define WATTLAW_STORE_STORE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

// Of a struct that the store filled, the texts belong to it; of one to be stored, to the caller.
struct store_answer {
    int64_t record_id;
    char *item; // the task's id
    char *kind; // the task's group; "" when none
    char *text;
    char *defect; // "fine", "empty", "looping"
    bool is_right;
};

void store_answer_free_list(struct store_answer *answers, size_t n);
// The record must be stored before, and have no answer yet.
enum wl_status store_answer_add(struct store *store, const struct store_answer *answer,
                                struct wl_err *err);
// Of all models of a study, by record.
enum wl_status store_answer_list(struct store *store, int64_t study_id, struct store_answer **out,
                                 size_t *n, struct wl_err *err);

#endif
