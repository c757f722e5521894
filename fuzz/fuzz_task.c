// Any task file: refused in words, or items that keep every promise of task.h; and every prompt as
// an answer through every scorer.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "eval/number.h"
#include "eval/plain.h"
#include "eval/task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check_text(const char *text) {
    while (*text) {
        size_t len = str_utf8_len(text);
        require(len > 0);
        text += len;
    }
}

// What is made plain is valid text and not longer than before.
static void check_plain(const char *text) {
    char *plain = plain_normalise(text);
    require(plain && strlen(plain) <= strlen(text));
    check_text(plain);
    free(plain);
    double value;
    (void)number_first(text, &value);
    (void)score_defect(text, true);
}

static void check_item(const struct task_item *item) {
    require(item->id[0] && strlen(item->id) < TASK_ID_BYTES);
    require(strlen(item->kind) < TASK_KIND_BYTES && item->prompt[0]);
    require(item->n_images <= TASK_MAX_IMAGES && item->max_tokens <= TASK_MAX_TOKENS);
    require(item->n_references >= 1 && item->n_references <= TASK_MAX_REFERENCES);
    require(item->rule.tolerance >= 0 && item->rule.tolerance_rel >= 0);
    check_text(item->prompt);
    check_plain(item->prompt);
    for (size_t i = 0; i < item->n_images; i++) {
        require(item->images[i][0]);
    }
    const char *const *references = (const char *const *)item->references;
    for (size_t i = 0; i < item->n_references; i++) {
        check_plain(references[i]);
        // A reference is its own right answer, whatever the scorer.
        require(score_answer(&item->rule, references[i], references, item->n_references));
    }
    struct score_rule rule = item->rule;
    for (int method = SCORE_EXACT; method <= SCORE_CONTAINS; method++) {
        rule.method = (enum score_method)method;
        (void)score_answer(&rule, item->prompt, references, item->n_references);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct task_set set;
    struct wl_err err = {0};
    char *text = malloc(size ? size : 1); // exact, so that reading past the end is seen
    require(text != NULL);
    memcpy(text, data, size);
    if (task_set_parse(text, size, &set, &err) != WL_OK) {
        require(err.message[0] && !set.items && set.n == 0);
        free(text);
        return 0;
    }
    free(text);
    require(set.n > 0);
    for (size_t i = 0; i < set.n; i++) {
        check_item(&set.items[i]);
    }
    task_set_release(&set);
    return 0;
}
