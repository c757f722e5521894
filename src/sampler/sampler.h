// CPU, RAM, frequency, temperature and energy of one process (the engine) and of the machine, as
// rows in the order of time. A thread takes a row every period; sampler_mark takes one at once, on
// the caller's thread, at the edges of a window. What the sampler itself costs is measured.
#ifndef WATTLAW_SAMPLER_SAMPLER_H
#define WATTLAW_SAMPLER_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "meter/meter.h"
#include "meter/meter_total.h"
#include "os/clock.h"

enum {
    SAMPLER_MAX_METERS = RECORD_MAX_ENERGIES,
    SAMPLER_MIN_PERIOD_MS = 5,
};

// What a row holds.
enum sampler_row_flag {
    SAMPLER_HAS_PROCESS = 1 << 0,   // process_cpu_ns, rss_bytes
    SAMPLER_HAS_PSS = 1 << 1,       // pss_*: read in this row (costly, so not in every row)
    SAMPLER_HAS_MACHINE = 1 << 2,   // machine_*
    SAMPLER_HAS_FREQ = 1 << 3,      // freq_mhz
    SAMPLER_HAS_TEMP = 1 << 4,      // temp_c
    SAMPLER_HAS_THROTTLE = 1 << 5,  // throttle_count
    SAMPLER_IS_MARK = 1 << 6,       // taken by sampler_mark
    SAMPLER_IS_LATE = 1 << 7,       // deadlines were missed before this row
    SAMPLER_IS_GONE = 1 << 8,       // the process has ended
    SAMPLER_IS_THROTTLED = 1 << 9,  // throttled since the previous look
    SAMPLER_IS_UNDERVOLT = 1 << 10, // Raspberry Pi: supply voltage too low now
};

struct sampler_row {
    uint64_t seq; // 1, 2, 3, ... without holes
    int64_t t_ns; // midpoint of the fast part: CPU clock, meters, machine ticks
    uint32_t half_width_ns;
    uint32_t flags;
    int64_t process_cpu_ns; // user + system since its start, exact
    int64_t rss_bytes;
    int64_t pss_bytes; // anon + file (+ shared memory), each page divided by its users
    int64_t pss_anon_bytes;
    int64_t pss_file_bytes;
    int64_t swap_pss_bytes;
    double machine_busy_s; // all cores together since boot: user, nice, system, irq, softirq
    double machine_idle_s; // idle + iowait
    double machine_steal_s;
    float freq_mhz; // mean over the cores
    float temp_c;   // hottest zone
    uint32_t throttle_count;
    uint32_t energy_flags;               // RECORD_GAP, WRAP, RESET of any meter in this step
    double energy_j[SAMPLER_MAX_METERS]; // since the sampler started; NaN: not read in this row
};

struct sampler_options {
    const char *root;      // NULL or "/" is the machine. A root elsewhere (tests) has no CPU clock:
                           // <root>/proc/<pid>/stat is used then
    pid_t pid;             // 0: only the machine
    int64_t period_ns;     // 0: 100 ms; at least 5 ms
    struct meter **meters; // borrowed; nobody else may read them while the sampler runs
    size_t n_meters;
    const struct os_clock *clock;   // NULL: OS_CLOCK_REAL
    int64_t (*thread_cpu_ns)(void); // NULL: os_thread_cpu_ns; tests give a fixed one
    size_t max_rows;                // 0: 20000. When full, the oldest quarter is dropped
    bool has_no_thread;             // the caller drives sampler_tick (tests, and watching)
    // Every reading of the meter at `index` that says something new; NULL: nobody asks. Called with
    // the lock held: no calls back.
    void (*on_reading)(void *context, size_t index, const struct meter_reading *reading);
    void *context;                          // of on_reading
    const struct meter_device_ops *devices; // device.h of meter; NULL: METER_DEVICE_REAL
};

struct sampler;

// Takes the first row (a full one) before it returns. NOT_FOUND: no such process.
enum wl_status sampler_start(const struct sampler_options *options, struct sampler **out,
                             struct wl_err *err);
// Ends the thread; takes a last full row. Rows and energies can still be read. Twice is fine.
void sampler_stop(struct sampler *sampler);
void sampler_free(struct sampler *sampler); // stops first; NULL is fine

// A full row now, Pss included, copied to `out` (may be NULL). Any thread. NOT_FOUND when the
// process has ended; the row (flag SAMPLER_IS_GONE) is kept and copied all the same. When the Pss
// of a large process took long, a light row follows, so that the last reading is fresh on return.
enum wl_status sampler_mark(struct sampler *sampler, struct sampler_row *out, struct wl_err *err);
// From now on another process (the engine was restarted). Its CPU time starts anew.
enum wl_status sampler_set_pid(struct sampler *sampler, pid_t pid, struct wl_err *err);
// One row as the thread would take it, same statuses as sampler_mark; for has_no_thread.
enum wl_status sampler_tick(struct sampler *sampler, struct wl_err *err);

// After sampler_stop: all rows kept, borrowed until sampler_free. BUSY while it runs.
enum wl_status sampler_rows(const struct sampler *sampler, const struct sampler_row **rows,
                            size_t *n, struct wl_err *err);
// At any time: up to max rows with seq > `seq`, oldest first; returns how many.
size_t sampler_copy_since(struct sampler *sampler, uint64_t seq, struct sampler_row *rows,
                          size_t max);
// Rows with t0_ns <= t_ns <= t1_ns in new memory (free() it).
enum wl_status sampler_copy_window(struct sampler *sampler, int64_t t0_ns, int64_t t1_ns,
                                   struct sampler_row **rows, size_t *n, struct wl_err *err);

// Energy of a window from the meter at `index` of the options; see meter_total_window. While the
// sampler runs, a window that ends after the last reading gets one more reading first. Edges up to
// 5 ms outside the readings (the meters are read within a row, not at its very midpoint) are moved
// onto them.
enum wl_status sampler_energy(struct sampler *sampler, size_t index, int64_t t0_ns, int64_t t1_ns,
                              struct meter_energy *out, struct wl_err *err);

// The times between which the energy of the meter at `index` is known; INT64_MAX and INT64_MIN
// before its first reading. Any thread.
int64_t sampler_known_from_ns(struct sampler *sampler, size_t index);
int64_t sampler_known_until_ns(struct sampler *sampler, size_t index);

// What the sampler costs and how well it kept time.
struct sampler_cost {
    int64_t cpu_ns;  // CPU time of all rows taken, marks included
    int64_t wall_ns; // since the start (until the stop)
    double pct;      // 100 * cpu / wall: % of one core
    uint64_t n_rows;
    uint64_t n_missed;     // deadlines that passed without a row
    int64_t max_late_ns;   // latest start of a row after its deadline
    int64_t pss_cost_ns;   // of the last Pss read
    int64_t pss_period_ns; // what it was stretched to
    uint64_t n_dropped_rows;
    uint64_t n_failed_meter_reads;
};
void sampler_cost(struct sampler *sampler, struct sampler_cost *out);
double sampler_cost_pct(struct sampler *sampler);

#endif
