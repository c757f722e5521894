#include "meter/watt_lines.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/str.h"
#include "base/units.h"

// --- fields -------------------------------------------------------------------------------------

struct fields {
    size_t n;
    char *field[WATT_MAX_COLUMN];
};

static bool is_separator(char c) {
    return c == ' ' || c == '\t' || c == ',' || c == ';';
}

static char *unquote(char *field) {
    size_t len = strlen(field);
    if (len >= 2 && field[0] == '"' && field[len - 1] == '"') {
        field[len - 1] = '\0';
        return field + 1;
    }
    return field;
}

// Cuts `text` in place. Blanks around a comma belong to it; two commas have an empty field between.
static void split(char *text, struct fields *out) {
    char *at = text;
    while (*at && out->n < WATT_MAX_COLUMN) {
        char *end = at;
        while (*end && !is_separator(*end)) {
            end++;
        }
        char *next = end + strspn(end, " \t");
        bool has_comma = *next == ',' || *next == ';';
        next += has_comma;
        next += strspn(next, " \t");
        *end = '\0';
        out->field[out->n++] = unquote(at);
        if (has_comma && !*next && out->n < WATT_MAX_COLUMN) {
            out->field[out->n++] = next; // behind a comma something is missing
        }
        at = next;
    }
}

static int count_decimals(const char *text) {
    const char *point = strchr(text, '.');
    return point ? (int)strspn(point + 1, "0123456789") : 0;
}

// --- time ---------------------------------------------------------------------------------------

// Exactly `n` digits.
static bool take_digits(const char **at, int n, int *out) {
    int value = 0;
    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)(*at)[i])) {
            return false;
        }
        value = value * 10 + ((*at)[i] - '0');
    }
    *at += n;
    *out = value;
    return true;
}

static bool take_char(const char **at, const char *accepted) {
    bool is_taken = **at && strchr(accepted, **at);
    *at += is_taken;
    return is_taken;
}

// Days since 1970-01-01 in the Gregorian calendar: years counted from March have their leap day
// last.
static int64_t days_of(int year, int month, int day) {
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t m = month <= 2 ? month + 9 : month - 3;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

// "Z", "+01:00", "-0330"; without one it is local time, as loggers write it.
static bool take_zone(const char **at, const struct tm *tm, int64_t *unix_s) {
    int hours, minutes = 0;
    *unix_s = days_of(tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday) * 86400 +
              tm->tm_hour * 3600 + tm->tm_min * 60 + tm->tm_sec;
    if (take_char(at, "Zz")) {
        return true;
    }
    if (**at == '+' || **at == '-') {
        int sign = **at == '-' ? -1 : 1;
        (*at)++;
        if (!take_digits(at, 2, &hours)) {
            return false;
        }
        take_char(at, ":");
        if (isdigit((unsigned char)**at) && !take_digits(at, 2, &minutes)) {
            return false;
        }
        *unix_s -= sign * (hours * 3600 + minutes * 60);
        return hours < 24 && minutes < 60;
    }
    struct tm local = *tm;
    local.tm_isdst = -1;
    *unix_s = (int64_t)mktime(&local);
    return *unix_s != -1;
}

// Up to nine digits of a second; more are read over.
static void take_fraction(const char **at, int64_t *ns, int64_t *resolution_ns) {
    *ns = 0;
    *resolution_ns = UNITS_NS_PER_S;
    if (!((**at == '.' || **at == ',') && isdigit((unsigned char)(*at)[1]))) {
        return;
    }
    for ((*at)++; isdigit((unsigned char)**at); (*at)++) {
        if (*resolution_ns > 1) {
            *resolution_ns /= 10;
            *ns += (**at - '0') * *resolution_ns;
        }
    }
}

// An ISO 8601 date and time at the beginning of *text, which is moved behind it.
static bool take_date(const char **text, struct watt_line *out) {
    const char *at = *text;
    struct tm tm = {0};
    int64_t unix_s, fraction_ns;
    if (!take_digits(&at, 4, &tm.tm_year) || !take_char(&at, "-") ||
        !take_digits(&at, 2, &tm.tm_mon) || !take_char(&at, "-") ||
        !take_digits(&at, 2, &tm.tm_mday) || !take_char(&at, "T ") ||
        !take_digits(&at, 2, &tm.tm_hour) || !take_char(&at, ":") ||
        !take_digits(&at, 2, &tm.tm_min) || !take_char(&at, ":") ||
        !take_digits(&at, 2, &tm.tm_sec)) {
        return false;
    }
    bool is_date = tm.tm_year >= 1970 && tm.tm_year < 2200 && tm.tm_mon >= 1 && tm.tm_mon <= 12 &&
                   tm.tm_mday >= 1 && tm.tm_mday <= 31 && tm.tm_hour < 24 && tm.tm_min < 60 &&
                   tm.tm_sec <= 60;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    take_fraction(&at, &fraction_ns, &out->resolution_ns);
    if (!is_date || !take_zone(&at, &tm, &unix_s) || (*at && !is_separator(*at))) {
        return false;
    }
    out->clock = WATT_CLOCK_UNIX;
    out->t_ns = unix_s * UNITS_NS_PER_S + fraction_ns;
    *text = at;
    return true;
}

// A number: since 1970 in s, ms, us or ns, which lie three digits apart from each other until the
// year 5138; below 1e8 (1973) it is seconds of some other clock.
static bool parse_number_time(const char *text, struct watt_line *out) {
    static const struct {
        double from, unit_ns;
    } UNITS[] = {{1e17, 1}, {1e14, 1e3}, {1e11, 1e6}, {1e8, 1e9}};
    double value;
    if (!str_parse_double(text, &value) || value < 0) {
        return false;
    }
    double unit_ns = 1e9;
    out->clock = WATT_CLOCK_OWN;
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (value >= UNITS[i].from) {
            out->clock = WATT_CLOCK_UNIX;
            unit_ns = UNITS[i].unit_ns;
            break;
        }
    }
    if (value * unit_ns >= (double)(INT64_MAX / 2)) {
        return false;
    }
    // Whole and fractional part apart: a double has no room for both in ns.
    double whole = floor(value);
    out->t_ns = (int64_t)whole * (int64_t)unit_ns + (int64_t)((value - whole) * unit_ns);
    out->resolution_ns = (int64_t)(unit_ns / pow(10, count_decimals(text)));
    return true;
}

