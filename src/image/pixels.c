#include "image/pixels.h"

#include <stdlib.h>
#include <string.h>

enum { TILE_SIDE = 32 }; // of a turn: both pictures' lines of a tile stay in the first cache

enum wl_status pixels_alloc(struct image *out, uint32_t width, uint32_t height,
                            uint32_t bytes_per_pixel, struct wl_err *err) {
    memset(out, 0, sizeof *out);
    if (width == 0 || height == 0) {
        return wl_err_set(err, WL_INPUT, "a picture of %u x %u pixels is none", width, height);
    }
    uint64_t bytes = (uint64_t)width * height; // at most 2^64 - 2^33 + 1
    if (bytes > UINT64_MAX / bytes_per_pixel || bytes * bytes_per_pixel > SIZE_MAX / 2) {
        return wl_err_set(err, WL_LIMIT,
                          "a picture of %u x %u pixels is too large for this machine", width,
                          height);
    }
    bytes *= bytes_per_pixel;
    out->rgb = malloc((size_t)bytes);
    if (!out->rgb) {
        return wl_err_set(err, WL_MEMORY, "no memory for a picture of %u x %u pixels (%llu bytes)",
                          width, height, (unsigned long long)bytes);
    }
    out->width = width;
    out->height = height;
    return WL_OK;
}

static size_t n_pixels(const struct image *image) {
    return (size_t)image->width * image->height;
}

static void give_back_fourth_byte(struct image *image) {
    unsigned char *smaller = realloc(image->rgb, n_pixels(image) * 3);
    if (smaller) {
        image->rgb = smaller;
    }
}

// a x b / 255, rounded; exact for bytes.
static unsigned char times(unsigned a, unsigned b) {
    unsigned product = a * b + 128;
    return (unsigned char)((product + (product >> 8)) >> 8);
}

void pixels_rgba_on_white(struct image *image) {
    const unsigned char *from = image->rgb;
    unsigned char *to = image->rgb;
    for (size_t left = n_pixels(image); left > 0; left--, from += 4, to += 3) {
        unsigned alpha = from[3];
        for (int c = 0; c < 3; c++) {
            unsigned sum = from[c] * alpha + 255 * (255 - alpha) + 128;
            to[c] = (unsigned char)((sum + (sum >> 8)) >> 8);
        }
    }
    give_back_fourth_byte(image);
}

void pixels_inverted_cmyk_to_rgb(struct image *image) {
    const unsigned char *from = image->rgb;
    unsigned char *to = image->rgb;
    for (size_t left = n_pixels(image); left > 0; left--, from += 4, to += 3) {
        unsigned light = from[3];
        for (int c = 0; c < 3; c++) {
            to[c] = times(from[c], light);
        }
    }
    give_back_fourth_byte(image);
}

// How to get from the upright picture to the stored one: exchange x and y, then count from the
// other end of the stored line or column.
struct turn {
    unsigned char is_transposed, from_right, from_bottom;
};

static const struct turn TURNS[9] = {
    [1] = {0, 0, 0}, [2] = {0, 1, 0}, [3] = {0, 1, 1}, [4] = {0, 0, 1},
    [5] = {1, 0, 0}, [6] = {1, 0, 1}, [7] = {1, 1, 1}, [8] = {1, 1, 0},
};

struct steps {
    const unsigned char *origin; // of the upright picture's first pixel in the stored one
    ptrdiff_t across, down;      // bytes from it to the next pixel of the line, of the column
};

static struct steps steps_of(const struct image *stored, struct turn turn) {
    ptrdiff_t line = (ptrdiff_t)stored->width * 3;
    ptrdiff_t x = turn.from_right ? -3 : 3;
    ptrdiff_t y = turn.from_bottom ? -line : line;
    struct steps steps = {stored->rgb, turn.is_transposed ? y : x, turn.is_transposed ? x : y};
    steps.origin += turn.from_right ? line - 3 : 0;
    steps.origin += turn.from_bottom ? line * ((ptrdiff_t)stored->height - 1) : 0;
    return steps;
}

static uint32_t tile_end(uint32_t start, uint32_t side) {
    return side - start < TILE_SIDE ? side : start + TILE_SIDE;
}

static void copy_tile(struct steps steps, struct image *upright, uint32_t x0, uint32_t y0) {
    uint32_t x1 = tile_end(x0, upright->width), y1 = tile_end(y0, upright->height);
    for (uint32_t y = y0; y < y1; y++) {
        unsigned char *to = upright->rgb + ((size_t)y * upright->width + x0) * 3;
        for (uint32_t x = x0; x < x1; x++, to += 3) {
            const unsigned char *from =
                steps.origin + (ptrdiff_t)x * steps.across + (ptrdiff_t)y * steps.down;
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
        }
    }
}

enum wl_status pixels_turn_upright(struct image *image, unsigned orientation, struct wl_err *err) {
    if (orientation <= 1 || orientation > 8) {
        return WL_OK;
    }
    struct turn turn = TURNS[orientation];
    struct image upright;
    enum wl_status status =
        pixels_alloc(&upright, turn.is_transposed ? image->height : image->width,
                     turn.is_transposed ? image->width : image->height, 3, err);
    if (status) {
        return status;
    }
    struct steps steps = steps_of(image, turn);
    for (uint32_t y = 0; y < upright.height; y += TILE_SIDE) {
        for (uint32_t x = 0; x < upright.width; x += TILE_SIDE) {
            copy_tile(steps, &upright, x, y);
        }
    }
    image_release(image);
    *image = upright;
    return WL_OK;
}
