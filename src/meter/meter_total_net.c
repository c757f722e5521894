#include <math.h>

#include "meter/meter_total.h"

void meter_energy_net(const struct meter_info *info, const struct meter_energy *gross,
                      double window_s, double idle_w, double idle_sd_w, struct meter_net *out) {
    bool is_gauge = !meter_kind_is_counter(info->kind);
    double step_sd_w = is_gauge ? info->quantum / sqrt(12) : 0;
    double covered_s =
        is_gauge ? window_s : window_s * gross->coverage; // a gauge's gaps are bridged
    out->net_j = gross->gross_j - idle_w * covered_s;
    out->sd_j = hypot(gross->sd_j, fmax(idle_sd_w, step_sd_w) * covered_s);
}
