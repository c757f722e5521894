// The user's own prompts: a text file with one prompt per line, or JSON lines.
#ifndef WATTLAW_CLI_PROMPT_FILE_H
#define WATTLAW_CLI_PROMPT_FILE_H

#include <stddef.h>

#include "base/err.h"

struct prompt_file {
    char **texts;
    size_t n;
};

// A line that begins with '{' is a JSON object with a "prompt" text; empty lines are skipped.
// INPUT with file and line; LIMIT beyond 256 prompts or 16 MiB.
enum wl_status prompt_file_read(const char *path, struct prompt_file *out, struct wl_err *err);
void prompt_file_release(struct prompt_file *prompts);

#endif
