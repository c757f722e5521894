#include "worker/log.h"

#include <ggml.h>
#include <llama.h>
#include <mtmd-helper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum { MAX_LINES = 8, MAX_LINE_BYTES = 320 };

// llama.cpp's log callback is global, so what it fills is, too.
static struct {
    char lines[MAX_LINES][MAX_LINE_BYTES]; // error lines, oldest first; later ones are dropped
    size_t n_lines;
    bool is_verbose;
    bool is_muted;
    enum ggml_log_level level; // of the line that CONT pieces continue
} kept;

// "llama_model_load: error loading model: missing tensor" -> "error loading model: missing tensor"
static const char *skip_function_name(const char *line) {
    size_t n = strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return n > 0 && strncmp(line + n, ": ", 2) == 0 && strchr(line, '_') < line + n ? line + n + 2
                                                                                    : line;
}

// "clip_init: failed to load model 'x.gguf': load_hparams: no key" -> "no key": the caller names
// the file.
static const char *skip_file_name(const char *line) {
    static const char FAILED[] = "failed to load model '";
    const char *end = strncmp(line, FAILED, sizeof FAILED - 1) == 0 ? strstr(line, "': ") : NULL;
    return end ? skip_function_name(end + 3) : line;
}

static void keep_line(const char *text) {
    if (kept.n_lines == MAX_LINES) {
        return;
    }
    char *line = kept.lines[kept.n_lines];
    str_copy(line, MAX_LINE_BYTES, skip_file_name(skip_function_name(text)));
    str_trim(line);
    size_t lead = strspn(line, " \t");
    memmove(line, line + lead, strlen(line + lead) + 1);
    if (*line) {
        kept.n_lines++;
    }
}

static void on_log(enum ggml_log_level level, const char *text, void *context) {
    (void)context;
    bool is_continued = level == GGML_LOG_LEVEL_CONT;
    kept.level = is_continued ? kept.level : level;
    if (kept.is_muted) {
        return;
    }
    if (kept.level >= GGML_LOG_LEVEL_WARN || kept.is_verbose) {
        fputs(text, stderr);
    }
    if (kept.level == GGML_LOG_LEVEL_ERROR && !is_continued) {
        keep_line(text);
    }
}

void log_capture(void) {
    const char *level = getenv("WATTLAW_ENGINE_LOG");
    kept.is_verbose = level && strcmp(level, "info") == 0;
    llama_log_set(on_log, NULL);
    mtmd_helper_log_set(on_log, NULL);
}

void log_mute(bool is_muted) {
    kept.is_muted = is_muted;
}

void log_clear(void) {
    kept.n_lines = 0;
}

const char *log_reason(void) {
    static const char LOADING[] = "error loading model: ";
    for (size_t i = 0; i < kept.n_lines; i++) {
        const char *found = strstr(kept.lines[i], LOADING);
        if (found) {
            return found + sizeof LOADING - 1;
        }
    }
    return kept.n_lines > 0 ? kept.lines[0] : "";
}
