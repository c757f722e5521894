// What the terminal can show.
#ifndef WATTLAW_CLI_TERM_H
#define WATTLAW_CLI_TERM_H

#include <stdbool.h>
#include <stdio.h>

// `color` is "auto", "always", "never" or NULL (auto).
void term_init(const char *color);
bool term_has_color(FILE *stream);
// stderr is a terminal that can redraw a line, and we are in its foreground.
bool term_can_redraw(void);
int term_width(void); // columns of stderr's terminal; 80 when unknown
// An SGR sequence, or "" when `stream` has no colour: term_sgr(stdout, "1").
const char *term_bold(FILE *stream);
const char *term_dim(FILE *stream);
const char *term_reset(FILE *stream);

#endif
