#include "report/bounds.h"

#include <math.h>
#include <string.h>

static bool is_estimate(const struct report_model *model) {
    return model->n_sources > 0 && strcmp(model->source[0].source, "estimate") == 0;
}

static void include(struct report_change *out, const struct report_change *part) {
    bool has_interval = isfinite(part->ci95.low) && isfinite(part->ci95.high);
    out->ci95.low = fmin(out->ci95.low, has_interval ? part->ci95.low : part->ratio);
    out->ci95.high = fmax(out->ci95.high, has_interval ? part->ci95.high : part->ratio);
}

// `changes` is one of the result's two arrays over metrics.
static void bound(struct report_change *changes, enum metric_id metric, const enum metric_id *parts,
                  size_t n_parts) {
    struct report_change *change = &changes[metric];
    if (change->n_cells == 0 || !isfinite(change->ratio)) {
        return;
    }
    change->ci95.low = change->ci95.high = change->ratio;
    for (size_t i = 0; i < n_parts; i++) {
        const struct report_change *part = &changes[parts[i]];
        if (part->n_cells == 0 || !isfinite(part->ratio)) {
            return; // a part is not known: the interval stays a point, the change unresolved
        }
        include(change, part);
    }
    change->is_bounded = change->is_resolved = true;
}

void bounds_of_estimates(struct report_result *result) {
    static const enum metric_id PARTS[] = {METRIC_cpu_core_s, METRIC_traffic_mib, METRIC_time_s};
    if (result->n_models < 2 || !is_estimate(&result->model[0]) ||
        !is_estimate(&result->model[1])) {
        return;
    }
    struct report_change *const changes[] = {result->change, result->change_reference};
    for (size_t i = 0; i < 2; i++) {
        bound(changes[i], METRIC_energy_gross_j, PARTS, 3);
        bound(changes[i], METRIC_energy_net_j, PARTS, 2);
    }
}
