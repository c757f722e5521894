// Fitted laws, as the JSON text that stats writes; one per model and metric.
#ifndef WATTLAW_STORE_STORE_FIT_H
#define WATTLAW_STORE_STORE_FIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

struct store_fit {
    int64_t study_id;
    int64_t model_id;
    char *metric; // id of metrics.def
    char *json;
};

void store_fit_free_list(struct store_fit *fits, size_t n);
// Replaces the fit of that model and metric if there is one.
enum wl_status store_fit_put(struct store *store, int64_t study_id, int64_t model_id,
                             const char *metric, const char *json, struct wl_err *err);
enum wl_status store_fit_list(struct store *store, int64_t study_id, struct store_fit **out,
                              size_t *n, struct wl_err *err);

#endif
