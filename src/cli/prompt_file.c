#include "cli/prompt_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "os/file.h"

enum { MAX_PROMPTS = 256, MAX_FILE_BYTES = 16 << 20 };

static enum wl_status prompt_of_line(char *line, char **out, struct wl_err *err) {
    if (line[0] != '{') {
        *out = strdup(line);
        return *out ? WL_OK : wl_err_set(err, WL_MEMORY, "out of memory");
    }
    json_t *object;
    const char *text;
    enum wl_status status = wl_json_parse(line, strlen(line), &object, err);
    if (status == WL_OK) {
        status = wl_json_get_string(object, "prompt", &text, err);
    }
    if (status == WL_OK) {
        *out = strdup(text);
    }
    json_decref(object);
    return status;
}

static enum wl_status split_lines(char *text, struct prompt_file *out, struct wl_err *err) {
    size_t number = 0;
    for (char *next = text; next;) {
        char *line = next;
        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        }
        number++;
        line = str_trim(line);
        if (!line[0]) {
            continue;
        }
        if (out->n == MAX_PROMPTS) {
            return wl_err_set(err, WL_LIMIT, "line %zu: more than %d prompts", number, MAX_PROMPTS);
        }
        enum wl_status status = prompt_of_line(line, &out->texts[out->n], err);
        if (status != WL_OK) {
            wl_err_prefix(err, "line %zu", number);
            return status;
        }
        out->n++;
    }
    return out->n ? WL_OK : wl_err_set(err, WL_INPUT, "no prompt in it");
}

enum wl_status prompt_file_read(const char *path, struct prompt_file *out, struct wl_err *err) {
    struct buf text;
    buf_init(&text, MAX_FILE_BYTES);
    *out = (struct prompt_file){.texts = calloc(MAX_PROMPTS, sizeof *out->texts)};
    enum wl_status status =
        out->texts ? os_slurp(path, &text, err) : wl_err_set(err, WL_MEMORY, "out of memory");
    if (status == WL_OK && strlen(buf_text(&text)) != text.len) {
        status = wl_err_set(err, WL_INPUT, "'%s' has a NUL byte: expected text", path);
    } else if (status == WL_OK) {
        status =
            text.len ? split_lines(text.data, out, err) : wl_err_set(err, WL_INPUT, "it is empty");
        if (status != WL_OK) {
            wl_err_prefix(err, "--prompts '%s'", path);
        }
    }
    buf_release(&text);
    if (status != WL_OK) {
        prompt_file_release(out);
    }
    return status;
}

void prompt_file_release(struct prompt_file *prompts) {
    for (size_t i = 0; i < prompts->n; i++) {
        free(prompts->texts[i]);
    }
    free(prompts->texts);
    *prompts = (struct prompt_file){0};
}
