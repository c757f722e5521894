#include "compressor/target.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "compressor/target_plan.h"

// ---- the whole ----

// Rows are elements where a tensor has one dimension, so that biases are cut like their matrices.
static void count_rows(struct target_tensor *t) {
    bool has_elements = t->n_dims == 1 && ggml_blck_size(t->type) == 1;
    t->n_rows = has_elements ? t->ne[0] : t->ne[1] * t->ne[2] * t->ne[3];
    t->row_bytes =
        has_elements ? ggml_type_size(t->type) : ggml_row_size(t->type, (int64_t)t->ne[0]);
    t->n_kept = t->n_rows;
}

static void copy_tensor(const struct gguf_file *source, const struct gguf_tensor *from,
                        struct target_tensor *t) {
    *t = (struct target_tensor){.type = from->type, .n_dims = from->n_dims};
    str_copy(t->source_name, sizeof t->source_name, from->name);
    str_copy(t->name, sizeof t->name, from->name);
    memcpy(t->ne, from->ne, sizeof t->ne);
    t->bytes = (const unsigned char *)source->map + source->data_offset + from->offset;
    count_rows(t);
}

enum wl_status compress_target_new(const struct gguf_file *source, struct compress_target **out,
                                   struct wl_err *err) {
    struct compress_target *target = calloc(1, sizeof *target);
    struct target_tensor *tensors = calloc(source->n_tensors + 1, sizeof *tensors);
    if (!target || !tensors) {
        free(target);
        free(tensors);
        return wl_err_set(err, WL_MEMORY, "no memory for %" PRIu64 " tensors", source->n_tensors);
    }
    target->source = source;
    target->tensors = tensors;
    enum wl_status status = target_copy_keys(target, err);
    if (status != WL_OK) {
        compress_target_free(target);
        return status;
    }
    target->n_tensors = (size_t)source->n_tensors;
    target->tensors_capacity = target->n_tensors + 1;
    for (size_t i = 0; i < target->n_tensors; i++) {
        copy_tensor(source, &source->tensors[i], &tensors[i]);
    }
    *out = target;
    return WL_OK;
}

void compress_target_free(struct compress_target *target) {
    if (target) {
        target_release_keys(target);
        free(target->tensors);
        free(target);
    }
}

// ---- finding ----

struct target_tensor *target_find_tensor(const struct compress_target *target, const char *name) {
    for (size_t i = 0; i < target->n_tensors; i++) {
        if (strcmp(target->tensors[i].source_name, name) == 0) {
            return &target->tensors[i];
        }
    }
    return NULL;
}

bool target_is_written(const struct target_tensor *tensor) {
    return !tensor->is_dropped && !tensor->is_joined;
}

struct target_tensor *target_find_written(const struct compress_target *target, const char *name) {
    for (size_t i = 0; i < target->n_tensors; i++) {
        struct target_tensor *t = &target->tensors[i];
        if (target_is_written(t) && strcmp(t->name, name) == 0) {
            return t;
        }
    }
    return NULL;
}

uint64_t target_written_rows(const struct compress_target *target,
                             const struct target_tensor *tensor) {
    uint64_t n = tensor->n_kept;
    while (tensor->next_part) {
        tensor = &target->tensors[tensor->next_part];
        n += tensor->n_kept;
    }
    return n;
}

uint32_t target_written_shape(const struct compress_target *target,
                              const struct target_tensor *tensor, uint64_t ne[4]) {
    bool has_elements = tensor->n_dims == 1 && tensor->n_rows == tensor->ne[0];
    memcpy(ne, tensor->ne, 4 * sizeof *ne);
    if (tensor->n_dims <= 2) {
        ne[has_elements ? 0 : 1] = target_written_rows(target, tensor);
    }
    return tensor->n_dims;
}

uint64_t target_row_at(const struct target_tensor *tensor, uint64_t i) {
    if (tensor->head_dim) {
        uint64_t inside = i % tensor->head_dim;
        i += inside / 2 + (inside % 2) * (tensor->head_dim / 2) - inside;
    }
    return tensor->rows ? tensor->rows[i] : i;
}

// One that is to be changed: dropped and joined ones cannot be.
static enum wl_status find_changeable(const struct compress_target *target, const char *name,
                                      struct target_tensor **out, struct wl_err *err) {
    *out = target_find_tensor(target, name);
    if (!*out) {
        return wl_err_set(err, WL_INPUT, "the model has no tensor '%s'", name);
    }
    if (!target_is_written(*out)) {
        return wl_err_set(err, WL_INPUT, "the tensor '%s' was %s before", name,
                          (*out)->is_dropped ? "left out" : "joined to another");
    }
    return WL_OK;
}

