#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/units.h"
#include "compressor/target_plan.h"
#include "os/clock.h"
#include "os/draft.h"

enum { CHUNK_BYTES = 1 << 20, GGUF_HEADER_BYTES = 24 };
#define PROGRESS_EVERY_NS 100000000

struct writer {
    const struct compress_target *target;
    const char *path;
    struct os_draft draft;
    unsigned char *chunk; // gathered, not yet written
    size_t chunk_bytes;
    unsigned char *rows; // made rows, not yet gathered; NULL: no tensor is made
    size_t rows_bytes;   // room for them
    uint64_t alignment;
    uint64_t put_bytes; // written and gathered
    uint64_t written_bytes, total_bytes;
    int error;           // errno of the write that failed
    enum wl_status made; // not OK: rows could not be made; *err says why
    struct wl_err *err;
    compress_target_progress on_progress;
    void *context;
    int64_t last_progress_ns;
    bool is_cancelled;
};

// ---- sizes ----

static uint64_t padded(uint64_t bytes, uint64_t alignment) {
    return (bytes + alignment - 1) / alignment * alignment;
}

static uint64_t tensor_bytes(const struct compress_target *target, const struct target_tensor *t) {
    return target_written_rows(target, t) * t->row_bytes;
}

static uint64_t header_bytes(const struct compress_target *target) {
    uint64_t total = GGUF_HEADER_BYTES;
    for (size_t i = 0; i < target->n_keys; i++) {
        const struct target_key *key = &target->keys[i];
        total += 8 + key->name_len + 4 + (key->is_array ? 4 + 8 : 0) + key->n_bytes;
    }
    for (size_t i = 0; i < target->n_tensors; i++) {
        const struct target_tensor *t = &target->tensors[i];
        if (target_is_written(t)) {
            total += 8 + strlen(t->name) + 4 + 8 * (uint64_t)t->n_dims + 4 + 8;
        }
    }
    return total;
}

uint64_t compress_target_bytes(const struct compress_target *target) {
    uint64_t alignment = target_alignment(target);
    alignment = alignment ? alignment : GGUF_DEFAULT_ALIGNMENT;
    uint64_t total = padded(header_bytes(target), alignment);
    for (size_t i = 0; i < target->n_tensors; i++) {
        const struct target_tensor *t = &target->tensors[i];
        uint64_t bytes = target_is_written(t) ? padded(tensor_bytes(target, t), alignment) : 0;
        total = bytes > UINT64_MAX / 2 - total ? UINT64_MAX / 2 : total + bytes;
    }
    return total;
}

// ---- writing bytes ----

static void show_progress(struct writer *w) {
    int64_t now_ns = os_now_ns();
    bool is_first = w->last_progress_ns == 0;
    if (!w->on_progress || (!is_first && now_ns - w->last_progress_ns < PROGRESS_EVERY_NS)) {
        return;
    }
    w->last_progress_ns = now_ns;
    w->is_cancelled = !w->on_progress(w->context, w->written_bytes, w->total_bytes);
}

static bool is_stopped(const struct writer *w) {
    return w->is_cancelled || w->error != 0 || w->made != WL_OK;
}

static bool write_out(struct writer *w, const unsigned char *data, size_t len) {
    while (len > 0 && !is_stopped(w)) {
        ssize_t n = write(w->draft.fd, data, len < CHUNK_BYTES ? len : CHUNK_BYTES);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
            w->written_bytes += (uint64_t)n;
            show_progress(w);
        } else if (n == 0 || errno != EINTR) {
            w->error = n == 0 ? EIO : errno;
        }
    }
    return !is_stopped(w);
}

static bool flush(struct writer *w) {
    size_t len = w->chunk_bytes;
    w->chunk_bytes = 0;
    return write_out(w, w->chunk, len);
}

// Small pieces are gathered, large ones go straight from where they lie.
static bool put(struct writer *w, const void *data, uint64_t len) {
    w->put_bytes += len;
    if (len > CHUNK_BYTES - w->chunk_bytes && !flush(w)) {
        return false;
    }
    if (len >= CHUNK_BYTES) {
        return write_out(w, data, (size_t)len);
    }
    if (len > 0) {
        memcpy(w->chunk + w->chunk_bytes, data, (size_t)len);
    }
    w->chunk_bytes += (size_t)len;
    return true;
}

static bool put_number(struct writer *w, uint64_t value, size_t n_bytes) {
    unsigned char bytes[8];
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = (unsigned char)(value >> 8 * i);
    }
    return put(w, bytes, n_bytes);
}

static bool put_string(struct writer *w, const char *text, size_t len) {
    return put_number(w, len, 8) && put(w, text, len);
}

