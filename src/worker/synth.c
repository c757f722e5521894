#include "worker/synth.h"

#include <errno.h>
#include <gguf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/json.h"
#include "base/units.h"
#include "os/clock.h"
#include "os/draft.h"
#include "worker/describe.h"
#include "worker/synth_file.h"
#include "worker/synth_rows.h"

enum { CHUNK_BYTES = 1 << 20 };
#define PROGRESS_EVERY_NS 100000000

struct synth {
    const struct reply *reply;
    struct synth_file plan;
    struct synth_rows rows;
    unsigned char *chunk;
    const char *path; // belongs to the request
    struct os_draft draft;
    FILE *file; // over a copy of the draft's descriptor
    uint64_t written_bytes;
    uint64_t total_bytes;
    int64_t last_progress_ns;
    bool is_cancelled;
};

void synth_file_set_general(const struct synth_file *file, const char *arch, const char *kind,
                            const char *name, enum llama_ftype ftype) {
    char text[256];
    snprintf(text, sizeof text, "random weights (wattlaw synth %.180s)", *name ? name : arch);
    gguf_set_val_str(file->gguf, "general.architecture", arch);
    gguf_set_val_str(file->gguf, "general.type", kind);
    gguf_set_val_str(file->gguf, "general.name", text);
    gguf_set_val_u32(file->gguf, "general.file_type", (uint32_t)ftype);
    gguf_set_val_u32(file->gguf, "general.quantization_version", GGML_QNT_VERSION);
    gguf_set_val_bool(file->gguf, "wattlaw.synth", true);
    gguf_set_val_u64(file->gguf, "wattlaw.synth.seed", file->seed);
}

static int n_dims(const struct synth_tensor *t) {
    int n = 4;
    while (n > 1 && t->ne[n - 1] == 1) {
        n--;
    }
    return n;
}

static enum wl_status add_tensor_infos(const struct synth *s, struct wl_err *err) {
    struct ggml_init_params params = {.mem_size = (s->plan.tensors.n + 8) * ggml_tensor_overhead(),
                                      .no_alloc = true};
    struct ggml_context *ggml = ggml_init(params);
    if (!ggml) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu tensors", s->plan.tensors.n);
    }
    for (size_t i = 0; i < s->plan.tensors.n; i++) {
        const struct synth_tensor *t = &s->plan.tensors.items[i];
        struct ggml_tensor *info = ggml_new_tensor(ggml, t->type, n_dims(t), t->ne);
        ggml_set_name(info, t->name);
        gguf_add_tensor(s->plan.gguf, info);
    }
    ggml_free(ggml);
    return WL_OK;
}

static enum wl_status write_failed(const struct synth *s, struct wl_err *err) {
    return wl_err_errno(err, errno,
                        "cannot write '%s' (%" PRIu64 " of %" PRIu64 " bytes were written)",
                        s->path, s->written_bytes, s->total_bytes);
}

static bool put(struct synth *s, const void *data, size_t len) {
    bool is_ok = fwrite(data, 1, len, s->file) == len;
    s->written_bytes += is_ok ? len : 0;
    return is_ok;
}

static bool put_padding(struct synth *s, size_t alignment) {
    static const unsigned char ZEROS[256];
    size_t over = (size_t)(s->written_bytes % alignment);
    return over == 0 || put(s, ZEROS, alignment - over);
}

static enum wl_status write_meta(struct synth *s, struct wl_err *err) {
    size_t size = gguf_get_meta_size(s->plan.gguf);
    void *meta = malloc(size);
    if (!meta) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu bytes of metadata", size);
    }
    gguf_get_meta_data(s->plan.gguf, meta);
    bool is_ok = put(s, meta, size);
    free(meta);
    return is_ok ? WL_OK : write_failed(s, err);
}

static void show_progress(struct synth *s) {
    int64_t now_ns = os_now_ns();
    if (now_ns - s->last_progress_ns < PROGRESS_EVERY_NS) {
        return;
    }
    s->last_progress_ns = now_ns;
    double done = (double)s->written_bytes / (double)s->total_bytes;
    reply_progress(s->reply, "synth", done < 1 ? done : 1);
    frame_poll_control(s->reply->io);
    s->is_cancelled = s->reply->io->is_cancelled || s->reply->io->is_closed;
}

static enum wl_status write_norm(struct synth *s, const struct synth_tensor *t,
                                 struct wl_err *err) {
    const float one = 1;
    for (uint64_t i = 0; i < t->n_cols; i++) {
        if (!put(s, &one, sizeof one)) {
            return write_failed(s, err);
        }
    }
    return WL_OK;
}

static enum wl_status write_rows(struct synth *s, const struct synth_tensor *t,
                                 struct wl_err *err) {
    const struct synth_pool *pool = synth_rows_pool(&s->rows, t->type, t->n_cols);
    if (!pool || pool->row_bytes > CHUNK_BYTES * 4) {
        return wl_err_set(err, WL_MEMORY, "no memory for rows of %" PRIu64 " values", t->n_cols);
    }
    size_t per_chunk = CHUNK_BYTES / pool->row_bytes;
    per_chunk = per_chunk ? per_chunk : 1;
    uint64_t first = rng_next(&s->rows.rng) >> 32; // tensors begin at different rows
    for (uint64_t row = 0; row < t->n_rows && !s->is_cancelled;) {
        size_t n = 0;
        for (; n < per_chunk && row < t->n_rows; n++, row++) {
            synth_pool_copy(pool, first + row, s->chunk + n * pool->row_bytes);
        }
        if (!put(s, s->chunk, n * pool->row_bytes)) {
            return write_failed(s, err);
        }
        show_progress(s);
    }
    return WL_OK;
}

