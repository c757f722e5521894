// Calibration: a guided run of blocks (idle, one thread, all threads, prompts, idle) that a better
// meter watches too, and what follows from it for every other source of this machine.
#ifndef WATTLAW_MEASURE_CALIBRATE_H
#define WATTLAW_MEASURE_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/calibration.h"
#include "meter/estimate.h"
#include "meter/meter.h"
#include "sampler/sampler.h"
#include "series/lag.h"

enum { CALIBRATE_WARNING_BYTES = 512 };

// --- the stored calibration ---------------------------------------------------------------------

// Marks the set as found on this machine, in its present state. What has come from another machine
// or governor is dropped: it does not hold here.
enum wl_status calibrate_claim(const char *root, struct meter_calibration_set *set,
                               struct wl_err *err);
// Whether the set holds for the machine under `root` as it is now; `warning` says why not.
bool calibrate_is_current(const char *root, const struct meter_calibration_set *set, char *warning,
                          size_t size);
// The calibrations to open the sources of this machine with (pass `out` to meter_env or
// subject_options). OK with an empty set when there are none, and also when those stored cannot be
// used: `warning` (CALIBRATE_WARNING_BYTES) then says why, else it is "". Fails only for lack of
// memory or of /proc.
enum wl_status calibrate_load_for_machine(const char *root, struct meter_calibration_set *out,
                                          char *warning, size_t size, struct wl_err *err);

// --- the run ------------------------------------------------------------------------------------

enum calibrate_kind {
    CALIBRATE_IDLE_BEFORE,
    CALIBRATE_DECODE_ONE,  // generation, one thread
    CALIBRATE_DECODE_ALL,  // generation, all threads
    CALIBRATE_PREFILL_ALL, // prompts, all threads
    CALIBRATE_IDLE_AFTER,
    CALIBRATE_N_BLOCKS,
};
const char *calibrate_kind_name(enum calibrate_kind kind); // "idle", "decode, 1 thread", ...
static inline bool calibrate_kind_is_idle(enum calibrate_kind kind) {
    return kind == CALIBRATE_IDLE_BEFORE || kind == CALIBRATE_IDLE_AFTER;
}

// Mean power over a block.
struct calibrate_power {
    double power_w;
    double sd_w; // 1 sigma, random: what another block of the same work would show
    bool is_valid;
};

// What the engine did.
struct calibrate_amounts {
    double core_s, bytes, flops;
};

struct calibrate_block {
    enum calibrate_kind kind;
    int64_t t0_ns, t1_ns;
    struct calibrate_amounts amounts;
    double other_cpu_pct; // CPU % of the machine that others used
    struct calibrate_power reference;
    struct calibrate_power target[SAMPLER_MAX_METERS];
};

// The work of the blocks: an engine in earnest (calibrate_engine.h), a simulation in tests.
struct calibrate_work {
    void *context;
    // Called once, before anything else; may be NULL.
    void (*on_start)(void *context, struct sampler *sampler);
    // Gets ready for blocks of that kind (loads the model with its threads).
    enum wl_status (*prepare)(void *context, enum calibrate_kind kind, struct wl_err *err);
    // Works (idles) until about t_ns and adds what it did.
    enum wl_status (*run)(void *context, enum calibrate_kind kind, int64_t t_ns,
                          struct calibrate_amounts *amounts, struct wl_err *err);
    // A train of pulses of all cores (pulse.h).
    enum wl_status (*pulse)(void *context, struct wl_err *err);
};

struct calibrate_events {
    void (*on_progress)(void *context, double done, double seconds_left, const char *what);
    void (*on_warning)(void *context, const char *message);
    // Without a reference meter: asks for the block's mean power and its rounding.
    enum wl_status (*ask)(void *context, const struct calibrate_block *block,
                          struct calibrate_power *out, struct wl_err *err);
    void *context;
};

struct calibrate_options {
    const struct calibrate_work *work;
    struct sampler_options sampler; // pid, root, clock; its meters are set by calibrate_run
    struct meter *reference;        // NULL: figures are asked for
    const char *reference_name;     // as stored
    enum meter_scope asked_scope;   // without a reference meter: what the display includes
    double asked_error_rel;         // 1 sigma of the display, systematic
    struct meter *const *targets;   // models, and one named as the reference, are left out
    size_t n_targets;
    const struct meter_estimate_params *prior; // of the model; NULL: the model is left as it is
    double block_s;
    double ramp_s;       // of work before each block, so that power has settled
    int n_cores;         // of the machine
    bool has_one_thread; // the engine has no more: no block of one thread
    bool is_pulsed;      // look for the lags of gauges
};

// What follows for one source.
struct calibrate_finding {
    struct meter_calibration item;
    bool is_trusted; // else `reason` says why it must not be used
    char reason[256];
    // Net power of the loaded blocks against the reference, root mean square: as the source comes,
    // and after calibration.
    double before_rel, after_rel;
    double claimed_before_rel, claimed_after_rel; // 1 sigma that the source states of net energy
    enum meter_scope scope_before;
};

struct calibrate_result {
    struct calibrate_block block[CALIBRATE_N_BLOCKS];
    size_t n_blocks;
    int64_t wall_ns;                                     // CLOCK_REALTIME of the end
    const struct meter_info *target[SAMPLER_MAX_METERS]; // borrowed from the meters
    struct series_lag target_lag[SAMPLER_MAX_METERS];    // beyond what the source states
    size_t n_targets;
    char reference[METER_NAME_BYTES];
    enum meter_scope scope;     // the reference's
    double reference_error_rel; // 1 sigma, systematic
    double reference_offset_error_w;
    struct series_lag reference_lag;         // as target_lag
    const struct meter_info *reference_info; // borrowed from the meter; NULL when asked for
    struct calibrate_finding finding[SAMPLER_MAX_METERS + 1];
    size_t n_findings;
};

// INTERRUPTED on Ctrl-C; UNTRUSTED when the blocks cannot be used at all (a busy machine, a
// reference without figures, powers that do not differ): the message says why and what to do.
enum wl_status calibrate_run(const struct calibrate_options *options,
                             const struct calibrate_events *events, struct calibrate_result *out,
                             struct wl_err *err);
// The second half of calibrate_run: from the blocks in *result to its findings. No I/O.
enum wl_status calibrate_solve(const struct calibrate_options *options,
                               struct calibrate_result *result, struct wl_err *err);

#endif
