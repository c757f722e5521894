#include "worker/run_image.h"

#include <inttypes.h>
#include <mtmd-helper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "worker/log.h"
#include "worker/run_state.h"

enum { MAX_JPEG_SCALE_STEPS = 3 }; // 1/8, 1/4, 1/2

static enum wl_status take_slots(struct run_images *images, const struct image_slots *slots,
                                 const json_t *array, struct wl_err *err) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *slot = json_array_get(array, i);
        int64_t number = json_is_integer(slot) ? json_integer_value(slot) : -1;
        enum wl_status status = image_slots_get(slots, number, &images->items[i].slot, err);
        if (status != WL_OK) {
            return wl_err_prefix(err, "run");
        }
        images->n++;
    }
    return WL_OK;
}

enum wl_status run_images_init(struct run_images *images, const struct session *session,
                               const struct image_slots *slots, const json_t *request,
                               struct wl_err *err) {
    const json_t *array = json_object_get(request, "images");
    size_t n = json_array_size(array);
    if (n == 0) {
        return WL_OK;
    }
    if (n > MAX_RUN_IMAGES) {
        return wl_err_set(err, WL_LIMIT, "run: %zu images, at most %d", n, MAX_RUN_IMAGES);
    }
    if (!session->vision.mtmd) {
        return wl_err_set(err, WL_USAGE,
                          "run: there are images but no image encoder is loaded; send LOAD with "
                          "mmproj, or VISION, first");
    }
    if (wl_json_opt_i64(request, "n_prompt", 0) != 0) {
        return wl_err_set(err, WL_INPUT,
                          "run: n_prompt cannot be used with images: a picture's tokens can "
                          "neither be cut nor repeated");
    }
    images->is_full_decode = wl_json_opt_bool(request, "is_full_decode", false);
    enum wl_status status = take_slots(images, slots, array, err);
    return status == WL_OK
               ? prompt_text_for_images(session, request, n, session->vision.family->after_text,
                                        &images->text, &images->has_template, err)
               : status;
}

static bool is_same_picture(const struct image_count *a, const struct image_count *b) {
    return a->image_tokens == b->image_tokens && a->positions == b->positions &&
           a->n_views == b->n_views && a->effective_width == b->effective_width &&
           a->effective_height == b->effective_height;
}

// A JPEG can be decoded smaller, which saves most of the work on a photograph. That is done only
// where the encoder gets the same grid from it, and still has twice the pixels per side that it
// will see, so that its own resampling decides what the picture looks like. 0 x 0 = as it is.
static void choose_decode(const struct vision *vision, const struct image_header *header,
                          uint32_t *enough_width, uint32_t *enough_height) {
    struct image_count full;
    struct wl_err ignored;
    *enough_width = 0;
    *enough_height = 0;
    if (image_count_size(vision, header->width, header->height, &full, &ignored) != WL_OK ||
        full.effective_width == 0 || full.effective_height == 0) {
        return;
    }
    uint32_t wanted_width = 2 * full.effective_width;
    uint32_t wanted_height = 2 * full.effective_height;
    for (int i = 0; i < MAX_JPEG_SCALE_STEPS; i++) {
        struct image_count scaled;
        uint32_t width;
        uint32_t height;
        image_decoded_size(header, wanted_width, wanted_height, &width, &height);
        if (width >= header->width || height >= header->height) {
            return;
        }
        if (image_count_size(vision, width, height, &scaled, &ignored) == WL_OK &&
            is_same_picture(&full, &scaled)) {
            *enough_width = wanted_width;
            *enough_height = wanted_height;
            return;
        }
        wanted_width = width + 1; // the next larger scale
        wanted_height = height + 1;
    }
}

static enum wl_status decode_one(const struct vision *vision, struct run_image *item, size_t i,
                                 bool is_full, struct wl_err *err) {
    struct image image;
    uint32_t enough_width = 0;
    uint32_t enough_height = 0;
    if (!is_full) {
        choose_decode(vision, &item->slot->header, &enough_width, &enough_height);
    }
    enum wl_status status = image_decode(item->slot->bytes, item->slot->n, NULL, enough_width,
                                         enough_height, &image, err);
    if (status != WL_OK) {
        return wl_err_prefix(err, "run: image %zu", i + 1);
    }
    item->decoded_width = image.width;
    item->decoded_height = image.height;
    item->bitmap = mtmd_bitmap_init(image.width, image.height, image.rgb);
    image_release(&image);
    char id[16];
    snprintf(id, sizeof id, "%zu", i); // tells the chunks of one image from those of the next
    mtmd_bitmap_set_id(item->bitmap, id);
    return WL_OK;
}

