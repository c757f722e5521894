// Users' opinions of answers, for task files: what was asked and answered where the ledger kept it,
// and counts of all of them. The scores of canaries are no opinions.
#ifndef WATTLAW_STORE_LEDGER_EXPORT_H
#define WATTLAW_STORE_LEDGER_EXPORT_H

#include <stdint.h>

#include "store/store.h"

// An opinion whose request's texts were kept; borrowed until the visit returns.
struct ledger_opinion {
    const char *id, *key, *model; // of the request
    const char *prompt, *answer, *note;
    double score;
    int64_t n_images, wall_ms; // wall_ms: of the opinion
};

struct ledger_opinion_counts {
    int64_t n, n_with_text, n_good; // good: score > 0
};

// Opinions from from_ms to before to_ms in the order of their time, each one that has its texts
// once to `visit`; a visit that fails ends it with its status. `visit` may be NULL: counts only.
enum wl_status
ledger_export_opinions(struct store *ledger, int64_t from_ms, int64_t to_ms,
                       enum wl_status (*visit)(void *context, const struct ledger_opinion *opinion,
                                               struct wl_err *err),
                       void *context, struct ledger_opinion_counts *counts, struct wl_err *err);

#endif
