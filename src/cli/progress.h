// One line of progress on stderr: bar, share, time left, what is being done. On a terminal it is
// redrawn at most twice a second, so that the tool does not disturb what it measures; elsewhere a
// line is written each 30 seconds.
#ifndef WATTLAW_CLI_PROGRESS_H
#define WATTLAW_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool is_quiet;
    bool is_terminal;
    bool is_drawn;
    int64_t start_ns;
    int64_t last_ns;
};

void progress_begin(struct progress *progress, bool is_quiet);
// `done` 0..1; `seconds_left` < 0 derives it from the time so far.
void progress_update(struct progress *progress, double done, double seconds_left, const char *what);
// Removes the line, so that what follows starts on a clean one.
void progress_end(struct progress *progress);

#endif
