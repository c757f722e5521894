// Watching any program and its descendants: CPU, RAM and the machine's energy from a start to an
// end. The energy is that of the machine: gross, and net above the machine at rest. Which part of
// it "belongs" to the program is not invented.
#ifndef WATTLAW_MEASURE_WATCH_H
#define WATTLAW_MEASURE_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "meter/meter_set.h"
#include "record/record.h"
#include "sampler/sampler.h"

enum { WATCH_MAX_WINDOWS = 256 };

// Energy of a stretch of time from one source. Joules of different scopes are never added.
struct watch_energy {
    char source[RECORD_NAME_BYTES];
    char scope[RECORD_NAME_BYTES];
    enum record_label label;    // of the source
    double gross_j, gross_sd_j; // NaN: the source gave nothing; sd is 1 sigma of the whole
    double net_j, net_sd_j;     // error, systematic part included
    enum record_label gross_says, net_says; // the label to print: unresolved where it is
    double mean_w;
    double idle_w, idle_sd_w; // NaN: no baseline
    double coverage;          // 0..1
    uint32_t flags;           // RECORD_*
};

// One request, found in the CPU signal.
struct watch_window {
    int64_t t0_ns, t1_ns;
    double cpu_core_s;          // of the tree, exact
    double cpu_auc_pct_s;       // 100 x core-seconds / cores, exact
    double cpu_auc_paper_pct_s; // machine CPU % at 5 Hz above its baseline, trapezoid; NaN unknown
    double ram_auc_mib_s;
    struct watch_energy energy[RECORD_MAX_ENERGIES];
};

// The machine at rest.
struct watch_idle {
    int64_t t0_ns, t1_ns; // equal: there is none
    double cpu_pct;       // of the machine
    double watts[RECORD_MAX_ENERGIES];
    double watts_sd[RECORD_MAX_ENERGIES]; // 1 sigma of the level; NaN: no baseline
    uint32_t flags;                       // RECORD_BUSY, RECORD_IDLE_DRIFT
};

enum watch_end {
    WATCH_END_EXIT,        // the command ended, or the watched process
    WATCH_END_TIME,        // the stated time was over
    WATCH_END_INTERRUPTED, // by Ctrl-C or SIGTERM
};

struct watch_result {
    int64_t t0_ns, t1_ns, wall_ns; // of the watched time; wall_ns (CLOCK_REALTIME) at t0
    enum watch_end end;
    bool was_interrupted;   // Ctrl-C or SIGTERM came, however it ended then
    bool has_wait_status;   // the command was waited for
    int wait_status;        // as waitpid has it
    double cpu_core_s;      // of the tree
    double cpu_auc_pct_s;   // 100 x core-seconds / cores
    double machine_cpu_pct; // mean of the machine; NaN unknown
    double steal_pct;
    double ram_auc_mib_s, ram_peak_mib;
    bool is_pss;             // RAM is proportional (Pss); else RSS, shared pages counted repeatedly
    uint32_t n_seen;         // processes ever in the tree
    uint32_t n_most, n_left; // at once; still alive at the end
    double freq_mhz, temp_c; // mean, highest; NaN unknown
    uint32_t flags;          // RECORD_*
    const char *doubt;       // why the measurement is not trustworthy; NULL: it is
    struct watch_idle idle;
    struct watch_energy energy[RECORD_MAX_ENERGIES]; // [0] is the primary source
    size_t n_energies;
    struct watch_window window[WATCH_MAX_WINDOWS];
    size_t n_windows;
    bool has_windows;        // they were looked for
    int64_t windows_from_ns; // later than t0_ns where old samples were dropped
    uint64_t n_samples, n_missed;
    double own_cpu_pct; // what watching cost, % of one core
};

// How things stand, at every sample.
struct watch_sample {
    bool is_idle_stage; // before the start: only the machine
    bool is_last;       // the end: what follows is the result
    double seconds;     // since the start of the stage
    double idle_left_s;
    double cpu_core_s; // of the tree
    double cpu_pct;    // of the tree in the last second, 100 = all cores
    double machine_cpu_pct;
    double ram_bytes;
    bool is_pss;
    uint32_t n_processes;
    double power_w[RECORD_MAX_ENERGIES]; // in the last second or so; NaN unknown
    double gross_j[RECORD_MAX_ENERGIES]; // since the start; never falls
    double idle_w[RECORD_MAX_ENERGIES];  // NaN unknown
    const struct meter_set *meters;
};

struct watch_options {
    const char *const *argv; // the command, NULL-terminated; or
    pid_t pid;               // a process that runs
    double for_s;            // end then; 0: with the process
    int64_t period_ns;       // 0: 100 ms
    double idle_s;           // before the command; NaN: 3 s, longer for slow meters; 0: none
    bool finds_windows;
    struct meter_env env;   // pid is left 0: the energy is the machine's
    const char *meters;     // see meter_set_open
    size_t max_rows;        // 0: 12000, 20 minutes at 10 Hz
    const char *trace_path; // what the primary source reads, for the source 'replay'; NULL: none
    // On the caller's thread; a false answer ends the watching.
    bool (*on_sample)(void *context, const struct watch_sample *sample);
    void *context;
};

// Fails when the command cannot be started, the process does not exist, no source opens; or with
// INTERRUPTED before the start. An interruption later is an end like another. `out` is large: not
// for the stack.
enum wl_status watch_run(const struct watch_options *options, struct watch_result *out,
                         struct wl_err *err);

#endif