// ---- changing ----

static enum wl_status check_name(const char *name, struct wl_err *err) {
    size_t len = strlen(name);
    return len > 0 && len < GGML_MAX_NAME
               ? WL_OK
               : wl_err_set(err, WL_LIMIT,
                            "the name '%s' of a tensor has %zu bytes, expected 1 to %d", name, len,
                            GGML_MAX_NAME - 1);
}

enum wl_status compress_target_drop(struct compress_target *target, const char *name,
                                    struct wl_err *err) {
    struct target_tensor *t;
    enum wl_status status = find_changeable(target, name, &t, err);
    if (status != WL_OK) {
        return status;
    }
    t->is_dropped = true;
    return WL_OK;
}

enum wl_status compress_target_rename(struct compress_target *target, const char *name,
                                      const char *new_name, struct wl_err *err) {
    struct target_tensor *t;
    enum wl_status status;
    if ((status = find_changeable(target, name, &t, err)) || (status = check_name(new_name, err))) {
        return status;
    }
    str_copy(t->name, sizeof t->name, new_name);
    return WL_OK;
}

static enum wl_status check_rows(const struct target_tensor *t, const uint32_t *rows, size_t n_rows,
                                 struct wl_err *err) {
    if (t->n_dims > 2 && t->ne[2] * t->ne[3] > 1) {
        return wl_err_set(err, WL_INPUT,
                          "cannot keep rows of '%s': it has %" PRIu32 " dimensions, expected 1 or "
                          "2",
                          t->source_name, t->n_dims);
    }
    if (n_rows == 0) {
        return wl_err_set(err, WL_INPUT, "cannot keep no row at all of '%s'", t->source_name);
    }
    if (n_rows > (uint64_t)INT64_MAX / 2 / t->row_bytes) {
        return wl_err_set(err, WL_LIMIT, "%zu rows of '%s' are too many", n_rows, t->source_name);
    }
    for (size_t i = 0; i < n_rows; i++) {
        if (rows[i] >= t->n_rows) {
            return wl_err_set(err, WL_INPUT,
                              "cannot keep row %" PRIu32 " of '%s': it has %" PRIu64 " rows",
                              rows[i], t->source_name, t->n_rows);
        }
    }
    return WL_OK;
}

enum wl_status compress_target_rows(struct compress_target *target, const char *name,
                                    const uint32_t *rows, size_t n_rows, struct wl_err *err) {
    struct target_tensor *t;
    enum wl_status status;
    if ((status = find_changeable(target, name, &t, err)) ||
        (status = check_rows(t, rows, n_rows, err))) {
        return status;
    }
    t->rows = rows;
    t->n_kept = n_rows;
    t->head_dim = 0;
    return WL_OK;
}

// ---- new contents ----

static struct target_tensor *append(struct compress_target *target, const char *name) {
    if (target->n_tensors == target->tensors_capacity) {
        size_t capacity = 2 * target->tensors_capacity + 1;
        struct target_tensor *tensors = realloc(target->tensors, capacity * sizeof *tensors);
        if (!tensors) {
            return NULL;
        }
        target->tensors = tensors;
        target->tensors_capacity = capacity;
    }
    struct target_tensor *t = &target->tensors[target->n_tensors++];
    *t = (struct target_tensor){0};
    str_copy(t->source_name, sizeof t->source_name, name);
    str_copy(t->name, sizeof t->name, name);
    return t;
}

static enum wl_status check_shape(const char *name, enum ggml_type type, uint64_t n_columns,
                                  uint64_t n_rows, struct wl_err *err) {
    if ((int)type < 0 || type >= GGML_TYPE_COUNT || ggml_blck_size(type) == 0) {
        return wl_err_set(err, WL_INPUT, "cannot put '%s': there is no tensor type %d", name,
                          (int)type);
    }
    uint64_t block = (uint64_t)ggml_blck_size(type);
    if (n_columns == 0 || n_columns % block != 0 || n_rows == 0) {
        return wl_err_set(err, WL_INPUT,
                          "cannot put '%s': %" PRIu64 " columns and %" PRIu64 " rows, expected a "
                          "multiple of %" PRIu64 " columns (%s) and a row at least",
                          name, n_columns, n_rows, block, ggml_type_name(type));
    }
    uint64_t max_columns = (uint64_t)INT64_MAX / 4 / ggml_type_size(type);
    if (n_columns > max_columns ||
        n_rows > (uint64_t)INT64_MAX / 4 / ggml_row_size(type, (int64_t)n_columns)) {
        return wl_err_set(err, WL_LIMIT, "cannot put '%s': %" PRIu64 " x %" PRIu64 " is too large",
                          name, n_columns, n_rows);
    }
    return WL_OK;
}

