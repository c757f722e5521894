#include "meter/estimate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "meter/calibration.h"
#include "meter/platform.h"

// Our own priors, for machines at full clock. How they come about:
// - idle: the rounded middle of what is published and reported for such boxes; a third to a half of
//   the spread is taken as 1 sigma.
// - core: (full load - idle - memory at full load) / physical cores, at most what one core takes
//   at turbo. Pi 5: published full loads are 7.9 to 9.9 W; less 3.0 idle and 0.7 W for 12 GB/s
//   leave 5.0 W, 1.25 W per core. Pi 4: 5.1 to 6.4 W, less 2.5 and 0.3 leave 3.0 W, 0.75 W.
// - byte: 40 to 70 pJ for LPDDR4 to DDR5 with controller (5 to 8 pJ per bit). Utilisation alone
//   cannot tell a prompt (arithmetic) from generation (memory): both keep all cores busy.
// - flop: what dense SIMD adds over a core that waits for memory.
// - error of net energy, 1 sigma: somebody else's regression on the same board is 10-25 % off, so
//   20 %; a class of machines 35-50 %; thermal design power alone a factor of 1.5 to 2. Where even
//   the class is a guess the factor is 1.75 to 2 and more: 0.6 to 0.9.
struct class_row {
    const char *name;
    enum meter_scope scope;
    double idle_w, idle_w_per_core, idle_rel_sd;
    double budget_w, core_max_w;
    double byte_pj, flop_pj;
    double net_rel_sd;
    double max_power_w;
};

static const struct class_row CLASSES[] = {
    // idle 2.7-3.3 W, one rig 4.4; all cores 7.9-9.9 W
    {"raspberry-pi-5", METER_SCOPE_BOARD, 3.0, 0, 0.15, 5.0, 1.25, 60, 15, 0.20, 20},
    // idle 2.2-2.7 W; all cores 5.1-6.4 W
    {"raspberry-pi-4", METER_SCOPE_BOARD, 2.5, 0, 0.12, 3.0, 0.75, 70, 15, 0.20, 12},
    // Zero to 3B+: idle 0.9-2.0 W; all cores 1.4-5.3 W
    {"raspberry-pi-old", METER_SCOPE_BOARD, 1.7, 0, 0.30, 2.5, 0.65, 70, 15, 0.35, 10},
    // 15 W class: idle 4-7 W, loaded 20-30 W
    {"laptop-intel", METER_SCOPE_BOARD, 5.5, 0, 0.30, 15, 6, 50, 10, 0.35, 150},
    {"laptop-amd", METER_SCOPE_BOARD, 5.0, 0, 0.30, 17, 5, 50, 10, 0.35, 150},
    // N100 class to 35 W desktop parts: idle 5-10 W, loaded 15-35 W at the wall
    {"mini-pc", METER_SCOPE_WALL, 7, 0, 0.40, 12, 5, 50, 10, 0.40, 150},
    // idle 30-60 W, loaded 90-180 W at the wall
    {"desktop", METER_SCOPE_WALL, 40, 0, 0.40, 80, 12, 50, 10, 0.45, 600},
    // idle 80-200 W; a busy core 2.5-5 W at server clocks
    {"server", METER_SCOPE_WALL, 110, 0, 0.50, 1e9, 3.5, 45, 8, 0.50, 3000},
    // a share of a server: idle divided by its cores, and half a core per vCPU
    {"virtual-machine", METER_SCOPE_WALL, 0, 1.5, 0.75, 1e9, 2.5, 45, 8, 0.75, 3000},
    {"arm-board", METER_SCOPE_BOARD, 3.0, 0, 0.50, 5.0, 1.5, 65, 15, 0.60, 60},
    {"unknown", METER_SCOPE_WALL, 15, 0, 0.75, 30, 6, 50, 10, 0.90, 3000},
};
enum { N_CLASSES = sizeof CLASSES / sizeof CLASSES[0] };
static const double JOULES_PER_PICOJOULE = 1e-12;

static const struct class_row *find_class(const char *name) {
    for (size_t i = 0; i < N_CLASSES; i++) {
        if (strcmp(CLASSES[i].name, name) == 0) {
            return &CLASSES[i];
        }
    }
    return NULL;
}

static void fill(const struct class_row *row, unsigned n_cores, struct meter_estimate_params *out) {
    double n = n_cores > 0 ? n_cores : 1;
    *out = (struct meter_estimate_params){
        .scope = row->scope,
        .idle_w = row->idle_w + row->idle_w_per_core * n,
        .core_w = fmin(row->core_max_w, row->budget_w / n),
        .byte_j = row->byte_pj * JOULES_PER_PICOJOULE,
        .flop_j = row->flop_pj * JOULES_PER_PICOJOULE,
        .net_rel_sd = row->net_rel_sd,
        .max_power_w = row->max_power_w,
        .is_class_known = strcmp(row->name, "virtual-machine") != 0 &&
                          strcmp(row->name, "arm-board") != 0 && strcmp(row->name, "unknown") != 0,
    };
    out->idle_sd_w = out->idle_w * row->idle_rel_sd;
    str_copy(out->class_name, sizeof out->class_name, row->name);
}

