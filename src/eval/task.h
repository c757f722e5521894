// Task files: JSON lines, one question each, with what a right answer is. PURE (the reader gets
// bytes); docs/tasks.md is the format for users.
#ifndef WATTLAW_EVAL_TASK_H
#define WATTLAW_EVAL_TASK_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "eval/score.h"

enum {
    TASK_MAX_ITEMS = 100000,
    TASK_MAX_LINE_BYTES = 1 << 20,
    TASK_MAX_IMAGES = 16,     // of one item
    TASK_MAX_REFERENCES = 16, // any one of them is right
    TASK_ID_BYTES = 256,
    TASK_KIND_BYTES = 64,
    TASK_MAX_TOKENS = 1 << 20,
};

struct task_item {
    char *id;      // unique in the file; "line 12" when the file gives none
    char *kind;    // group in the table: "status", "number"; "" when none
    char *prompt;  // one user message
    char **images; // paths as written, relative to the task file's folder
    size_t n_images;
    char **references;
    size_t n_references;
    struct score_rule rule;
    uint32_t max_tokens; // of the answer; 0 = the runner's default
};

struct task_set {
    struct task_item *items;
    size_t n;
};

// INPUT names the line, the key, what was expected and found; LIMIT.
enum wl_status task_set_parse(const char *text, size_t n, struct task_set *out, struct wl_err *err);
void task_set_release(struct task_set *set); // zeroed ones are fine
// Moves the items of `more` behind those of `set`; `more` is empty afterwards. INPUT when an id is
// in both, LIMIT.
enum wl_status task_set_append(struct task_set *set, struct task_set *more, struct wl_err *err);
// Keeps `n` items, drawn at random but always the same ones, in their order: those of a smaller n
// are among them. All when there are no more, or n is 0.
enum wl_status task_set_draw(struct task_set *set, size_t n, struct wl_err *err);

#endif
