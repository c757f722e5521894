#include "engine/client_log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

void engine_log_clear(struct engine_log *log) {
    log->start = log->len = 0;
}

void engine_log_append(struct engine_log *log, const char *data, size_t len) {
    if (len > ENGINE_LOG_BYTES) {
        data += len - ENGINE_LOG_BYTES;
        len = ENGINE_LOG_BYTES;
    }
    size_t end = (log->start + log->len) % ENGINE_LOG_BYTES;
    size_t first = len < ENGINE_LOG_BYTES - end ? len : ENGINE_LOG_BYTES - end;
    memcpy(log->ring + end, data, first);
    memcpy(log->ring, data + first, len - first);
    log->len += len;
    if (log->len > ENGINE_LOG_BYTES) { // the newest bytes overwrote the oldest
        log->start = (log->start + log->len) % ENGINE_LOG_BYTES;
        log->len = ENGINE_LOG_BYTES;
    }
}

const char *engine_log_unroll(struct engine_log *log) {
    for (size_t i = 0; i < log->len; i++) {
        char c = log->ring[(log->start + i) % ENGINE_LOG_BYTES];
        log->text[i] = c ? c : '?';
    }
    log->text[log->len] = '\0';
    return log->text;
}

struct line {
    const char *text;
    size_t len;
};

static bool contains(struct line line, const char *word) {
    size_t word_len = strlen(word);
    for (size_t i = 0; i + word_len <= line.len; i++) {
        if (strncasecmp(line.text + i, word, word_len) == 0) {
            return true;
        }
    }
    return false;
}

static bool names_an_error(struct line line) {
    static const char *const WORDS[] = {
        "error",   "assert",  "fail",      "abort",  "invalid",   "cannot",    "unable", "unknown",
        "corrupt", "what():", "not found", "memory", "terminate", "exception", "illegal"};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (contains(line, WORDS[i])) {
            return true;
        }
    }
    return false;
}

// Debugger backtraces, progress dots and rulers say nothing to people.
static bool is_noise(struct line line) {
    static const char *const STARTS[] = {"#",        "[New LWP", "[Thread", "0x",
                                         "warning:", "at ",      "/lib"};
    for (size_t i = 0; i < sizeof STARTS / sizeof STARTS[0]; i++) {
        size_t len = strlen(STARTS[i]);
        if (line.len >= len && strncmp(line.text, STARTS[i], len) == 0) {
            return true;
        }
    }
    size_t n_letters = 0;
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.text[i];
        n_letters += (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
    }
    return n_letters < 2;
}

static struct line trimmed(const char *start, const char *end) {
    while (start < end && (unsigned char)*start <= ' ') {
        start++;
    }
    while (end > start && (unsigned char)end[-1] <= ' ') {
        end--;
    }
    return (struct line){start, (size_t)(end - start)};
}

// The last two lines that `is_wanted` (all kept ones when NULL), older first; returns how many.
static int last_two(const char *log, bool (*is_wanted)(struct line), struct line out[2]) {
    int n = 0;
    const char *end = log + strlen(log);
    while (end > log && n < 2) {
        const char *start = end;
        while (start > log && start[-1] != '\n' && start[-1] != '\r') {
            start--;
        }
        struct line line = trimmed(start, end);
        if (!is_noise(line) && (!is_wanted || is_wanted(line))) {
            out[1 - n++] = line;
        }
        end = start > log ? start - 1 : log;
    }
    return n;
}

// Two of them with " | " and "..." fit the buffer.
enum { MAX_LINE_BYTES = (ENGINE_LAST_WORDS_BYTES - 10) / 2 };

char *engine_last_words(char out[ENGINE_LAST_WORDS_BYTES], const char *log) {
    struct line lines[2];
    int n = last_two(log, names_an_error, lines);
    if (n == 0) {
        n = last_two(log, NULL, lines);
    }
    out[0] = '\0';
    size_t used = 0;
    for (int i = 2 - n; i < 2; i++) {
        bool is_cut = lines[i].len > MAX_LINE_BYTES;
        int kept = is_cut ? MAX_LINE_BYTES : (int)lines[i].len;
        int written = snprintf(out + used, ENGINE_LAST_WORDS_BYTES - used, "%s%.*s%s",
                               used ? " | " : "", kept, lines[i].text, is_cut ? "..." : "");
        used += written > 0 ? (size_t)written : 0;
    }
    return out;
}
