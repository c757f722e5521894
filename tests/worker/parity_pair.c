#include "parity_pair.h"

#include <inttypes.h>
#include <mtmd-helper.h>
#include <stdlib.h>
#include <string.h>

#include "worker/backends.h"
#include "worker/log.h"

enum { N_CONTEXT = 2048, AXES = 4 };

static void *copied(const void *data, size_t n_bytes) {
    void *copy = malloc(n_bytes + 1);
    if (!copy) {
        abort(); // a test that gets no memory has nothing to say
    }
    memcpy(copy, data, n_bytes);
    return copy;
}

static struct llama_context *open_context(struct llama_model *model) {
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = N_CONTEXT;
    params.n_batch = N_CONTEXT;
    params.n_threads = 1;
    params.n_threads_batch = 1;
    params.type_k = GGML_TYPE_F32;
    params.type_v = GGML_TYPE_F32;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    return llama_init_from_model(model, params);
}

static struct mtmd_context *open_mtmd(const char *path, const struct llama_model *model) {
    struct mtmd_context_params params = mtmd_context_params_default();
    params.use_gpu = false;
    params.print_timings = false;
    params.media_marker = PAIR_MARKER;
    params.n_threads = 1;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    return mtmd_init_from_file(path, model, params);
}

enum wl_status pair_open(struct pair *pair, const char *text_path, const char *mmproj_path,
                         struct wl_err *err) {
    *pair = (struct pair){0};
    log_capture();
    enum wl_status status = backends_load(err);
    if (status != WL_OK) {
        return status;
    }
    pair->model = llama_model_load_from_file(text_path, llama_model_default_params());
    pair->context = pair->model ? open_context(pair->model) : NULL;
    if (!pair->context) {
        pair_close(pair);
        return wl_err_set(err, WL_INPUT, "cannot load '%s': %s", text_path, log_reason());
    }
    pair->mtmd = open_mtmd(mmproj_path, pair->model);
    if (!pair->mtmd) {
        pair_close(pair);
        return wl_err_set(err, WL_INPUT, "cannot load '%s': %s", mmproj_path, log_reason());
    }
    pair->n_vocab = (size_t)llama_vocab_n_tokens(llama_model_get_vocab(pair->model));
    pair->width = (size_t)llama_model_n_embd_inp(pair->model);
    return WL_OK;
}

void pair_close(struct pair *pair) {
    if (pair->mtmd) {
        mtmd_free(pair->mtmd);
    }
    if (pair->context) {
        llama_free(pair->context);
    }
    if (pair->model) {
        llama_model_free(pair->model);
    }
    *pair = (struct pair){0};
}

void pair_figures_release(struct pair_figures *figures) {
    free(figures->before);
    free(figures->after);
    free(figures->embedding);
    free(figures->logits);
    free(figures->answer);
    *figures = (struct pair_figures){0};
}

static void keep_tokens(struct pair_figures *out, const struct mtmd_input_chunk *chunk) {
    size_t n;
    const llama_token *tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
    bool is_after = out->n_cells > 0;
    llama_token **kept = is_after ? &out->after : &out->before;
    free(*kept);
    *kept = copied(tokens, n * sizeof *tokens);
    *(is_after ? &out->n_after : &out->n_before) = n;
}

// The image's cells with rows and columns exchanged. An M-RoPE batch has AXES positions for each
// cell, one axis after the other: time, row, column, nothing.
static int32_t decode_turned(struct pair *pair, const struct mtmd_image_tokens *image, size_t n,
                             float *embedding) {
    llama_pos *pos = calloc(AXES * n, sizeof *pos);
    struct llama_batch batch = llama_batch_init((int32_t)n, (int32_t)pair->width, 1);
    llama_pos *own_pos = batch.pos;
    float *own_embd = batch.embd;
    batch.n_tokens = (int32_t)n;
    batch.pos = pos;
    batch.embd = embedding;
    for (size_t i = 0; i < n; i++) {
        struct mtmd_decoder_pos at = mtmd_image_tokens_get_decoder_pos(image, 0, i);
        pos[i] = pair->n_past + (llama_pos)at.t;
        pos[n + i] = pair->n_past + (llama_pos)at.x;
        pos[2 * n + i] = pair->n_past + (llama_pos)at.y;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = false;
    }
    int32_t code = llama_decode(pair->context, batch);
    batch.pos = own_pos;
    batch.embd = own_embd;
    llama_batch_free(batch);
    free(pos);
    return code;
}

