#include "compressor/calib_image.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "os/machine.h"
#include "worker/log.h"
#include "worker/prompt.h"
#include "worker/run_image.h"

// ---- the encoder

static enum wl_status check_width(const struct calib_encoder *e, struct wl_err *err) {
    int32_t n_embd = llama_model_n_embd(e->model->model);
    int32_t n_embd_inp = llama_model_n_embd_inp(e->model->model);
    return n_embd == n_embd_inp
               ? WL_OK
               : wl_err_set(err, WL_UNSUPPORTED,
                            "'%.300s' takes %" PRId32 " values for a part of an image, more than "
                            "its width of %" PRId32 ": what its blocks get of them besides is not "
                            "known here; calibrate without pictures",
                            e->model->path, n_embd_inp, n_embd);
}

enum wl_status calib_encoder_open(struct calib_encoder *e, const char *mmproj_path,
                                  int32_t image_max_tokens, int32_t threads, bool *can_be_computed,
                                  struct wl_err *err) {
    struct vision_options options = {
        .mmproj = mmproj_path,
        .image_max_tokens = image_max_tokens,
        .threads = threads > 0 ? threads : os_n_usable_cores(),
        .flash_attn = LLAMA_FLASH_ATTN_TYPE_AUTO,
    };
    struct vision_facts facts;
    e->seen = calloc(e->documents->pictures.n + 1, sizeof *e->seen);
    if (!e->seen) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu pictures", e->documents->pictures.n);
    }
    enum wl_status status = vision_file_read(mmproj_path, &facts, err);
    if (status == WL_OK) {
        status = vision_open(&e->vision, &options, &facts, e->model->model, err);
    }
    if (status == WL_OK) {
        status = check_width(e, err);
    }
    if (status == WL_OK) {
        *can_be_computed = !mtmd_decode_use_non_causal(e->vision.mtmd, NULL);
        e->rows->n_embd = e->vision.n_embd_out;
    }
    return status;
}

void calib_encoder_close(struct calib_encoder *e) {
    vision_close(&e->vision);
    free(e->seen);
    e->seen = NULL;
}

void calib_encoder_count(const struct calib_encoder *e, size_t *n_used, size_t *n_too_long) {
    *n_used = *n_too_long = 0;
    for (size_t i = 0; i < e->documents->pictures.n; i++) {
        *n_used += e->seen[i].is_used;
        *n_too_long += e->seen[i].is_too_long && !e->seen[i].is_used;
    }
}

// ---- chunks

static bool is_image(const struct mtmd_input_chunk *chunk) {
    return mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE;
}

// Special tokens are parsed only where the template put them, as in a run.
static enum wl_status split(const struct calib_encoder *e, const struct mtmd_input_text *text,
                            const struct mtmd_bitmap *const *bitmaps, size_t n,
                            struct mtmd_input_chunks *chunks, struct wl_err *err) {
    log_clear();
    int32_t code = mtmd_tokenize(e->vision.mtmd, chunks, text, bitmaps, n);
    return code == 0 ? WL_OK
                     : wl_err_set(err, WL_FAILED,
                                  "libmtmd cannot prepare a picture (code %" PRId32 ")", code);
}

// ---- one picture

static bool must_stop(void *context) {
    bool is_stopped = text_watch_stops(context);
    if (is_stopped) {
        log_mute(true); // llama.cpp reports a computation that we stopped as an error
    }
    return is_stopped;
}

static void set_places(const struct calib_encoder *e, const struct mtmd_input_chunk *chunk,
                       const struct calib_view *view) {
    const struct mtmd_image_tokens *tokens = mtmd_input_chunk_get_tokens_image(chunk);
    bool is_mrope = mtmd_decode_use_mrope(e->vision.mtmd);
    for (size_t i = 0; i < view->n; i++) {
        struct calib_place *place = &e->rows->places[view->first + i];
        *place = (struct calib_place){(int32_t)i, (int32_t)i, (int32_t)i};
        if (is_mrope) {
            struct mtmd_decoder_pos at = mtmd_image_tokens_get_decoder_pos(tokens, 0, i);
            *place = (struct calib_place){(int32_t)at.t, (int32_t)at.y, (int32_t)at.x};
        }
    }
}