static enum wl_status decode_all(struct run *run, struct wl_err *err) {
    struct run_images *images = &run->images;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < images->n && status == WL_OK && !run_must_stop(run); i++) {
        status =
            decode_one(&run->session->vision, &images->items[i], i, images->is_full_decode, err);
    }
    return status;
}

static void free_bitmaps(struct run_images *images) {
    for (size_t i = 0; i < images->n; i++) {
        if (images->items[i].bitmap) {
            mtmd_bitmap_free(images->items[i].bitmap);
        }
        images->items[i].bitmap = NULL;
    }
}

static const struct mtmd_input_chunk *chunk_at(const struct run_images *images, size_t i) {
    return mtmd_input_chunks_get(images->chunks, i);
}

static bool is_image(const struct mtmd_input_chunk *chunk) {
    return mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE;
}

// Which image chunk i belongs to, -1 for the prompt's own text: between two chunks of one image the
// text is that image's, the markers of its tiles.
static int image_of(const struct run_images *images, size_t i) {
    size_t n = mtmd_input_chunks_size(images->chunks);
    const struct mtmd_input_chunk *chunk = chunk_at(images, i);
    if (is_image(chunk)) {
        const char *id = mtmd_input_chunk_get_id(chunk);
        return id && *id ? (int)strtol(id, NULL, 10) : -1;
    }
    bool is_between = i > 0 && i + 1 < n && is_image(chunk_at(images, i - 1)) &&
                      is_image(chunk_at(images, i + 1));
    int before = is_between ? image_of(images, i - 1) : -1;
    return is_between && before == image_of(images, i + 1) ? before : -1;
}

static void count_image(struct run_images *images, const struct vision *vision, int number) {
    struct run_image *item = &images->items[number];
    const struct mtmd_input_chunk *last = NULL;
    for (size_t i = 0; i < mtmd_input_chunks_size(images->chunks); i++) {
        if (image_of(images, i) == number) {
            image_count_add(&item->count, chunk_at(images, i));
            last = is_image(chunk_at(images, i)) ? chunk_at(images, i) : last;
        }
    }
    image_count_finish(&item->count, vision, item->count.n_views == 1 ? last : NULL,
                       item->decoded_width, item->decoded_height);
    images->n_image_tokens += item->count.image_tokens;
}

static enum wl_status check_text(const struct run *run, const struct mtmd_input_chunk *chunk,
                                 struct wl_err *err) {
    size_t n;
    const llama_token *tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
    int32_t n_vocab = llama_vocab_n_tokens(run->session->vocab);
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= n_vocab) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "run: the text model's vocabulary lacks a token that goes around "
                              "images of projector '%s'; it is not the model that this image "
                              "encoder was made for",
                              run->session->vision.facts.projector);
        }
    }
    return WL_OK;
}

static enum wl_status check_piece(const struct run *run, const struct mtmd_input_chunk *chunk,
                                  struct wl_err *err) {
    size_t n = mtmd_input_chunk_get_n_tokens(chunk);
    uint32_t n_ubatch = llama_n_ubatch(run->session->ctx);
    if (n <= n_ubatch || !mtmd_decode_use_non_causal(run->session->vision.mtmd, chunk)) {
        return WL_OK;
    }
    return wl_err_set(err, WL_LIMIT,
                      "run: this model sees an image of %zu tokens in one piece, but n_ubatch is "
                      "%" PRIu32 "; load it with n_ubatch %zu or more, or lower image_max_tokens",
                      n, n_ubatch, n);
}

