// Any text as a budget: refused in words with nothing set, or a kind and a value in range.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compress/budget.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1), said[BUDGET_TEXT_BYTES];
    enum allocate_budget kind = ALLOCATE_PROMPT;
    double budget = -1;
    struct wl_err err = {0};
    memcpy(text, data, size);
    text[size] = '\0';
    if (budget_parse(text, &kind, &budget, &err) != WL_OK) {
        if (err.status != WL_USAGE || err.message[0] == '\0' || budget != -1) {
            abort();
        }
    } else if (!(budget > 0) || !isfinite(budget) || (kind == ALLOCATE_WEIGHTS && budget > 1) ||
               budget_text(said, kind, budget)[0] == '\0') {
        abort();
    }
    free(text);
    return 0;
}
