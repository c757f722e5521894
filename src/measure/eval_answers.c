#include "measure/eval_answers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "measure/fingerprint.h"

static const char FORMAT_KEY[] = "wattlaw_answers";
enum { FORMAT_VERSION = 1, MAX_LINE_BYTES = 16 << 20 };

// ---- what was asked

static uint64_t fold(uint64_t hash, const char *text) {
    do {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u; // FNV-1a, the NUL included
    } while (*text++);
    return hash;
}

enum wl_status eval_item_key(const struct task_item *item, const char *images_dir,
                             uint32_t max_tokens, char out[EVAL_KEY_BYTES], struct wl_err *err) {
    char text[FINGERPRINT_BYTES];
    uint32_t n = item->max_tokens ? item->max_tokens : max_tokens ? max_tokens : EVAL_MAX_TOKENS;
    snprintf(text, sizeof text, "%u", n);
    uint64_t hash = fold(fold(0xcbf29ce484222325u, item->prompt), text);
    for (size_t i = 0; i < item->n_images; i++) {
        char path[OS_PATH_BYTES];
        enum wl_status status = eval_image_path(images_dir, item->images[i], path, err);
        if (status == WL_OK) {
            status = fingerprint_file(path, text, err);
        }
        if (status != WL_OK) {
            wl_err_prefix(err, "item '%s'", item->id);
            return status;
        }
        hash = fold(hash, text);
    }
    snprintf(out, EVAL_KEY_BYTES, "%016llx", (unsigned long long)hash);
    return WL_OK;
}

enum wl_status eval_answers_head(const struct subject_options *subject,
                                 const struct eval_options *options, json_t **out,
                                 struct wl_err *err) {
    char model[FINGERPRINT_BYTES], mmproj[FINGERPRINT_BYTES] = "";
    enum wl_status status = fingerprint_file(subject->model_path, model, err);
    if (status == WL_OK && subject->mmproj_path) {
        status = fingerprint_file(subject->mmproj_path, mmproj, err);
    }
    *out = NULL;
    if (status != WL_OK) {
        return status;
    }
    *out =
        json_pack("{s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:b}", FORMAT_KEY,
                  FORMAT_VERSION, "model", model, "mmproj", mmproj, "threads",
                  (json_int_t)subject->threads, "threads_batch", (json_int_t)subject->threads_batch,
                  "n_ctx", (json_int_t)subject->n_ctx, "n_ubatch", (json_int_t)subject->n_ubatch,
                  "image_min_tokens", (json_int_t)subject->image_min_tokens, "image_max_tokens",
                  (json_int_t)subject->image_max_tokens, "load_mode",
                  subject->load_mode ? subject->load_mode : "mmap", "wait",
                  subject->wait_policy ? subject->wait_policy : "", "meters",
                  subject->meters ? subject->meters : "auto", "is_raw", (int)options->is_raw);
    return *out ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the head of the answers");
}

// ---- reading

static const char *one_line(const json_t *value, char *out, size_t size) {
    struct buf text;
    buf_init(&text, 65536);
    bool is_written = value && wl_json_write(&text, value);
    str_copy(out, size, is_written ? buf_text(&text) : "nothing");
    buf_release(&text);
    return out;
}

static enum wl_status check_head(const json_t *found, const json_t *wanted, struct wl_err *err) {
    const char *key;
    json_t *value;
    if (json_integer_value(json_object_get(found, FORMAT_KEY)) != FORMAT_VERSION) {
        return wl_err_set(err, WL_INPUT,
                          "it does not begin with {\"%s\": %d, ...}: expected a file that 'wattlaw "
                          "eval' has written",
                          FORMAT_KEY, FORMAT_VERSION);
    }
    json_object_foreach((json_t *)wanted, key, value) {
        const json_t *other = json_object_get(found, key);
        if (!json_equal(value, (json_t *)other)) {
            char now[64], then[64];
            return wl_err_set(err, WL_INPUT,
                              "its answers were given with %s %s, and this run has %s: name "
                              "another file, or repeat the options of then",
                              key, one_line(other, then, sizeof then),
                              one_line(value, now, sizeof now));
        }
    }
    return WL_OK;
}

struct item_row {
    const char *id;
    size_t index;
};

static int compare_rows(const void *a, const void *b) {
    return strcmp(((const struct item_row *)a)->id, ((const struct item_row *)b)->id);
}

struct reading {
    const struct eval_answers_reader *reader;
    struct item_row *rows; // sorted by id
    bool *is_seen;
    bool has_head;
};

