#include "cli/term.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum color_mode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };
static enum color_mode color_mode;

void term_init(const char *color) {
    color_mode = COLOR_AUTO;
    if (color && strcmp(color, "always") == 0) {
        color_mode = COLOR_ALWAYS;
    } else if (color && strcmp(color, "never") == 0) {
        color_mode = COLOR_NEVER;
    }
}

static bool is_dumb(void) {
    const char *term = getenv("TERM");
    return !term || strcmp(term, "dumb") == 0;
}

bool term_has_color(FILE *stream) {
    if (color_mode != COLOR_AUTO) {
        return color_mode == COLOR_ALWAYS;
    }
    const char *no_color = getenv("NO_COLOR"); // no-color.org: any non-empty value
    return !(no_color && no_color[0]) && !is_dumb() && isatty(fileno(stream));
}

bool term_can_redraw(void) {
    return isatty(STDERR_FILENO) && !is_dumb() && tcgetpgrp(STDERR_FILENO) == getpgrp();
}

int term_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
        return size.ws_col;
    }
    return 80;
}

const char *term_bold(FILE *stream) {
    return term_has_color(stream) ? "\033[1m" : "";
}

const char *term_dim(FILE *stream) {
    return term_has_color(stream) ? "\033[2m" : "";
}

const char *term_reset(FILE *stream) {
    return term_has_color(stream) ? "\033[0m" : "";
}
