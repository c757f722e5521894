#include "meter/watt_source.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "os/process.h"

enum { WAIT_MS = 200, WAIT_FILE_MS = 50, LOOK_STEP_MS = 50 };
enum { MAX_BAD_RUN = 100, MIN_BAD_LOOK = 3 };
static const int64_t LOOK_NS = 3 * UNITS_NS_PER_S;
static const double DEFAULT_PERIOD_S = 1;
static const double DEFAULT_QUANTUM_W = 0.1; // no line was seen yet
// A consumer plug's class; a good meter's own must be stated.
static const double DEFAULT_GAIN_ERROR = 0.03, DEFAULT_OFFSET_ERROR_W = 0.3;
static const double UNSTATED_LAG_SD_S = 0.1; // a logger takes its time
static const double MIN_PERIOD_S = 1e-3, MAX_PERIOD_S = 3600;

// --- options ------------------------------------------------------------------------------------

static bool parse_scope(const char *text, enum meter_scope *out) {
    for (int s = METER_SCOPE_CPU; s <= METER_SCOPE_WALL; s++) {
        if (strcmp(meter_scope_name((enum meter_scope)s), text) == 0) {
            *out = (enum meter_scope)s;
            return true;
        }
    }
    return false;
}

static bool parse_within(const char *text, double low, double high, double *out) {
    double value;
    bool is_good = str_parse_double(text, &value) && value >= low && value <= high;
    *out = is_good ? value : *out;
    return is_good;
}

static bool set_option(struct watt_options *o, const char *key, const char *value,
                       const char **expected) {
    double number = 0;
    bool is_good;
    if (strcmp(key, "scope") == 0) {
        *expected = "cpu, soc, board or wall";
        return parse_scope(value, &o->scope);
    }
    if (strcmp(key, "gain") == 0) {
        *expected = "a relative error from 0 to 1";
        return parse_within(value, 0, 1, &o->gain_error_rel);
    }
    if (strcmp(key, "offset") == 0) {
        *expected = "an error from 0 to 1000 W";
        return parse_within(value, 0, 1000, &o->offset_error_w);
    }
    if (strcmp(key, "period") == 0) {
        *expected = "0.001 to 3600 seconds";
        return parse_within(value, MIN_PERIOD_S, MAX_PERIOD_S, &o->period_s);
    }
    if (strcmp(key, "lag") == 0) {
        *expected = "-60 to 60 seconds";
        return parse_within(value, -60, 60, &o->lag_s);
    }
    if (strcmp(key, "mean") == 0) {
        *expected = "0 or 1";
        o->meaning = strcmp(value, "1") == 0 ? WATT_MEANING_MEAN : WATT_MEANING_INSTANT;
        return strcmp(value, "0") == 0 || o->meaning == WATT_MEANING_MEAN;
    }
    *expected = "a field's number, 1 to 32";
    is_good = parse_within(value, 1, WATT_MAX_COLUMN, &number);
    o->column = (unsigned)number;
    return is_good;
}

// "scope=" at the beginning of `text`: the name in `key`.
static bool take_key(const char *text, char *key, size_t size) {
    static const char *const KEYS[] = {"scope", "gain", "offset", "period",
                                       "lag",   "mean", "column"};
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        size_t len = strlen(KEYS[i]);
        if (strncmp(text, KEYS[i], len) == 0 && text[len] == '=') {
            return str_copy(key, size, KEYS[i]);
        }
    }
    return false;
}

enum wl_status watt_options_parse(const char *argument, struct watt_options *out, const char **rest,
                                  struct wl_err *err) {
    *out = (struct watt_options){.scope = METER_SCOPE_WALL,
                                 .gain_error_rel = DEFAULT_GAIN_ERROR,
                                 .offset_error_w = DEFAULT_OFFSET_ERROR_W,
                                 .lag_s = (double)NAN};
    char key[16], value[32];
    const char *at = argument ? argument : "";
    while (take_key(at, key, sizeof key)) {
        const char *from = at + strlen(key) + 1;
        size_t len = strcspn(from, ":");
        const char *expected = "a value and a colon behind it";
        bool is_whole = from[len] == ':' && len < sizeof value;
        snprintf(value, sizeof value, "%.*s", (int)(len < 31 ? len : 31), from);
        if (!is_whole || !set_option(out, key, value, &expected)) {
            return wl_err_set(err, WL_USAGE, "option '%s=%s': expected %s", key, value, expected);
        }
        at = from + len + 1;
    }
    if (!at[0]) {
        return wl_err_set(err, WL_USAGE, "expected what to read behind the source's name");
    }
    *rest = at;
    return WL_OK;
}