static enum wl_status stop_by_name(const char *name, enum engine_stop *out, struct wl_err *err) {
    for (int stop = ENGINE_STOP_EOS; stop <= ENGINE_STOP_CANCEL; stop++) {
        if (strcmp(name, engine_stop_name((enum engine_stop)stop)) == 0) {
            *out = (enum engine_stop)stop;
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_INPUT, "key 'stop': expected eos, length, ..., found '%s'", name);
}

static enum wl_status decode_answer(const json_t *line, struct eval_item_result *out,
                                    struct wl_err *err) {
    const char *answer, *stop;
    enum wl_status status = wl_json_get_string(line, "answer", &answer, err);
    if (status != WL_OK || (status = wl_json_get_string(line, "stop", &stop, err)) != WL_OK ||
        (status = stop_by_name(stop, &out->stop, err)) != WL_OK ||
        (status = record_from_json(json_object_get(line, "record"), &out->record, err)) != WL_OK) {
        return status;
    }
    out->answer = strdup(answer);
    return out->answer ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for an answer");
}

static enum wl_status take_answer(struct reading *reading, const json_t *line, struct wl_err *err) {
    const struct eval_answers_reader *reader = reading->reader;
    struct item_row wanted = {0};
    const char *key;
    enum wl_status status = wl_json_get_string(line, "item", &wanted.id, err);
    if (status != WL_OK || (status = wl_json_get_string(line, "key", &key, err)) != WL_OK) {
        return status;
    }
    const struct item_row *row =
        bsearch(&wanted, reading->rows, reader->set->n, sizeof *row, compare_rows);
    if (!row || reading->is_seen[row->index]) {
        return WL_OK; // of an item that is not asked now
    }
    if (strcmp(key, reader->keys[row->index]) != 0) {
        return wl_err_set(err, WL_INPUT,
                          "item '%s' had another prompt, image or longest answer then: name "
                          "another file",
                          wanted.id);
    }
    struct eval_item_result result = {.item = &reader->set->items[row->index]};
    status = decode_answer(line, &result, err);
    if (status == WL_OK) {
        reading->is_seen[row->index] = true;
        eval_score(&result);
        reader->visit(reader->context, row->index, &result);
    }
    eval_item_result_release(&result);
    return status;
}

static enum wl_status read_line(struct reading *reading, const char *text, size_t len,
                                struct wl_err *err) {
    json_t *line;
    if (len > MAX_LINE_BYTES) {
        return wl_err_set(err, WL_LIMIT, "expected at most %d bytes, found %zu", MAX_LINE_BYTES,
                          len);
    }
    enum wl_status status = wl_json_parse(text, len, &line, err);
    if (status == WL_OK && !reading->has_head) {
        status = check_head(line, reading->reader->head, err);
        reading->has_head = true;
    } else if (status == WL_OK) {
        status = take_answer(reading, line, err);
    }
    json_decref(line);
    return status;
}

static enum wl_status read_lines(struct reading *reading, const struct buf *text,
                                 struct wl_err *err) {
    size_t number = 1;
    for (const char *at = buf_text(text), *end; (end = strchr(at, '\n')); at = end + 1, number++) {
        enum wl_status status = read_line(reading, at, (size_t)(end - at), err);
        if (status != WL_OK) {
            wl_err_prefix(err, "line %zu", number);
            return status;
        }
    }
    // What follows the last line feed was cut by a kill: of a first line, the beginning of a head.
    char head[sizeof FORMAT_KEY + 2];
    int len = snprintf(head, sizeof head, "{\"%s", FORMAT_KEY);
    size_t n = text->len < (size_t)len ? text->len : (size_t)len;
    return number > 1 || memcmp(buf_text(text), head, n) == 0 ? WL_OK : check_head(NULL, NULL, err);
}

static enum wl_status read_text(const struct eval_answers_reader *reader, const struct buf *text,
                                struct wl_err *err) {
    size_t n = reader->set->n;
    struct reading reading = {.reader = reader,
                              .rows = calloc(n + 1, sizeof *reading.rows),
                              .is_seen = calloc(n + 1, sizeof *reading.is_seen)};
    enum wl_status status = WL_OK;
    if (!reading.rows || !reading.is_seen) {
        status = wl_err_set(err, WL_MEMORY, "no memory for %zu items", n);
    } else {
        for (size_t i = 0; i < n; i++) {
            reading.rows[i] = (struct item_row){reader->set->items[i].id, i};
        }
        qsort(reading.rows, n, sizeof *reading.rows, compare_rows);
        status = read_lines(&reading, text, err);
    }
    free(reading.rows);
    free(reading.is_seen);
    return status;
}

enum wl_status eval_answers_read(const char *path, const struct eval_answers_reader *reader,
                                 struct wl_err *err) {
    struct buf text;
    buf_init(&text, EVAL_MAX_ANSWERS_BYTES);
    enum wl_status status = os_slurp(path, &text, err);
    if (status == WL_OK) {
        status = read_text(reader, &text, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "answers '%s'", path);
        }
    }
    buf_release(&text);
    return status;
}

