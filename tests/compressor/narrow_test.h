// What the tests of narrowing share: small models with something known about them, a walk over
// them, the file that comes of it, and llama.cpp's own states of both files.
#ifndef NARROW_TEST_H
#define NARROW_TEST_H

#include <math.h>

#include "compressor/narrow.h"
#include "compressor/pack.h"
#include "engine_states.h"
#include "target_test.h"

enum { MAX_BLOCKS = 16, SEQUENCES = 24, SEQUENCE = 48, HELD_OUT = 4 };

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES], made[OS_PATH_BYTES], out[OS_PATH_BYTES];

static inline void folder_begin(void) {
    test_folder(folder);
    test_path(base, folder, "base.gguf");
    test_path(made, folder, "made.gguf");
    test_path(out, folder, "out.gguf");
}

// ---- models ----

static inline bool synth(struct made *m, const char *arguments) {
    CHECK(made_synth(arguments, base));
    bool is_open = made_open(m, base, MADE_SHARP);
    CHECK(is_open);
    return is_open;
}

static inline float *values_of(struct made *m, uint32_t layer, const char *name, int64_t ne[2]) {
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s", layer, name);
    struct ggml_tensor *t = ggml_get_tensor(m->tensors, full);
    if (!t) {
        printf("no tensor %s\n", full);
        exit(TEST_WRONG);
    }
    ne[0] = t->ne[0];
    ne[1] = t->ne[1];
    return t->data;
}

static inline void scale_columns(struct made *m, uint32_t layer, const char *name, int64_t first,
                                 int64_t end, float by) {
    int64_t ne[2];
    float *values = values_of(m, layer, name, ne);
    for (int64_t row = 0; row < ne[1]; row++) {
        for (int64_t i = first; i < end && i < ne[0]; i++) {
            values[row * ne[0] + i] *= by;
        }
    }
}

static inline void copy_values(struct made *m, uint32_t to, uint32_t from, const char *name) {
    int64_t ne[2];
    const float *values = values_of(m, from, name, ne);
    memcpy(values_of(m, to, name, ne), values, (size_t)(ne[0] * ne[1]) * sizeof *values);
}

// ---- a walk ----

struct walk {
    struct compress_source source;
    struct compress_text text;
    int32_t tokens[SEQUENCES * SEQUENCE];
    uint32_t lengths[SEQUENCES];
    struct plan plan;
    struct narrow_options options;
    struct compress_target *target;
    struct pack pack;
    struct narrow_layer layers[MAX_BLOCKS]; // the arrays in them are only told from NULL
    size_t n_told;
    bool has_norm;
    double stop_at; // share of the work
    double stream_error;
    struct wl_err err;
};

static inline enum wl_status take_layer(void *context, const struct narrow_layer *layer,
                                        struct wl_err *err) {
    struct walk *w = context;
    CHECK(layer->layer == w->n_told && w->n_told < MAX_BLOCKS);
    w->layers[w->n_told++] = *layer;
    return pack_layer(&w->pack, w->target, &w->source, layer, err);
}

static inline enum wl_status take_norm(void *context, const float *norm, struct wl_err *err) {
    struct walk *w = context;
    w->has_norm = true;
    return pack_output_norm(&w->pack, w->target, &w->source, norm, err);
}

static inline bool walk_goes_on(void *context, double share_done) {
    const struct walk *w = context;
    CHECK(share_done >= 0 && share_done <= 1 + 1e-9);
    return share_done < w->stop_at;
}

