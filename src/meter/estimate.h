// The energy model for machines without a meter:
//   E = idle_w * t + core_w * core_seconds + byte_j * traffic_bytes + flop_j * flops
// An estimate, always labelled so. The numbers are priors for a class of machines; `calibrate`
// replaces them by fitted ones.
#ifndef WATTLAW_METER_ESTIMATE_H
#define WATTLAW_METER_ESTIMATE_H

#include <stdbool.h>

#include "meter/meter.h"

struct meter_estimate_params {
    char class_name[METER_NAME_BYTES]; // "raspberry-pi-5"
    char reason[192];                  // why this class: what was found on the machine
    enum meter_scope scope;
    double idle_w;       // the whole box at rest
    double idle_sd_w;    // 1 sigma
    double core_w;       // joules per core-second, above idle
    double byte_j;       // joules per byte between memory and CPU
    double flop_j;       // joules per floating-point operation, beyond what core_w has
    double net_rel_sd;   // 1 sigma of the net energy, relative
    double max_power_w;  // no machine of the class takes more
    bool is_class_known; // false: a guess, with the wide error of a guess
};

// Chosen from /proc/cpuinfo, /proc/device-tree/model, DMI chassis and vendor, and batteries under
// `root`. Never fails: an unrecognised machine gets the class "unknown".
void meter_estimate_params_for(const char *root, struct meter_estimate_params *out);
// A class by its name, as if it had been recognised, for a machine with `n_cores` physical cores.
// NOT_FOUND lists the names.
enum wl_status meter_estimate_params_by_class(const char *class_name, unsigned n_cores,
                                              struct meter_estimate_params *out,
                                              struct wl_err *err);

struct meter_estimate_energy {
    double gross_j, gross_sd_j;
    double net_j, net_sd_j;
};

// PURE. gross = net + idle_w * seconds, and gross_sd^2 = net_sd^2 + (idle_sd_w * seconds)^2.
// Negative or non-finite inputs count as 0.
void meter_estimate_energy(const struct meter_estimate_params *params, double seconds,
                           double core_seconds, double traffic_bytes, double flops,
                           struct meter_estimate_energy *out);

#endif
