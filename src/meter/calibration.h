// What `wattlaw calibrate` found out about a machine, as a JSON file: for each source the gain and
// offset against a better meter, with their covariance; for the energy model its terms. Opening a
// source applies its entry and its label becomes "calibrated". PURE but for load and save.
#ifndef WATTLAW_METER_CALIBRATION_H
#define WATTLAW_METER_CALIBRATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/meter.h"

enum {
    METER_MAX_CALIBRATIONS = 16,
    METER_CALIBRATION_TERMS = 4,
    METER_DEVICE_BYTES = 192,
};

// reference power = gain * shown power + offset_w
struct meter_gain {
    double gain, offset_w;
    double gain_sd, offset_sd_w; // 1 sigma, the reference's own error included
    double covariance;           // of the two
};

// Terms of the energy model (estimate.h), in this order: idle_w, core_w, byte_j, flop_j.
struct meter_terms {
    double value[METER_CALIBRATION_TERMS];
    double covariance[METER_CALIBRATION_TERMS][METER_CALIBRATION_TERMS];
    bool is_fitted[METER_CALIBRATION_TERMS]; // else a prior, kept
    double rel_sd; // 1 sigma of a window's net energy beyond the terms' own: residuals + reference
};

struct meter_calibration {
    char source[METER_NAME_BYTES];    // "powercap", "pmic", "estimate"
    char device[METER_DEVICE_BYTES];  // what of that source (meter_calibration_device); "" any
    char reference[METER_NAME_BYTES]; // what it was compared with: "fnirsi", "typed"
    enum meter_scope scope;           // the reference's: a calibrated source speaks for it
    bool is_model;                    // terms, not gain
    bool is_lag_only; // neither: only the lag was looked for, as of a reference; no label changes
    struct meter_gain gain;
    struct meter_terms terms;
    int64_t lag_ns, lag_sd_ns; // of the source, 0 and 0 when not looked for
    int64_t smoothing_ns;
    double r2, residual_sd_w;
    uint32_t n_blocks;
    int64_t wall_ns; // when, CLOCK_REALTIME
};

struct meter_calibration_set {
    char machine[64]; // fingerprint of the machine it holds for (measure/fingerprint.h)
    char governor[32];
    char kernel[64];
    size_t n;
    struct meter_calibration item[METER_MAX_CALIBRATIONS];
};

// NULL when the set (may be NULL) has none for that source.
const struct meter_calibration *meter_calibration_find(const struct meter_calibration_set *set,
                                                       const char *source);
// Adds it, or replaces the one of the same source. LIMIT when full.
enum wl_status meter_calibration_put(struct meter_calibration_set *set,
                                     const struct meter_calibration *item, struct wl_err *err);

// False when there was none for that source.
bool meter_calibration_remove(struct meter_calibration_set *set, const char *source);

// "package-0+package-1": the counted channels, by which psys is told from the package. (Not the
// title: it may have a process or a device number in it, which changes.)
void meter_calibration_device(const struct meter_info *info, char out[METER_DEVICE_BYTES]);
// Channel scales, offset, errors, lag, scope and label of a measuring source. The scope is only
// ever widened to the reference's: package watts fitted against a wall meter speak for the wall.
// Does nothing to another device than the one that was calibrated.
void meter_calibration_apply(const struct meter_calibration *item, struct meter_info *info);

json_t *meter_calibration_to_json(const struct meter_calibration_set *set);
// INPUT names the field that is wrong: gains must be finite and positive, covariances sound.
enum wl_status meter_calibration_from_json(const json_t *object, struct meter_calibration_set *out,
                                           struct wl_err *err);
// `path` NULL is <data folder>/machine.json. NOT_FOUND when there is no such file.
enum wl_status meter_calibration_load(const char *path, struct meter_calibration_set *out,
                                      struct wl_err *err);
enum wl_status meter_calibration_save(const char *path, const struct meter_calibration_set *set,
                                      struct wl_err *err);

#endif
