// The energy model for machines without a meter:
//   E = idle_w * t + core_w * core_seconds + byte_j * traffic_bytes + flop_j * flops
// The numbers are priors for a class of machines, and the result is an estimate; `calibrate`
// replaces them by fitted ones with their covariance, and the result is labelled calibrated.
#ifndef WATTLAW_METER_ESTIMATE_H
#define WATTLAW_METER_ESTIMATE_H

#include <stdbool.h>

#include "meter/meter.h"

enum { METER_ESTIMATE_TERMS = 4 };

struct meter_estimate_params {
    char class_name[METER_NAME_BYTES]; // "raspberry-pi-5"
    char reason[192];                  // why this class: what was found on the machine
    enum meter_scope scope;
    double idle_w;       // the whole box at rest
    double idle_sd_w;    // 1 sigma
    double core_w;       // joules per core-second, above idle
    double byte_j;       // joules per byte between memory and CPU
    double flop_j;       // joules per floating-point operation, beyond what core_w has
    double net_rel_sd;   // 1 sigma of the net energy, relative; of a usual mix when calibrated
    double max_power_w;  // no machine of the class takes more
    bool is_class_known; // false: a guess, with the wide error of a guess
    // With a calibration only:
    bool is_calibrated;
    double residual_rel_sd; // 1 sigma of a net energy beyond the terms' own error
    double covariance[METER_ESTIMATE_TERMS][METER_ESTIMATE_TERMS]; // idle_w, core_w, byte_j, flop_j
};

struct meter_calibration; // calibration.h

// Chosen from /proc/cpuinfo, /proc/device-tree/model, DMI chassis and vendor, and batteries under
// `root`. Never fails: an unrecognised machine gets the class "unknown".
void meter_estimate_params_for(const char *root, struct meter_estimate_params *out);
// A class by its name, as if it had been recognised, for a machine with `n_cores` physical cores.
// NOT_FOUND lists the names.
enum wl_status meter_estimate_params_by_class(const char *class_name, unsigned n_cores,
                                              struct meter_estimate_params *out,
                                              struct wl_err *err);

// Fitted terms, covariance and scope in place of the priors. A term that was not fitted keeps the
// prior's relative error. Nothing happens when the calibration is not one of the model.
void meter_estimate_apply(const struct meter_calibration *calibration,
                          struct meter_estimate_params *params);
// For cores held below the frequency that the priors are for (`ratio` = cap / highest, 0 to 1): a
// busy core takes f * V^2, between ratio^1 (at the lowest voltage) and ratio^3 (voltage in
// proportion to frequency). We take the square and say how unsure that is.
void meter_estimate_slow_down(struct meter_estimate_params *params, double ratio);

struct meter_estimate_energy {
    double gross_j, gross_sd_j;
    double net_j, net_sd_j;
};

// PURE. gross = net + idle_w * seconds. Priors: gross_sd^2 = net_sd^2 + (idle_sd_w * seconds)^2.
// Calibrated: with x = (seconds, core-seconds, bytes, flops), gross_sd^2 = x' C x +
// (residual_rel_sd * net)^2, and net_sd likewise with seconds = 0. Negative or non-finite inputs
// count as 0.
void meter_estimate_energy(const struct meter_estimate_params *params, double seconds,
                           double core_seconds, double traffic_bytes, double flops,
                           struct meter_estimate_energy *out);

#endif