// --- power --------------------------------------------------------------------------------------

static double unit_watts(const char *text) {
    static const struct {
        const char *name;
        double watts;
    } UNITS[] = {{"w", 1}, {"mw", 1e-3}, {"kw", 1e3}, {"watt", 1}, {"watts", 1}};
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        if (strcasecmp(text, UNITS[i].name) == 0) {
            return UNITS[i].watts; // nobody means megawatts by "MW"
        }
    }
    return 0;
}

// "4.53", "4.53W", and "4.53" followed by a field "W", which is then counted as well.
static bool parse_power(const struct fields *fields, size_t *index, struct watt_line *out) {
    char number[64];
    if (*index >= fields->n) {
        return false;
    }
    const char *field = fields->field[(*index)++];
    size_t len = strspn(field, "+-.0123456789");
    if (tolower((unsigned char)field[len]) == 'e') {
        len += 1 + strspn(field + len + 1, "+-0123456789");
    }
    double unit_w = 1, value;
    if (len == 0 || len >= sizeof number) {
        return false;
    }
    memcpy(number, field, len);
    number[len] = '\0';
    if (field[len]) {
        unit_w = unit_watts(field + len);
    } else if (*index < fields->n && unit_watts(fields->field[*index]) > 0) {
        unit_w = unit_watts(fields->field[(*index)++]);
    }
    if (unit_w <= 0 || !str_parse_double(number, &value)) {
        return false;
    }
    out->power_w = value * unit_w;
    out->quantum_w = unit_w / pow(10, count_decimals(number));
    return out->power_w >= 0 && out->power_w <= WATT_MAX_W;
}

// A date may have a blank in it, so it is taken before the rest is cut into fields.
static bool take_fields(char *line, struct fields *out, struct watt_line *parsed) {
    const char *rest = line;
    bool has_date = take_date(&rest, parsed);
    if (has_date) {
        out->field[out->n++] = line;
        rest += strspn(rest, " \t");
        rest += *rest == ',' || *rest == ';';
        rest += strspn(rest, " \t");
    }
    split(line + (rest - line), out);
    return has_date;
}

// Nothing but a time and a power, or a power alone, each with or without its unit.
static bool parse_two(const struct fields *fields, bool has_date, struct watt_line *out) {
    bool is_alone = fields->n == 1 || (fields->n == 2 && unit_watts(fields->field[1]) > 0);
    bool has_time = has_date || !is_alone;
    size_t index = has_time;
    if (has_time && !has_date && !(fields->n > 1 && parse_number_time(fields->field[0], out))) {
        return false;
    }
    return parse_power(fields, &index, out) && index == fields->n;
}

