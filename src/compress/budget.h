// The written forms of what a smaller model may cost. PURE.
#ifndef WATTLAW_COMPRESS_BUDGET_H
#define WATTLAW_COMPRESS_BUDGET_H

#include "base/err.h"

enum allocate_budget {
    ALLOCATE_WEIGHTS, // share of the block weights that stays
    ALLOCATE_BYTES,   // of the file, with the types it has
    ALLOCATE_DECODE,  // generated tokens a second, at least
    ALLOCATE_PROMPT,  // prompt tokens a second, at least
    ALLOCATE_JOULES,  // of an answer: n_prompt and n_decode tokens, at most
};

enum { BUDGET_TEXT_BYTES = 48 };

// "0.5", "50%", "600MB", "1.2GB" (powers of 1024), "20tok/s", "100ptok/s" (prompt), "1.5J",
// "800mJ". USAGE tells the forms; then nothing is set.
enum wl_status budget_parse(const char *text, enum allocate_budget *kind, double *budget,
                            struct wl_err *err);
// For people: "50 % of the block weights", "600 MiB", "20 tok/s". Returns `out`.
char *budget_text(char out[BUDGET_TEXT_BYTES], enum allocate_budget kind, double budget);

#endif
