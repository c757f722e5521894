// Tiny pairs of a text model and an image encoder with random weights, made by the engine's SYNTH
// and then changed so that nothing in them is one, zero or alike; and pictures to look at.
#ifndef WATTLAW_TESTS_COMPRESSOR_EYE_PAIR_H
#define WATTLAW_TESTS_COMPRESSOR_EYE_PAIR_H

#include <sys/socket.h>

#include "image/image.h"
#include "made_model.h"
#include "os/file.h"
#include "worker/synth.h"

enum { EYE_EMBD_OUT = 128, EYE_PAIR_PATH = 128 };

struct eye_pair_family {
    const char *name, *projector, *arch, *keys;
    bool is_swapped; // ffn_up and ffn_down have each other's names
};

static const struct eye_pair_family EYE_PAIRS[] = {
    {"qwen2vl", "qwen2vl_merger", "qwen2vl", "{\"patch_size\": 14, \"image_size\": 560}", false},
    {"idefics3", "idefics3", "llama",
     "{\"patch_size\": 16, \"image_size\": 128, \"merge\": 2, \"preproc_image_size\": 256}", false},
    {"gemma3", "gemma3", "gemma3", "{\"patch_size\": 14, \"image_size\": 224}", false},
    {"gemma3 of an old converter", "gemma3", "gemma3", "{\"patch_size\": 14, \"image_size\": 224}",
     true},
};
enum { N_EYE_PAIRS = sizeof EYE_PAIRS / sizeof EYE_PAIRS[0] };

struct eye_pair {
    char folder[32];
    char text[EYE_PAIR_PATH], eye[EYE_PAIR_PATH];
};

static inline bool eye_pair_synth(json_t *request) {
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) {
        return false;
    }
    struct frame_io io = {.fd = sockets[0]};
    struct reply reply = {.io = &io, .request_id = 1};
    struct wl_err err = {0};
    json_t *result = NULL;
    bool is_ok = synth_request(&reply, request, &result, &err) == WL_OK;
    if (!is_ok) {
        fprintf(stderr, "synth: %s\n", err.message);
    }
    json_decref(result);
    json_decref(request);
    close(sockets[0]);
    close(sockets[1]);
    return is_ok;
}

// Norms of one half to one and a half, attention that looks at some patches more than at others.
static inline void eye_pair_sharpen(struct made *made, struct ggml_tensor *tensor) {
    const char *name = tensor->name;
    bool is_norm = strstr(name, "ln1.w") || strstr(name, "ln2.w") || strstr(name, "_ln.w");
    double times = strstr(name, "attn_q.w") || strstr(name, "attn_k.w") ? 6
                   : strstr(name, "ffn_") || strstr(name, "attn_")      ? 2
                                                                        : 1;
    float *values = tensor->data;
    for (int64_t i = 0; i < ggml_nelements(tensor); i++) {
        values[i] *= (float)(is_norm ? 0.5 + rng_uniform(&made->rng) : times);
        values[i] += strstr(name, ".bias") ? 0.2F * (float)rng_normal(&made->rng) : 0;
    }
}

static inline void eye_pair_swap_names(struct made *made) {
    char old_name[64], new_name[64];
    static const char *const KINDS[] = {"weight", "bias"};
    for (int layer = 0; layer < 3; layer++) {
        for (int i = 0; i < 2; i++) {
            snprintf(old_name, sizeof old_name, "v.blk.%d.ffn_up.%s", layer, KINDS[i]);
            made_rename(made, old_name, "kept");
            snprintf(new_name, sizeof new_name, "v.blk.%d.ffn_down.%s", layer, KINDS[i]);
            made_rename(made, new_name, old_name);
            made_rename(made, "kept", new_name);
        }
    }
}

// Takes a file as it is to float32.
static inline bool eye_pair_change(const char *from, const char *to,
                                   const struct eye_pair_family *family) {
    struct made made;
    if (!made_open(&made, from, MADE_F32)) {
        return false;
    }
    for (struct ggml_tensor *t = ggml_get_first_tensor(made.tensors); t && family;
         t = ggml_get_next_tensor(made.tensors, t)) {
        eye_pair_sharpen(&made, t);
    }
    if (family && family->is_swapped) {
        eye_pair_swap_names(&made);
    }
    return made_write(&made, to);
}

static inline void eye_pair_end(const struct eye_pair *pair) {
    unlink(pair->text);
    unlink(pair->eye);
    rmdir(pair->folder);
}

// Three blocks of width 64, 4 heads and 96 neurons.
static inline bool eye_pair_make(const struct eye_pair_family *family, struct eye_pair *out) {
    char base[EYE_PAIR_PATH];
    snprintf(out->folder, sizeof out->folder, "/tmp/wattlaw-eye-XXXXXX");
    if (!mkdtemp(out->folder)) {
        return false;
    }
    snprintf(out->text, sizeof out->text, "%s/text.gguf", out->folder);
    snprintf(out->eye, sizeof out->eye, "%s/mmproj.gguf", out->folder);
    snprintf(base, sizeof base, "%s/base.gguf", out->folder);
    json_t *text = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "path",
                             out->text, "arch", family->arch, "name", "eye", "n_layer", 1, "n_embd",
                             EYE_EMBD_OUT, "n_head", 4, "n_head_kv", 2, "head_dim", 32, "n_ff", 160,
                             "n_vocab", 512, "n_ctx", 8192);
    json_t *eye = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "path", base, "projector",
                            family->projector, "name", "eye", "v_layer", 3, "v_embd", 64, "v_head",
                            4, "v_ff", 96, "n_embd_out", EYE_EMBD_OUT);
    json_t *keys = json_loads(family->keys, 0, NULL);
    json_object_update(eye, keys);
    json_decref(keys);
    bool is_ok =
        eye_pair_synth(text) && eye_pair_synth(eye) && eye_pair_change(base, out->eye, family);
    unlink(base);
    if (!is_ok) {
        eye_pair_end(out);
    }
    return is_ok;
}

// Coloured boxes on a slope with some noise: alike enough that there is something to learn.
static inline bool eye_pair_picture(const char *path, uint32_t width, uint32_t height,
                                    uint64_t seed) {
    struct rng rng;
    rng_seed(&rng, seed);
    unsigned char *rgb = malloc((size_t)width * height * 3), *bytes = NULL;
    size_t n = 0;
    uint32_t box[4] = {rng_below(&rng, width / 2), rng_below(&rng, height / 2),
                       width / 4 + rng_below(&rng, width / 4),
                       height / 4 + rng_below(&rng, height / 4)};
    uint32_t colour = rng_below(&rng, 1u << 24);
    for (uint32_t i = 0; rgb && i < width * height * 3; i++) {
        uint32_t x = i / 3 % width, y = i / 3 / width;
        bool is_in = x - box[0] < box[2] && y - box[1] < box[3];
        uint32_t ground = (x + y) * 128 / (width + height) + rng_below(&rng, 32);
        rgb[i] = (unsigned char)(is_in ? colour >> (8 * (i % 3)) & 255 : ground);
    }
    struct image image = {.width = width, .height = height, .rgb = rgb};
    struct wl_err err = {0};
    bool is_ok = rgb && image_encode(&image, IMAGE_PNG, 0, &bytes, &n, &err) == WL_OK &&
                 os_write_atomic(path, bytes, n, &err) == WL_OK;
    free(rgb);
    free(bytes);
    return is_ok;
}

#endif