static enum wl_status write_tensors(struct synth *s, struct wl_err *err) {
    size_t alignment = gguf_get_alignment(s->plan.gguf);
    for (size_t i = 0; i < s->plan.tensors.n && !s->is_cancelled; i++) {
        const struct synth_tensor *t = &s->plan.tensors.items[i];
        enum wl_status status = t->is_norm ? write_norm(s, t, err) : write_rows(s, t, err);
        if (status != WL_OK) {
            return status;
        }
        if (!put_padding(s, alignment)) {
            return write_failed(s, err);
        }
    }
    return WL_OK;
}

// Better said before minutes of writing than after.
static enum wl_status check_free_space(const struct synth *s, struct wl_err *err) {
    char dir[OS_PATH_BYTES];
    char need[UNITS_TEXT_BYTES];
    char have[UNITS_TEXT_BYTES];
    struct statvfs fs;
    snprintf(dir, sizeof dir, "%s", s->path);
    char *slash = strrchr(dir, '/');
    if (slash) {
        slash[slash == dir] = '\0';
    }
    if (statvfs(slash ? dir : ".", &fs) != 0) {
        return wl_err_errno(err, errno, "cannot write '%s'", s->path);
    }
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (s->total_bytes <= free_bytes) {
        return WL_OK;
    }
    return wl_err_set(err, WL_IO, "cannot write '%s': it needs %s but the file system has %s free",
                      s->path, units_bytes(need, (double)s->total_bytes),
                      units_bytes(have, (double)free_bytes));
}

static enum wl_status write_content(struct synth *s, struct wl_err *err) {
    int fd = dup(s->draft.fd);
    s->file = fd >= 0 ? fdopen(fd, "wb") : NULL;
    if (!s->file) {
        enum wl_status status = write_failed(s, err);
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    enum wl_status status = write_meta(s, err);
    if (status == WL_OK) {
        status = write_tensors(s, err);
    }
    if (fclose(s->file) != 0 && status == WL_OK) {
        status = write_failed(s, err);
    }
    return status;
}

// Publishing writes back now: a flush half a minute later would fall into a measurement.
static enum wl_status write_file(struct synth *s, struct wl_err *err) {
    enum wl_status status;
    if ((status = check_free_space(s, err)) || (status = os_draft_open(&s->draft, s->path, err))) {
        return status;
    }
    status = write_content(s, err);
    if (status == WL_OK && !s->is_cancelled) {
        return os_draft_publish(&s->draft, err);
    }
    os_draft_discard(&s->draft);
    return status;
}

static uint64_t exact_bytes(const struct synth *s) {
    uint64_t total = gguf_get_meta_size(s->plan.gguf);
    uint64_t alignment = gguf_get_alignment(s->plan.gguf);
    for (size_t i = 0; i < s->plan.tensors.n; i++) {
        const struct synth_tensor *t = &s->plan.tensors.items[i];
        total += ggml_row_size(t->type, t->ne[0]) * t->n_rows;
        total = (total + alignment - 1) / alignment * alignment;
    }
    return total;
}

static enum wl_status prepare(struct synth *s, const json_t *request, struct wl_err *err) {
    bool is_vision = *wl_json_opt_string(request, "projector", "") != '\0';
    enum wl_status status = wl_json_get_string(request, "path", &s->path, err);
    if (status != WL_OK) {
        return status;
    }
    s->plan.gguf = gguf_init_empty();
    s->chunk = malloc(CHUNK_BYTES * 4);
    if (!s->plan.gguf || !s->chunk) {
        return wl_err_set(err, WL_MEMORY, "no memory to write a model");
    }
    status = is_vision ? synth_vision_plan(request, &s->plan, err)
                       : synth_text_plan(request, &s->plan, err);
    if (status != WL_OK || (status = add_tensor_infos(s, err))) {
        return status;
    }
    synth_rows_init(&s->rows, s->plan.seed);
    s->total_bytes = exact_bytes(s);
    return WL_OK;
}

static void release(struct synth *s) {
    synth_tensors_release(&s->plan.tensors);
    synth_rows_release(&s->rows);
    if (s->plan.gguf) {
        gguf_free(s->plan.gguf);
    }
    free(s->chunk);
}

static void count_up(json_t *counts, const char *key) {
    json_int_t before = json_integer_value(json_object_get(counts, key));
    json_object_set_new(counts, key, json_integer(before + 1));
}

static json_t *result_json(const struct synth *s, bool is_dry) {
    json_t *types = json_object();
    json_t *fallbacks = json_object();
    for (size_t i = 0; i < s->plan.tensors.n; i++) {
        char name[32];
        describe_type_name(s->plan.tensors.items[i].type, name, sizeof name);
        count_up(types, name);
        if (s->plan.tensors.items[i].has_fallen_back) {
            count_up(fallbacks, name);
        }
    }
    return json_pack("{s:I, s:I, s:o, s:o, s:s}", "file_bytes",
                     (json_int_t)(is_dry ? s->total_bytes : s->written_bytes), "n_params",
                     (json_int_t)s->plan.tensors.n_params, "types", types, "fallbacks", fallbacks,
                     "stop", s->is_cancelled ? "cancel" : "done");
}

enum wl_status synth_request(const struct reply *reply, const json_t *request, json_t **result,
                             struct wl_err *err) {
    struct synth s = {.reply = reply};
    bool is_dry = wl_json_opt_bool(request, "dry_run", false);
    enum wl_status status = prepare(&s, request, err);
    if (status == WL_OK && !is_dry) {
        status = write_file(&s, err);
    }
    if (status == WL_OK) {
        *result = result_json(&s, is_dry);
    }
    release(&s);
    return status;
}
