#include "worker/count_prompt.h"

#include <inttypes.h>
#include <mtmd-helper.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "worker/count.h"
#include "worker/image_count.h"
#include "worker/prompt.h"

enum { MAX_PROMPT_IMAGES = 64, MAX_PROMPT_BYTES = 1 << 24 };

// Of the model that is loaded, or of the counter.
static const struct llama_model *text_model(const struct session *session) {
    return session->model                ? session->model
           : session->vision.is_stand_in ? NULL
                                         : session->vision.text;
}

// A template that writes the first token where the vocabulary does not add it: one token more than
// we see.
static enum wl_status check_first_token(const struct llama_model *model, struct wl_err *err) {
    const char *chat_template = llama_model_chat_template(model, NULL);
    bool is_written = chat_template && strstr(chat_template, "bos_token") != NULL;
    return !is_written || llama_vocab_get_add_bos(llama_model_get_vocab(model))
               ? WL_OK
               : wl_err_set(err, WL_UNSUPPORTED,
                            "the messages cannot be counted exactly without a llama-server: the "
                            "model's chat template writes the first token itself");
}

// ---- with images ----

struct pictures {
    struct mtmd_bitmap *bitmaps[MAX_PROMPT_IMAGES]; // without pixels
    size_t n;
};

static enum wl_status take_pictures(const struct vision *vision, const json_t *sizes,
                                    struct pictures *out, struct wl_err *err) {
    for (size_t i = 0; i < json_array_size(sizes); i++) {
        uint32_t width = 0, height = 0;
        struct image_count ignored; // checks the size
        enum wl_status status;
        if ((status = count_take_size(json_array_get(sizes, i), i, &width, &height, err)) ||
            (status = image_count_size(vision, width, height, &ignored, err))) {
            return status;
        }
        char id[24];
        snprintf(id, sizeof id, "%zu", i); // tells the chunks of one image from those of the next
        out->bitmaps[out->n] = mtmd_bitmap_init(width, height, NULL);
        mtmd_bitmap_set_id(out->bitmaps[out->n++], id);
    }
    return WL_OK;
}

static enum wl_status count_chunks(const struct vision *vision, const struct buf *text,
                                   const struct pictures *pictures, size_t *n_tokens,
                                   struct wl_err *err) {
    struct mtmd_input_text input = {
        .text = buf_text(text), .text_len = text->len, .add_special = true, .parse_special = true};
    struct mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    int32_t code =
        mtmd_tokenize(vision->mtmd, chunks, &input,
                      (const struct mtmd_bitmap **)(void *)pictures->bitmaps, pictures->n);
    *n_tokens = code == 0 ? mtmd_helper_get_n_tokens(chunks) : 0;
    mtmd_input_chunks_free(chunks);
    return code == 0
               ? WL_OK
               : wl_err_set(err, WL_FAILED,
                            "count: libmtmd cannot prepare the images (code %" PRId32 ")", code);
}

static enum wl_status count_with_images(const struct vision *vision, const struct buf *text,
                                        const json_t *sizes, size_t *n_tokens, struct wl_err *err) {
    struct pictures pictures = {.n = 0};
    enum wl_status status = take_pictures(vision, sizes, &pictures, err);
    if (status == WL_OK) {
        status = count_chunks(vision, text, &pictures, n_tokens, err);
    }
    for (size_t i = 0; i < pictures.n; i++) {
        mtmd_bitmap_free(pictures.bitmaps[i]);
    }
    return status;
}

// ---- the request ----

static enum wl_status count_messages(const struct session *session, const struct llama_model *model,
                                     const json_t *request, size_t *n_tokens, struct wl_err *err) {
    const json_t *sizes = json_object_get(request, "sizes");
    size_t n_images = json_array_size(sizes);
    struct buf text;
    enum wl_status status;
    if (n_images > MAX_PROMPT_IMAGES) {
        return wl_err_set(err, WL_LIMIT, "count: %zu images, at most %d", n_images,
                          MAX_PROMPT_IMAGES);
    }
    if (n_images > 0 && !session->vision.mtmd) {
        return wl_err_set(err, WL_USAGE, "count: there are images but no image encoder is open");
    }
    if ((status = check_first_token(model, err))) {
        return status;
    }
    status = prompt_text_to_count(model, request, n_images, &text, err);
    if (status == WL_OK) {
        status = n_images > 0
                     ? count_with_images(&session->vision, &text, sizes, n_tokens, err)
                     : prompt_count_tokens(llama_model_get_vocab(model), &text, n_tokens, err);
    }
    buf_release(&text);
    return status;
}

static enum wl_status count_text(const struct llama_model *model, const json_t *request,
                                 size_t *n_tokens, struct wl_err *err) {
    const char *words;
    struct buf text;
    enum wl_status status = wl_json_get_string(request, "text", &words, err);
    if (status != WL_OK) {
        return wl_err_prefix(err, "count");
    }
    buf_init(&text, MAX_PROMPT_BYTES);
    status = buf_puts(&text, words)
                 ? prompt_count_tokens(llama_model_get_vocab(model), &text, n_tokens, err)
                 : wl_err_set(err, WL_LIMIT, "the text is longer than %d bytes", MAX_PROMPT_BYTES);
    buf_release(&text);
    return status;
}

enum wl_status count_prompt(const struct session *session, const json_t *request, json_t **result,
                            struct wl_err *err) {
    const struct llama_model *model = text_model(session);
    size_t n_tokens = 0;
    if (!model) {
        return wl_err_set(err, WL_USAGE,
                          "no model is open; send COUNTER with a model, or LOAD, first");
    }
    enum wl_status status = json_object_get(request, "messages")
                                ? count_messages(session, model, request, &n_tokens, err)
                                : count_text(model, request, &n_tokens, err);
    if (status == WL_OK) {
        *result = json_pack("{s:I}", "n_tokens", (json_int_t)n_tokens);
    }
    return status;
}
