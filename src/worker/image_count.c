#include "worker/image_count.h"

#include <inttypes.h>

#include "image/image.h"

void image_count_add(struct image_count *count, const struct mtmd_input_chunk *chunk) {
    uint32_t n = (uint32_t)mtmd_input_chunk_get_n_tokens(chunk);
    count->positions += (uint32_t)mtmd_input_chunk_get_n_pos(chunk);
    if (mtmd_input_chunk_get_type(chunk) != MTMD_INPUT_CHUNK_TYPE_IMAGE) {
        count->text_tokens += n;
        return;
    }
    count->image_tokens += n;
    count->n_views++;
    count->max_chunk_tokens = n > count->max_chunk_tokens ? n : count->max_chunk_tokens;
}

// The rows and columns of one view's tokens.
static void find_grid(const struct vision *vision, const struct mtmd_input_chunk *chunk,
                      uint32_t width, uint32_t height, uint32_t *grid_x, uint32_t *grid_y) {
    uint32_t n = (uint32_t)mtmd_input_chunk_get_n_tokens(chunk);
    if (mtmd_decode_use_mrope(vision->mtmd) && n > 0) {
        const struct mtmd_image_tokens *tokens = mtmd_input_chunk_get_tokens_image(chunk);
        struct mtmd_decoder_pos last = mtmd_image_tokens_get_decoder_pos(tokens, 0, n - 1);
        *grid_x = last.x + 1;
        *grid_y = last.y + 1;
        if ((uint64_t)*grid_x * *grid_y == n) {
            return;
        }
    }
    vision_family_grid(n, vision->family->has_row_breaks, width, height, grid_x, grid_y);
}

static void finish_one_view(struct image_count *count, const struct vision *vision,
                            const struct mtmd_input_chunk *chunk, uint32_t width, uint32_t height) {
    uint32_t cell = vision_cell(vision);
    uint32_t grid_x;
    uint32_t grid_y;
    find_grid(vision, chunk, width, height, &grid_x, &grid_y);
    count->effective_width = grid_x * cell;
    count->effective_height = grid_y * cell;
    count->effective_pixels = (uint64_t)count->effective_width * count->effective_height;
}

void image_count_finish(struct image_count *count, const struct vision *vision,
                        const struct mtmd_input_chunk *only_chunk, uint32_t width,
                        uint32_t height) {
    uint64_t cell = vision_cell(vision);
    uint64_t side = vision->facts.image_size;
    uint64_t per_view = cell > 0 ? (side / cell) * (side / cell) : 0;
    switch (vision->family->cut) {
    case VISION_ONE_VIEW:
        if (only_chunk) {
            finish_one_view(count, vision, only_chunk, width, height);
        }
        break;
    case VISION_SQUARE:
        count->effective_pixels = count->image_tokens * cell * cell;
        count->effective_width = (uint32_t)side;
        count->effective_height = (uint32_t)side;
        break;
    case VISION_VIEWS_TOGETHER:
        count->effective_pixels = count->image_tokens * cell * cell;
        if (per_view > 0 && count->image_tokens > per_view) {
            count->n_views = (uint32_t)(count->image_tokens / per_view);
        }
        break;
    case VISION_VIEWS_APART: count->effective_pixels = count->image_tokens * cell * cell; break;
    case VISION_RESAMPLED: count->effective_pixels = count->n_views * side * side; break;
    case VISION_UNKNOWN: break;
    }
}

static void count_chunks(const struct vision *vision, const struct mtmd_input_chunks *chunks,
                         uint32_t width, uint32_t height, struct image_count *out) {
    const struct mtmd_input_chunk *image = NULL;
    size_t n = mtmd_input_chunks_size(chunks);
    for (size_t i = 0; i < n; i++) {
        const struct mtmd_input_chunk *chunk = mtmd_input_chunks_get(chunks, i);
        image_count_add(out, chunk);
        image = mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_IMAGE ? chunk : image;
    }
    image_count_finish(out, vision, out->n_views == 1 ? image : NULL, width, height);
}

static enum wl_status check_size(uint32_t width, uint32_t height, struct wl_err *err) {
    if (width == 0 || height == 0 || width > IMAGE_LIMITS.max_side ||
        height > IMAGE_LIMITS.max_side || (uint64_t)width * height > IMAGE_LIMITS.max_pixels) {
        return wl_err_set(err, WL_INPUT,
                          "an image of %" PRIu32 " x %" PRIu32 ": expected sides of 1 to %" PRIu32
                          " and at most %" PRIu64 " pixels",
                          width, height, IMAGE_LIMITS.max_side, IMAGE_LIMITS.max_pixels);
    }
    return WL_OK;
}

enum wl_status image_count_size(const struct vision *vision, uint32_t width, uint32_t height,
                                struct image_count *out, struct wl_err *err) {
    *out = (struct image_count){0};
    enum wl_status status = check_size(width, height, err);
    if (status != WL_OK) {
        return status;
    }
    static const char TEXT[] = VISION_MARKER;
    struct mtmd_input_text text = {
        .text = TEXT, .text_len = sizeof TEXT - 1, .add_special = false, .parse_special = true};
    struct mtmd_bitmap *bitmap = mtmd_bitmap_init(width, height, NULL);
    struct mtmd_input_chunks *chunks = mtmd_input_chunks_init();
    const struct mtmd_bitmap *bitmaps[] = {bitmap};
    int32_t code = mtmd_tokenize(vision->mtmd, chunks, &text, bitmaps, 1);
    if (code == 0) {
        count_chunks(vision, chunks, width, height, out);
    }
    mtmd_input_chunks_free(chunks);
    mtmd_bitmap_free(bitmap);
    return code == 0 && out->image_tokens > 0
               ? WL_OK
               : wl_err_set(err, WL_FAILED,
                            "libmtmd cannot prepare an image of %" PRIu32 " x %" PRIu32
                            " for this encoder (code %" PRId32 ")",
                            width, height, code);
}
