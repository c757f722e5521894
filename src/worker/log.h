// What llama.cpp says while it works: warnings and errors go to stderr (the parent keeps them),
// the last error lines are also kept here so that an ERROR message can quote the reason.
#ifndef WATTLAW_WORKER_LOG_H
#define WATTLAW_WORKER_LOG_H

#include <stdbool.h>

// Installs the capture. WATTLAW_ENGINE_LOG=info lets everything through to stderr.
void log_capture(void);
// While muted nothing is written or kept: llama.cpp reports a computation that we stopped as an
// error.
void log_mute(bool is_muted);
// Forgets the kept lines: call it before an operation whose failure will be explained.
void log_clear(void);
// The most telling of the kept error lines, without llama.cpp's function names; "" when there is
// none.
const char *log_reason(void);

#endif
