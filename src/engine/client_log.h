// The last 64 KiB of what the engine printed, and the few words of it that explain a death. PURE.
#ifndef WATTLAW_ENGINE_CLIENT_LOG_H
#define WATTLAW_ENGINE_CLIENT_LOG_H

#include <stddef.h>

enum {
    ENGINE_LOG_BYTES = 65536,
    ENGINE_LAST_WORDS_BYTES = 320, // fits a struct wl_err beside the rest of its sentence
};

struct engine_log {
    char ring[ENGINE_LOG_BYTES];
    size_t start; // of the oldest byte
    size_t len;
    char text[ENGINE_LOG_BYTES + 1]; // the ring unrolled, for engine_log_unroll()
};

void engine_log_clear(struct engine_log *log);
void engine_log_append(struct engine_log *log, const char *data, size_t len);
// The kept bytes in order, NUL-terminated; NULs that the engine printed read as '?'. Valid until
// the next call on this log.
const char *engine_log_unroll(struct engine_log *log);

// The one or two lines that say most about why a program died, joined by " | ": the last that
// name an error, else the last that are neither empty nor backtrace or progress noise. "" for none.
char *engine_last_words(char out[ENGINE_LAST_WORDS_BYTES], const char *log);

#endif
