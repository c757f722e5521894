// Task files for calibration: the questions and their answers (the whole format is read, and
// checked, by src/eval/task.c when the tasks are run).
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "compressor/calib_read.h"
#include "os/file.h"
#include "worker/run_image.h"

enum { MAX_LINE_BYTES = 1 << 20, MAX_IMAGES = MAX_RUN_IMAGES };

struct reader {
    struct calib_documents *documents;
    char folder[OS_PATH_BYTES]; // of the file
    size_t n_left_out;          // questions about pictures
};

// ---- keys

// The first of several.
static enum wl_status find_reference(const json_t *object, const char **out, struct wl_err *err) {
    const json_t *value = json_object_get(object, "reference");
    value = json_is_array(value) ? json_array_get(value, 0) : value;
    *out = json_string_value(value);
    return *out ? WL_OK
                : wl_err_set(err, WL_INPUT, "key 'reference': expected text or a list of texts");
}

static size_t count_markers(const char *text) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, VISION_MARKER)); at++) {
        n++;
    }
    return n;
}

static enum wl_status find_picture(struct reader *reader, const json_t *name, uint32_t *number,
                                   struct wl_err *err) {
    char path[OS_PATH_BYTES];
    const char *text = json_string_value(name);
    if (!text || !*text) {
        return wl_err_set(err, WL_INPUT, "key 'images': expected a list of file names");
    }
    enum wl_status status = os_path_join(path, text[0] == '/' ? "/" : reader->folder, text, err);
    return status == WL_OK ? calib_pictures_find(&reader->documents->pictures, path, number, err)
                           : status;
}

static enum wl_status find_pictures(struct reader *reader, const json_t *images, const char *prompt,
                                    uint32_t *numbers, struct wl_err *err) {
    size_t n = json_array_size(images);
    size_t n_markers = count_markers(prompt);
    if (!json_is_array(images) || n == 0 || n > MAX_IMAGES) {
        return wl_err_set(err, WL_INPUT, "key 'images': expected a list of 1 to %d file names",
                          MAX_IMAGES);
    }
    if (n_markers > 0 && n_markers != n) {
        return wl_err_set(err, WL_INPUT,
                          "the prompt has '%s' %zu times, but there are %zu images: expected as "
                          "many",
                          VISION_MARKER, n_markers, n);
    }
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        status = find_picture(reader, json_array_get(images, i), &numbers[i], err);
    }
    return status;
}

// ---- documents

static enum wl_status append(struct calib_documents *documents, const char *text, size_t *at,
                             struct wl_err *err) {
    *at = documents->text.len;
    return buf_append(&documents->text, text, strlen(text) + 1)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "the questions have more than %d MiB",
                            CALIB_MAX_TEXT_BYTES >> 20);
}

static enum wl_status add_question(struct calib_documents *documents, const char *prompt,
                                   const char *reference, struct wl_err *err) {
    size_t prompt_at = 0;
    size_t reference_at = 0;
    enum wl_status status = append(documents, prompt, &prompt_at, err);
    if (status == WL_OK) {
        status = append(documents, reference, &reference_at, err);
    }
    return status == WL_OK ? calib_documents_add(documents, CALIB_TASKS, prompt_at, strlen(prompt),
                                                 reference_at, err)
                           : status;
}

// To the document that was added last.
static enum wl_status add_pictures(struct calib_documents *documents, const uint32_t *numbers,
                                   uint32_t n, struct wl_err *err) {
    struct calib_document *document = &documents->items[documents->n - 1];
    if (documents->n_numbers + n > documents->numbers_capacity) {
        size_t capacity = 2 * (documents->n_numbers + n) + 64;
        uint32_t *all = realloc(documents->picture_numbers, capacity * sizeof *all);
        if (!all) {
            return wl_err_set(err, WL_MEMORY, "no memory for %zu pictures", capacity);
        }
        documents->picture_numbers = all;
        documents->numbers_capacity = capacity;
    }
    memcpy(documents->picture_numbers + documents->n_numbers, numbers, n * sizeof *numbers);
    document->pictures_at = documents->n_numbers;
    document->n_pictures = n;
    documents->n_numbers += n;
    return WL_OK;
}

static enum wl_status add_task(struct reader *reader, const json_t *object, struct wl_err *err) {
    struct calib_documents *documents = reader->documents;
    const json_t *images = json_object_get(object, "images");
    const char *prompt;
    const char *reference = "";
    uint32_t numbers[MAX_IMAGES];
    size_t n_before = documents->n;
    enum wl_status status = wl_json_get_string(object, "prompt", &prompt, err);
    if (status == WL_OK) {
        status = find_reference(object, &reference, err);
    }
    if (status == WL_OK && images) {
        status = find_pictures(reader, images, prompt, numbers, err);
    }
    if (status == WL_OK && images && !documents->pictures.is_looked_into) {
        reader->n_left_out++;
        return WL_OK;
    }
    if (status == WL_OK) {
        status = add_question(documents, prompt, reference, err);
    }
    return status == WL_OK && images && documents->n > n_before
               ? add_pictures(documents, numbers, (uint32_t)json_array_size(images), err)
               : status;
}

// ---- lines

static enum wl_status read_line(struct reader *reader, const char *line, size_t n,
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
        status = json_is_object(object) ? add_task(reader, object, err)
                                        : wl_err_set(err, WL_INPUT, "expected a JSON object");
    }
    json_decref(object);
    return status;
}

static enum wl_status read_lines(struct reader *reader, const char *path, const struct buf *text,
                                 struct wl_err *err) {
    const char *line = buf_text(text);
    const char *end = line + text->len;
    for (size_t number = 1; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        stop = stop ? stop : end;
        if (read_line(reader, line, (size_t)(stop - line), err) != WL_OK) {
            return wl_err_prefix(err, "'%s' line %zu", path, number);
        }
        line = stop + 1;
    }
    return WL_OK;
}

static void folder_of(const char *path, char out[OS_PATH_BYTES]) {
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    snprintf(out, OS_PATH_BYTES, "%.*s", (int)(slash == path ? 1 : len), slash ? path : "");
}

enum wl_status calib_read_tasks(struct calib_documents *documents, const char *path,
                                struct wl_err *err) {
    struct reader reader = {.documents = documents};
    struct buf text;
    size_t n_before = documents->n;
    folder_of(path, reader.folder);
    buf_init(&text, CALIB_MAX_TEXT_BYTES);
    documents->text.max_bytes = documents->text.len + CALIB_MAX_TEXT_BYTES;
    enum wl_status status = calib_check_regular(path, err);
    if (status == WL_OK) {
        status = os_slurp(path, &text, err);
    }
    if (status == WL_OK) {
        status = read_lines(&reader, path, &text, err);
    }
    if (status == WL_OK && documents->n == n_before && reader.n_left_out == 0) {
        status = wl_err_set(err, WL_INPUT,
                            "'%s' has no questions: expected lines with \"prompt\" and "
                            "\"reference\"",
                            path);
    }
    buf_release(&text);
    return status;
}
