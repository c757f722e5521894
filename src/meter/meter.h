// Energy sources behind one small interface. A source says what it is (struct meter_info) and
// returns raw readings with the time before and after; it never unwraps, integrates, starts a
// thread or prints. Turning readings into joules is meter_total.h, once for all sources.
// A new source is one file source_<name>.c (see source.h) and one line in sources.def.
#ifndef WATTLAW_METER_METER_H
#define WATTLAW_METER_METER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "os/clock.h"
#include "record/record.h"

enum {
    METER_MAX_SOURCES = 32,
    METER_MAX_CHANNELS = 32, // zones of a four-socket server, rails of a Pi 5
    METER_NAME_BYTES = 32,
    METER_TITLE_BYTES = 96,
};

enum meter_kind {
    METER_COUNTER,        // joules so far; differenced
    METER_GAUGE_INSTANT,  // watts now; integrated
    METER_GAUGE_AVERAGED, // watts, mean over native_period_ns; integrated
    METER_MODEL,          // joules so far, computed and not measured; read like a counter
};

// What the joules include. Sources of overlapping scope are never added.
enum meter_scope { METER_SCOPE_CPU, METER_SCOPE_SOC, METER_SCOPE_BOARD, METER_SCOPE_WALL };

const char *meter_kind_name(enum meter_kind kind); // "counter", "gauge", "averaged gauge", "model"
const char *meter_scope_name(enum meter_scope scope); // "cpu", "soc", "board", "wall"
static inline bool meter_kind_is_counter(enum meter_kind kind) {
    return kind == METER_COUNTER || kind == METER_MODEL;
}

struct meter_channel {
    char name[METER_NAME_BYTES]; // "package-0", "dram"
    uint64_t range;              // what a wrap adds, in counter units; 0 never wraps
    double scale;                // joules (counter, model) or watts (gauge) per unit of the reading
    bool is_counted; // part of the total; false for what another channel already contains
    int parent;      // index of the channel that contains this one; -1 for none
};

struct meter_info {
    char name[METER_NAME_BYTES];   // "powercap"
    char title[METER_TITLE_BYTES]; // "RAPL through powercap"
    enum meter_kind kind;
    enum meter_scope scope;
    const char *unit;         // of raw readings, for people: "uJ", "W"
    int64_t native_period_ns; // the device refreshes its value this often; 0 = at every read
    int64_t poll_period_ns;   // reading more often than this is useless or harmful; 0 = no limit
    int64_t lag_ns;           // the value shows the power of this long ago, smoothing apart
    int64_t lag_sd_ns;
    int64_t smoothing_ns; // first-order time constant of the device's own averaging; 0 = none
    double quantum;       // smallest step of a counted channel: J (counter, model) or W (gauge)
    double noise_sd_w;    // of one reading of a counted channel of a gauge; 0 for counters
    bool is_stamped;      // a gauge: one reading per refresh, at the moment of it: its age is known
    bool includes_dram;
    bool is_exclusive;     // only one process may have it open
    bool may_block;        // a read may take over 10 ms, or the device must be served all the time
    double gain_error_rel; // 1 sigma, systematic: repeats do not shrink it
    double offset_error_w; // 1 sigma, systematic; cancels in net energy
    double offset_w;       // added to the power shown, by calibration; 0 without
    double max_power_w;    // per counted channel; more means that the counter was reset
    enum record_label label;
    size_t n_channels;
    struct meter_channel channel[METER_MAX_CHANNELS];
};

struct meter_channel_reading {
    union {
        uint64_t raw; // counter, model
        double value; // gauge
    };
    bool is_valid; // false: the device gave nothing this time (a gap, never a zero)
};

struct meter_reading {
    int64_t t_before_ns; // on the clock of the environment
    int64_t t_after_ns;
    bool has_more; // a streaming device holds further readings: read again at once
    bool is_empty; // nothing new since the last reading: no gap, the channels mean nothing
    struct meter_channel_reading channel[METER_MAX_CHANNELS];
};

struct meter_calibration_set; // calibration.h
struct meter_device_ops;      // device.h
struct meter_estimate_params; // estimate.h
struct meter_synthetic;       // synthetic.h