static int32_t decode_image(struct pair *pair, const struct mtmd_input_chunk *chunk, bool is_turned,
                            struct pair_figures *out) {
    int32_t code = mtmd_encode_chunk(pair->mtmd, chunk);
    if (code != 0) {
        return code;
    }
    float *embedding = mtmd_get_output_embd(pair->mtmd);
    out->n_cells = mtmd_input_chunk_get_n_tokens(chunk);
    free(out->embedding);
    out->embedding = copied(embedding, out->n_cells * pair->width * sizeof *embedding);
    if (is_turned) {
        code =
            decode_turned(pair, mtmd_input_chunk_get_tokens_image(chunk), out->n_cells, embedding);
        pair->n_past += mtmd_input_chunk_get_n_pos(chunk);
        return code;
    }
    return mtmd_helper_decode_image_chunk(pair->mtmd, pair->context, chunk, embedding, pair->n_past,
                                          0, N_CONTEXT, &pair->n_past, NULL, NULL);
}

static int32_t decode_all(struct pair *pair, const struct mtmd_input_chunks *chunks, bool is_turned,
                          struct pair_figures *out) {
    size_t n = mtmd_input_chunks_size(chunks);
    int32_t code = 0;
    llama_memory_clear(llama_get_memory(pair->context), true);
    pair->n_past = 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        const struct mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE) {
            code = decode_image(pair, chunk, is_turned, out);
        } else {
            keep_tokens(out, chunk);
            code = mtmd_helper_eval_chunk_single(pair->mtmd, pair->context, chunk, pair->n_past, 0,
                                                 N_CONTEXT, i + 1 == n, &pair->n_past);
        }
    }
    return code;
}

enum wl_status pair_ask(struct pair *pair, const char *prompt, const struct image *image,
                        bool is_turned, struct pair_figures *out, struct wl_err *err) {
    *out = (struct pair_figures){0};
    struct mtmd_bitmap *bitmap =
        image ? mtmd_bitmap_init(image->width, image->height, image->rgb) : NULL;
    const struct mtmd_bitmap *bitmaps[] = {bitmap};
    struct mtmd_input_text text = {
        .text = prompt, .text_len = strlen(prompt), .add_special = true, .parse_special = true};
    struct mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    int32_t code = mtmd_tokenize(pair->mtmd, chunks, &text, bitmaps, bitmap ? 1 : 0);
    if (code == 0) {
        code = decode_all(pair, chunks, is_turned, out);
    }
    mtmd_input_chunks_free(chunks);
    if (bitmap) {
        mtmd_bitmap_free(bitmap);
    }
    const float *logits = code == 0 ? llama_get_logits_ith(pair->context, -1) : NULL;
    if (!logits) {
        return wl_err_set(err, WL_FAILED, "llama.cpp cannot decode the prompt (code %" PRId32 ")",
                          code);
    }
    out->logits = copied(logits, pair->n_vocab * sizeof *logits);
    return WL_OK;
}

llama_token pair_argmax(const float *logits, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return (llama_token)best;
}

static int32_t decode_token(struct pair *pair, llama_token token) {
    llama_seq_id sequence = 0;
    llama_seq_id *sequences = &sequence;
    int32_t n_sequences = 1;
    int8_t has_logits = 1;
    llama_pos at = pair->n_past++;
    struct llama_batch batch = {.n_tokens = 1,
                                .token = &token,
                                .pos = &at,
                                .n_seq_id = &n_sequences,
                                .seq_id = &sequences,
                                .logits = &has_logits};
    return llama_decode(pair->context, batch);
}

static void spell(const struct pair *pair, struct pair_figures *out) {
    int32_t n =
        llama_detokenize(llama_model_get_vocab(pair->model), out->answer, (int32_t)out->n_answer,
                         out->reads, PAIR_READS_BYTES - 1, false, false);
    out->reads[n > 0 ? n : 0] = 0;
}

enum wl_status pair_answer(struct pair *pair, llama_token end, size_t limit,
                           struct pair_figures *out, struct wl_err *err) {
    llama_token *answer = calloc(limit + 1, sizeof *answer);
    free(out->answer);
    out->answer = answer;
    out->n_answer = 0;
    llama_token token = pair_argmax(out->logits, pair->n_vocab);
    while (answer && token != end && out->n_answer < limit) {
        answer[out->n_answer++] = token;
        int32_t code = decode_token(pair, token);
        const float *logits = code == 0 ? llama_get_logits_ith(pair->context, -1) : NULL;
        if (!logits) {
            return wl_err_set(err, WL_FAILED,
                              "llama.cpp cannot decode token %zu of the answer (code %" PRId32 ")",
                              out->n_answer, code);
        }
        token = pair_argmax(logits, pair->n_vocab);
    }
    if (!answer) {
        return wl_err_set(err, WL_MEMORY, "no memory for an answer");
    }
    spell(pair, out);
    return WL_OK;
}