static enum wl_status encode_chunk(struct calib_encoder *e, const struct mtmd_input_chunk *chunk,
                                   struct wl_err *err) {
    struct calib_rows *rows = e->rows;
    struct calib_view *view;
    size_t n = mtmd_input_chunk_get_n_tokens(chunk);
    log_clear();
    vision_set_watch(&e->vision, must_stop, e->model->watch);
    int32_t code = mtmd_encode_chunk(e->vision.mtmd, chunk);
    vision_set_watch(&e->vision, NULL, NULL);
    log_mute(false);
    if (text_watch_stops(e->model->watch)) {
        return wl_err_set(err, WL_INTERRUPTED, "'%s': cancelled", e->vision.path);
    }
    if (code != 0) {
        return wl_err_set(err, WL_FAILED, "the image encoder failed (code %" PRId32 "): %.400s",
                          code, log_reason());
    }
    enum wl_status status = calib_rows_add(rows, n, &view, err);
    if (status == WL_OK) {
        view->n_positions = (int32_t)mtmd_input_chunk_get_n_pos(chunk);
        memcpy(rows->values + view->first * rows->n_embd, mtmd_get_output_embd(e->vision.mtmd),
               n * rows->n_embd * sizeof *rows->values);
        set_places(e, chunk, view);
    }
    return status;
}

static enum wl_status decode(const struct calib_picture *picture, struct mtmd_bitmap **out,
                             struct wl_err *err) {
    struct buf bytes;
    struct image image = {0};
    enum wl_status status = calib_picture_read(picture, &bytes, err);
    if (status == WL_OK) {
        status = image_decode(buf_text(&bytes), bytes.len, NULL, 0, 0, &image, err);
    }
    buf_release(&bytes);
    if (status == WL_OK) {
        *out = mtmd_bitmap_init(image.width, image.height, image.rgb);
    }
    image_release(&image);
    return status;
}

static enum wl_status encode_chunks(struct calib_encoder *e, const struct mtmd_input_chunks *chunks,
                                    struct calib_seen_picture *seen, struct wl_err *err) {
    enum wl_status status = WL_OK;
    seen->first_row = e->rows->n;
    for (size_t i = 0; i < mtmd_input_chunks_size(chunks) && status == WL_OK; i++) {
        const struct mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        status = is_image(chunk) ? encode_chunk(e, chunk, err) : WL_OK;
    }
    seen->n_rows = e->rows->n - seen->first_row;
    seen->is_encoded = status == WL_OK;
    return status;
}

static enum wl_status encode(struct calib_encoder *e, uint32_t number, struct wl_err *err) {
    static const struct mtmd_input_text TEXT = {
        .text = VISION_MARKER, .text_len = sizeof VISION_MARKER - 1, .parse_special = true};
    const struct calib_picture *picture = &e->documents->pictures.items[number];
    struct mtmd_bitmap *bitmap = NULL;
    enum wl_status status = decode(picture, &bitmap, err);
    if (status == WL_OK) {
        const struct mtmd_bitmap *bitmaps[] = {bitmap};
        struct mtmd_input_chunks *chunks = mtmd_input_chunks_init();
        status = split(e, &TEXT, bitmaps, 1, chunks, err);
        mtmd_bitmap_free(bitmap);
        if (status == WL_OK) {
            status = encode_chunks(e, chunks, &e->seen[number], err);
        }
        mtmd_input_chunks_free(chunks);
    }
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "'%.300s'", picture->path);
}

// ---- one question

struct question {
    const char *prompt, *answer; // answer NULL: up to where it begins
    const uint32_t *pictures;
    uint32_t n_pictures;
};

static enum wl_status render(const struct calib_encoder *e, const struct question *question,
                             struct buf *text, bool *has_template, struct wl_err *err) {
    struct session session = {.model = e->model->model}; // all that rendering looks at
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", question->prompt);
    if (question->answer) {
        json_array_append_new(
            messages, json_pack("{s:s, s:s}", "role", "assistant", "content", question->answer));
    }
    json_t *request = json_pack("{s:o, s:b}", "messages", messages, "template",
                                (int)(e->chat->chat_template != NULL));
    enum wl_status status =
        prompt_text_for_images(&session, request, question->n_pictures,
                               e->vision.family->after_text, text, has_template, err);
    json_decref(request);
    return status;
}

// Of pictures that need not be decoded yet.
static void make_placeholders(const struct calib_encoder *e, const struct question *question,
                              struct mtmd_bitmap **out) {
    for (uint32_t i = 0; i < question->n_pictures; i++) {
        const struct calib_picture *picture = &e->documents->pictures.items[question->pictures[i]];
        char id[16];
        snprintf(id, sizeof id, "%" PRIu32, i);
        out[i] = mtmd_bitmap_init(picture->width, picture->height, NULL);
        mtmd_bitmap_set_id(out[i], id);
    }
}

// Parts of the question's picture number k are -1 - k.
static enum wl_status take_image(const struct question *question,
                                 const struct mtmd_input_chunk *chunk, struct calib_tokens *out,
                                 struct wl_err *err) {
    const char *id = mtmd_input_chunk_get_id(chunk);
    unsigned long k = id && *id ? strtoul(id, NULL, 10) : question->n_pictures;
    size_t n = mtmd_input_chunk_get_n_tokens(chunk);
    if (k >= question->n_pictures) {
        return wl_err_set(err, WL_FAILED, "libmtmd lost track of a picture");
    }
    int32_t token = calib_row_token(k);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        status = calib_tokens_add(out, &token, 1, err);
    }
    return status;
}

