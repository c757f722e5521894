// Two passes, along the lines and down the columns, with 8 bits in between, as Pillow does it.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image/pixels.h"
#include "image/resize_taps.h"

enum { HALF = 1 << (RESIZE_WEIGHT_BITS - 1) };

static unsigned char to_byte(int32_t sum) {
    sum >>= RESIZE_WEIGHT_BITS;
    return (unsigned char)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static void resize_line(const unsigned char *in, const struct resize_taps *taps,
                        unsigned char *out) {
    for (uint32_t x = 0; x < taps->n_out; x++, out += 3) {
        const unsigned char *from = in + (size_t)taps->first[x] * 3;
        const int32_t *weight = taps->weight + (size_t)x * taps->stride;
        int32_t red = HALF, green = HALF, blue = HALF;
        for (uint32_t i = 0; i < taps->n[x]; i++, from += 3) {
            red += weight[i] * from[0];
            green += weight[i] * from[1];
            blue += weight[i] * from[2];
        }
        out[0] = to_byte(red);
        out[1] = to_byte(green);
        out[2] = to_byte(blue);
    }
}

static enum wl_status resize_lines(const struct image *in, uint32_t width, struct image *out,
                                   struct wl_err *err) {
    struct resize_taps taps;
    enum wl_status status = pixels_alloc(out, width, in->height, 3, err);
    if (!status) {
        status = resize_taps_init(&taps, in->width, width, err);
    }
    if (status) {
        return status;
    }
    for (uint32_t y = 0; y < in->height; y++) {
        resize_line(in->rgb + (size_t)y * in->width * 3, &taps,
                    out->rgb + (size_t)y * out->width * 3);
    }
    resize_taps_release(&taps);
    return WL_OK;
}

// Whole lines at a time: `sum` has room for one.
static void resize_columns_to(const struct image *in, const struct resize_taps *taps, uint32_t y,
                              int32_t *sum, unsigned char *out) {
    size_t n = (size_t)in->width * 3;
    const int32_t *weight = taps->weight + (size_t)y * taps->stride;
    for (size_t i = 0; i < n; i++) {
        sum[i] = HALF;
    }
    for (uint32_t k = 0; k < taps->n[y]; k++) {
        const unsigned char *from = in->rgb + (taps->first[y] + k) * n;
        int32_t w = weight[k];
        for (size_t i = 0; i < n; i++) {
            sum[i] += w * from[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        out[i] = to_byte(sum[i]);
    }
}

static enum wl_status resize_columns(const struct image *in, uint32_t height, struct image *out,
                                     struct wl_err *err) {
    struct resize_taps taps;
    enum wl_status status = pixels_alloc(out, in->width, height, 3, err);
    if (!status) {
        status = resize_taps_init(&taps, in->height, height, err);
    }
    if (status) {
        return status;
    }
    int32_t *sum = malloc((size_t)in->width * 3 * sizeof *sum);
    if (!sum) {
        status = wl_err_set(err, WL_MEMORY, "no memory to resize a picture");
    }
    for (uint32_t y = 0; sum && y < height; y++) {
        resize_columns_to(in, &taps, y, sum, out->rgb + (size_t)y * out->width * 3);
    }
    free(sum);
    resize_taps_release(&taps);
    return status;
}

static enum wl_status copy(const struct image *in, struct image *out, struct wl_err *err) {
    enum wl_status status = pixels_alloc(out, in->width, in->height, 3, err);
    if (!status) {
        memcpy(out->rgb, in->rgb, (size_t)in->width * in->height * 3);
    }
    return status;
}

// Lines first, as Pillow, unless what lies between the passes would be larger than any picture;
// then the other order gives less than the larger of the two pictures.
static enum wl_status resize_both(const struct image *in, uint32_t width, uint32_t height,
                                  struct image *out, struct wl_err *err) {
    struct image between;
    bool is_lines_first = (uint64_t)width * in->height <= IMAGE_LIMITS.max_pixels;
    enum wl_status status = is_lines_first ? resize_lines(in, width, &between, err)
                                           : resize_columns(in, height, &between, err);
    if (!status) {
        status = is_lines_first ? resize_columns(&between, height, out, err)
                                : resize_lines(&between, width, out, err);
    }
    image_release(&between);
    return status;
}

static enum wl_status check_sides(uint32_t width, uint32_t height, struct wl_err *err) {
    if (width == 0 || height == 0) {
        return wl_err_set(err, WL_INPUT, "a picture cannot be resized from or to %u x %u pixels",
                          width, height);
    }
    if (width > IMAGE_LIMITS.max_side || height > IMAGE_LIMITS.max_side ||
        (uint64_t)width * height > IMAGE_LIMITS.max_pixels) {
        return wl_err_set(err, WL_LIMIT,
                          "a picture of %u x %u pixels is not resized: a side may have %u, all "
                          "of it %llu pixels",
                          width, height, IMAGE_LIMITS.max_side,
                          (unsigned long long)IMAGE_LIMITS.max_pixels);
    }
    return WL_OK;
}

enum wl_status image_resize(const struct image *in, uint32_t width, uint32_t height,
                            struct image *out, struct wl_err *err) {
    memset(out, 0, sizeof *out);
    enum wl_status status = check_sides(width, height, err);
    if (!status) {
        status = check_sides(in->width, in->height, err);
    }
    if (status) {
        return status;
    }
    if (width == in->width && height == in->height) {
        status = copy(in, out, err);
    } else if (height == in->height) {
        status = resize_lines(in, width, out, err);
    } else if (width == in->width) {
        status = resize_columns(in, height, out, err);
    } else {
        status = resize_both(in, width, height, out, err);
    }
    if (status) {
        image_release(out);
    }
    return status;
}
