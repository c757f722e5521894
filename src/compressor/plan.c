#include "compressor/plan.h"

#include <stdlib.h>

enum wl_status plan_init(struct plan *plan, const struct compress_source *source,
                         struct wl_err *err) {
    *plan = (struct plan){.layers = calloc(source->n_layer, sizeof *plan->layers),
                          .n_layer = source->n_layer};
    if (!plan->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for a plan of %u blocks", source->n_layer);
    }
    for (uint32_t i = 0; i < source->n_layer; i++) {
        struct block_shape shape;
        enum wl_status status = compress_source_shape(source, i, &shape, err);
        if (status != WL_OK) {
            plan_release(plan);
            return status;
        }
        plan->layers[i] = (struct plan_layer){.n_head_kv = shape.n_head_kv, .n_ff = shape.n_ff};
    }
    return WL_OK;
}

void plan_release(struct plan *plan) {
    free(plan->layers);
    *plan = (struct plan){0};
}