// Where a source looks. All pointers are borrowed and must outlive the meter.
struct meter_env {
    const char *root;             // in front of /proc and /sys; NULL or "" or "/" is the machine
    const struct os_clock *clock; // NULL: OS_CLOCK_REAL
    pid_t pid;                    // whose CPU time the model counts; 0: the whole machine
    // Work done so far, for the model; each may be NULL. Called on the thread that reads the meter
    // (the sampler's), so they must be safe there.
    double (*traffic_bytes)(void *work_context);
    double (*flops)(void *work_context);
    void *work_context;
    const struct meter_estimate_params *estimate;     // NULL: chosen for the machine
    const struct meter_synthetic *synthetic;          // NULL: no synthetic source
    const struct meter_device_ops *devices;           // NULL: METER_DEVICE_REAL
    const struct meter_calibration_set *calibrations; // of this machine; NULL: none
    // Where access tokens and passwords lie, files of mode 0600 named after the host; NULL:
    // "tokens" in the user's data folder.
    const char *token_dir;
    bool has_no_threads; // tests: a source that may block is read on the caller's thread
};

enum meter_availability {
    METER_AVAILABLE,
    METER_MISSING,        // not there
    METER_PERMISSION,     // there, but this user may not read it
    METER_WRONG_HARDWARE, // there, but not what it should be
    METER_BUSY,           // exclusive and in use
    METER_ON_REQUEST,     // works once the user says where; the reason shows the form
};
const char *meter_availability_name(enum meter_availability availability);

struct meter_verdict {
    char name[METER_NAME_BYTES];
    char title[METER_TITLE_BYTES];
    enum meter_availability availability;
    enum meter_scope scope;
    enum record_label label;
    bool is_external;    // may well meter another machine: used only when the user names it
    bool is_slow;        // needs minutes of rest and load: used only when the user names it
    const char *same_as; // name of a better source that reads the same counters; NULL
    char reason[384];    // one sentence: what was found, or why it cannot be used
    char fix[1024];      // the exact command(s) to run, '\n' between lines; "" when none helps
};

// Available, certain to meter this machine, and fast enough to be used without being asked for.
bool meter_verdict_is_certain(const struct meter_verdict *verdict);

// Asks every source, best first (the order of sources.def); reads a few files, changes nothing.
// verdicts has room for METER_MAX_SOURCES. The synthetic source is listed only when env->synthetic.
void meter_probe_all(const struct meter_env *env, struct meter_verdict *verdicts, size_t *n);

struct meter;

// `name` is a source's name, optionally ":<argument>" ("powercap:psys", "estimate:raspberry-pi-5"),
// or "auto" for the first available one. NOT_FOUND for an unknown name (the message has the
// nearest) or when the hardware is missing; PERMISSION with the fix in the message; BUSY.
enum wl_status meter_open(const struct meter_env *env, const char *name, struct meter **out,
                          struct wl_err *err);
const struct meter_info *meter_info(const struct meter *meter);
// One reading of all channels. OK with some or all channels invalid is a gap. A source that may
// block is read by a thread of its own: what that has gathered is handed out here, one reading per
// call (has_more), and is_empty when there is nothing new. A failure means that
// the source is of no further use (device unplugged). Not thread-safe per meter.
enum wl_status meter_read(struct meter *meter, struct meter_reading *out, struct wl_err *err);
// From now on the model counts the CPU time of another process (the engine was restarted); what was
// counted so far stays. No effect on sources that measure.
void meter_set_pid(struct meter *meter, pid_t pid);
void meter_close(struct meter *meter); // NULL is fine

// Below this length a window at `power_w` is not worth a figure from the source: the random part of
// its 95 % interval, for a load that begins and ends with the window, is above a tenth of its
// energy. At least 250 ms. meter_min_window.c has the terms, docs/measurement.md the figures.
int64_t meter_min_window_ns(const struct meter_info *info, double power_w);

// Farther than this from a sudden change nothing of it is seen in readings taken every period_ns.
// The net energy of a short load is all there in a window widened by twice this on both sides (once
// for the load, once for the window's edge), when the machine idles there: what many short prompts
// and a slow meter need.
int64_t meter_reach_ns(const struct meter_info *info, int64_t period_ns);

// The longest pause between two readings that cannot miss a wrap; INT64_MAX when it never wraps.
int64_t meter_max_poll_ns(const struct meter_info *info);

#endif