void watt_source_verdict(struct meter_verdict *out, const char *argument, const char *example) {
    out->availability = METER_ON_REQUEST;
    out->scope = METER_SCOPE_WALL;
    out->label = LABEL_MEASURED;
    out->is_external = true;
    snprintf(out->reason, sizeof out->reason,
             "reads lines 'time watts' or 'watts': '%s:[OPTION=VALUE:]...%s', options scope, gain, "
             "offset, period, lag, mean, column",
             out->name, argument);
    snprintf(
        out->fix, sizeof out->fix,
        "%s\n"
        "# scope=cpu|soc|board|wall  what the watts are of (wall)\n"
        "# gain=0.03 offset=0.3      the meter's errors, 1 sigma: relative, and W\n"
        "# period=SECONDS            between two lines (found by a look of up to 3 s)\n"
        "# lag=SECONDS               how late a line is\n"
        "# mean=0|1                  a line is the power just then, or the mean since the "
        "last one\n"
        "# column=N                  where the watts are, when there are more than two columns",
        example);
}

// --- bytes --------------------------------------------------------------------------------------

static int64_t now_ns(const struct watt_source *source) {
    return source->clock->now_ns(source->clock->context);
}

// True when a descriptor became readable: what arrives has arrived now.
static bool wait_for_input(struct watt_source *source, int wait_ms) {
    struct pollfd wake = {.fd = source->input.wake_fd(source->input.context), .events = POLLIN};
    if (wake.fd < 0) {
        wait_ms = wait_ms < WAIT_FILE_MS ? wait_ms : WAIT_FILE_MS;
    }
    int n = poll(&wake, wake.fd >= 0, wait_ms);
    if (n > 0 && !(wake.revents & POLLIN)) {
        poll(NULL, 0, WAIT_FILE_MS); // nobody writes at the other end: do not spin
    }
    return n > 0;
}

// Feeds the stream. False when there is nothing now, or no more ever (has_ended).
static bool fill(struct watt_source *source, int wait_ms) {
    struct watt_input *input = &source->input;
    char chunk[WATT_CHUNK_BYTES];
    size_t len = 0;
    source->stream.is_history = input->is_history && input->is_history(input->context);
    enum watt_input_event event = input->read(input->context, chunk, sizeof chunk, &len);
    int64_t after_ns = source->empty_ns;
    if (event == WATT_INPUT_EMPTY && wait_ms > 0) {
        source->empty_ns = after_ns = now_ns(source);
        bool has_woken = wait_for_input(source, wait_ms);
        after_ns = has_woken ? now_ns(source) : after_ns;
        event = input->read(input->context, chunk, sizeof chunk, &len);
    }
    int64_t t_ns = now_ns(source);
    if (event == WATT_INPUT_EMPTY) {
        source->empty_ns = t_ns;
    } else if (event == WATT_INPUT_BREAK) {
        watt_stream_break(&source->stream);
    } else if (event == WATT_INPUT_END) {
        source->has_ended = true;
        watt_stream_add(&source->stream, "\n", 1, after_ns, t_ns, os_wall_ns() - t_ns);
        return true;
    } else {
        watt_stream_add(&source->stream, chunk, len, after_ns, t_ns, os_wall_ns() - t_ns);
    }
    return event == WATT_INPUT_DATA || event == WATT_INPUT_BREAK;
}

// The next point from the lines; waits at most once. A flood without a point ends after some
// chunks: the thread must see that it shall stop.
static bool next_point(struct watt_source *source, int wait_ms, struct watt_point *out) {
    enum { MAX_CHUNKS = 64 };
    for (int i = 0; i < MAX_CHUNKS; i++) {
        if (watt_stream_next(&source->stream, out)) {
            return true;
        }
        if (source->has_ended || source->stream.n_bad_run >= MAX_BAD_RUN ||
            !fill(source, i == 0 ? wait_ms : 0)) {
            return watt_stream_next(&source->stream, out);
        }
    }
    return false;
}

// --- the look -----------------------------------------------------------------------------------