static enum wl_status take_text(const struct calib_encoder *e, const struct mtmd_input_chunk *chunk,
                                struct calib_tokens *out, struct wl_err *err) {
    size_t n;
    const llama_token *tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= e->model->n_vocab) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "the text model's vocabulary lacks a token that goes around pictures "
                              "of projector '%s'; it is not the model that this image encoder was "
                              "made for",
                              e->vision.facts.projector);
        }
    }
    return calib_tokens_add(out, tokens, n, err);
}

static enum wl_status tokenize(const struct calib_encoder *e, const struct question *question,
                               struct calib_tokens *out, struct wl_err *err) {
    struct buf text;
    struct mtmd_bitmap *bitmaps[MAX_RUN_IMAGES];
    struct mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    bool has_template = false;
    out->n = 0;
    make_placeholders(e, question, bitmaps);
    enum wl_status status = render(e, question, &text, &has_template, err);
    if (status == WL_OK) {
        struct mtmd_input_text input = {.text = buf_text(&text),
                                        .text_len = text.len,
                                        .add_special = true,
                                        .parse_special = has_template};
        status = split(e, &input, (const struct mtmd_bitmap *const *)bitmaps, question->n_pictures,
                       chunks, err);
    }
    for (size_t i = 0; status == WL_OK && i < mtmd_input_chunks_size(chunks); i++) {
        const struct mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        status =
            is_image(chunk) ? take_image(question, chunk, out, err) : take_text(e, chunk, out, err);
    }
    mtmd_input_chunks_free(chunks);
    for (uint32_t i = 0; i < question->n_pictures; i++) {
        mtmd_bitmap_free(bitmaps[i]);
    }
    buf_release(&text);
    return status;
}

static enum wl_status answered(const struct calib_encoder *e, struct question question,
                               struct calib_tokens *out, struct wl_err *err) {
    const char *answer = question.answer;
    question.answer = NULL;
    enum wl_status status = tokenize(e, &question, out, err);
    size_t n_prompt = out->n;
    question.answer = answer;
    if (status == WL_OK) {
        status = tokenize(e, &question, out, err);
    }
    return status == WL_OK ? calib_chat_end(e->chat, n_prompt, out, err) : status;
}

// Encodes what is not encoded yet; -1 - k becomes the next row of picture k.
static enum wl_status insert_rows(struct calib_encoder *e, const struct question *question,
                                  struct calib_tokens *tokens, struct wl_err *err) {
    size_t n_taken[MAX_RUN_IMAGES] = {0};
    enum wl_status status = WL_OK;
    for (uint32_t k = 0; k < question->n_pictures && status == WL_OK; k++) {
        struct calib_seen_picture *seen = &e->seen[question->pictures[k]];
        status = seen->is_encoded ? WL_OK : encode(e, question->pictures[k], err);
        seen->is_used = status == WL_OK;
    }
    for (size_t i = 0; i < tokens->n && status == WL_OK; i++) {
        if (tokens->ids[i] < 0) {
            size_t k = (size_t)(-1 - tokens->ids[i]);
            tokens->ids[i] =
                calib_row_token(e->seen[question->pictures[k]].first_row + n_taken[k]++);
        }
    }
    for (uint32_t k = 0; k < question->n_pictures && status == WL_OK; k++) {
        size_t n_rows = e->seen[question->pictures[k]].n_rows;
        if (n_taken[k] != n_rows) {
            status = wl_err_set(err, WL_FAILED, "a picture has %zu tokens, libmtmd counted %zu",
                                n_rows, n_taken[k]);
        }
    }
    return status;
}

static void mark_too_long(struct calib_encoder *e, const struct question *question) {
    for (uint32_t k = 0; k < question->n_pictures; k++) {
        e->seen[question->pictures[k]].is_too_long = true;
    }
}

enum wl_status calib_encoder_ask(struct calib_encoder *e, const struct calib_document *document,
                                 size_t room, struct calib_tokens *out, size_t *n_needed,
                                 struct wl_err *err) {
    const char *text = buf_text(&e->documents->text);
    struct question question = {
        .prompt = text + document->at,
        .answer = text + document->reference_at,
        .pictures = e->documents->picture_numbers + document->pictures_at,
        .n_pictures = document->n_pictures,
    };
    enum wl_status status = answered(e, question, out, err);
    *n_needed = out->n;
    if (status == WL_OK && out->n > e->max_length) {
        mark_too_long(e, &question);
    }
    if (status == WL_OK && (out->n > e->max_length || out->n > room)) {
        out->n = 0;
        return WL_OK;
    }
    return status == WL_OK ? insert_rows(e, &question, out, err) : status;
}