static bool parse_column(const struct fields *fields, bool has_date, unsigned column,
                         struct watt_line *out) {
    size_t index = column - 1;
    bool has_time =
        has_date || column == 1 || (fields->n > 0 && parse_number_time(fields->field[0], out));
    return has_time && parse_power(fields, &index, out);
}

enum watt_line_kind watt_line_parse(const char *text, unsigned column, struct watt_line *out) {
    char copy[WATT_LINE_BYTES];
    struct fields fields = {0};
    *out = (struct watt_line){0};
    if (!str_copy(copy, sizeof copy, text)) {
        return WATT_LINE_BAD;
    }
    char *line = str_trim(copy);
    if (!line[0] || line[0] == '#' || str_starts_with(line, "//")) {
        return WATT_LINE_SKIPPED;
    }
    bool has_date = take_fields(line, &fields, out);
    bool is_good =
        column ? parse_column(&fields, has_date, column, out) : parse_two(&fields, has_date, out);
    return is_good ? WATT_LINE_POWER : WATT_LINE_BAD;
}

// --- from bytes to points -----------------------------------------------------------------------

static const int64_t MAX_AHEAD_NS = UNITS_NS_PER_S;       // of dates: two clocks set by NTP agree
static const int64_t SAME_CLOCK_NS = 10 * UNITS_NS_PER_S; // then it is CLOCK_MONOTONIC
static const int64_t MAX_REBASE_NS = 10 * UNITS_NS_PER_S; // lines held up longer are lost

void watt_stream_add(struct watt_stream *stream, const char *data, size_t len,
                     int64_t arrived_after_ns, int64_t arrived_ns, int64_t wall_minus_clock_ns) {
    len = len <= WATT_CHUNK_BYTES ? len : WATT_CHUNK_BYTES;
    memmove(stream->text, stream->text + stream->first, stream->end - stream->first);
    stream->end -= stream->first;
    stream->first = 0;
    if (stream->end + len > sizeof stream->text) { // not asked for what was there: a caller's fault
        stream->end = 0;
    }
    memcpy(stream->text + stream->end, data, len);
    stream->end += len;
    stream->arrived_after_ns = arrived_after_ns;
    stream->arrived_ns = arrived_ns;
    stream->wall_minus_clock_ns = wall_minus_clock_ns;
}

static void want_gap(struct watt_stream *stream) {
    stream->is_gap_due = stream->has_point && !stream->is_in_gap;
}

void watt_stream_break(struct watt_stream *stream) {
    stream->first = stream->end = 0;
    stream->is_cut = false;
    stream->has_base = false;
    want_gap(stream);
}

static void note_bad(struct watt_stream *stream, const char *line) {
    stream->n_bad++;
    stream->n_bad_run++;
    want_gap(stream);
    stream->ahead_ns = 0;
    str_copy(stream->bad, sizeof stream->bad, line);
}

// The next line, or false when none is whole. What is no line of text, or the rest of one that was
// too long, comes back empty.
static bool take_line(struct watt_stream *stream, char out[WATT_LINE_BYTES]) {
    const char *from = stream->text + stream->first;
    size_t left = stream->end - stream->first;
    const char *newline = left ? memchr(from, '\n', left) : NULL;
    size_t len = newline ? (size_t)(newline - from) : left;
    bool is_rest = stream->is_cut;
    if (!newline && len < WATT_LINE_BYTES && !is_rest) {
        return false;
    }
    stream->first += newline ? len + 1 : len;
    stream->is_cut = !newline;
    size_t n = len < WATT_LINE_BYTES ? len : WATT_LINE_BYTES - 1;
    memcpy(out, from, n);
    out[n] = '\0';
    if (!is_rest && (n < len || memchr(out, '\0', n))) {
        note_bad(stream, out);
        out[0] = '\0';
    }
    out[0] = is_rest ? '\0' : out[0];
    return left > 0;
}