static enum wl_status put(struct compress_target *target, const char *name,
                          const struct target_tensor *content, struct wl_err *err) {
    struct target_tensor *t = target_find_tensor(target, name);
    enum wl_status status = check_shape(name, content->type, content->ne[0], content->ne[1], err);
    if (status != WL_OK || (!t && (status = check_name(name, err)))) {
        return status;
    }
    if (t && (t->is_joined || t->next_part)) {
        return wl_err_set(err, WL_INPUT, "cannot put '%s': it was joined to another", name);
    }
    t = t ? t : append(target, name);
    if (!t) {
        return wl_err_set(err, WL_MEMORY, "no memory for the tensor '%s'", name);
    }
    t->type = content->type;
    t->n_dims = content->n_dims;
    memcpy(t->ne, content->ne, sizeof t->ne);
    t->bytes = content->bytes;
    t->read = content->read;
    t->read_context = content->read_context;
    t->rows = NULL;
    t->head_dim = 0;
    t->is_dropped = false;
    count_rows(t);
    return WL_OK;
}

enum wl_status compress_target_put(struct compress_target *target, const char *name,
                                   enum ggml_type type, uint64_t n_columns, uint64_t n_rows,
                                   const void *bytes, struct wl_err *err) {
    const struct target_tensor content = {
        .type = type, .n_dims = 2, .ne = {n_columns, n_rows, 1, 1}, .bytes = bytes};
    return put(target, name, &content, err);
}

enum wl_status compress_target_put_lazy(struct compress_target *target, const char *name,
                                        enum ggml_type type, uint64_t n_columns, uint64_t n_rows,
                                        compress_target_read read, void *context,
                                        struct wl_err *err) {
    const struct target_tensor content = {.type = type,
                                          .n_dims = 2,
                                          .ne = {n_columns, n_rows, 1, 1},
                                          .read = read,
                                          .read_context = context};
    return put(target, name, &content, err);
}

enum wl_status compress_target_put_vector(struct compress_target *target, const char *name,
                                          const float *values, uint64_t n, struct wl_err *err) {
    const struct target_tensor content = {.type = GGML_TYPE_F32,
                                          .n_dims = 1,
                                          .ne = {n, 1, 1, 1},
                                          .bytes = (const unsigned char *)values};
    return put(target, name, &content, err);
}

// ---- rows in another order, or together ----

enum wl_status compress_target_interleave(struct compress_target *target, const char *name,
                                          uint32_t head_dim, struct wl_err *err) {
    struct target_tensor *t;
    enum wl_status status = find_changeable(target, name, &t, err);
    if (status != WL_OK) {
        return status;
    }
    if (head_dim == 0 || head_dim % 2 != 0 || t->n_kept % head_dim != 0) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' has %" PRIu64 " rows, which are no whole heads of %" PRIu32
                          " (an even number)",
                          name, t->n_kept, head_dim);
    }
    t->head_dim = head_dim;
    return WL_OK;
}

static enum wl_status join_one(struct compress_target *target, struct target_tensor *first,
                               struct target_tensor **last, const char *name, struct wl_err *err) {
    struct target_tensor *t;
    enum wl_status status = find_changeable(target, name, &t, err);
    if (status != WL_OK) {
        return status;
    }
    if (t == first || t->next_part) {
        return wl_err_set(err, WL_INPUT, "cannot join '%s' twice", name);
    }
    if (t->type != first->type || t->row_bytes != first->row_bytes || t->n_dims != first->n_dims) {
        return wl_err_set(err, WL_INPUT,
                          "cannot join '%s' (%s, %" PRIu64 " columns) to '%s' (%s, %" PRIu64
                          " columns): they must be alike",
                          name, ggml_type_name(t->type), t->ne[0], first->source_name,
                          ggml_type_name(first->type), first->ne[0]);
    }
    t->is_joined = true;
    (*last)->next_part = (size_t)(t - target->tensors);
    *last = t;
    return WL_OK;
}

enum wl_status compress_target_join(struct compress_target *target, const char *const *names,
                                    size_t n, const char *new_name, struct wl_err *err) {
    struct target_tensor *first;
    enum wl_status status;
    if ((status = find_changeable(target, names[0], &first, err)) ||
        (status = compress_target_rename(target, names[0], new_name, err))) {
        return status;
    }
    struct target_tensor *last = first;
    for (size_t i = 1; i < n && status == WL_OK; i++) {
        status = join_one(target, first, &last, names[i], err);
    }
    return status;
}
