#include <math.h>

#include "base/str.h"
#include "measure/watch_track.h"

static enum record_label says(enum record_label label, double value, double sd) {
    return record_is_resolved(value, sd, 0) ? label : LABEL_UNRESOLVED;
}

void watch_energy_name(const struct meter_info *info, struct watch_energy *out) {
    *out = (struct watch_energy){.label = info->label,
                                 .gross_says = LABEL_UNRESOLVED,
                                 .net_says = LABEL_UNRESOLVED,
                                 .gross_j = (double)NAN,
                                 .gross_sd_j = (double)NAN,
                                 .net_j = (double)NAN,
                                 .net_sd_j = (double)NAN,
                                 .mean_w = (double)NAN,
                                 .idle_w = (double)NAN,
                                 .idle_sd_w = (double)NAN};
    str_copy(out->source, sizeof out->source, info->name);
    str_copy(out->scope, sizeof out->scope, meter_scope_name(info->scope));
}

void watch_energy_fill(const struct meter_info *info, const struct meter_energy *energy,
                       double seconds, double idle_w, double idle_sd_w, struct watch_energy *out) {
    watch_energy_name(info, out);
    out->gross_j = energy->gross_j;
    out->mean_w = energy->mean_w;
    out->coverage = energy->coverage;
    out->flags = energy->flags;
    out->idle_w = idle_w;
    out->idle_sd_w = idle_sd_w;
    struct meter_net net;
    meter_energy_net(info, energy, seconds, idle_w, idle_sd_w, &net);
    out->net_j = net.net_j;
    // A model's relative error is that of its net part; its idle power is unsure by the offset.
    bool is_model = info->kind == METER_MODEL && isfinite(out->net_j);
    double scaled_j = is_model ? fmax(out->net_j, 0) : energy->gross_j;
    double systematic_j =
        hypot(energy->gain_error_rel * scaled_j, energy->offset_error_w * seconds);
    out->gross_sd_j = hypot(energy->sd_j, systematic_j);
    // The offset is in the idle power too, and cancels.
    out->net_sd_j = hypot(net.sd_j, energy->gain_error_rel * out->net_j);
    out->gross_says = says(info->label, out->gross_j, out->gross_sd_j);
    out->net_says = says(info->label, out->net_j, out->net_sd_j);
}
