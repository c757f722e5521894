#include "compress/allocation_runs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum wl_status allocation_runs_init(struct allocation_runs *runs, const double *removed_loss,
                                    size_t n_layers, size_t max_removed, struct wl_err *err) {
    *runs = (struct allocation_runs){
        .n_layers = n_layers, .max_removed = max_removed, .removed_loss = removed_loss};
    size_t n = (n_layers + 1) * (max_removed + 1);
    runs->least = calloc(n, sizeof *runs->least);
    runs->run = calloc(n, sizeof *runs->run);
    if (!runs->least || !runs->run) {
        allocation_runs_release(runs);
        return wl_err_set(err, WL_MEMORY, "no memory to choose among %zu blocks", n_layers);
    }
    return WL_OK;
}

void allocation_runs_release(struct allocation_runs *runs) {
    free(runs->least);
    free(runs->run);
    *runs = (struct allocation_runs){0};
}

// The block `layer` stays: the run of removed ones before it may have any length, and the block
// before the run stays.
static void fill_layer(struct allocation_runs *runs, size_t layer, double stay) {
    size_t width = runs->max_removed + 1;
    double *least = runs->least + layer * width, roots = 0;
    for (size_t r = 0; r < width; r++) {
        least[r] = INFINITY;
    }
    for (size_t run = 0; run < layer && run < width; run++) {
        if (run > 0) {
            roots += sqrt(runs->removed_loss[layer - run]);
        }
        const double *before = runs->least + (layer - 1 - run) * width;
        for (size_t r = run; r < width; r++) {
            double sum = before[r - run] + roots * roots + stay;
            if (sum < least[r]) {
                least[r] = sum;
                runs->run[layer * width + r] = (uint16_t)run;
            }
        }
    }
}

void allocation_runs_fill(struct allocation_runs *runs, const double *stay) {
    for (size_t r = 0; r <= runs->max_removed; r++) {
        runs->least[r] = r == 0 ? stay[0] : INFINITY; // nothing is before the first one
    }
    for (size_t layer = 1; layer <= runs->n_layers; layer++) {
        fill_layer(runs, layer, layer < runs->n_layers ? stay[layer] : 0);
    }
}

double allocation_runs_least(const struct allocation_runs *runs, size_t n_removed) {
    return n_removed <= runs->max_removed
               ? runs->least[runs->n_layers * (runs->max_removed + 1) + n_removed]
               : INFINITY;
}

void allocation_runs_trace(const struct allocation_runs *runs, size_t n_removed, bool *is_removed) {
    memset(is_removed, 0, runs->n_layers * sizeof *is_removed);
    for (size_t layer = runs->n_layers; layer > 0;) {
        size_t run = runs->run[layer * (runs->max_removed + 1) + n_removed];
        for (size_t i = 1; i <= run; i++) {
            is_removed[layer - i] = true;
        }
        n_removed -= run;
        layer -= run + 1;
    }
}