static inline bool walk_begin(struct walk *w, const char *path) {
    struct rng rng;
    rng_seed(&rng, 11);
    *w = (struct walk){.stop_at = 2};
    CHECK_OK(compress_source_open(&w->source, path, COMPRESS_CAREFUL, &w->err), w->err);
    if (w->err.status != WL_OK) {
        return false;
    }
    for (size_t i = 0; i < SEQUENCES * SEQUENCE; i++) {
        w->tokens[i] = (int32_t)rng_below(&rng, w->source.n_vocab);
    }
    for (size_t i = 0; i < SEQUENCES; i++) {
        w->lengths[i] = SEQUENCE;
    }
    w->text = (struct compress_text){.tokens = w->tokens,
                                     .lengths = w->lengths,
                                     .n_sequences = SEQUENCES,
                                     .n_tokens = SEQUENCES * SEQUENCE};
    CHECK_OK(plan_init(&w->plan, &w->source, &w->err), w->err);
    w->options = (struct narrow_options){.n_held_out = HELD_OUT,
                                         .plan = &w->plan,
                                         .damping = 0.5,
                                         .ridge = 1e-2,
                                         .image_share = 0.5,
                                         .seed = 1,
                                         .scratch_dir = folder,
                                         .on_layer = take_layer,
                                         .go_on = walk_goes_on,
                                         .context = w};
    CHECK_OK(compress_target_new(&w->source.file, &w->target, &w->err), w->err);
    CHECK_OK(pack_open(&w->pack, folder, &w->err), w->err);
    return true;
}

static inline void walk_end(struct walk *w) {
    compress_target_free(w->target);
    pack_release(&w->pack);
    plan_release(&w->plan);
    compress_source_close(&w->source);
}

static inline enum wl_status walk_run(struct walk *w) {
    w->n_told = 0;
    return narrow_run(&w->source, &w->text, &w->options, &w->stream_error, &w->err);
}

static inline void walk_write(struct walk *w, const char *path) {
    bool is_done = false;
    CHECK_OK(pack_finish(&w->pack, w->target, &w->source, &w->plan, &w->err), w->err);
    CHECK_OK(compress_target_write(w->target, path, NULL, NULL, &is_done, &w->err), w->err);
    CHECK(is_done);
}

// A list with a value for each block has one for each that stays.
static inline void check_list(const struct walk *w, const struct gguf_file *file,
                              const struct gguf_kv *kv, uint64_t n_layer) {
    static const char OWN[] = ".attention.sliding_window_pattern";
    static const char SECTIONS[] = "qwen2vl.rope.dimension_sections"; // four, whatever there is
    size_t len = sizeof OWN - 1;
    if (kv->key_len == sizeof SECTIONS - 1 && memcmp(kv->key, SECTIONS, kv->key_len) == 0) {
        return;
    }
    bool is_list =
        kv->is_array && kv->key_len > len && memcmp(kv->key + kv->key_len - len, OWN, len) == 0;
    char key[128];
    if (!is_list) {
        CHECK(!kv->is_array || kv->n != w->plan.n_layer || n_layer == w->plan.n_layer);
        return;
    }
    CHECK(kv->n == n_layer);
    snprintf(key, sizeof key, "%.*s", (int)kv->key_len, kv->key);
    for (uint32_t from = 0, to = 0; from < w->plan.n_layer; from++) {
        struct block_shape shape;
        if (!w->plan.layers[from].is_removed) {
            CHECK(compress_source_shape(&w->source, from, &shape, NULL) == WL_OK);
            CHECK(gguf_file_uint(file, key, to++, 99) == (shape.window > 0));
        }
    }
}

// What is told for each block is told for those that stay, the tables are the ones that were there
// and no tensor is of a block beyond the last.
static inline void check_whole(const struct walk *w, const char *path) {
    struct gguf_file file;
    struct wl_err err = {0};
    char arch[64] = "", key[96];
    CHECK_OK(gguf_file_open(&file, path, &err), err);
    if (err.status != WL_OK) {
        return;
    }
    gguf_file_string(&file, "general.architecture", arch, sizeof arch);
    snprintf(key, sizeof key, "%s.block_count", arch);
    uint64_t n_layer = gguf_file_uint(&file, key, 0, 0), n_stays = 0;
    for (uint32_t i = 0; i < w->plan.n_layer; i++) {
        n_stays += !w->plan.layers[i].is_removed;
    }
    CHECK(n_layer == n_stays);
    for (uint64_t i = 0; i < file.n_kv; i++) {
        const struct gguf_kv *kv = &file.kvs[i];
        if (kv->key_len > strlen(arch) && memcmp(kv->key, arch, strlen(arch)) == 0) {
            check_list(w, &file, kv, n_layer);
        }
    }
    CHECK(w->source.is_tied == !tensor_of(&file, "output.weight"));
    const struct gguf_tensor *a = tensor_of(&w->source.file, "rope_freqs.weight");
    const struct gguf_tensor *b = tensor_of(&file, "rope_freqs.weight");
    CHECK(!a == !b && (!a || !b ||
                       (a->n_bytes == b->n_bytes && memcmp(bytes_of(&w->source.file, a),
                                                           bytes_of(&file, b), a->n_bytes) == 0)));
    for (uint64_t i = 0; i < file.n_tensors; i++) {
        unsigned layer;
        CHECK(sscanf(file.tensors[i].name, "blk.%u.", &layer) != 1 || layer < n_layer);
    }
    gguf_file_close(&file);
}

