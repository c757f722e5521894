#include "cli/progress.h"

#include <math.h>
#include <stdio.h>

#include "base/units.h"
#include "cli/term.h"
#include "os/clock.h"

static const int64_t REDRAW_NS = 500000000;
static const int64_t LINE_NS = 30000000000;

void progress_begin(struct progress *progress, bool is_quiet) {
    int64_t now = os_now_ns();
    *progress = (struct progress){
        .is_quiet = is_quiet, .is_terminal = term_can_redraw(), .start_ns = now, .last_ns = now};
}

static void draw(double done, const char *left, const char *what) {
    enum { BAR = 24 };
    char bar[BAR * 3 + 1];
    int filled = (int)(done * BAR + 0.5);
    char *p = bar;
    for (int i = 0; i < BAR; i++) {
        p += snprintf(p, 4, "%s", i < filled ? "\u2588" : "\u2591");
    }
    int room = term_width() - BAR - 26;
    fprintf(stderr, "\r\033[K%s %3.0f %%  %-13s %.*s", bar, floor(done * 100), left,
            room > 0 ? room : 0, what);
    fflush(stderr);
}

void progress_update(struct progress *progress, double done, double seconds_left,
                     const char *what) {
    int64_t now = os_now_ns();
    int64_t period = progress->is_terminal ? REDRAW_NS : LINE_NS;
    if (progress->is_quiet || now - progress->last_ns < period) {
        return;
    }
    progress->last_ns = now;
    done = done < 0 ? 0 : done > 1 ? 1 : done;
    if (seconds_left < 0 && done > 0.02) {
        seconds_left = (double)(now - progress->start_ns) * 1e-9 * (1 - done) / done;
    }
    char left[UNITS_TEXT_BYTES + 8] = "";
    if (seconds_left >= 0) {
        char text[UNITS_TEXT_BYTES];
        snprintf(left, sizeof left, "%s left", units_seconds(text, ceil(seconds_left)));
    }
    if (progress->is_terminal) {
        draw(done, left, what);
        progress->is_drawn = true;
    } else {
        fprintf(stderr, "wattlaw: %3.0f %%  %s  %s\n", floor(done * 100), left, what);
    }
}

void progress_end(struct progress *progress) {
    if (progress->is_drawn) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}
