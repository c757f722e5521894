// Sequences with pictures, computed without any of the code under test; and pairs of a text model
// and an image encoder to make them with.
#ifndef IMAGE_TEXT_TEST_H
#define IMAGE_TEXT_TEST_H

#include <jansson.h>
#include <llama.h>
#include <math.h>
#include <mtmd-helper.h>
#include <mtmd.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "compressor/text.h"
#include "image/image.h"
#include "text_model_test.h"
#include "worker/frame_io.h"
#include "worker/synth.h"

enum { PLAIN_CONTEXT = 1024 };

struct plain {
    struct llama_model *model;
    struct llama_context *ctx;
    struct mtmd_context *mtmd; // NULL: without an encoder
    const struct llama_vocab *vocab;
    size_t n_vocab, n_embd;
    bool is_mrope;
};

static inline struct plain plain_open(const char *path, const char *mmproj_path) {
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = PLAIN_CONTEXT;
    params.n_threads = params.n_threads_batch = 1;
    struct plain p = {.model = llama_model_load_from_file(path, llama_model_default_params())};
    p.ctx = p.model ? llama_init_from_model(p.model, params) : NULL;
    if (p.ctx && mmproj_path) {
        struct mtmd_context_params more = mtmd_context_params_default();
        more.use_gpu = more.print_timings = false;
        more.n_threads = 1;
        p.mtmd = mtmd_init_from_file(mmproj_path, p.model, more);
    }
    if (!p.ctx || (mmproj_path && !p.mtmd)) {
        printf("cannot load '%s'\n", path);
        exit(TEST_WRONG);
    }
    enum llama_rope_type rope = llama_model_rope_type(p.model);
    p.vocab = llama_model_get_vocab(p.model);
    p.n_vocab = (size_t)llama_vocab_n_tokens(p.vocab);
    p.n_embd = (size_t)llama_model_n_embd(p.model);
    p.is_mrope = rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE;
    return p;
}

static inline void plain_close(struct plain *p) {
    if (p->mtmd) {
        mtmd_free(p->mtmd);
    }
    llama_free(p->ctx);
    llama_model_free(p->model);
}

// What the model says behind a prompt with one picture, as libmtmd's own helper computes it:
// logits [n_vocab].
static inline float *plain_ask(struct plain *p, const char *prompt, const struct image *image) {
    struct mtmd_input_text text = {
        .text = prompt, .text_len = strlen(prompt), .add_special = true, .parse_special = true};
    struct mtmd_bitmap *bitmap = mtmd_bitmap_init(image->width, image->height, image->rgb);
    const struct mtmd_bitmap *bitmaps[] = {bitmap};
    struct mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    llama_pos n_past = 0;
    CHECK(mtmd_tokenize(p->mtmd, chunks, &text, bitmaps, 1) == 0);
    llama_memory_clear(llama_get_memory(p->ctx), true);
    CHECK(mtmd_helper_eval_chunks(p->mtmd, p->ctx, chunks, 0, 0, PLAIN_CONTEXT, true, &n_past) ==
          0);
    float *logits = calloc(p->n_vocab, sizeof *logits);
    memcpy(logits, llama_get_logits_ith(p->ctx, -1), p->n_vocab * sizeof *logits);
    mtmd_input_chunks_free(chunks);
    mtmd_bitmap_free(bitmap);
    return logits;
}

static inline bool is_image_token(int32_t token) {
    return token == COMPRESS_IMAGE_TOKEN;
}

// Tokens begin .. end of the text, all words or all parts of images; `rows` of the latter.
static inline void plain_decode(struct plain *p, const struct compress_text *text, size_t begin,
                                size_t end, const float *rows) {
    int32_t n = (int32_t)(end - begin);
    struct llama_batch batch = llama_batch_init(n, rows ? (int32_t)p->n_embd : 0, 1);
    llama_pos *own = batch.pos, *pos = calloc((size_t)n * 4, sizeof *pos);
    batch.n_tokens = n;
    batch.pos = pos;
    for (int32_t i = 0; i < n; i++) {
        for (size_t axis = 0; axis < (rows && p->is_mrope ? 4 : 1); axis++) {
            pos[axis * (size_t)n + (size_t)i] =
                text->positions[axis * text->n_tokens + begin + (size_t)i];
        }
        if (!rows) {
            batch.token[i] = text->tokens[begin + (size_t)i];
        }
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = true;
    }
    if (rows) {
        memcpy(batch.embd, rows, (size_t)n * p->n_embd * sizeof *rows);
    }
    CHECK(llama_decode(p->ctx, batch) == 0);
    batch.pos = own;
    free(pos);
    llama_batch_free(batch);
}

