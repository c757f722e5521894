#include "compressor/eye_record.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/eye_look.h"

enum { MAX_PATCHES = 1 << 26, MAX_VIEWS = 1 << 20 };

struct recording {
    struct eye_record *record;
    uint32_t last_layer;
    size_t views_capacity, patches_capacity;
};

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the list of views");
}

static bool grow(void **array, size_t n, size_t size) {
    void *larger = n <= SIZE_MAX / size ? realloc(*array, n * size) : NULL;
    *array = larger ? larger : *array;
    return larger != NULL;
}

static enum wl_status make_room(struct recording *r, size_t n_rows, bool has_places,
                                struct wl_err *err) {
    struct eye_record *record = r->record;
    if (record->n_views >= MAX_VIEWS || n_rows > MAX_PATCHES - record->n_patches) {
        return wl_err_set(err, WL_LIMIT,
                          "the pictures have more than %d patches or %d views: take fewer or "
                          "smaller ones",
                          MAX_PATCHES, MAX_VIEWS);
    }
    if (record->n_views == r->views_capacity) {
        r->views_capacity = 2 * r->views_capacity + 64;
        if (!grow((void **)&record->lengths, r->views_capacity, sizeof *record->lengths) ||
            !grow((void **)&record->firsts, r->views_capacity, sizeof *record->firsts)) {
            return no_memory(err);
        }
    }
    if (has_places && record->n_patches + n_rows > r->patches_capacity) {
        r->patches_capacity = 2 * r->patches_capacity + n_rows;
        if (!grow((void **)&record->rows, r->patches_capacity, sizeof *record->rows) ||
            !grow((void **)&record->columns, r->patches_capacity, sizeof *record->columns)) {
            return no_memory(err);
        }
    }
    return WL_OK;
}

static enum wl_status take_input(struct recording *r, const struct eye_sight *sight,
                                 struct wl_err *err) {
    struct eye_record *record = r->record;
    enum wl_status status = make_room(r, sight->n_rows, sight->rows != NULL, err);
    if (status == WL_OK) {
        status = states_write(&record->input, record->n_patches, sight->n_rows, sight->x, err);
    }
    if (status != WL_OK) {
        return status;
    }
    if (sight->rows) {
        size_t bytes = sight->n_rows * sizeof *record->rows;
        memcpy(record->rows + record->n_patches, sight->rows, bytes);
        memcpy(record->columns + record->n_patches, sight->columns, bytes);
    }
    record->lengths[record->n_views] = (uint32_t)sight->n_rows;
    record->firsts[record->n_views++] = record->n_patches;
    record->n_patches += sight->n_rows;
    record->longest = sight->n_rows > record->longest ? sight->n_rows : record->longest;
    return WL_OK;
}

static enum wl_status take_end(struct recording *r, const struct eye_sight *sight,
                               struct wl_err *err) {
    struct eye_record *record = r->record;
    if (record->first_end || record->n_views != 1 || sight->layer != r->last_layer) {
        return WL_OK;
    }
    size_t n = sight->n_rows * sight->width;
    record->first_end = calloc(n, sizeof *record->first_end);
    if (!record->first_end || sight->n_rows != record->lengths[0]) {
        return record->first_end ? wl_err_set(err, WL_UNSUPPORTED,
                                              "libmtmd has %zu patches behind the blocks, expected "
                                              "%u",
                                              sight->n_rows, record->lengths[0])
                                 : no_memory(err);
    }
    memcpy(record->first_end, sight->x, n * sizeof *record->first_end);
    return WL_OK;
}

static enum wl_status see(void *context, const struct eye_sight *sight, struct wl_err *err) {
    struct recording *r = context;
    struct eye_record *record = r->record;
    if (sight->part == EYE_INPUT) {
        return sight->width == record->input.n_embd
                   ? take_input(r, sight, err)
                   : wl_err_set(err, WL_UNSUPPORTED, "libmtmd's states are %zu wide, expected %zu",
                                sight->width, record->input.n_embd);
    }
    if (sight->part == EYE_BEHIND) {
        return take_end(r, sight, err);
    }
    record->n_tokens += sight->n_rows;
    return states_write(&record->tokens, record->n_tokens - sight->n_rows, sight->n_rows, sight->x,
                        err);
}

static enum wl_status record_pictures(struct recording *r, struct eye_look *look,
                                      const struct eye_options *options, struct wl_err *err) {
    struct eye_record *record = r->record;
    size_t n_learnt = options->n_pictures - options->n_held_out;
    double begin = look->watch->share_done;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < options->n_pictures && status == WL_OK; i++) {
        struct mtmd_input_chunks *chunks;
        status = eye_look_picture(look, options->pictures[i], &chunks, err);
        if (status == WL_OK) {
            status = eye_look_encode(look, chunks, err);
            mtmd_input_chunks_free(chunks);
        }
        if (i + 1 == n_learnt) {
            record->n_learnt_views = record->n_views;
            record->n_learnt_tokens = record->n_tokens;
        }
        look->watch->share_done = begin + 0.1 * (double)(i + 1) / (double)options->n_pictures;
    }
    return status;
}

static enum wl_status check(const struct eye_record *record, const struct eye_source *source,
                            struct wl_err *err) {
    if (record->n_learnt_views == 0 || record->n_views == 0 || !record->first_end ||
        (source->family->has_rope && !record->rows)) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "libmtmd does not show the blocks of this encoder as is known of the "
                          "projector '%s'",
                          source->facts.projector);
    }
    return WL_OK;
}

enum wl_status eye_record_make(struct eye_record *record, const struct eye_source *source,
                               const char *path, const struct eye_text *text,
                               const struct eye_options *options, struct text_watch *watch,
                               struct wl_err *err) {
    *record = (struct eye_record){.input.fd = -1, .tokens.fd = -1};
    struct recording r = {.record = record, .last_layer = source->facts.n_layer - 1};
    struct eye_look look = {.path = path,
                            .parts = EYE_INPUT | EYE_BEHIND | EYE_TOKENS,
                            .has_rope = source->family->has_rope,
                            .see = see,
                            .see_context = &r,
                            .watch = watch};
    struct eye_look_options look_options = {.image_max_tokens = options->image_max_tokens,
                                            .threads = options->threads,
                                            .n_embd_text = text->n_embd_in,
                                            .is_exact = true};
    enum wl_status status =
        states_open(&record->input, options->scratch_dir, 0, source->facts.n_embd, err);
    if (status == WL_OK) {
        status = states_open(&record->tokens, options->scratch_dir, 0, text->n_embd_in, err);
    }
    if (status == WL_OK) {
        status = eye_look_open(&look, text->vocabulary, &look_options, err);
    }
    if (status == WL_OK) {
        status = record_pictures(&r, &look, options, err);
    }
    eye_look_close(&look);
    return status == WL_OK ? check(record, source, err) : status;
}

void eye_record_release(struct eye_record *record) {
    states_close(&record->input);
    states_close(&record->tokens);
    free(record->lengths);
    free(record->firsts);
    free(record->rows);
    free(record->columns);
    free(record->first_end);
    *record = (struct eye_record){.input.fd = -1, .tokens.fd = -1};
}
