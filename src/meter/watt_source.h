// What the sources exec, fifo and csv share: options in front of their argument, a short look at
// the first lines, which tells the period, and readings from the stream of lines.
#ifndef WATTLAW_METER_WATT_SOURCE_H
#define WATTLAW_METER_WATT_SOURCE_H

#include "meter/source.h"
#include "meter/watt_lines.h"

// "key=value:" before the argument, in any order: "csv:scope=board:gain=0.01:/var/log/meter.csv".
enum watt_meaning { WATT_MEANING_UNKNOWN, WATT_MEANING_INSTANT, WATT_MEANING_MEAN };

struct watt_options {
    enum meter_scope scope;
    double gain_error_rel, offset_error_w;
    double period_s; // 0: found by a look
    double lag_s;    // NaN: not stated
    enum watt_meaning meaning;
    unsigned column;
};

enum watt_input_event {
    WATT_INPUT_DATA,
    WATT_INPUT_EMPTY, // nothing now
    WATT_INPUT_BREAK, // the writer went, the file began anew: half a line is lost
    WATT_INPUT_END,   // no more will come
};

// Where the bytes come from. Neither waits.
struct watt_input {
    void *context;
    enum watt_input_event (*read)(void *context, char *out, size_t size, size_t *len);
    int (*wake_fd)(void *context); // readable when there is something; -1: look again after a while
    bool (*is_history)(void *context); // what is read now lay there before; NULL: never
};

enum { WATT_LOOK_POINTS = 9 };

struct watt_source {
    struct watt_options options;
    struct watt_input input;
    const struct os_clock *clock;
    bool may_wait;    // read on a thread of its own
    char what[64];    // for messages: "the command 'powermeter'"
    int64_t empty_ns; // when there was nothing to read, last
    bool has_ended;
    struct watt_stream stream;
    size_t n_ahead, first_ahead;
    struct watt_point ahead[WATT_LOOK_POINTS]; // what the look saw
};

// `*rest` is what follows the options, not empty. USAGE names the option that is wrong.
enum wl_status watt_options_parse(const char *argument, struct watt_options *out, const char **rest,
                                  struct wl_err *err);
// `source->options`, `input` and `what` are set; fills the rest and *info (but for its title) after
// a look of at most 3 s. INPUT when what comes is no lines of watts.
enum wl_status watt_source_start(struct watt_source *source, const struct meter_env *env,
                                 struct meter_info *info, struct wl_err *err);
// IO when the input has ended and all has been handed out.
enum wl_status watt_source_read(struct watt_source *source, struct meter_reading *out,
                                struct wl_err *err);
// The verdict of a source that needs an argument: "PATH", "COMMAND".
void watt_source_verdict(struct meter_verdict *out, const char *argument, const char *example);

#endif
