// Task files for calibration: the questions and their answers (the whole format is read, and
// checked, by src/eval/task.c when the tasks are run).
#include <stdint.h>
#include <string.h>

#include "base/json.h"
#include "compressor/calib_read.h"
#include "os/file.h"

enum { MAX_LINE_BYTES = 1 << 20 };

// The first of several.
static enum wl_status find_reference(const json_t *object, const char **out, struct wl_err *err) {
    const json_t *value = json_object_get(object, "reference");
    value = json_is_array(value) ? json_array_get(value, 0) : value;
    *out = json_string_value(value);
    return *out ? WL_OK
                : wl_err_set(err, WL_INPUT, "key 'reference': expected text or a list of texts");
}

static enum wl_status append(struct calib_documents *documents, const char *text, size_t *at,
                             struct wl_err *err) {
    *at = documents->text.len;
    return buf_append(&documents->text, text, strlen(text) + 1)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "the questions have more than %d MiB",
                            CALIB_MAX_TEXT_BYTES >> 20);
}

static enum wl_status add_task(struct calib_documents *documents, const json_t *object,
                               struct wl_err *err) {
    const char *prompt;
    const char *reference;
    size_t prompt_at;
    size_t reference_at;
    if (json_object_get(object, "images")) {
        return WL_OK;
    }
    enum wl_status status = wl_json_get_string(object, "prompt", &prompt, err);
    if (status == WL_OK) {
        status = find_reference(object, &reference, err);
    }
    if (status == WL_OK) {
        status = append(documents, prompt, &prompt_at, err);
    }
    if (status == WL_OK) {
        status = append(documents, reference, &reference_at, err);
    }
    return status == WL_OK ? calib_documents_add(documents, CALIB_TASKS, prompt_at, strlen(prompt),
                                                 reference_at, err)
                           : status;
}

static enum wl_status read_line(struct calib_documents *documents, const char *line, size_t n,
                                struct wl_err *err) {
    json_t *object = NULL;
    size_t blank = strspn(line, " \t\r\n");
    if (blank >= n || line[blank] == '#') {
        return WL_OK;
    }
    if (n > MAX_LINE_BYTES) {
        return wl_err_set(err, WL_LIMIT, "expected at most %d bytes, found %zu", MAX_LINE_BYTES, n);
    }
    enum wl_status status = wl_json_parse(line, n, &object, err);
    if (status == WL_OK) {
        status = json_is_object(object) ? add_task(documents, object, err)
                                        : wl_err_set(err, WL_INPUT, "expected a JSON object");
    }
    json_decref(object);
    return status;
}

static enum wl_status read_lines(struct calib_documents *documents, const char *path,
                                 const struct buf *text, struct wl_err *err) {
    const char *line = buf_text(text);
    const char *end = line + text->len;
    for (size_t number = 1; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        if (read_line(documents, line, (size_t)(stop - line), err) != WL_OK) {
            return wl_err_prefix(err, "'%s' line %zu", path, number);
        }
        line = stop + 1;
    }
    return WL_OK;
}

enum wl_status calib_read_tasks(struct calib_documents *documents, const char *path,
                                struct wl_err *err) {
    struct buf text;
    size_t n_before = documents->n;
    buf_init(&text, CALIB_MAX_TEXT_BYTES);
    documents->text.max_bytes = documents->text.len + CALIB_MAX_TEXT_BYTES;
    enum wl_status status = calib_check_regular(path, err);
    if (status == WL_OK) {
        status = os_slurp(path, &text, err);
    }
    if (status == WL_OK) {
        status = read_lines(documents, path, &text, err);
    }
    if (status == WL_OK && documents->n == n_before) {
        status = wl_err_set(err, WL_INPUT,
                            "'%s' has no questions without images: expected lines with \"prompt\" "
                            "and \"reference\"",
                            path);
    }
    buf_release(&text);
    return status;
}
