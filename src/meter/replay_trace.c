#include "meter/replay_trace.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"

static const char FORMAT[] = "wattlaw-trace";
static const int64_t LONGEST_NS = 366LL * 86400 * UNITS_NS_PER_S;
static const int64_t LONGEST_READ_NS = 3600 * UNITS_NS_PER_S;
static const double MAX_W = 1e9, MAX_NUMBER = 1e12;

static const char *const KIND_NAMES[] = {"counter", "gauge-instant", "gauge-averaged", "model"};
enum { N_KINDS = sizeof KIND_NAMES / sizeof KIND_NAMES[0] };

// --- header -------------------------------------------------------------------------------------

static const struct {
    const char *name;
    size_t offset;
    double low, high; // accepted
} TIMES[] =
    {
        {"native_period_ns", offsetof(struct meter_info, native_period_ns), 0, 1e13},
        {"poll_period_ns", offsetof(struct meter_info, poll_period_ns), 0, 1e13},
        {"lag_ns", offsetof(struct meter_info, lag_ns), -1e13, 1e13},
        {"lag_sd_ns", offsetof(struct meter_info, lag_sd_ns), 0, 1e13},
        {"smoothing_ns", offsetof(struct meter_info, smoothing_ns), 0, 1e13},
},
  NUMBERS[] = {
      {"quantum", offsetof(struct meter_info, quantum), 0, 1e12},
      {"noise_sd_w", offsetof(struct meter_info, noise_sd_w), 0, 1e12},
      {"gain_error_rel", offsetof(struct meter_info, gain_error_rel), 0, 1e3},
      {"offset_error_w", offsetof(struct meter_info, offset_error_w), 0, 1e12},
      {"offset_w", offsetof(struct meter_info, offset_w), -1e12, 1e12},
      {"max_power_w", offsetof(struct meter_info, max_power_w), 0, 1e12},
};
enum { N_TIMES = sizeof TIMES / sizeof TIMES[0], N_NUMBERS = sizeof NUMBERS / sizeof NUMBERS[0] };

static int64_t *time_of(struct meter_info *info, size_t i) {
    return (int64_t *)(void *)((char *)info + TIMES[i].offset);
}

static double *number_of(struct meter_info *info, size_t i) {
    return (double *)(void *)((char *)info + NUMBERS[i].offset);
}

static json_t *channel_json(const struct meter_channel *channel) {
    char range[32]; // more than JSON's integers hold
    snprintf(range, sizeof range, "%" PRIu64, channel->range);
    return json_pack("{s:s, s:s, s:f, s:b, s:i}", "name", channel->name, "range", range, "scale",
                     channel->scale, "is_counted", channel->is_counted, "parent", channel->parent);
}

static json_t *info_json(const struct meter_info *info_) {
    struct meter_info info = *info_;
    json_t *channels = json_array();
    for (size_t i = 0; i < info.n_channels; i++) {
        json_array_append_new(channels, channel_json(&info.channel[i]));
    }
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:o}", "name", info.name, "title",
                  info.title, "kind", KIND_NAMES[info.kind], "scope", meter_scope_name(info.scope),
                  "unit", info.unit, "label", record_label_name(info.label), "includes_dram",
                  info.includes_dram, "is_stamped", info.is_stamped, "channels", channels);
    for (size_t i = 0; i < N_TIMES; i++) {
        json_object_set_new(object, TIMES[i].name, json_integer(*time_of(&info, i)));
    }
    for (size_t i = 0; i < N_NUMBERS; i++) {
        json_object_set_new(object, NUMBERS[i].name, wl_json_real(*number_of(&info, i)));
    }
    return object;
}

enum wl_status replay_header_write(const struct meter_info *info, struct buf *out,
                                   struct wl_err *err) {
    json_t *header = json_pack("{s:s, s:i, s:o}", "format", FORMAT, "version", REPLAY_VERSION,
                               "info", info_json(info));
    bool is_written = header && wl_json_write(out, header) && buf_puts(out, "\n");
    json_decref(header);
    return is_written
               ? WL_OK
               : wl_err_set(err, WL_FAILED, "cannot describe energy source '%s'", info->name);
}

static enum wl_status bad(struct wl_err *err, const char *what, const char *expected) {
    return wl_err_set(err, WL_INPUT, "%s: expected %s", what, expected);
}

