#include "compressor/eye_both.h"

#include <stdlib.h>
#include <string.h>

static enum wl_status see(void *context, const struct eye_sight *sight, struct wl_err *err) {
    struct eye_both_rows *rows = context;
    size_t n = rows->n + sight->n_rows;
    if (n > rows->capacity) {
        float *larger = n <= SIZE_MAX / sizeof(float) / sight->width
                            ? realloc(rows->x, n * sight->width * sizeof *larger)
                            : NULL;
        if (!larger) {
            return wl_err_set(err, WL_MEMORY, "no memory for %zu tokens", n);
        }
        rows->x = larger;
        rows->capacity = n;
    }
    memcpy(rows->x + rows->n * sight->width, sight->x,
           sight->n_rows * sight->width * sizeof *rows->x);
    rows->n = n;
    return WL_OK;
}

enum wl_status eye_both_open(struct eye_both *both, const char *before, const char *after,
                             const struct eye_text *text, const struct eye_look_options *options,
                             struct text_watch *watch, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int side = 0; side < EYE_SIDES && status == WL_OK; side++) {
        both->looks[side] = (struct eye_look){.path = side == EYE_BEFORE ? before : after,
                                              .see = see,
                                              .see_context = &both->rows[side],
                                              .watch = watch};
        status = eye_look_open(&both->looks[side], text->vocabulary, options, err);
    }
    return status;
}

void eye_both_close(struct eye_both *both) {
    for (int side = 0; side < EYE_SIDES; side++) {
        eye_look_close(&both->looks[side]);
        free(both->rows[side].x);
        both->rows[side] = (struct eye_both_rows){0};
    }
}

static enum wl_status encode_side(struct eye_both *both, int side, const char *path,
                                  struct wl_err *err) {
    struct mtmd_input_chunks *chunks;
    both->rows[side].n = 0;
    both->looks[side].parts = EYE_TOKENS;
    enum wl_status status = eye_look_picture(&both->looks[side], path, &chunks, err);
    if (status == WL_OK) {
        status = eye_look_encode(&both->looks[side], chunks, err);
        mtmd_input_chunks_free(chunks);
    }
    return status;
}

enum wl_status eye_both_encode(struct eye_both *both, const char *path, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int side = 0; side < EYE_SIDES && status == WL_OK; side++) {
        status = encode_side(both, side, path, err);
    }
    size_t n_before = both->rows[EYE_BEFORE].n, n_after = both->rows[EYE_AFTER].n;
    if (status == WL_OK && n_before != n_after) {
        return wl_err_set(err, WL_FAILED,
                          "picture '%.300s' is %zu tokens to the original encoder and %zu to the "
                          "new one",
                          path, n_before, n_after);
    }
    both->n_tokens = n_before;
    return status;
}
