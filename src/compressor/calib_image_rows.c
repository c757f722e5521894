#include "compressor/calib_image_rows.h"

#include <stdlib.h>
#include <string.h>

enum { AXES = 4, MAX_ROWS = CALIB_MAX_TOKENS };

void calib_rows_release(struct calib_rows *rows) {
    free(rows->values);
    free(rows->places);
    free(rows->view_of);
    free(rows->views);
    *rows = (struct calib_rows){0};
}

// ---- views

static enum wl_status no_memory(size_t n, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for %zu image tokens", n);
}

static enum wl_status grow_rows(struct calib_rows *rows, size_t n, struct wl_err *err) {
    if (n <= rows->capacity) {
        return WL_OK;
    }
    size_t capacity = n + n / 2;
    size_t n_bytes;
    if (n > MAX_ROWS || __builtin_mul_overflow(capacity, rows->n_embd * sizeof(float), &n_bytes)) {
        return no_memory(n, err);
    }
    float *values = realloc(rows->values, n_bytes);
    rows->values = values ? values : rows->values;
    struct calib_place *places = realloc(rows->places, capacity * sizeof *places);
    rows->places = places ? places : rows->places;
    uint32_t *view_of = realloc(rows->view_of, capacity * sizeof *view_of);
    rows->view_of = view_of ? view_of : rows->view_of;
    if (!values || !places || !view_of) {
        return no_memory(n, err);
    }
    rows->capacity = capacity;
    return WL_OK;
}

static enum wl_status grow_views(struct calib_rows *rows, struct wl_err *err) {
    if (rows->n_views < rows->views_capacity) {
        return WL_OK;
    }
    size_t capacity = 2 * rows->views_capacity + 64;
    struct calib_view *views = realloc(rows->views, capacity * sizeof *views);
    if (!views) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu parts of pictures", capacity);
    }
    rows->views = views;
    rows->views_capacity = capacity;
    return WL_OK;
}

enum wl_status calib_rows_add(struct calib_rows *rows, size_t n, struct calib_view **view,
                              struct wl_err *err) {
    enum wl_status status = grow_rows(rows, rows->n + n, err);
    if (status == WL_OK) {
        status = grow_views(rows, err);
    }
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        rows->view_of[rows->n + i] = (uint32_t)rows->n_views;
    }
    *view = &rows->views[rows->n_views++];
    **view = (struct calib_view){.first = rows->n, .n = n};
    rows->n += n;
    return WL_OK;
}

// ---- in their places

static size_t row_of(int32_t token) {
    return (size_t)(-1 - (int64_t)token);
}

static void set_position(struct calib_part *part, size_t i, const int32_t *axes) {
    for (size_t axis = 0; axis < AXES; axis++) {
        part->positions[axis * part->n_tokens + i] = axes[axis];
    }
}

// Token i of a sequence at `position`, where the next token of text would stand; returns where the
// one behind it does.
static int32_t place_token(const struct calib_rows *rows, struct calib_part *part, size_t i,
                           int32_t position) {
    if (part->tokens[i] >= 0) {
        set_position(part, i, (int32_t[AXES]){position, position, position, 0});
        return position + 1;
    }
    size_t row = row_of(part->tokens[i]);
    const struct calib_view *view = &rows->views[rows->view_of[row]];
    const struct calib_place *at = &rows->places[row];
    set_position(part, i,
                 (int32_t[AXES]){position + at->time, position + at->row, position + at->column});
    part->tokens[i] = COMPRESS_IMAGE_TOKEN;
    memcpy(part->embeddings + part->n_image_tokens++ * rows->n_embd,
           rows->values + row * rows->n_embd, rows->n_embd * sizeof *rows->values);
    return row + 1 == view->first + view->n ? position + view->n_positions : position;
}

enum wl_status calib_rows_place(const struct calib_rows *rows, struct calib_part *part,
                                struct wl_err *err) {
    size_t n_images = 0;
    for (size_t i = 0; i < part->n_tokens; i++) {
        n_images += part->tokens[i] < 0;
    }
    if (n_images == 0) {
        return WL_OK;
    }
    part->positions = calloc(part->n_tokens, AXES * sizeof *part->positions);
    part->embeddings = calloc(n_images, rows->n_embd * sizeof *part->embeddings);
    if (!part->positions || !part->embeddings) {
        return no_memory(n_images, err);
    }
    size_t at = 0;
    for (size_t s = 0; s < part->n_sequences; s++) {
        int32_t position = 0;
        for (size_t end = at + part->lengths[s]; at < end; at++) {
            position = place_token(rows, part, at, position);
        }
    }
    return WL_OK;
}