// Runs, writes to `out`, and compares what llama.cpp loads from there with what it loads from
// `made`.
static inline double walk_distance(struct walk *w) {
    CHECK_OK(plan_check(&w->plan, &w->source, &w->err), w->err);
    CHECK_OK(walk_run(w), w->err);
    if (w->err.status != WL_OK) {
        return INFINITY;
    }
    CHECK(w->n_told == w->plan.n_layer);
    walk_write(w, out);
    check_whole(w, out);
    return compare_logits(made, out, TEST_FLOAT);
}

// ---- llama.cpp's states ----

// The same as narrow_run's stream error, of llama.cpp's states behind the last blocks of both
// files. NaN when one does not load.
static inline double engine_stream_error(const struct walk *w, const char *path) {
    double off = 0, size = 0;
    size_t n_embd = w->source.n_embd, at = 0, image = 0;
    float *embd = calloc(SEQUENCE * n_embd, sizeof *embd);
    for (size_t s = 0; s < w->text.n_sequences; s++) {
        int32_t tokens[SEQUENCE], positions[4 * SEQUENCE];
        for (size_t i = 0; i < SEQUENCE; i++) {
            bool is_image = w->text.tokens[at + i] == COMPRESS_IMAGE_TOKEN;
            tokens[i] = w->text.tokens[at + i];
            for (size_t kind = 0; kind < 4 && w->text.positions; kind++) {
                positions[kind * SEQUENCE + i] =
                    w->text.positions[kind * w->text.n_tokens + at + i];
            }
            if (is_image) {
                memcpy(embd + i * n_embd, w->text.embeddings + image++ * n_embd,
                       n_embd * sizeof *embd);
            } else {
                CHECK(compress_source_embed(&w->source, tokens + i, 1, embd + i * n_embd, NULL) ==
                      WL_OK);
            }
        }
        at += SEQUENCE;
        if (s < w->text.n_sequences - w->options.n_held_out) {
            continue;
        }
        struct engine_input in = {.tokens = tokens,
                                  .embd = w->text.positions ? embd : NULL,
                                  .positions = positions,
                                  .n_tokens = SEQUENCE};
        struct engine_states x, z;
        if (!engine_states_run(made, &in, &x) || !engine_states_run(path, &in, &z)) {
            free(embd);
            return NAN;
        }
        for (size_t i = n_embd; i < SEQUENCE * n_embd; i++) {
            double was = x.after[x.n_layer - 1][i], d = z.after[z.n_layer - 1][i] - was;
            off += d * d;
            size += was * was;
        }
        engine_states_release(&x);
        engine_states_release(&z);
    }
    free(embd);
    return off / size;
}

// What narrowing believes of the file is what llama.cpp computes from it.
static inline void check_stream(const struct walk *w) {
    double theirs = engine_stream_error(w, out);
    // The qwen2vl of llama.cpp 0.7.0 does not read its epsilon and computes with 0.
    double tolerance = strcmp(w->source.arch->name, "qwen2vl") == 0 ? 1e-2 : 1e-3;
    bool is_near = fabs(w->stream_error - theirs) <= tolerance * theirs + 1e-9;
    if (!is_near) {
        printf("stream error of a %s %g, of llama.cpp's states %g\n", w->source.arch->name,
               w->stream_error, theirs);
    }
    CHECK(is_near);
}

#endif