static int compare(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t middle_ns(const struct watt_point *point) {
    return point->t_before_ns + (point->t_after_ns - point->t_before_ns) / 2;
}

// Median distance of the points seen; 0 for fewer than two.
static int64_t median_period_ns(const struct watt_source *source) {
    int64_t step_ns[WATT_LOOK_POINTS];
    size_t n = 0;
    for (size_t i = 1; i < source->n_ahead; i++) {
        const struct watt_point *a = &source->ahead[i - 1], *b = &source->ahead[i];
        if (!a->is_gap && !b->is_gap) {
            step_ns[n++] = middle_ns(b) - middle_ns(a);
        }
    }
    qsort(step_ns, n, sizeof *step_ns, compare);
    return n ? step_ns[n / 2] : 0;
}

static void look(struct watt_source *source) {
    int64_t end_ns = os_now_ns() + LOOK_NS; // real time, whatever clock readings are taken on
    while (source->n_ahead < WATT_LOOK_POINTS && os_now_ns() < end_ns && !os_is_interrupted()) {
        bool has_point = next_point(source, LOOK_STEP_MS, &source->ahead[source->n_ahead]);
        source->n_ahead += has_point;
        if (!has_point && (source->has_ended || source->stream.n_bad_run >= MAX_BAD_RUN)) {
            break;
        }
    }
}

static enum wl_status say_bad(const struct watt_source *source, struct wl_err *err) {
    const struct watt_stream *stream = &source->stream;
    if (stream->ahead_ns > 0) {
        return wl_err_set(err, WL_INPUT,
                          "the times of %s lie %.3g s in this machine's future: set both clocks "
                          "(NTP), or leave the times out",
                          source->what, (double)stream->ahead_ns * 1e-9);
    }
    return wl_err_set(err, WL_INPUT,
                      "%s: expected lines 'time watts' or 'watts', found '%s' (%llu such lines)%s",
                      source->what, stream->bad, (unsigned long long)stream->n_bad,
                      stream->column ? "" : "; column=N says where the watts are");
}

static enum wl_status say_ended(const struct watt_source *source, struct wl_err *err) {
    if (source->stream.n_bad_run) {
        return wl_err_set(err, WL_IO, "%s has ended; it said last: '%s'", source->what,
                          source->stream.bad);
    }
    return wl_err_set(err, WL_IO, "%s has ended%s", source->what,
                      source->stream.n_good ? "" : " without a line of watts");
}

// Not knowing whether lines are means, they are 0 to half a period old: uniform, sd =
// width/sqrt(12).
static void set_lag(const struct watt_options *o, int64_t period_ns, struct meter_info *info) {
    bool is_known = o->meaning != WATT_MEANING_UNKNOWN, has_lag = !isnan(o->lag_s);
    double half_s = is_known ? 0 : (double)period_ns * 0.5e-9;
    double lag_s = (has_lag ? o->lag_s : 0) + half_s / 2;
    info->lag_ns = (int64_t)(lag_s * 1e9);
    info->lag_sd_ns = (int64_t)(hypot(half_s / sqrt(12), has_lag ? 0 : UNSTATED_LAG_SD_S) * 1e9);
}

static void describe(const struct watt_source *source, int64_t period_ns, struct meter_info *info) {
    const struct watt_options *o = &source->options;
    info->kind = o->meaning == WATT_MEANING_MEAN ? METER_GAUGE_AVERAGED : METER_GAUGE_INSTANT;
    info->scope = o->scope;
    info->unit = "W";
    info->native_period_ns = info->poll_period_ns = period_ns;
    info->is_stamped = true; // each line once, when it was made
    set_lag(o, period_ns, info);
    info->quantum = source->stream.quantum_w > 0 ? source->stream.quantum_w : DEFAULT_QUANTUM_W;
    info->includes_dram = o->scope >= METER_SCOPE_BOARD;
    info->may_block = true;
    info->gain_error_rel = o->gain_error_rel;
    info->offset_error_w = o->offset_error_w;
    info->max_power_w = WATT_MAX_W;
    info->label = LABEL_MEASURED;
    info->n_channels = 1;
    info->channel[0] =
        (struct meter_channel){.name = "power", .scale = 1, .is_counted = true, .parent = -1};
}

enum wl_status watt_source_start(struct watt_source *source, const struct meter_env *env,
                                 struct meter_info *info, struct wl_err *err) {
    source->clock = meter_env_clock(env);
    source->may_wait = !env->has_no_threads;
    source->stream.column = source->options.column;
    source->empty_ns = now_ns(source);
    if (source->options.period_s <= 0) {
        look(source);
        bool has_none = source->stream.n_good == 0;
        if (has_none && source->has_ended) {
            return say_ended(source, err);
        }
        if (has_none && source->stream.n_bad >= MIN_BAD_LOOK) {
            return say_bad(source, err);
        }
    }
    int64_t period_ns = median_period_ns(source);
    double period_s = source->options.period_s > 0 ? source->options.period_s
                      : period_ns > 0              ? (double)period_ns * 1e-9
                                                   : DEFAULT_PERIOD_S;
    period_s = fmin(fmax(period_s, MIN_PERIOD_S), MAX_PERIOD_S);
    describe(source, (int64_t)(period_s * 1e9), info);
    return WL_OK;
}

enum wl_status watt_source_read(struct watt_source *source, struct meter_reading *out,
                                struct wl_err *err) {
    struct watt_point point;
    bool has_point = source->first_ahead < source->n_ahead;
    if (has_point) {
        point = source->ahead[source->first_ahead++];
    } else {
        has_point = next_point(source, source->may_wait ? WAIT_MS : 0, &point);
    }
    // On a thread of its own it waits here and not between the reads, so that lines get the time
    // at which they arrive.
    out->has_more = has_point || source->may_wait;
    out->is_empty = !has_point;
    if (has_point) {
        out->t_before_ns = point.t_before_ns;
        out->t_after_ns = point.t_after_ns;
        out->channel[0].value = point.power_w;
        out->channel[0].is_valid = !point.is_gap;
        return WL_OK;
    }
    if (source->stream.n_bad_run >= MAX_BAD_RUN) {
        return say_bad(source, err);
    }
    return source->has_ended ? say_ended(source, err) : WL_OK;
}
