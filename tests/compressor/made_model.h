// Small models for tests: made by `wattlaw synth` ($WATTLAW), then changed key by key and tensor by
// tensor with ggml's own writer.
#ifndef WATTLAW_TESTS_COMPRESSOR_MADE_MODEL_H
#define WATTLAW_TESTS_COMPRESSOR_MADE_MODEL_H

#include <gguf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/rng.h"
#include "os/process.h"

enum { MADE_ROOM_BYTES = 16 << 20 }; // for tensors that are added

enum made_type { MADE_AS_IS, MADE_F32, MADE_SHARP }; // sharp ones are F32 too

struct made {
    struct gguf_context *keys;    // change them as wanted before made_write
    struct ggml_context *tensors; // those too
    struct rng rng;
};

// Two files in a folder of our own: what synth made, and what was made of that.
static struct { char folder[32], base[64], made[64]; } made_place;

static inline bool made_begin(void) {
    const char *program = getenv("WATTLAW");
    snprintf(made_place.folder, sizeof made_place.folder, "/tmp/wattlaw-made-XXXXXX");
    if (!program || access(program, X_OK) != 0 || !mkdtemp(made_place.folder)) {
        return false;
    }
    snprintf(made_place.base, sizeof made_place.base, "%s/base.gguf", made_place.folder);
    snprintf(made_place.made, sizeof made_place.made, "%s/made.gguf", made_place.folder);
    return true;
}

static inline void made_end(void) {
    unlink(made_place.base);
    unlink(made_place.made);
    rmdir(made_place.folder);
}

static inline const char *made_base_path(void) {
    return made_place.base;
}

static inline const char *made_path(void) {
    return made_place.made;
}

// Runs `wattlaw synth` with these arguments, separated by single spaces. False when it failed.
static inline bool made_synth(const char *arguments, const char *path) {
    enum { MAX_WORDS = 40 };
    char words[512];
    const char *argv[MAX_WORDS + 6] = {getenv("WATTLAW"), "synth", "-q", "--force", "-o", path};
    size_t n = 6;
    snprintf(words, sizeof words, "%s", arguments);
    for (char *word = words; word && n < MAX_WORDS; n++) {
        char *space = strchr(word, ' ');
        argv[n] = word;
        if (space) {
            *space = '\0';
        }
        word = space ? space + 1 : NULL;
    }
    struct os_spawn spawn = {
        .argv = argv, .socket_fd = -1, .output_fd = -1, .dies_with_parent = true};
    pid_t pid;
    int wait_status = -1;
    struct wl_err err = {0};
    if (!argv[0] || os_spawn(&spawn, &pid, &err) != WL_OK) {
        return false;
    }
    if (os_wait(pid, 120000000000, &wait_status, &err) != WL_OK) {
        os_kill(pid);
        return false;
    }
    return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
}

// What synth makes hides mistakes: norms are ones, and queries and keys so small that everything is
// attended to alike, whatever its position.
static inline void made_sharpen(struct made *made, struct ggml_tensor *tensor) {
    enum { QUERIES_TIMES = 16, HEAD_NORM_TIMES = 2 };
    bool is_head_norm = strstr(tensor->name, "attn_q_norm") || strstr(tensor->name, "attn_k_norm");
    bool is_query = strstr(tensor->name, "attn_q.w") || strstr(tensor->name, "attn_k.w");
    float *values = tensor->data;
    for (int64_t i = 0; i < ggml_nelements(tensor); i++) {
        values[i] *= strstr(tensor->name, "norm") ? 0.5F + (float)rng_uniform(&made->rng) : 1;
        values[i] *= is_head_norm ? HEAD_NORM_TIMES : is_query ? QUERIES_TIMES : 1;
    }
}

static inline void made_copy(struct made *made, const struct ggml_tensor *from,
                             enum made_type type) {
    bool is_same = type == MADE_AS_IS || from->type == GGML_TYPE_F32;
    struct ggml_tensor *to = ggml_new_tensor(made->tensors, is_same ? from->type : GGML_TYPE_F32,
                                             ggml_n_dims(from), from->ne);
    ggml_set_name(to, from->name);
    if (is_same) {
        memcpy(to->data, from->data, ggml_nbytes(from));
    } else {
        ggml_get_type_traits(from->type)->to_float(from->data, to->data, ggml_nelements(from));
    }
    if (type == MADE_SHARP) {
        made_sharpen(made, to);
    }
}

static inline bool made_open(struct made *made, const char *path, enum made_type type) {
    struct ggml_context *read = NULL;
    struct gguf_init_params params = {.no_alloc = false, .ctx = &read};
    struct gguf_context *old = gguf_init_from_file(path, params);
    *made = (struct made){0};
    if (!old) {
        return false;
    }
    rng_seed(&made->rng, 7);
    size_t room = MADE_ROOM_BYTES;
    for (struct ggml_tensor *t = ggml_get_first_tensor(read); t;
         t = ggml_get_next_tensor(read, t)) {
        room += ggml_tensor_overhead() + 64 + (size_t)ggml_nelements(t) * sizeof(float);
    }
    made->keys = gguf_init_empty();
    gguf_set_kv(made->keys, old);
    made->tensors = ggml_init((struct ggml_init_params){.mem_size = room});
    for (int64_t i = 0; i < gguf_get_n_tensors(old); i++) {
        made_copy(made, ggml_get_tensor(read, gguf_get_tensor_name(old, i)), type);
    }
    gguf_free(old);
    ggml_free(read);
    return true;
}

// A float32 tensor of random values around `middle`; the values, to be changed as wanted.
static inline float *made_add(struct made *made, const char *name, int64_t columns, int64_t rows,
                              double middle, double spread) {
    struct ggml_tensor *tensor =
        rows == 1 ? ggml_new_tensor_1d(made->tensors, GGML_TYPE_F32, columns)
                  : ggml_new_tensor_2d(made->tensors, GGML_TYPE_F32, columns, rows);
    float *values = tensor->data;
    ggml_set_name(tensor, name);
    for (int64_t i = 0; i < columns * rows; i++) {
        values[i] = (float)(middle + spread * rng_normal(&made->rng));
    }
    return values;
}

static inline void made_rename(struct made *made, const char *name, const char *new_name) {
    ggml_set_name(ggml_get_tensor(made->tensors, name), new_name);
}

// Writes it and lets it go. Tensors of the name "" are left out.
static inline bool made_write(struct made *made, const char *path) {
    for (struct ggml_tensor *t = ggml_get_first_tensor(made->tensors); t;
         t = ggml_get_next_tensor(made->tensors, t)) {
        if (*t->name) {
            gguf_add_tensor(made->keys, t);
        }
    }
    bool is_ok = gguf_write_to_file(made->keys, path, false);
    gguf_free(made->keys);
    ggml_free(made->tensors);
    *made = (struct made){0};
    return is_ok;
}

#endif
