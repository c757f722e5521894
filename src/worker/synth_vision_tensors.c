#include <stdio.h>

#include "base/str.h"
#include "worker/synth_vision.h"

// Sizes that no file states and libmtmd takes as given.
enum { WIDE_GRID = 70, AXIS_PLACES_EACH = 10240, N_COLOURS = 3 };

enum where { ONCE, BLOCK, DEEP };
enum kind { MATRIX, PLAIN, TABLE, VECTOR, NORM };
enum size {
    ONE,
    TWO,
    COLOURS,
    PATCH,
    PATCH_VALUES,
    EMBD,
    QKV,
    HEAD,
    FF,
    MERGED, // the patches of one token, one after the other
    OUT,
    PLACES,
    AXIS_PLACES,
    QUERIES,
};

struct row {
    const char *name;
    enum where where;
    uint32_t needs, excludes;
    enum kind kind;
    enum size shape[4];
};

static const struct row ROWS[] = {
#define TENSOR(where_, needs_, excludes_, name_, kind_, a, b, c, d)                                \
    {.where = where_,                                                                              \
     .needs = needs_,                                                                              \
     .excludes = excludes_,                                                                        \
     .name = name_,                                                                                \
     .kind = kind_,                                                                                \
     .shape = {a, b, c, d}},
#include "worker/synth_vision.def"
#undef TENSOR
};

static int64_t n_places(const struct synth_vision *v) {
    int64_t grid = v->parts & WIDE_POSITIONS ? WIDE_GRID : v->image_size / v->patch_size;
    return grid * grid + (v->parts & CLASS ? 1 : 0);
}

static int64_t size_of(const struct synth_vision *v, enum size size) {
    int64_t embd = v->n_embd;
    switch (size) {
    case ONE: return 1;
    case TWO: return 2;
    case COLOURS: return N_COLOURS;
    case PATCH: return v->patch_size;
    case PATCH_VALUES: return (int64_t)v->patch_size * v->patch_size * N_COLOURS;
    case EMBD: return embd;
    case QKV: return 3 * embd;
    case HEAD: return embd / v->n_head;
    case FF: return v->n_ff;
    case MERGED: return embd * v->n_merge * v->n_merge;
    case OUT: return v->n_embd_out;
    case PLACES: return n_places(v);
    case AXIS_PLACES: return AXIS_PLACES_EACH;
    case QUERIES: return SYNTH_RESAMPLER_QUERIES;
    }
    return 1;
}

static enum ggml_type type_of(const struct synth_vision *v, enum kind kind, int64_t n_cols,
                              bool *has_fallen_back) {
    *has_fallen_back = false;
    if (kind == MATRIX) {
        struct synth_matrix m = {.role = SYNTH_ROLE_OTHER, .n_cols = (uint64_t)n_cols};
        return synth_type_of(&v->mix, &m, has_fallen_back);
    }
    bool is_plain = kind == PLAIN && v->mix.base != GGML_TYPE_F32;
    return is_plain ? GGML_TYPE_F16 : GGML_TYPE_F32;
}

static void add_row(const struct synth_vision *v, const struct row *row, uint32_t layer,
                    struct synth_tensors *out) {
    int64_t ne[4];
    for (int i = 0; i < 4; i++) {
        ne[i] = size_of(v, row->shape[i]);
    }
    bool has_fallen_back;
    enum ggml_type type = type_of(v, row->kind, ne[0], &has_fallen_back);
    struct synth_tensor *t = synth_tensors_add(out, type, ne);
    if (!t) {
        return;
    }
    t->is_norm = row->kind == NORM;
    t->has_fallen_back = has_fallen_back;
    if (row->where == ONCE) {
        str_copy(t->name, sizeof t->name, row->name);
    } else {
        snprintf(t->name, sizeof t->name, "v.%s.%u.%s", row->where == BLOCK ? "blk" : "deepstack",
                 layer, row->name);
    }
}

static void add_all(const struct synth_vision *v, enum where where, uint32_t layer,
                    struct synth_tensors *out) {
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0] && !out->has_failed; i++) {
        const struct row *row = &ROWS[i];
        if (row->where == where && (v->parts & row->needs) == row->needs &&
            !(v->parts & row->excludes)) {
            add_row(v, row, layer, out);
        }
    }
}

uint32_t synth_vision_deep_layer(const struct synth_vision *vision, uint32_t i) {
    return (i + 1) * vision->n_layer / (vision->n_deepstack + 1) - 1;
}

enum wl_status synth_vision_tensors(const struct synth_vision *vision, struct synth_tensors *out,
                                    struct wl_err *err) {
    *out = (struct synth_tensors){0};
    add_all(vision, ONCE, 0, out);
    for (uint32_t layer = 0; layer < vision->n_layer; layer++) {
        add_all(vision, BLOCK, layer, out);
    }
    for (uint32_t i = 0; i < vision->n_deepstack; i++) {
        add_all(vision, DEEP, synth_vision_deep_layer(vision, i), out);
    }
    if (out->has_failed) {
        synth_tensors_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory for the list of tensors");
    }
    return WL_OK;
}