static bool put_padding(struct writer *w) {
    static const unsigned char ZEROS[256];
    uint64_t left = padded(w->put_bytes, w->alignment) - w->put_bytes;
    while (left > 0) {
        uint64_t n = left < sizeof ZEROS ? left : sizeof ZEROS;
        if (!put(w, ZEROS, n)) {
            return false;
        }
        left -= n;
    }
    return true;
}

// ---- writing a file ----

static bool put_key(struct writer *w, const struct target_key *key) {
    if (!put_string(w, key->name, key->name_len) ||
        (key->is_array && !put_number(w, GGUF_TYPE_ARRAY, 4)) || !put_number(w, key->type, 4) ||
        (key->is_array && !put_number(w, key->n, 8))) {
        return false;
    }
    return put(w, key->data, key->n_bytes);
}

static bool put_tensor_info(struct writer *w, const struct target_tensor *t, uint64_t offset) {
    uint64_t ne[4];
    uint32_t n_dims = target_written_shape(w->target, t, ne);
    bool is_ok = put_string(w, t->name, strlen(t->name)) && put_number(w, n_dims, 4);
    for (uint32_t i = 0; i < n_dims && is_ok; i++) {
        is_ok = put_number(w, ne[i], 8);
    }
    return is_ok && put_number(w, t->type, 4) && put_number(w, offset, 8);
}

static uint64_t count_written(const struct compress_target *target) {
    uint64_t n = 0;
    for (size_t i = 0; i < target->n_tensors; i++) {
        n += target_is_written(&target->tensors[i]);
    }
    return n;
}

static bool put_header(struct writer *w) {
    const struct compress_target *target = w->target;
    bool is_ok = put(w, "GGUF", 4) && put_number(w, GGUF_VERSION, 4) &&
                 put_number(w, count_written(target), 8) && put_number(w, target->n_keys, 8);
    for (size_t i = 0; i < target->n_keys && is_ok; i++) {
        is_ok = put_key(w, &target->keys[i]);
    }
    uint64_t offset = 0;
    for (size_t i = 0; i < target->n_tensors && is_ok; i++) {
        const struct target_tensor *t = &target->tensors[i];
        if (target_is_written(t)) {
            is_ok = put_tensor_info(w, t, offset);
            offset += padded(tensor_bytes(target, t), w->alignment);
        }
    }
    return is_ok && put_padding(w);
}

// Rows that lie one behind the other in the source of the tensor, from the i-th written one on.
static uint64_t count_run(const struct target_tensor *t, uint64_t i, uint64_t most) {
    uint64_t first = target_row_at(t, i);
    uint64_t n = 1;
    while (n < most && i + n < t->n_kept && target_row_at(t, i + n) == first + n) {
        n++;
    }
    return n;
}

static bool put_made_rows(struct writer *w, const struct target_tensor *t) {
    uint64_t most = w->rows_bytes / t->row_bytes;
    for (uint64_t i = 0; i < t->n_kept && !is_stopped(w);) {
        uint64_t n = count_run(t, i, most);
        w->made = t->read(t->read_context, target_row_at(t, i), n, w->rows, w->err);
        i += n;
        if (w->made == WL_OK) {
            put(w, w->rows, n * t->row_bytes);
            show_progress(w); // they may have taken long
        }
    }
    return !is_stopped(w);
}

static bool put_rows(struct writer *w, const struct target_tensor *t) {
    if (t->read) {
        return put_made_rows(w, t);
    }
    if (!t->rows && !t->head_dim) {
        return put(w, t->bytes, t->n_kept * t->row_bytes);
    }
    bool is_ok = true;
    for (uint64_t i = 0; i < t->n_kept && is_ok; i++) {
        is_ok = put(w, t->bytes + target_row_at(t, i) * t->row_bytes, t->row_bytes);
    }
    return is_ok;
}

// What of the source was read for it would count as memory in use.
static void forget_source(const struct writer *w) {
    const struct gguf_file *source = w->target->source;
    madvise(source->map, (size_t)source->file_bytes, MADV_DONTNEED);
}

static bool put_tensor(struct writer *w, const struct target_tensor *t) {
    bool is_ok = put_rows(w, t);
    while (t->next_part && is_ok) {
        t = &w->target->tensors[t->next_part];
        is_ok = put_rows(w, t);
    }
    forget_source(w);
    return is_ok && put_padding(w);
}

static bool put_file(struct writer *w) {
    show_progress(w);
    bool is_ok = !w->is_cancelled && put_header(w);
    for (size_t i = 0; i < w->target->n_tensors && is_ok; i++) {
        const struct target_tensor *t = &w->target->tensors[i];
        is_ok = !target_is_written(t) || put_tensor(w, t);
    }
    return is_ok && flush(w);
}

