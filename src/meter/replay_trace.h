// A recorded trace of a meter as text, so that a measurement can be repeated offline. PURE.
//
// First line, JSON: {"format":"wattlaw-trace","version":1,"info":{...struct meter_info...}}.
// Then one line for each reading, in the order of time: ns before and after it since the first
// reading, then the raw value of each channel (nothing for a gap), with commas between.
//
//   0,21042,5000000,800000
//   100003211,100021544,5430000,
#ifndef WATTLAW_METER_REPLAY_TRACE_H
#define WATTLAW_METER_REPLAY_TRACE_H

#include "base/buf.h"
#include "meter/meter.h"

enum { REPLAY_VERSION = 1, REPLAY_HEADER_BYTES = 16384, REPLAY_ROW_BYTES = 1024 };

struct replay_header {
    struct meter_info info; // as it was when recorded; `unit` points to the next field
    char unit[16];
};

struct replay_row {
    int64_t t_before_ns, t_after_ns; // since the first reading
    struct meter_channel_reading channel[METER_MAX_CHANNELS];
};

// Appends the line with its newline.
enum wl_status replay_header_write(const struct meter_info *info, struct buf *out,
                                   struct wl_err *err);
// `line` may end in a newline. INPUT says what is wrong; a version from the future names itself.
enum wl_status replay_header_parse(const char *line, struct replay_header *out, struct wl_err *err);

// What a device cannot mean (a gauge that is negative or no number) is written as a gap.
bool replay_row_write(const struct meter_info *info, const struct replay_row *row, struct buf *out);
// `before` is the row in front of it, or NULL: rows that go back in time are refused.
enum wl_status replay_row_parse(const char *line, const struct meter_info *info,
                                const struct replay_row *before, struct replay_row *out,
                                struct wl_err *err);

#endif
