#include "gateway/log.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "os/clock.h"

static bool is_json_form, is_quiet_form;

void log_set(bool is_json, bool is_quiet) {
    is_json_form = is_json;
    is_quiet_form = is_quiet;
}

static void write_line(json_t *object) {
    struct buf line;
    buf_init(&line, 1 << 16);
    if (object && wl_json_write(&line, object)) {
        fprintf(stderr, "%s\n", buf_text(&line));
    }
    buf_release(&line);
    json_decref(object);
}

static char *now_text(char *out, size_t size) {
    return os_format_utc(out, size, os_wall_ns());
}

void log_event(enum log_level level, const char *format, ...) {
    char text[1024], time[40];
    if (is_quiet_form && level == LOG_INFO) {
        return;
    }
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    now_text(time, sizeof time);
    if (is_json_form) {
        struct wl_err valid; // makes it UTF-8 without control characters
        wl_err_set(&valid, WL_OK, "%s", text);
        write_line(json_pack("{s:s, s:s, s:s}", "time", time, "level",
                             level == LOG_INFO ? "info" : "warning", "event", valid.message));
    } else {
        fprintf(stderr, "%s %s%s\n", time, level == LOG_INFO ? "" : "warning: ", text);
    }
}

static json_t *count_json(int64_t n) {
    return n < 0 ? json_null() : json_integer(n);
}

static void log_request_json(const struct ledger_row *row, const char *time) {
    write_line(json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:o, s:o, s:o, s:I, s:I, s:o, "
        "s:o, s:o, s:o, s:s, s:s}",
        "time", time, "level", "info", "id", row->id, "key", row->key, "model", row->model,
        "endpoint", row->endpoint, "status", row->http_status, "end", ledger_end_name(row->end),
        "prompt_tokens", count_json(row->prompt_tokens), "cached_tokens",
        count_json(row->cached_tokens), "completion_tokens", count_json(row->completion_tokens),
        "images", (json_int_t)row->n_images, "turns_dropped", (json_int_t)row->n_turns_dropped,
        "wait_s", wl_json_real(row->wait_s), "first_s", wl_json_real(row->first_s), "total_s",
        wl_json_real(row->total_s), "wh", wl_json_real(row->gross_j / UNITS_J_PER_WH), "label",
        row->label, "error", row->error));
}

static void put_tokens(struct buf *line, const struct ledger_row *row) {
    if (row->prompt_tokens >= 0) {
        buf_printf(line, ", %lld", (long long)row->prompt_tokens);
        if (row->cached_tokens > 0) {
            buf_printf(line, " (%lld cached)", (long long)row->cached_tokens);
        }
        buf_printf(line, " + %lld tokens",
                   (long long)(row->completion_tokens > 0 ? row->completion_tokens : 0));
    }
    if (row->n_images > 0) {
        buf_printf(line, ", %lld picture%s", (long long)row->n_images,
                   row->n_images == 1 ? "" : "s");
    }
    if (row->n_turns_dropped > 0) {
        buf_printf(line, ", %lld turns dropped", (long long)row->n_turns_dropped);
    }
}

static void put_cost(struct buf *line, const struct ledger_row *row) {
    char text[UNITS_TEXT_BYTES];
    if (isfinite(row->total_s)) {
        buf_printf(line, ", %s", units_seconds(text, row->total_s));
    }
    if (strcmp(row->label, "unresolved") == 0) {
        buf_puts(line, ", energy unresolved");
    } else if (row->label[0] && isfinite(row->gross_j)) {
        buf_printf(line, ", %s %s", units_energy(text, row->gross_j), row->label);
    }
}

void log_request(const struct ledger_row *row) {
    char time[40];
    if (is_quiet_form) {
        return;
    }
    now_text(time, sizeof time);
    if (is_json_form) {
        log_request_json(row, time);
        return;
    }
    struct buf line;
    buf_init(&line, 4096);
    buf_printf(&line, "%s %s %s%s%s %d %s", time, row->id, row->endpoint, row->key[0] ? " by " : "",
               row->key, row->http_status, ledger_end_name(row->end));
    put_tokens(&line, row);
    put_cost(&line, row);
    if (row->error[0]) {
        buf_printf(&line, ": %s", row->error);
    }
    fprintf(stderr, "%s\n", buf_text(&line));
    buf_release(&line);
}