// ---- writing

static enum wl_status write_line(struct eval_answers_writer *writer, const json_t *line,
                                 struct wl_err *err) {
    struct buf text;
    buf_init(&text, MAX_LINE_BYTES + 1);
    bool is_whole = wl_json_write(&text, line) && buf_puts(&text, "\n");
    enum wl_status status =
        is_whole ? WL_OK : wl_err_set(err, WL_LIMIT, "an answer is too long for a line");
    for (size_t done = 0; status == WL_OK && done < text.len;) {
        ssize_t n = write(writer->fd, text.data + done, text.len - done);
        if (n < 0 && errno != EINTR) {
            status = wl_err_errno(err, errno, "cannot write to '%s'", writer->path);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    buf_release(&text);
    return status;
}

static enum wl_status lock(const struct eval_answers_writer *writer, struct wl_err *err) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(writer->fd, F_SETLK, &whole) == 0 || (errno != EACCES && errno != EAGAIN)) {
        return WL_OK; // file systems without locks are used as they are
    }
    return wl_err_set(err, WL_BUSY, "another process is writing to '%s'", writer->path);
}

// Bytes up to and with the last line feed.
static enum wl_status whole_lines(int fd, off_t *out, struct wl_err *err) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return wl_err_errno(err, errno, "cannot look at the answers");
    }
    if (!S_ISREG(info.st_mode)) {
        return wl_err_set(err, WL_INPUT, "expected an ordinary file for the answers");
    }
    char part[4096];
    for (off_t end = info.st_size; end > 0;) {
        off_t begin = end > (off_t)sizeof part ? end - (off_t)sizeof part : 0;
        ssize_t n = pread(fd, part, (size_t)(end - begin), begin);
        if (n != end - begin) {
            return wl_err_errno(err, n < 0 ? errno : EIO, "cannot read the answers");
        }
        while (n > 0 && part[n - 1] != '\n') {
            n--;
        }
        if (n > 0) {
            *out = begin + n;
            return WL_OK;
        }
        end = begin;
    }
    *out = 0;
    return WL_OK;
}

static enum wl_status prepare(struct eval_answers_writer *writer, const json_t *head,
                              struct wl_err *err) {
    off_t kept = 0;
    enum wl_status status = lock(writer, err);
    if (status == WL_OK) {
        status = whole_lines(writer->fd, &kept, err);
    }
    if (status == WL_OK && ftruncate(writer->fd, kept) != 0) {
        status = wl_err_errno(err, errno, "cannot cut '%s'", writer->path);
    }
    return status == WL_OK && kept == 0 ? write_line(writer, head, err) : status;
}

enum wl_status eval_answers_open(const char *path, const json_t *head,
                                 struct eval_answers_writer *out, struct wl_err *err) {
    *out = (struct eval_answers_writer){.fd = -1};
    if (!str_copy(out->path, sizeof out->path, path)) {
        return wl_err_set(err, WL_LIMIT, "path too long: '%.80s'", path);
    }
    out->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (out->fd < 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    enum wl_status status = prepare(out, head, err);
    if (status != WL_OK) {
        eval_answers_close(out);
    }
    return status;
}

enum wl_status eval_answers_add(struct eval_answers_writer *writer,
                                const struct eval_item_result *result, const char *key,
                                struct wl_err *err) {
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:o}", "item", result->item->id, "kind",
                  result->item->kind, "key", key, "answer", result->answer, "stop",
                  engine_stop_name(result->stop), "is_right", (int)result->is_right, "defect",
                  score_defect_name(result->defect), "record", record_to_json(&result->record));
    enum wl_status status =
        line ? write_line(writer, line, err)
             : wl_err_set(err, WL_MEMORY, "no memory for the answer to '%s'", result->item->id);
    json_decref(line);
    return status;
}

void eval_answers_close(struct eval_answers_writer *writer) {
    if (writer->fd >= 0) {
        close(writer->fd);
    }
    writer->fd = -1;
}