enum wl_status meter_estimate_params_by_class(const char *class_name, unsigned n_cores,
                                              struct meter_estimate_params *out,
                                              struct wl_err *err) {
    const struct class_row *row = find_class(class_name);
    if (!row) {
        char names[256] = "";
        size_t used = 0;
        for (size_t i = 0; i < N_CLASSES && used < sizeof names; i++) {
            int n =
                snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", CLASSES[i].name);
            used += n > 0 ? (size_t)n : 0;
        }
        return wl_err_set(err, WL_NOT_FOUND, "no machine class is named '%.64s'; there are %s",
                          class_name, names);
    }
    fill(row, n_cores, out);
    str_copy(out->reason, sizeof out->reason, "the class was named by the user");
    return WL_OK;
}

static const char *raspberry_class(const char *board) {
    if (strstr(board, "Pi 5") || strstr(board, "Pi 500") || strstr(board, "Module 5")) {
        return "raspberry-pi-5";
    }
    if (strstr(board, "Pi 4") || strstr(board, "Module 4")) {
        return "raspberry-pi-4";
    }
    return "raspberry-pi-old";
}

// SMBIOS specification, "System Enclosure or Chassis Types".
static const char *chassis_class(int type, bool is_amd) {
    switch (type) {
    case 8:
    case 9:
    case 10:
    case 11:
    case 14:
    case 30:
    case 31:
    case 32: return is_amd ? "laptop-amd" : "laptop-intel";
    case 34:
    case 35:
    case 36: return "mini-pc";
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
    case 13:
    case 15:
    case 16:
    case 24: return "desktop";
    case 17:
    case 22:
    case 23:
    case 25:
    case 28:
    case 29: return "server";
    default: return NULL;
    }
}

// Parts of 6-15 W that are sold in small boxes, whatever their firmware says of the chassis.
static bool is_low_power_cpu(const char *model) {
    static const char *const PARTS[] = {" N50",  " N95",  " N97",    " N100",   " N150", " N200",
                                        " N305", " N355", "N4100",   "N5095",   "N5105", "N6005",
                                        "J4125", "J5005", "Celeron", "Atom(TM)"};
    for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++) {
        if (strstr(model, PARTS[i])) {
            return true;
        }
    }
    return false;
}

static bool is_server_cpu(const char *model) {
    return strstr(model, "EPYC") || strstr(model, "Xeon(R) Platinum") ||
           strstr(model, "Xeon(R) Gold") || strstr(model, "Xeon(R) Silver") ||
           strstr(model, "Neoverse");
}

// The class and, in `reason`, what it was told by.
static const char *choose(const struct platform *platform, char *reason, size_t size) {
    const char *by_chassis = chassis_class(platform->chassis_type, platform->is_amd);
    if (platform_is_virtual(platform)) {
        snprintf(reason, size, "a virtual machine: %.40s%s%.40s",
                 platform->vendor[0] ? platform->vendor : "CPU flag 'hypervisor'",
                 platform->product[0] ? " " : "", platform->product);
        return "virtual-machine";
    }
    if (strstr(platform->board, "Raspberry Pi")) {
        snprintf(reason, size, "the board says '%.100s'", platform->board);
        return raspberry_class(platform->board);
    }
    if (platform->arch == PLATFORM_ARCH_X86 && is_low_power_cpu(platform->cpu_model) &&
        !platform->has_battery) {
        snprintf(reason, size, "the CPU is '%.100s'", platform->cpu_model);
        return "mini-pc";
    }
    if (by_chassis) {
        snprintf(reason, size, "DMI chassis type %d", platform->chassis_type);
        return by_chassis;
    }
    if (platform->has_battery && platform->arch == PLATFORM_ARCH_X86) {
        snprintf(reason, size, "it has a battery");
        return platform->is_amd ? "laptop-amd" : "laptop-intel";
    }
    if (is_server_cpu(platform->cpu_model)) {
        snprintf(reason, size, "the CPU is '%.100s'", platform->cpu_model);
        return "server";
    }
    if (platform->arch == PLATFORM_ARCH_ARM) {
        snprintf(reason, size, "an ARM board we have no figures of: '%.100s'", platform->board);
        return "arm-board";
    }
    snprintf(reason, size, "neither board, chassis nor battery tell what this machine is");
    return "unknown";
}

static bool read_khz(const char *root, const char *name, double *out) {
    char path[128], text[32];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cpufreq/%s", name);
    return platform_line(root, path, text, sizeof text) && str_parse_double(text, out) && *out > 0;
}

// How far the owner has capped the first core, 0 to 1; 1 where nothing is said. What the governor
// does below the cap is not asked: a busy core is taken to run at it.
static double frequency_ratio(const char *root) {
    double cap_khz, highest_khz;
    if (!read_khz(root, "scaling_max_freq", &cap_khz) ||
        !read_khz(root, "cpuinfo_max_freq", &highest_khz)) {
        return 1;
    }
    return fmin(cap_khz / highest_khz, 1);
}

