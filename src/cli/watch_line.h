// The live line of `watch` on stderr: power, CPU, RAM, energy so far. At most twice a second on a
// terminal, so that the tool does not disturb what it measures; every 30 s elsewhere.
#ifndef WATTLAW_CLI_WATCH_LINE_H
#define WATTLAW_CLI_WATCH_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "measure/watch.h"

struct watch_line {
    bool is_quiet, is_terminal, is_drawn;
    int64_t last_ns;
};

void watch_line_begin(struct watch_line *line, bool is_quiet);
void watch_line_update(struct watch_line *line, const struct watch_sample *sample);
void watch_line_end(struct watch_line *line); // removes it

#endif
