#include "worker/vision_skeleton.h"

#include <errno.h>
#include <ggml.h>
#include <gguf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

struct tables {
    struct gguf_context *from;
    struct ggml_context *from_tensors;
    struct gguf_context *to;
    struct ggml_context *to_tensors;
};

static void release(struct tables *t) {
    if (t->from) {
        gguf_free(t->from);
    }
    if (t->from_tensors) {
        ggml_free(t->from_tensors);
    }
    if (t->to) {
        gguf_free(t->to);
    }
    if (t->to_tensors) {
        ggml_free(t->to_tensors);
    }
}

static enum wl_status open_tables(struct tables *t, const char *mmproj, struct wl_err *err) {
    struct gguf_init_params params = {.no_alloc = true, .ctx = &t->from_tensors};
    t->from = gguf_init_from_file(mmproj, params);
    t->to = gguf_init_empty();
    if (!t->from || !t->to) {
        return wl_err_set(err, WL_INPUT, "cannot read the tables of '%.300s'", mmproj);
    }
    size_t n = (size_t)gguf_get_n_tensors(t->from);
    struct ggml_init_params room = {.mem_size = (n + 1) * ggml_tensor_overhead(), .no_alloc = true};
    t->to_tensors = ggml_init(room);
    return t->to_tensors ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for %zu tensors", n);
}

// The values are never looked at, so a matrix may have the type that takes least room.
static enum ggml_type small_type(const struct ggml_tensor *whole) {
    static const enum ggml_type SMALL[] = {GGML_TYPE_TQ1_0, GGML_TYPE_Q4_0};
    for (size_t i = 0; i < 2 && ggml_n_dims(whole) > 1; i++) {
        if (whole->ne[0] % ggml_blck_size(SMALL[i]) == 0) {
            return SMALL[i];
        }
    }
    return whole->type;
}

// The graph of the blocks is never built when counting, so their shapes do not matter; which of
// them there are does (Qwen3-VL's deep stack widens the projector).
static void add_tensor(struct tables *t, const char *name) {
    static const int64_t ONE[1] = {1};
    const struct ggml_tensor *whole = ggml_get_tensor(t->from_tensors, name);
    bool is_block = str_starts_with(name, "v.blk.");
    struct ggml_tensor *copy =
        is_block ? ggml_new_tensor(t->to_tensors, GGML_TYPE_F32, 1, ONE)
                 : ggml_new_tensor(t->to_tensors, small_type(whole), ggml_n_dims(whole), whole->ne);
    ggml_set_name(copy, name);
    gguf_add_tensor(t->to, copy);
}

static void copy_tables(struct tables *t) {
    gguf_set_kv(t->to, t->from);
    gguf_set_val_bool(t->to, "clip.has_audio_encoder", false);
    for (int64_t i = 0; i < gguf_get_n_tensors(t->from); i++) {
        const char *name = gguf_get_tensor_name(t->from, i);
        if (!str_starts_with(name, "a.")) {
            add_tensor(t, name);
        }
    }
}

static size_t data_bytes(const struct gguf_context *gguf) {
    size_t end = 0;
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++) {
        size_t tensor_end = gguf_get_tensor_offset(gguf, i) + gguf_get_tensor_size(gguf, i);
        end = tensor_end > end ? tensor_end : end;
    }
    size_t alignment = gguf_get_alignment(gguf);
    return (end + alignment - 1) / alignment * alignment;
}

static bool write_all(int fd, const char *data, size_t len) {
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, data + at, len - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

static enum wl_status write_tables(const struct gguf_context *gguf, int fd, struct wl_err *err) {
    size_t size = gguf_get_meta_size(gguf);
    char *meta = malloc(size);
    if (!meta) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu bytes of tables", size);
    }
    gguf_get_meta_data(gguf, meta);
    bool is_ok = write_all(fd, meta, size) && ftruncate(fd, (off_t)(size + data_bytes(gguf))) == 0;
    int error = errno;
    free(meta);
    return is_ok ? WL_OK : wl_err_errno(err, error, "cannot write a file for counting");
}

static enum wl_status open_draft(struct vision_skeleton *out, struct wl_err *err) {
    const char *dir = getenv("TMPDIR");
    char path[OS_PATH_BYTES];
    enum wl_status status =
        os_path_join(path, dir && *dir ? dir : "/tmp", "wattlaw-count.gguf", err);
    if (status == WL_OK) {
        status = os_draft_open(&out->draft, path, err);
    }
    if (status == WL_OK && out->draft.is_named) {
        str_copy(out->path, sizeof out->path, out->draft.temp_path);
    } else if (status == WL_OK) {
        snprintf(out->path, sizeof out->path, "/proc/self/fd/%d", out->draft.fd);
    }
    return status;
}

enum wl_status vision_skeleton_make(struct vision_skeleton *out, const char *mmproj,
                                    struct wl_err *err) {
    *out = (struct vision_skeleton){.draft.fd = -1};
    struct tables tables = {0};
    enum wl_status status = open_tables(&tables, mmproj, err);
    if (status == WL_OK) {
        copy_tables(&tables);
        status = open_draft(out, err);
    }
    if (status == WL_OK) {
        status = write_tables(tables.to, out->draft.fd, err);
    }
    release(&tables);
    if (status != WL_OK) {
        vision_skeleton_discard(out);
    }
    return status;
}

void vision_skeleton_discard(struct vision_skeleton *skeleton) {
    os_draft_discard(&skeleton->draft);
}