void meter_estimate_slow_down(struct meter_estimate_params *params, double ratio) {
    static const double EXPONENT = 2, EXPONENT_SD = 0.6; // 1 to 3, uniform
    static const double SLOWEST = 0.05;
    if (!(ratio > 0 && ratio < 1)) {
        return;
    }
    ratio = fmax(ratio, SLOWEST);
    // The exponent is that of power; a core-second is the same second at any frequency.
    params->core_w *= pow(ratio, EXPONENT);
    params->net_rel_sd = hypot(params->net_rel_sd, EXPONENT_SD * fabs(log(ratio)));
}

void meter_estimate_params_for(const char *root, struct meter_estimate_params *out) {
    struct platform platform;
    char reason[sizeof out->reason];
    platform_read(root, &platform);
    const char *name = choose(&platform, reason, sizeof reason);
    fill(find_class(name), platform.n_physical, out);
    str_copy(out->reason, sizeof out->reason, reason);
    meter_estimate_slow_down(out, frequency_ratio(root));
}

_Static_assert((int)METER_ESTIMATE_TERMS == (int)METER_CALIBRATION_TERMS, "the same four terms");
enum { TERM_IDLE, TERM_CORE, TERM_BYTE, TERM_FLOP };

// A term that was not fitted was a prior when the others were fitted around it; its error is the
// prior's own.
static void take_covariance(const struct meter_terms *terms, double prior_rel_sd,
                            struct meter_estimate_params *params) {
    for (int i = 0; i < METER_ESTIMATE_TERMS; i++) {
        for (int j = 0; j < METER_ESTIMATE_TERMS; j++) {
            params->covariance[i][j] = terms->covariance[i][j];
        }
        if (!terms->is_fitted[i] && !(terms->covariance[i][i] > 0)) {
            double rel_sd =
                i == TERM_IDLE ? params->idle_sd_w / fmax(params->idle_w, 1e-9) : prior_rel_sd;
            params->covariance[i][i] = pow(rel_sd * terms->value[i], 2);
        }
    }
}

// Relative error of a usual mix: a busy core that reads 3 GB/s and computes 20 GFLOP/s.
static double usual_rel_sd(const struct meter_estimate_params *params) {
    struct meter_estimate_energy e;
    meter_estimate_energy(params, 1, 1, 3e9, 20e9, &e);
    return e.net_j > 0 ? e.net_sd_j / e.net_j : params->net_rel_sd;
}

void meter_estimate_apply(const struct meter_calibration *calibration,
                          struct meter_estimate_params *params) {
    if (!calibration || !calibration->is_model) {
        return;
    }
    const struct meter_terms *terms = &calibration->terms;
    take_covariance(terms, params->net_rel_sd, params);
    params->idle_w = terms->value[TERM_IDLE];
    params->core_w = terms->value[TERM_CORE];
    params->byte_j = terms->value[TERM_BYTE];
    params->flop_j = terms->value[TERM_FLOP];
    params->idle_sd_w = sqrt(fmax(params->covariance[TERM_IDLE][TERM_IDLE], 0));
    params->residual_rel_sd = terms->rel_sd;
    params->scope = calibration->scope;
    params->is_class_known = params->is_calibrated = true;
    params->net_rel_sd = usual_rel_sd(params);
    snprintf(params->reason, sizeof params->reason,
             "calibrated on this machine against '%s' in %u blocks", calibration->reference,
             calibration->n_blocks);
}

static double amount(double value) {
    return isfinite(value) && value > 0 ? value : 0;
}

// x' C x over the terms from `first` on; rounding may not make it negative.
static double quadratic_form(const struct meter_estimate_params *params,
                             const double x[METER_ESTIMATE_TERMS], int first) {
    double sum = 0;
    for (int i = first; i < METER_ESTIMATE_TERMS; i++) {
        for (int j = first; j < METER_ESTIMATE_TERMS; j++) {
            sum += x[i] * params->covariance[i][j] * x[j];
        }
    }
    return fmax(sum, 0);
}

void meter_estimate_energy(const struct meter_estimate_params *params, double seconds,
                           double core_seconds, double traffic_bytes, double flops,
                           struct meter_estimate_energy *out) {
    const double x[METER_ESTIMATE_TERMS] = {amount(seconds), amount(core_seconds),
                                            amount(traffic_bytes), amount(flops)};
    out->net_j = params->core_w * x[TERM_CORE] + params->byte_j * x[TERM_BYTE] +
                 params->flop_j * x[TERM_FLOP];
    out->gross_j = out->net_j + params->idle_w * x[TERM_IDLE];
    if (params->is_calibrated) {
        double residual_j = params->residual_rel_sd * out->net_j;
        out->net_sd_j = hypot(sqrt(quadratic_form(params, x, TERM_CORE)), residual_j);
        out->gross_sd_j = hypot(sqrt(quadratic_form(params, x, TERM_IDLE)), residual_j);
    } else {
        out->net_sd_j = params->net_rel_sd * out->net_j;
        out->gross_sd_j = hypot(out->net_sd_j, params->idle_sd_w * x[TERM_IDLE]);
    }
}