static enum wl_status check_chunks(const struct run *run, struct wl_err *err) {
    const struct run_images *images = &run->images;
    size_t n = mtmd_input_chunks_size(images->chunks);
    for (size_t i = 0; i < n; i++) {
        const struct mtmd_input_chunk *chunk = chunk_at(images, i);
        enum wl_status status =
            is_image(chunk) ? check_piece(run, chunk, err) : check_text(run, chunk, err);
        if (status != WL_OK) {
            return status;
        }
        int owner = image_of(images, i);
        if (is_image(chunk) && (owner < 0 || (size_t)owner >= images->n)) {
            return wl_err_set(err, WL_FAILED, "run: libmtmd lost track of an image");
        }
    }
    if (n == 0 || is_image(chunk_at(images, n - 1))) {
        return wl_err_set(err, WL_INPUT,
                          "run: the prompt ends with an image; the model needs text after it");
    }
    return WL_OK;
}

static enum wl_status tokenize(struct run *run, struct wl_err *err) {
    struct run_images *images = &run->images;
    const struct mtmd_bitmap *bitmaps[MAX_RUN_IMAGES];
    for (size_t i = 0; i < images->n; i++) {
        bitmaps[i] = images->items[i].bitmap;
    }
    // Special tokens are parsed only where the template put them, as in a run without images.
    struct mtmd_input_text text = {.text = buf_text(&images->text),
                                   .text_len = images->text.len,
                                   .add_special = true,
                                   .parse_special = images->has_template};
    images->chunks = mtmd_input_chunks_init();
    int32_t code =
        mtmd_tokenize(run->session->vision.mtmd, images->chunks, &text, bitmaps, images->n);
    free_bitmaps(images);
    if (code != 0) {
        return wl_err_set(err, WL_FAILED,
                          "run: libmtmd cannot prepare the images (code %" PRId32 ")", code);
    }
    enum wl_status status = check_chunks(run, err);
    for (size_t i = 0; i < images->n && status == WL_OK; i++) {
        count_image(images, &run->session->vision, (int)i);
    }
    images->n_tokens = mtmd_helper_get_n_tokens(images->chunks);
    images->n_positions = (size_t)mtmd_helper_get_n_pos(images->chunks);
    run->n_prompt = images->n_tokens;
    return status == WL_OK ? run_check_room(run, err) : status;
}

static enum wl_status encode_one(struct run *run, size_t i, struct wl_err *err) {
    const struct vision *vision = &run->session->vision;
    const struct mtmd_input_chunk *chunk = chunk_at(&run->images, i);
    int32_t code = mtmd_encode_chunk(vision->mtmd, chunk);
    if (run_was_stopped(run)) {
        return WL_OK;
    }
    if (code != 0) {
        return wl_err_set(err, WL_FAILED,
                          "run: the image encoder failed (code %" PRId32 "): %.400s", code,
                          log_reason());
    }
    size_t n_tokens = mtmd_input_chunk_get_n_tokens(chunk);
    size_t n_bytes = n_tokens * vision->n_embd_out * sizeof(float);
    float *copy = malloc(n_bytes); // libmtmd's own is overwritten by the next image
    if (!copy) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu image tokens", n_tokens);
    }
    memcpy(copy, mtmd_get_output_embd(vision->mtmd), n_bytes);
    run->images.embd[i] = copy;
    run_phase(run)->n_tokens += (int64_t)n_tokens;
    return WL_OK;
}

static enum wl_status encode_all(struct run *run, struct wl_err *err) {
    struct run_images *images = &run->images;
    size_t n = mtmd_input_chunks_size(images->chunks);
    images->embd = calloc(n, sizeof *images->embd);
    if (!images->embd) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu chunks", n);
    }
    enum wl_status status = WL_OK;
    vision_set_interrupt(&run->session->vision, &run->interrupt);
    for (size_t i = 0; i < n && status == WL_OK && !run_must_stop(run); i++) {
        if (is_image(chunk_at(images, i))) {
            status = encode_one(run, i, err);
        }
    }
    vision_set_interrupt(&run->session->vision, NULL);
    return status;
}

