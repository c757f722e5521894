// compressor/eye_source.c and compress/tower.c together compute what libmtmd computes: behind every
// block of every family the states are compared with libmtmd's own. A block that is spoilt on
// purpose must be noticed.
//
// Exit codes: 0 right, 1 wrong, 77 skipped.
#include <math.h>

#include "compressor/eye_look.h"
#include "compressor/eye_source.h"
#include "eye_pair.h"
#include "worker/backends.h"
#include "worker/log.h"

enum { RIGHT = 0, WRONG = 1, SKIPPED = 77, MAX_BLOCKS = 8, MAX_VIEWS = 16 };

// Measured on x86: 5e-5 to 2e-4, because libmtmd looks gelu up in a table of 16 bits.
static const double LIMIT = 5e-4, LEAST_SPOILT = 2e-3;

struct view { // one graph: a picture or a tile
    size_t n_rows, width;
    int32_t *places; // rows, then columns; NULL without
    float *input, *behind[MAX_BLOCKS];
};

struct seen {
    struct view views[MAX_VIEWS];
    size_t n;
};

static float *copy(const float *x, size_t n) {
    float *out = malloc(n * sizeof *out);
    if (out) {
        memcpy(out, x, n * sizeof *out);
    }
    return out;
}

static enum wl_status see(void *context, const struct eye_sight *sight, struct wl_err *err) {
    struct seen *seen = context;
    if (sight->part == EYE_INPUT && seen->n < MAX_VIEWS) {
        struct view *view = &seen->views[seen->n++];
        view->n_rows = sight->n_rows;
        view->width = sight->width;
        view->input = copy(sight->x, sight->n_rows * sight->width);
        if (sight->rows) {
            view->places = malloc(2 * sight->n_rows * sizeof *view->places);
            memcpy(view->places, sight->rows, sight->n_rows * sizeof *view->places);
            memcpy(view->places + sight->n_rows, sight->columns,
                   sight->n_rows * sizeof *view->places);
        }
        return WL_OK;
    }
    if (seen->n == 0 || sight->part != EYE_BEHIND || sight->layer >= MAX_BLOCKS) {
        return wl_err_set(err, WL_FAILED, "seen in a strange order");
    }
    seen->views[seen->n - 1].behind[sight->layer] = copy(sight->x, sight->n_rows * sight->width);
    return WL_OK;
}

static void seen_release(struct seen *seen) {
    for (size_t i = 0; i < seen->n; i++) {
        free(seen->views[i].input);
        free(seen->views[i].places);
        for (int layer = 0; layer < MAX_BLOCKS; layer++) {
            free(seen->views[i].behind[layer]);
        }
    }
}

enum spoil { SPOIL_NOTHING, SPOIL_ROPE, SPOIL_ACT, SPOIL_NORM_BIAS, SPOIL_QUERY_BIAS, N_SPOILS };

static bool spoil_block(enum spoil spoil, struct eye_block *b) {
    switch (spoil) {
    case SPOIL_ROPE: b->shape.has_rope = false; return true;
    case SPOIL_ACT:
        b->shape.act = b->shape.act == TOWER_GELU ? TOWER_QUICK_GELU : TOWER_GELU;
        return true;
    case SPOIL_NORM_BIAS: b->weights.ln2_bias = NULL; return true;
    case SPOIL_QUERY_BIAS: b->weights.bq = NULL; return true;
    default: return true;
    }
}

static double distance(const float *a, const float *b, size_t n) {
    double off = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(off / size);
}

// The largest distance of any block of any view, each computed from what was before it.
static enum wl_status compare(const struct eye_source *source, const struct seen *seen,
                              enum spoil spoil, double *worst, struct wl_err *err) {
    enum wl_status status = WL_OK;
    *worst = 0;
    for (uint32_t layer = 0; layer < source->facts.n_layer && status == WL_OK; layer++) {
        struct eye_block block;
        status = eye_source_load(source, layer, &block, err);
        spoil_block(spoil, &block);
        for (size_t i = 0; i < seen->n && status == WL_OK; i++) {
            const struct view *view = &seen->views[i];
            struct tower_picture picture = {view->n_rows, view->places,
                                            view->places ? view->places + view->n_rows : NULL};
            size_t n = view->n_rows * view->width;
            float *mid = malloc(n * sizeof *mid);
            float *h = malloc(view->n_rows * block.shape.n_ff * sizeof *h);
            const float *x = layer == 0 ? view->input : view->behind[layer - 1];
            status = tower_attention(&block.shape, &block.weights, &picture, x, mid, err);
            if (status == WL_OK) {
                status = tower_ffn_inner(&block.shape, &block.weights, view->n_rows, mid, h, err);
            }
            if (status == WL_OK) {
                status =
                    tower_ffn_out(&block.shape, &block.weights, view->n_rows, mid, h, mid, err);
                *worst = fmax(*worst, distance(mid, view->behind[layer], n));
            }
            free(mid);
            free(h);
        }
        eye_block_release(&block);
    }
    return status;
}