static enum wl_status read_channel(const json_t *object, size_t index, size_t n,
                                   struct meter_channel *out, struct wl_err *err) {
    const char *name, *range;
    int64_t parent;
    enum wl_status status;
    if ((status = wl_json_get_string(object, "name", &name, err)) ||
        (status = wl_json_get_string(object, "range", &range, err)) ||
        (status = wl_json_get_double(object, "scale", &out->scale, err)) ||
        (status = wl_json_get_bool(object, "is_counted", &out->is_counted, err)) ||
        (status = wl_json_get_i64(object, "parent", &parent, err))) {
        return status;
    }
    if (!str_parse_u64(range, &out->range)) {
        return bad(err, "range", "a whole number as text");
    }
    if (!(out->scale > 0 && out->scale <= MAX_NUMBER)) {
        return bad(err, "scale", "a positive number");
    }
    if (parent < -1 || parent >= (int64_t)n || parent == (int64_t)index) {
        return bad(err, "parent", "the index of another channel, or -1");
    }
    out->parent = (int)parent;
    str_copy(out->name, sizeof out->name, name);
    return WL_OK;
}

static enum wl_status read_channels(const json_t *list, struct meter_info *out,
                                    struct wl_err *err) {
    size_t n = json_array_size(list), n_counted = 0;
    if (n == 0 || n > METER_MAX_CHANNELS) {
        return bad(err, "channels", "1 to 32 of them");
    }
    for (size_t i = 0; i < n; i++) {
        enum wl_status status = read_channel(json_array_get(list, i), i, n, &out->channel[i], err);
        if (status != WL_OK) {
            wl_err_prefix(err, "channel %zu", i + 1);
            return status;
        }
        n_counted += out->channel[i].is_counted;
    }
    out->n_channels = n;
    return n_counted ? WL_OK : bad(err, "channels", "one that is counted");
}

// Index of `name` in the list; n when it is none of them.
static size_t find_name(const char *name, const char *const *names, size_t n) {
    size_t i = 0;
    while (i < n && strcmp(names[i], name) != 0) {
        i++;
    }
    return i;
}

static enum wl_status read_words(const json_t *object, struct replay_header *out,
                                 struct wl_err *err) {
    const char *name, *title, *kind, *scope, *unit, *label;
    enum wl_status status;
    if ((status = wl_json_get_string(object, "name", &name, err)) ||
        (status = wl_json_get_string(object, "title", &title, err)) ||
        (status = wl_json_get_string(object, "kind", &kind, err)) ||
        (status = wl_json_get_string(object, "scope", &scope, err)) ||
        (status = wl_json_get_string(object, "unit", &unit, err)) ||
        (status = wl_json_get_string(object, "label", &label, err)) ||
        (status = wl_json_get_bool(object, "includes_dram", &out->info.includes_dram, err)) ||
        (status = wl_json_get_bool(object, "is_stamped", &out->info.is_stamped, err))) {
        return status;
    }
    const char *scopes[METER_SCOPE_WALL + 1];
    for (int s = METER_SCOPE_CPU; s <= METER_SCOPE_WALL; s++) {
        scopes[s] = meter_scope_name((enum meter_scope)s);
    }
    size_t k = find_name(kind, KIND_NAMES, N_KINDS);
    size_t s = find_name(scope, scopes, METER_SCOPE_WALL + 1);
    if (k == N_KINDS) {
        return bad(err, "kind", "counter, gauge-instant, gauge-averaged or model");
    }
    if (s > METER_SCOPE_WALL) {
        return bad(err, "scope", "cpu, soc, board or wall");
    }
    out->info.kind = (enum meter_kind)k;
    out->info.scope = (enum meter_scope)s;
    out->info.label = record_label_by_name(label);
    str_copy(out->info.name, sizeof out->info.name, name);
    str_copy(out->info.title, sizeof out->info.title, title);
    str_copy(out->unit, sizeof out->unit, unit);
    out->info.unit = out->unit;
    return WL_OK;
}

static enum wl_status read_numbers(const json_t *object, struct meter_info *out,
                                   struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < N_TIMES && status == WL_OK; i++) {
        int64_t *ns = time_of(out, i);
        status = wl_json_get_i64(object, TIMES[i].name, ns, err);
        if (status == WL_OK && !((double)*ns >= TIMES[i].low && (double)*ns <= TIMES[i].high)) {
            status = bad(err, TIMES[i].name, "at most 10000 s in ns");
        }
    }
    for (size_t i = 0; i < N_NUMBERS && status == WL_OK; i++) {
        double *number = number_of(out, i);
        status = wl_json_get_double(object, NUMBERS[i].name, number, err);
        if (status == WL_OK && !(*number >= NUMBERS[i].low && *number <= NUMBERS[i].high)) {
            status = bad(err, NUMBERS[i].name, "a number that a meter can have");
        }
    }
    return status;
}