// ---- checks ----

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum wl_status check_names(const struct compress_target *target, struct wl_err *err) {
    const char **names = calloc(target->n_tensors + 1, sizeof *names);
    if (!names) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tensors", target->n_tensors);
    }
    enum wl_status status = WL_OK;
    size_t n = 0;
    for (size_t i = 0; i < target->n_tensors; i++) {
        if (target_is_written(&target->tensors[i])) {
            names[n++] = target->tensors[i].name;
        }
    }
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        if (strlen(names[i]) >= GGML_MAX_NAME) {
            status = wl_err_set(err, WL_LIMIT,
                                "the tensor name '%s' is longer than the %d bytes allowed",
                                names[i], GGML_MAX_NAME - 1);
        } else if (i > 0 && strcmp(names[i], names[i - 1]) == 0) {
            status = wl_err_set(err, WL_INPUT, "two tensors would have the name '%s'", names[i]);
        }
    }
    free(names);
    return status;
}

// Better said before minutes of writing than after.
static enum wl_status check_free_space(const struct writer *w, struct wl_err *err) {
    char dir[OS_PATH_BYTES];
    char need[UNITS_TEXT_BYTES];
    char have[UNITS_TEXT_BYTES];
    uint64_t free_bytes;
    snprintf(dir, sizeof dir, "%s", w->path);
    char *slash = strrchr(dir, '/');
    if (slash) {
        slash[slash == dir] = '\0';
    }
    enum wl_status status = os_free_bytes(slash ? dir : ".", &free_bytes, err);
    if (status != WL_OK || w->total_bytes <= free_bytes) {
        return status == WL_OK ? WL_OK : wl_err_prefix(err, "cannot write '%s'", w->path);
    }
    return wl_err_set(err, WL_IO, "cannot write '%s': it needs %s but the file system has %s free",
                      w->path, units_bytes(need, (double)w->total_bytes),
                      units_bytes(have, (double)free_bytes));
}

// A megabyte of rows, or one that is longer; nothing when no tensor is made.
static size_t room_for_rows(const struct compress_target *target) {
    uint64_t longest = 0;
    for (size_t i = 0; i < target->n_tensors; i++) {
        const struct target_tensor *t = &target->tensors[i];
        longest = t->read && !t->is_dropped && t->row_bytes > longest ? t->row_bytes : longest;
    }
    return (size_t)(longest > 0 && longest < CHUNK_BYTES ? CHUNK_BYTES : longest);
}

static enum wl_status prepare(struct writer *w, struct wl_err *err) {
    w->alignment = target_alignment(w->target);
    if (w->alignment == 0) {
        return wl_err_set(err, WL_INPUT,
                          "cannot write '%s': general.alignment must be a power of two", w->path);
    }
    w->total_bytes = compress_target_bytes(w->target);
    enum wl_status status = check_names(w->target, err);
    if (status != WL_OK) {
        return wl_err_prefix(err, "cannot write '%s'", w->path);
    }
    if ((status = check_free_space(w, err))) {
        return status;
    }
    w->rows_bytes = room_for_rows(w->target);
    w->rows = w->rows_bytes ? malloc(w->rows_bytes) : NULL;
    w->chunk = malloc(CHUNK_BYTES);
    return w->chunk && (w->rows || !w->rows_bytes)
               ? WL_OK
               : wl_err_set(err, WL_MEMORY, "no memory to write '%s'", w->path);
}

static enum wl_status write_draft(struct writer *w, bool *is_done, struct wl_err *err) {
    enum wl_status status = os_draft_open(&w->draft, w->path, err);
    if (status != WL_OK) {
        return status;
    }
    if (put_file(w)) {
        status = os_draft_publish(&w->draft, err);
        *is_done = status == WL_OK;
        return status;
    }
    os_draft_discard(&w->draft);
    if (w->made != WL_OK) {
        return w->made == WL_INTERRUPTED ? w->made
                                         : wl_err_prefix(err, "cannot write '%s'", w->path);
    }
    if (w->is_cancelled) {
        return WL_OK;
    }
    return wl_err_errno(err, w->error,
                        "cannot write '%s' (%" PRIu64 " of %" PRIu64 " bytes were written)",
                        w->path, w->written_bytes, w->total_bytes);
}

enum wl_status compress_target_write(struct compress_target *target, const char *path,
                                     compress_target_progress on_progress, void *context,
                                     bool *is_done, struct wl_err *err) {
    struct writer w = {
        .target = target, .path = path, .on_progress = on_progress, .context = context, .err = err};
    *is_done = false;
    enum wl_status status = prepare(&w, err);
    if (status == WL_OK) {
        status = write_draft(&w, is_done, err);
    }
    free(w.chunk);
    free(w.rows);
    return status;
}
