// The calibration text as a training set, for healing elsewhere: JSON lines of {"tokens", "text"},
// without pictures.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "compressor/job_state.h"
#include "compressor/text_model.h"
#include "os/draft.h"

enum { MAX_LINE_BYTES = 4 << 20, BYTES_PER_TOKEN = 64 };

static bool has_image(const int32_t *tokens, uint32_t n) {
    uint32_t i = 0;
    while (i < n && tokens[i] != COMPRESS_IMAGE_TOKEN) {
        i++;
    }
    return i < n;
}

static json_t *line_of(const struct text_model *model, const int32_t *tokens, uint32_t n) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++) {
        json_array_append_new(list, json_integer(tokens[i]));
    }
    int32_t room = (int32_t)n * BYTES_PER_TOKEN;
    char *text = calloc((size_t)room + 1, 1);
    int32_t len =
        text ? llama_detokenize(model->vocab, tokens, (int32_t)n, text, room, false, true) : -1;
    json_t *words = len > 0 ? json_stringn(text, (size_t)len) : NULL; // NULL: not UTF-8
    free(text);
    return json_pack("{s:o, s:o}", "tokens", list, "text", words ? words : json_null());
}

static bool write_line(int fd, struct buf *buf, json_t *line) {
    buf_clear(buf);
    bool is_ok = line && wl_json_write(buf, line) && buf_puts(buf, "\n");
    json_decref(line);
    for (size_t at = 0; is_ok && at < buf->len;) {
        ssize_t n = write(fd, buf->data + at, buf->len - at);
        is_ok = n > 0 || (n < 0 && errno == EINTR);
        at += n > 0 ? (size_t)n : 0;
    }
    return is_ok;
}

static bool write_lines(const struct job *job, const struct text_model *model, int fd) {
    const struct calib_part *part = &job->calib.calibration;
    struct buf buf;
    size_t first = 0;
    bool is_ok = true;
    buf_init(&buf, MAX_LINE_BYTES);
    for (size_t s = 0; s < part->n_sequences && is_ok; s++) {
        const int32_t *tokens = part->tokens + first;
        if (!has_image(tokens, part->lengths[s])) {
            is_ok = write_line(fd, &buf, line_of(model, tokens, part->lengths[s]));
        }
        first += part->lengths[s];
    }
    buf_release(&buf);
    return is_ok;
}

enum wl_status job_export_text(struct job *job, struct wl_err *err) {
    const char *path = wl_json_opt_string(job->request, "export", "");
    struct os_draft draft;
    struct text_watch watch = {.go_on = job_go_on, .context = job};
    struct text_model model = {0};
    enum wl_status status = text_model_load(&model, job->path, TEXT_MODEL_VOCABULARY, &watch, err);
    if (status != WL_OK) {
        return status;
    }
    status = os_draft_open(&draft, path, err);
    if (status == WL_OK && !write_lines(job, &model, draft.fd)) {
        os_draft_discard(&draft);
        status = wl_err_set(err, WL_IO, "cannot write '%s'", path);
    } else if (status == WL_OK) {
        status = os_draft_publish(&draft, err);
    }
    text_model_unload(&model);
    return status;
}