static enum wl_status read_header(const json_t *object, struct replay_header *out,
                                  struct wl_err *err) {
    int64_t version;
    const char *format = wl_json_opt_string(object, "format", "");
    if (strcmp(format, FORMAT) != 0) {
        return wl_err_set(err, WL_INPUT, "not a trace: format is '%.32s', expected '%s'", format,
                          FORMAT);
    }
    enum wl_status status = wl_json_get_i64(object, "version", &version, err);
    if (status == WL_OK && version != REPLAY_VERSION) {
        return wl_err_set(err, WL_INPUT, "version is %" PRId64 ", this program reads %d", version,
                          REPLAY_VERSION);
    }
    const json_t *info = json_object_get(object, "info");
    if (status != WL_OK || (status = read_words(info, out, err)) ||
        (status = read_numbers(info, &out->info, err))) {
        return status;
    }
    return read_channels(json_object_get(info, "channels"), &out->info, err);
}

enum wl_status replay_header_parse(const char *line, struct replay_header *out,
                                   struct wl_err *err) {
    json_t *json = NULL;
    *out = (struct replay_header){0};
    enum wl_status status = wl_json_parse(line, strlen(line), &json, err);
    if (status == WL_OK) {
        status = read_header(json, out, err);
    }
    json_decref(json);
    return status;
}

// --- rows ---------------------------------------------------------------------------------------

static bool is_possible(const struct meter_channel *channel, double value) {
    return isfinite(value) && value >= 0 && value * channel->scale <= MAX_W;
}

bool replay_row_write(const struct meter_info *info, const struct replay_row *row,
                      struct buf *out) {
    buf_printf(out, "%" PRId64 ",%" PRId64, row->t_before_ns, row->t_after_ns);
    for (size_t i = 0; i < info->n_channels; i++) {
        const struct meter_channel_reading *reading = &row->channel[i];
        buf_puts(out, ",");
        if (!reading->is_valid) {
            continue;
        }
        if (meter_kind_is_counter(info->kind)) {
            buf_printf(out, "%" PRIu64, reading->raw);
        } else if (is_possible(&info->channel[i], reading->value)) {
            buf_printf(out, "%.17g", reading->value);
        }
    }
    return buf_puts(out, "\n");
}

// The text up to the next comma or the end of the line; *at is moved behind it. False at the end.
static bool take_field(const char **at, char out[64]) {
    if (!*at) {
        return false;
    }
    size_t len = strcspn(*at, ",\r\n");
    size_t n = len < 63 ? len : 63; // longer is no number
    memcpy(out, *at, n);
    out[n] = '\0';
    *at = (*at)[len] == ',' ? *at + len + 1 : NULL;
    return true;
}

static bool parse_channel(const char *field, const struct meter_info *info, size_t i,
                          struct meter_channel_reading *out) {
    *out = (struct meter_channel_reading){.is_valid = field[0] != '\0'};
    if (!out->is_valid) {
        return true;
    }
    if (meter_kind_is_counter(info->kind)) {
        return str_parse_u64(field, &out->raw);
    }
    return str_parse_double(field, &out->value) && is_possible(&info->channel[i], out->value);
}

static int64_t middle_ns(const struct replay_row *row) {
    return row->t_before_ns + (row->t_after_ns - row->t_before_ns) / 2;
}

static bool is_in_time(const struct replay_row *row, const struct replay_row *before) {
    return row->t_before_ns >= -LONGEST_READ_NS && row->t_after_ns >= row->t_before_ns &&
           row->t_after_ns - row->t_before_ns <= LONGEST_READ_NS && row->t_after_ns <= LONGEST_NS &&
           (!before || middle_ns(row) >= middle_ns(before));
}

enum wl_status replay_row_parse(const char *line, const struct meter_info *info,
                                const struct replay_row *before, struct replay_row *out,
                                struct wl_err *err) {
    char field[64];
    const char *at = line;
    *out = (struct replay_row){0};
    if (!take_field(&at, field) || !str_parse_i64(field, &out->t_before_ns) ||
        !take_field(&at, field) || !str_parse_i64(field, &out->t_after_ns) ||
        !is_in_time(out, before)) {
        return bad(err, "time", "two ascending numbers of ns, not before the last reading's");
    }
    for (size_t i = 0; i < info->n_channels; i++) {
        if (!take_field(&at, field)) {
            return wl_err_set(err, WL_INPUT, "expected %zu channels, found %zu", info->n_channels,
                              i);
        }
        if (!parse_channel(field, info, i, &out->channel[i])) {
            return wl_err_set(err, WL_INPUT, "channel '%s': '%.40s' is no value of a meter",
                              info->channel[i].name, field);
        }
    }
    return at ? wl_err_set(err, WL_INPUT, "more than %zu channels", info->n_channels) : WL_OK;
}
