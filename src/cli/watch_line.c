#include "cli/watch_line.h"

#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/units.h"
#include "cli/term.h"
#include "os/clock.h"
#include "report/clean.h"

enum { MAX_LINE_BYTES = 512 };
static const int64_t REDRAW_NS = 500000000, LINE_NS = 30000000000;

void watch_line_begin(struct watch_line *line, bool is_quiet) {
    *line = (struct watch_line){
        .is_quiet = is_quiet, .is_terminal = term_can_redraw(), .last_ns = os_now_ns()};
}

// The first source of each scope: others of the same scope say nearly the same.
static bool is_first_of_scope(const struct meter_set *meters, size_t index) {
    for (size_t i = 0; i < index; i++) {
        if (meter_info(meters->meter[i])->scope == meter_info(meters->meter[index])->scope) {
            return false;
        }
    }
    return true;
}

static void add_power(struct buf *text, const struct watch_sample *s) {
    for (size_t i = 0; i < s->meters->n; i++) {
        const struct meter_info *info = meter_info(s->meters->meter[i]);
        if (!is_first_of_scope(s->meters, i)) {
            continue;
        }
        char watts[UNITS_TEXT_BYTES], energy[UNITS_TEXT_BYTES];
        buf_printf(text, "  %s%s %s W", info->label == LABEL_ESTIMATED ? "~" : "",
                   meter_scope_name(info->scope), units_number(watts, s->power_w[i]));
        if (!s->is_idle_stage) {
            buf_printf(text, " %s", units_energy(energy, s->gross_j[i]));
        }
    }
}

static void write_text(struct buf *text, const struct watch_sample *s) {
    char time[UNITS_TEXT_BYTES], ram[UNITS_TEXT_BYTES];
    if (s->is_idle_stage) {
        buf_printf(text, "at rest, %s left  CPU %.0f %%", units_seconds(time, ceil(s->idle_left_s)),
                   s->machine_cpu_pct);
    } else {
        buf_printf(text, "%s  CPU %.0f %%  RAM %s", units_seconds(time, floor(s->seconds)),
                   s->cpu_pct, units_bytes(ram, s->ram_bytes));
    }
    add_power(text, s);
}

// Cuts the line where the terminal ends.
static int fitting_bytes(const char *text, int columns) {
    const char *at = text;
    while (*at) {
        size_t len = clean_char_length(at);
        columns -= len ? clean_char_columns(at, len) : 1;
        if (columns < 0) {
            break;
        }
        at += len ? len : 1;
    }
    return (int)(at - text);
}

void watch_line_update(struct watch_line *line, const struct watch_sample *sample) {
    int64_t now_ns = os_now_ns();
    if (line->is_quiet || now_ns - line->last_ns < (line->is_terminal ? REDRAW_NS : LINE_NS)) {
        return;
    }
    line->last_ns = now_ns;
    struct buf text;
    buf_init(&text, MAX_LINE_BYTES);
    write_text(&text, sample);
    if (line->is_terminal) {
        fprintf(stderr, "\r\033[K%.*s", fitting_bytes(buf_text(&text), term_width() - 1),
                buf_text(&text));
        fflush(stderr);
        line->is_drawn = true;
    } else {
        fprintf(stderr, "wattlaw: %s\n", buf_text(&text));
    }
    buf_release(&text);
}

void watch_line_end(struct watch_line *line) {
    if (line->is_drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
        line->is_drawn = false;
    }
}
