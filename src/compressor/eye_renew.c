#include "compressor/eye_renew.h"

#include <stdlib.h>
#include <string.h>

#include "compressor/eye_both.h"

// Rows of images of the text, in the order of their hashes.
struct row_place {
    uint64_t hash;
    uint32_t row;
};

struct renewing {
    const struct eye_renew *options;
    const struct compress_text *text;
    struct text_model model; // its vocabulary
    struct eye_text sight;
    struct eye_both both;
    struct row_place *places; // [text->n_image_tokens]
    uint8_t *is_found;        // [text->n_image_tokens]
    float *out;
    size_t n_embd, n_found;
};

static uint64_t hash_of(const float *row, size_t n) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        hash = (hash ^ bits) * 0x100000001b3u;
    }
    return hash;
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = ((const struct row_place *)a)->hash, y = ((const struct row_place *)b)->hash;
    return (x > y) - (x < y);
}

static void index_rows(struct renewing *r) {
    for (size_t i = 0; i < r->text->n_image_tokens; i++) {
        r->places[i] = (struct row_place){hash_of(r->text->embeddings + i * r->n_embd, r->n_embd),
                                          (uint32_t)i};
    }
    qsort(r->places, r->text->n_image_tokens, sizeof *r->places, by_hash);
}

static size_t first_with(const struct renewing *r, uint64_t hash) {
    size_t low = 0, high = r->text->n_image_tokens;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->places[middle].hash < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

// Several questions about a picture have its rows several times.
static void replace_row(struct renewing *r, const float *before, const float *after) {
    size_t n_bytes = r->n_embd * sizeof *before;
    uint64_t hash = hash_of(before, r->n_embd);
    size_t n = r->text->n_image_tokens;
    for (size_t i = first_with(r, hash); i < n && r->places[i].hash == hash; i++) {
        size_t row = r->places[i].row;
        bool is_it = !r->is_found[row] &&
                     memcmp(r->text->embeddings + row * r->n_embd, before, n_bytes) == 0;
        if (is_it) {
            memcpy(r->out + row * r->n_embd, after, n_bytes);
            r->is_found[row] = 1;
            r->n_found++;
        }
    }
}

static enum wl_status renew_pictures(struct renewing *r, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t p = 0; p < r->options->n_pictures && status == WL_OK; p++) {
        status = eye_both_encode(&r->both, r->options->pictures[p], err);
        for (size_t i = 0; i < r->both.n_tokens && status == WL_OK; i++) {
            replace_row(r, r->both.rows[EYE_BEFORE].x + i * r->n_embd,
                        r->both.rows[EYE_AFTER].x + i * r->n_embd);
        }
    }
    if (status == WL_OK && r->n_found < r->text->n_image_tokens) {
        return wl_err_set(err, WL_FAILED,
                          "%zu of %zu image tokens of the calibration text are not what '%s' gives "
                          "for its pictures now; begin anew (--fresh)",
                          r->text->n_image_tokens - r->n_found, r->text->n_image_tokens,
                          r->options->before);
    }
    return status;
}

static enum wl_status open_all(struct renewing *r, struct wl_err *err) {
    const struct eye_renew *o = r->options;
    size_t n = r->text->n_image_tokens;
    enum wl_status status = eye_text_width(o->text_path, &r->sight.n_embd_in, err);
    r->n_embd = r->sight.n_embd_in;
    if (status == WL_OK) {
        r->places = calloc(n, sizeof *r->places);
        r->is_found = calloc(n, 1);
        r->out = calloc(n, r->n_embd * sizeof *r->out);
        status = r->places && r->is_found && r->out
                     ? WL_OK
                     : wl_err_set(err, WL_MEMORY, "no memory for %zu image tokens", n);
    }
    if (status == WL_OK) {
        status = text_model_load(&r->model, o->text_path, TEXT_MODEL_VOCABULARY, o->watch, err);
    }
    if (status != WL_OK) {
        return status;
    }
    r->sight.vocabulary = r->model.model;
    struct eye_look_options look_options = {.image_max_tokens = o->image_max_tokens,
                                            .threads = o->threads,
                                            .n_embd_text = r->sight.n_embd_in};
    index_rows(r);
    return eye_both_open(&r->both, o->before, o->after, &r->sight, &look_options, o->watch, err);
}

enum wl_status eye_renew(const struct eye_renew *options, const struct compress_text *text,
                         float **embeddings, struct wl_err *err) {
    struct renewing r = {.options = options, .text = text};
    *embeddings = NULL;
    if (text->n_image_tokens == 0) {
        return WL_OK;
    }
    enum wl_status status = open_all(&r, err);
    if (status == WL_OK) {
        status = renew_pictures(&r, err);
    }
    eye_both_close(&r.both);
    text_model_unload(&r.model);
    free(r.places);
    free(r.is_found);
    if (status == WL_OK) {
        *embeddings = r.out;
    } else {
        free(r.out);
    }
    return status;
}
