// What the engine printed is any bytes, in pieces of any size; the last words always fit.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/client_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct engine_log log;
    char words[ENGINE_LAST_WORDS_BYTES];
    engine_log_clear(&log);
    for (size_t at = 0; at < size;) {
        size_t step = 1 + (size_t)data[at] * 300; // some pieces are longer than the ring
        step = step < size - at ? step : size - at;
        engine_log_append(&log, (const char *)data + at, step);
        at += step;
    }
    const char *text = engine_log_unroll(&log);
    size_t kept = size < ENGINE_LOG_BYTES ? size : ENGINE_LOG_BYTES;
    engine_last_words(words, text);
    if (strlen(text) != kept || strlen(words) >= sizeof words || strchr(words, '\n')) {
        abort();
    }
    return 0;
}