// Lines cannot arrive before they are made: a base that says so was taken from a line held up.
static bool own_to_clock(struct watt_stream *stream, int64_t own_ns, int64_t *t_ns) {
    int64_t distance_ns = own_ns - stream->arrived_ns;
    if (stream->has_base && own_ns < stream->last_own_ns - UNITS_NS_PER_S) {
        stream->has_base = false; // the logger was started again
        want_gap(stream);
    }
    if (!stream->has_base) {
        bool is_same = distance_ns > -SAME_CLOCK_NS && distance_ns <= MAX_AHEAD_NS;
        stream->base_ns = is_same ? 0 : -distance_ns;
        stream->has_base = true;
    }
    int64_t ahead_ns = distance_ns + stream->base_ns;
    if (ahead_ns > MAX_REBASE_NS) {
        return false;
    }
    stream->base_ns -= ahead_ns > 0 ? ahead_ns : 0;
    stream->last_own_ns = own_ns;
    *t_ns = own_ns + stream->base_ns;
    return true;
}

// When the line was made. False: its time is unknown or impossible.
static bool place(struct watt_stream *stream, const struct watt_line *line, const char *text,
                  struct watt_point *out) {
    int64_t t_ns = line->t_ns - stream->wall_minus_clock_ns;
    if (line->clock == WATT_CLOCK_OWN) {
        if (stream->is_history) {
            return false;
        }
        if (!own_to_clock(stream, line->t_ns, &t_ns)) {
            note_bad(stream, text);
            return false;
        }
    } else if (t_ns > stream->arrived_ns + MAX_AHEAD_NS) {
        note_bad(stream, text);
        stream->ahead_ns = t_ns - stream->arrived_ns;
        return false;
    }
    out->t_before_ns = t_ns;
    out->t_after_ns = t_ns + line->resolution_ns;
    return true;
}

static int64_t middle_ns(const struct watt_point *point) {
    return point->t_before_ns + (point->t_after_ns - point->t_before_ns) / 2;
}

static bool is_in_order(struct watt_stream *stream, const struct watt_point *point) {
    bool is_later = !stream->has_point || middle_ns(point) > stream->last_ns;
    stream->n_back += !is_later;
    return is_later;
}

static bool hand_out(struct watt_stream *stream, const struct watt_point *point) {
    stream->has_point = true;
    stream->is_in_gap = false;
    stream->last_ns = middle_ns(point);
    return true;
}

// Of the last point's time: it says only that something is missing after it.
static bool hand_out_gap(struct watt_stream *stream, struct watt_point *out) {
    stream->is_gap_due = false;
    stream->is_in_gap = true;
    *out = (struct watt_point){stream->last_ns, stream->last_ns, 0, true};
    return true;
}

static void note_good(struct watt_stream *stream, const struct watt_line *line) {
    stream->n_good++;
    stream->n_bad_run = 0;
    if (stream->quantum_w <= 0 || line->quantum_w < stream->quantum_w) {
        stream->quantum_w = line->quantum_w;
    }
}

// Lines without a time, added up until something else comes or no more has arrived.
struct together {
    double sum_w;
    size_t n;
};

// Reads lines until a point is ready to be handed out (true) or none is whole.
static bool read_lines(struct watt_stream *stream, struct together *together,
                       struct watt_point *out) {
    char text[WATT_LINE_BYTES];
    for (;;) {
        size_t first = stream->first;
        struct watt_line line;
        if ((together->n == 0 && stream->is_gap_due) || !take_line(stream, text)) {
            return false;
        }
        enum watt_line_kind kind = watt_line_parse(text, stream->column, &line);
        if (kind == WATT_LINE_BAD) {
            note_bad(stream, text);
        }
        if (kind != WATT_LINE_POWER) {
            continue;
        }
        if (line.clock == WATT_CLOCK_ARRIVAL) {
            note_good(stream, &line);
            together->sum_w += stream->is_history ? 0 : line.power_w;
            together->n += !stream->is_history;
            continue;
        }
        *out = (struct watt_point){.power_w = line.power_w};
        if (together->n == 0 && !place(stream, &line, text, out)) {
            continue;
        }
        if (together->n > 0 || stream->is_gap_due) { // what comes before it must go first
            stream->first = first;
            return false;
        }
        note_good(stream, &line);
        if (is_in_order(stream, out)) {
            return true;
        }
    }
}

bool watt_stream_next(struct watt_stream *stream, struct watt_point *out) {
    for (;;) {
        struct together together = {0};
        if (read_lines(stream, &together, out)) {
            return hand_out(stream, out);
        }
        if (together.n == 0) {
            return stream->is_gap_due && hand_out_gap(stream, out);
        }
        *out = (struct watt_point){.t_before_ns = stream->arrived_after_ns,
                                   .t_after_ns = stream->arrived_ns,
                                   .power_w = together.sum_w / (double)together.n};
        if (is_in_order(stream, out)) {
            return hand_out(stream, out);
        }
    }
}