static enum wl_status prefill_image(struct run *run, size_t i, struct wl_err *err) {
    struct session *s = run->session;
    const struct mtmd_input_chunk *chunk = chunk_at(&run->images, i);
    llama_pos after = run->n_past;
    int32_t code = mtmd_helper_decode_image_chunk(
        s->vision.mtmd, s->ctx, chunk, run->images.embd[i], run->n_past, 0,
        (int32_t)llama_n_batch(s->ctx), &after, NULL, NULL);
    llama_synchronize(s->ctx);
    if (run_was_stopped(run)) {
        return WL_OK;
    }
    if (code != 0) {
        return wl_err_set(err, WL_FAILED,
                          "run: decoding an image of %zu tokens at position %" PRId32
                          " failed (code %" PRId32 "): %.400s",
                          mtmd_input_chunk_get_n_tokens(chunk), run->n_past, code, log_reason());
    }
    run->n_past = after;
    run_phase(run)->n_tokens += (int64_t)mtmd_input_chunk_get_n_tokens(chunk);
    free(run->images.embd[i]);
    run->images.embd[i] = NULL;
    return WL_OK;
}

static enum wl_status prefill_words(struct run *run, size_t i, struct wl_err *err) {
    size_t n;
    const llama_token *tokens = mtmd_input_chunk_get_tokens_text(chunk_at(&run->images, i), &n);
    size_t n_batch = llama_n_batch(run->session->ctx);
    bool is_last_chunk = i + 1 == mtmd_input_chunks_size(run->images.chunks);
    for (size_t at = 0; at < n && !run->stop;) {
        size_t n_now = n - at < n_batch ? n - at : n_batch;
        bool is_last = is_last_chunk && at + n_now == n;
        enum wl_status status = run_decode(run, tokens + at, n_now, is_last, err);
        if (status != WL_OK) {
            return status;
        }
        at += n_now;
    }
    return WL_OK;
}

// The chunks in order. One image's chunks and markers are one phase, however many tiles it has.
static enum wl_status prefill_all(struct run *run, struct wl_err *err) {
    enum wl_status status = WL_OK;
    size_t n = mtmd_input_chunks_size(run->images.chunks);
    for (size_t i = 0; i < n && status == WL_OK && !run_must_stop(run); i++) {
        const char *phase = image_of(&run->images, i) >= 0 ? "image_prefill" : "prefill";
        if (strcmp(run_phase(run)->name, phase) != 0) {
            run_enter(run, phase);
        }
        status = is_image(chunk_at(&run->images, i)) ? prefill_image(run, i, err)
                                                     : prefill_words(run, i, err);
    }
    return status;
}

enum wl_status run_images_prefill(struct run *run, struct wl_err *err) {
    static const struct {
        const char *phase; // NULL: several, by itself
        enum wl_status (*work)(struct run *run, struct wl_err *err);
    } STEPS[] = {{"image_decode", decode_all},
                 {"preprocess", tokenize},
                 {"vision", encode_all},
                 {NULL, prefill_all}};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0] && status == WL_OK && !run->stop; i++) {
        if (STEPS[i].phase) {
            run_enter(run, STEPS[i].phase);
        }
        status = STEPS[i].work(run, err);
        if (status == WL_OK) {
            run_must_stop(run);
        }
    }
    return status;
}

static json_t *item_json(const struct run_image *item) {
    const struct image_header *header = &item->slot->header;
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "width", (json_int_t)header->width, "height",
        (json_int_t)header->height, "decoded_width", (json_int_t)item->decoded_width,
        "decoded_height", (json_int_t)item->decoded_height, "image_tokens",
        (json_int_t)item->count.image_tokens, "n_views", (json_int_t)item->count.n_views,
        "effective_pixels", (json_int_t)item->count.effective_pixels);
}

json_t *run_images_json(const struct run_images *images) {
    json_t *items = json_array();
    for (size_t i = 0; i < images->n; i++) {
        json_array_append_new(items, item_json(&images->items[i]));
    }
    return json_pack("{s:I, s:I, s:o}", "n_image_tokens", (json_int_t)images->n_image_tokens,
                     "n_positions", (json_int_t)images->n_positions, "images", items);
}

void run_images_release(struct run_images *images) {
    free_bitmaps(images);
    size_t n = images->chunks ? mtmd_input_chunks_size(images->chunks) : 0;
    for (size_t i = 0; i < n && images->embd; i++) {
        free(images->embd[i]);
    }
    free(images->embd);
    if (images->chunks) {
        mtmd_input_chunks_free(images->chunks);
    }
    buf_release(&images->text);
    *images = (struct run_images){0};
}