// Logits behind each token of the sequence of `length` tokens that begins at `first`: [length]
// [n_vocab]. `rows`: of its image tokens.
static inline float *plain_logits(struct plain *p, const struct compress_text *text, size_t first,
                                  uint32_t length, const float *rows) {
    float *out = calloc(length * p->n_vocab, sizeof *out);
    llama_memory_clear(llama_get_memory(p->ctx), true);
    for (size_t at = first, end; at < first + length; at = end) {
        bool is_image = is_image_token(text->tokens[at]);
        for (end = at; end < first + length && is_image_token(text->tokens[end]) == is_image;) {
            end++;
        }
        plain_decode(p, text, at, end, is_image ? rows : NULL);
        for (size_t i = at; i < end; i++) {
            memcpy(out + (i - first) * p->n_vocab, llama_get_logits_ith(p->ctx, (int32_t)(i - at)),
                   p->n_vocab * sizeof *out);
        }
        rows += is_image ? (end - at) * p->n_embd : 0;
    }
    return out;
}

static inline size_t image_tokens(const struct compress_text *text, size_t first, size_t length) {
    size_t n = 0;
    for (size_t i = first; i < first + length; i++) {
        n += is_image_token(text->tokens[i]);
    }
    return n;
}

static inline struct image read_image(const char *path) {
    struct buf bytes;
    struct image image = {0};
    struct wl_err err;
    buf_init(&bytes, IMAGE_LIMITS.max_bytes);
    CHECK_OK(os_slurp(path, &bytes, &err), err);
    CHECK_OK(image_decode(buf_text(&bytes), bytes.len, NULL, 0, 0, &image, &err), err);
    buf_release(&bytes);
    return image;
}

// A picture of nothing in particular, the same one for the same number.
static inline void write_image(const char *path, uint32_t width, uint32_t height, uint32_t number) {
    struct image image = {width, height, calloc((size_t)width * height, 3)};
    unsigned char *bytes = NULL;
    size_t n = 0;
    struct wl_err err;
    for (size_t i = 0; i < (size_t)width * height * 3; i++) {
        image.rgb[i] = (unsigned char)((i * (number + 3)) >> 4);
    }
    CHECK_OK(image_encode(&image, IMAGE_PNG, 0, &bytes, &n, &err), err);
    test_write(path, bytes, n);
    free(bytes);
    image_release(&image);
}

// A SYNTH request, done here. Takes over `request`.
static inline void make_model(json_t *request) {
    int ends[2];
    struct wl_err err;
    json_t *result = NULL;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    struct frame_io io = {.fd = ends[0]};
    struct reply reply = {.io = &io};
    CHECK_OK(synth_request(&reply, request, &result, &err), err);
    close(ends[0]);
    close(ends[1]);
    json_decref(result);
    json_decref(request);
}

// A tiny pair with random weights; `keys`: JSON, of the encoder.
static inline void make_pair(const char *arch, const char *projector, const char *keys,
                             const char *path, const char *mmproj_path) {
    json_t *vision = json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "path", mmproj_path,
                               "projector", projector, "name", projector, "v_layer", 2, "v_embd",
                               32, "v_head", 2, "v_ff", 64, "n_embd_out", 128);
    json_t *more = json_loads(keys, 0, NULL);
    json_object_update(vision, more);
    json_decref(more);
    make_model(json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "path", path,
                         "arch", arch, "name", projector, "n_layer", 2, "n_embd", 128, "n_head", 4,
                         "n_head_kv", 2, "head_dim", 32, "n_ff", 160, "n_vocab", 512, "n_ctx",
                         8192));
    make_model(vision);
}

#endif
