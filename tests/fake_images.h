// The image encoder of tests/fake_engine.c: a cell of 28 x 28 pixels is a token, between the
// budget's ends (4 and 256 unless asked otherwise), so that costs rise with the pixels up to a
// knee.
#ifndef WATTLAW_TESTS_FAKE_IMAGES_H
#define WATTLAW_TESTS_FAKE_IMAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"

enum {
    FAKE_CELL_PIXELS = 784,
    FAKE_MIN_TOKENS = 4,
    FAKE_MAX_TOKENS = 256,
    FAKE_WRAPPER = 2, // text tokens around an image
    FAKE_SLOTS = 256,
};

struct fake_encoder {
    bool is_loaded, is_stand_in;
    int64_t min_tokens, max_tokens; // as asked; 0 = the encoder's own
};

struct fake_picture {
    uint32_t width, height; // 0 in an empty slot
};

static inline uint32_t fake_big_endian(const unsigned char *in) {
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3];
}

// A PNG says its size in its first bytes; whatever else comes is taken for 640 x 480.
static inline struct fake_picture fake_picture_read(const unsigned char *bytes, size_t n) {
    struct fake_picture picture = {640, 480};
    if (n >= 24 && memcmp(bytes, "\x89PNG", 4) == 0) {
        picture.width = fake_big_endian(bytes + 16);
        picture.height = fake_big_endian(bytes + 20);
    }
    return picture;
}

static inline uint32_t fake_image_tokens(const struct fake_encoder *encoder,
                                         struct fake_picture picture) {
    int64_t low = encoder->min_tokens ? encoder->min_tokens : FAKE_MIN_TOKENS;
    int64_t high = encoder->max_tokens ? encoder->max_tokens : FAKE_MAX_TOKENS;
    int64_t n = (int64_t)picture.width * picture.height / FAKE_CELL_PIXELS;
    n = n < low ? low : n;
    return (uint32_t)(n > high ? high : n);
}

static inline json_t *fake_vision_json(const struct fake_encoder *encoder) {
    json_t *vision =
        json_pack("{s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "projector",
                  "fake_merger", "name", "an encoder that only costs", "file_bytes",
                  (json_int_t)2100000, "n_params", (json_int_t)500000, "n_layer", 2, "n_embd", 32,
                  "n_ff", 64, "n_head", 2, "patch_size", 14, "image_size", 448, "n_embd_out", 64);
    json_t *rest =
        json_pack("{s:f, s:I, s:I, s:b, s:b, s:b}", "pixels_per_token", (double)FAKE_CELL_PIXELS,
                  "image_min_tokens", (json_int_t)encoder->min_tokens, "image_max_tokens",
                  (json_int_t)encoder->max_tokens, "is_mrope", 0, "is_non_causal", 0, "is_stand_in",
                  (int)encoder->is_stand_in);
    json_object_update(vision, rest);
    json_decref(rest);
    return vision;
}

static inline json_t *fake_count_json(const struct fake_encoder *encoder,
                                      struct fake_picture picture) {
    json_int_t n = fake_image_tokens(encoder, picture);
    json_int_t wrapper = encoder->is_stand_in ? 0 : FAKE_WRAPPER;
    return json_pack("[I, I, I, I, I]", n, wrapper, n + wrapper, (json_int_t)1,
                     n * FAKE_CELL_PIXELS);
}

static inline json_t *fake_run_image_json(const struct fake_encoder *encoder,
                                          struct fake_picture picture) {
    json_int_t n = fake_image_tokens(encoder, picture);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "width", (json_int_t)picture.width,
                     "height", (json_int_t)picture.height, "decoded_width",
                     (json_int_t)picture.width, "decoded_height", (json_int_t)picture.height,
                     "image_tokens", n, "n_views", (json_int_t)1, "effective_pixels",
                     n * FAKE_CELL_PIXELS);
}

#endif
