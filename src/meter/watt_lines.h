// Lines "time watts" as meters' loggers write them, for the sources exec, fifo and csv. PURE.
//
//   1700000000.5 4.53     seconds (or ms, us, ns, told by magnitude) since 1970
//   2026-11-22T14:05:09.5+01:00;4530 mW     ISO 8601; without a zone it is local time
//   12.5,4.53 W           a clock of its own: CLOCK_MONOTONIC, else anchored at arrival
//   4.53                  no time: taken when it arrives
//
// Blank, tab, comma and semicolon separate; the decimal sign is a point. Blank lines, comments (#
// or //) and headers are skipped. A line that is none of this, negative or not finite is counted
// and leaves a gap.
#ifndef WATTLAW_METER_WATT_LINES_H
#define WATTLAW_METER_WATT_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WATT_LINE_BYTES = 256,
    WATT_CHUNK_BYTES = 4096, // what programs write at once into a pipe
    WATT_MAX_COLUMN = 32,
    WATT_MAX_W = 1000000, // more is no machine
};

enum watt_line_kind { WATT_LINE_POWER, WATT_LINE_SKIPPED, WATT_LINE_BAD };
enum watt_clock { WATT_CLOCK_ARRIVAL, WATT_CLOCK_UNIX, WATT_CLOCK_OWN };

struct watt_line {
    enum watt_clock clock;
    int64_t t_ns;          // on that clock
    int64_t resolution_ns; // of the time as written: the truth lies in [t, t + resolution)
    double power_w;
    double quantum_w; // of the power as written
};

// `column`: which field has the watts, from 1 (the time is in the first one, when that is another);
// 0 when a line has only these two.
enum watt_line_kind watt_line_parse(const char *text, unsigned column, struct watt_line *out);

struct watt_point {
    int64_t t_before_ns, t_after_ns; // on the clock of the environment
    double power_w;
    bool is_gap;
};

// From bytes to points in the order of time. Owned by the caller; zero it, then set `column`.
struct watt_stream {
    unsigned column;
    bool is_history; // what comes was written before: only lines with a date have a known time
    char text[WATT_CHUNK_BYTES + WATT_LINE_BYTES];
    size_t first, end;
    bool is_cut;                // inside a line that is too long
    bool is_gap_due, is_in_gap; // however many lines are bad, it is one gap
    int64_t arrived_after_ns, arrived_ns, wall_minus_clock_ns;
    bool has_base;
    int64_t base_ns, last_own_ns; // clock of the environment minus the lines' own clock
    bool has_point;
    int64_t last_ns;
    double quantum_w; // smallest seen; 0: none yet
    uint64_t n_good, n_bad, n_bad_run, n_back;
    int64_t ahead_ns; // how far the last bad line's date lay in the future; 0: that was not it
    char bad[48];     // beginning of the last bad line
};

// Takes at most WATT_CHUNK_BYTES that arrived in [arrived_after_ns, arrived_ns]. Call it only after
// watt_stream_next has returned false. `wall_minus_clock_ns`: CLOCK_REALTIME minus the clock.
void watt_stream_add(struct watt_stream *stream, const char *data, size_t len,
                     int64_t arrived_after_ns, int64_t arrived_ns, int64_t wall_minus_clock_ns);
// Lines without a time that arrived together are one point, their mean.
bool watt_stream_next(struct watt_stream *stream, struct watt_point *out);
// The writer went or the file began anew: half a line is forgotten, and what follows is a gap away.
void watt_stream_break(struct watt_stream *stream);

#endif
