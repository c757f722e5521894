// Counts what images cost in tokens with one encoder, for the default and for image budgets, by
// asking an engine: no pixels, no encoding, no weights.
#ifndef WATTLAW_MEASURE_IMAGE_MAP_COUNT_H
#define WATTLAW_MEASURE_IMAGE_MAP_COUNT_H

#include "engine/client.h"
#include "plan/image_map.h"

struct image_map_request {
    const char *mmproj;
    const char *model; // its tokenizer counts the wrapper text; NULL = a stand-in, which has none
    const int32_t *budgets;              // ascending, at most IMAGE_MAP_MAX_BUDGETS
    size_t n_budgets;                    // 0 = image_map_default_budgets
    const struct engine_options *engine; // NULL = as engine_start does
    // May be NULL. `done` 0..1.
    void (*on_progress)(void *context, double done, const char *what);
    void *context;
};

// A budget with which the encoder does not load is a reading with a problem; only the default must
// work. `out` is freed with image_map_free, and NULL on failure.
enum wl_status image_map_count(const struct image_map_request *request,
                               struct engine_vision *vision, struct image_map **out,
                               struct wl_err *err);

#endif
