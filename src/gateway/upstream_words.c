#include "gateway/upstream_words.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { LINE_BYTES = 240, N_LAST = 2 };

struct words {
    char first[LINE_BYTES];        // error
    char last[N_LAST][LINE_BYTES]; // errors, the last one first
    char plain[LINE_BYTES];        // last line of any kind
};

char *upstream_clean_copy(char *out, size_t size, const char *text) {
    size_t n = 0;
    while (*text) {
        size_t len = str_utf8_len(text);
        bool is_clean = len > 0 && (unsigned char)*text >= ' ' && *text != 127;
        size_t n_new = is_clean ? len : 1;
        if (n + n_new >= size) {
            break;
        }
        memcpy(out + n, is_clean ? text : "?", n_new);
        n += n_new;
        text += len > 0 ? len : 1;
    }
    out[n] = '\0';
    return out;
}

// llama-server's lines begin with a time and a level: "0.00.015.326 E gguf_init: ...". Returns what
// is behind; *level is 0 when there is none.
static const char *skip_prefix(const char *line, char *level) {
    size_t n = strspn(line, "0123456789.");
    *level = 0;
    if (n >= 4 && line[n] == ' ' && line[n + 1] && line[n + 2] == ' ') {
        *level = line[n + 1];
        line += n + 3;
    }
    return line + strspn(line, " ");
}

static bool says_error(const char *line) {
    static const char *const SIGNS[] = {"error",   "fail",   "assert",   "abort",
                                        "invalid", "what()", "not found"};
    for (size_t i = 0; i < sizeof SIGNS / sizeof *SIGNS; i++) {
        size_t n = strlen(SIGNS[i]);
        for (const char *at = line; *at; at++) {
            if (strncasecmp(at, SIGNS[i], n) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void take_line(struct words *words, const char *raw) {
    char level, line[LINE_BYTES];
    upstream_clean_copy(line, sizeof line, skip_prefix(raw, &level));
    if (!*line) {
        return;
    }
    memcpy(words->plain, line, sizeof line);
    if (level ? level != 'E' : !says_error(line)) {
        return;
    }
    if (!*words->first) {
        memcpy(words->first, line, sizeof line);
    }
    if (strcmp(words->last[0], line) != 0) {
        memmove(words->last[1], words->last[0], LINE_BYTES);
        memcpy(words->last[0], line, sizeof line);
    }
}

static void add(char *out, size_t size, const char *line) {
    size_t n = strlen(out);
    if (*line && !strstr(out, line) && n + strlen(line) + 3 <= size) {
        snprintf(out + n, size - n, "%s%s", n ? "; " : "", line);
    }
}

char *upstream_words(const char *output, bool has_been_up, char *out, size_t size) {
    struct words words = {0};
    char raw[LINE_BYTES + 64];
    while (*output) {
        size_t n = strcspn(output, "\r\n");
        snprintf(raw, sizeof raw, "%.*s", (int)(n < sizeof raw ? n : sizeof raw - 1), output);
        take_line(&words, raw);
        output += n;
        output += strspn(output, "\r\n");
    }
    out[0] = '\0';
    if (!has_been_up) {
        add(out, size, words.first);
    }
    for (size_t i = N_LAST; i-- > 0;) {
        add(out, size, words.last[i]);
    }
    if (!*out) {
        add(out, size, words.plain);
    }
    return out;
}