static enum wl_status look(const char *text_path, const char *eye_path, bool has_rope,
                           const char *picture, struct seen *seen, struct wl_err *err) {
    struct text_watch watch = {0};
    struct text_model text;
    enum wl_status status = text_model_load(&text, text_path, TEXT_MODEL_VOCABULARY, &watch, err);
    if (status != WL_OK) {
        return status;
    }
    struct eye_look look = {.path = eye_path,
                            .parts = EYE_INPUT | EYE_BEHIND,
                            .has_rope = has_rope,
                            .see = see,
                            .see_context = seen};
    struct eye_look_options options = {.threads = 1, .is_exact = true};
    status = eye_text_width(text_path, &options.n_embd_text, err);
    struct mtmd_input_chunks *chunks = NULL;
    if (status == WL_OK) {
        status = eye_look_open(&look, text.model, &options, err);
    }
    if (status == WL_OK) {
        status = eye_look_picture(&look, picture, &chunks, err);
    }
    if (status == WL_OK) {
        status = eye_look_encode(&look, chunks, err);
        mtmd_input_chunks_free(chunks);
    }
    eye_look_close(&look);
    text_model_unload(&text);
    return status;
}

static int judge(const char *name, const struct eye_source *source, const struct seen *seen,
                 struct wl_err *err) {
    int result = seen->n > 0 ? RIGHT : WRONG;
    for (enum spoil spoil = SPOIL_NOTHING; spoil < N_SPOILS; spoil++) {
        if (spoil == SPOIL_ROPE && !source->family->has_rope) {
            continue;
        }
        double worst;
        if (compare(source, seen, spoil, &worst, err) != WL_OK) {
            fprintf(stderr, "%s: %s\n", name, err->message);
            return WRONG;
        }
        bool is_right = spoil == SPOIL_NOTHING ? worst < LIMIT : worst > LEAST_SPOILT;
        printf("%s: %zu views, spoilt %d: %.2g%s\n", name, seen->n, (int)spoil, worst,
               is_right ? "" : " WRONG");
        result = is_right ? result : WRONG;
    }
    return result;
}

static int check(const char *name, const char *text, const char *eye, const char *picture) {
    struct wl_err err = {0};
    struct eye_source source;
    struct seen seen = {0};
    int result = WRONG;
    if (eye_source_open(&source, eye, &err) == WL_OK && eye_source_check(&source, &err) == WL_OK &&
        look(text, eye, source.family->has_rope, picture, &seen, &err) == WL_OK) {
        result = judge(name, &source, &seen, &err);
    } else {
        fprintf(stderr, "%s: %s\n", name, err.message);
    }
    seen_release(&seen);
    eye_source_close(&source);
    return result;
}

// The built-in encoder, its weights as float32 so that libmtmd rounds nothing else.
static int check_builtin(const char *folder) {
    static const char EYE[] = "models/builtin/mmproj-builtin.gguf";
    char eye[EYE_PAIR_PATH];
    if (!os_exists(EYE)) {
        return RIGHT;
    }
    snprintf(eye, sizeof eye, "%s/builtin.gguf", folder);
    int result = eye_pair_change(EYE, eye, NULL) ? check("built-in", "models/builtin/builtin.gguf",
                                                         eye, "models/tasks/panels/panel-01.webp")
                                                 : WRONG;
    unlink(eye);
    return result;
}

int main(void) {
    struct wl_err err = {0};
    char folder[] = "/tmp/wattlaw-eye-XXXXXX", picture[EYE_PAIR_PATH];
    log_capture();
    if (backends_load(&err) != WL_OK || !mkdtemp(folder)) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return SKIPPED;
    }
    snprintf(picture, sizeof picture, "%s/picture.png", folder);
    int result = eye_pair_picture(picture, 230, 150, 1) ? check_builtin(folder) : WRONG;
    for (size_t i = 0; i < N_EYE_PAIRS; i++) {
        struct eye_pair pair;
        if (!eye_pair_make(&EYE_PAIRS[i], &pair)) {
            result = WRONG;
            continue;
        }
        int one = check(EYE_PAIRS[i].name, pair.text, pair.eye, picture);
        result = one == RIGHT ? result : one;
        eye_pair_end(&pair);
    }
    unlink(picture);
    rmdir(folder);
    return result;
}
