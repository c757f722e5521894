// WebP through libwebp.
#include <stdlib.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/encode.h>

#include "image/codec.h"
#include "image/pixels.h"
#include "image/webp_walk.h"

static enum wl_status read_header(struct image_bytes file, struct codec_header *out,
                                  struct wl_err *err) {
    struct webp_layout layout;
    enum wl_status status = webp_walk(file, &layout, err);
    if (!status) {
        *out = (struct codec_header){layout.width, layout.height, layout.orientation};
    }
    return status;
}

static enum wl_status decoder_error(VP8StatusCode code, struct wl_err *err) {
    static const char *const texts[] = {
        [VP8_STATUS_OUT_OF_MEMORY] = "no memory",
        [VP8_STATUS_INVALID_PARAM] = "its parts do not fit together",
        [VP8_STATUS_BITSTREAM_ERROR] = "its data cannot be decoded",
        [VP8_STATUS_UNSUPPORTED_FEATURE] = "it uses what the decoder does not know",
        [VP8_STATUS_SUSPENDED] = "its data ends early",
        [VP8_STATUS_USER_ABORT] = "its decoder stopped",
        [VP8_STATUS_NOT_ENOUGH_DATA] = "its data ends early",
    };
    bool is_known = code > 0 && (size_t)code < sizeof texts / sizeof texts[0];
    return wl_err_set(err, code == VP8_STATUS_OUT_OF_MEMORY ? WL_MEMORY : WL_INPUT,
                      "damaged WebP picture: %s", is_known ? texts[code] : "it has no end");
}

static enum wl_status check_agreement(const struct webp_frame *frame,
                                      WebPBitstreamFeatures *features, struct wl_err *err) {
    VP8StatusCode code = WebPGetFeatures(frame->bytes.data, frame->bytes.n, features);
    if (code) {
        return decoder_error(code, err);
    }
    if ((uint32_t)features->width != frame->width || (uint32_t)features->height != frame->height ||
        features->has_animation) {
        return wl_err_set(err, WL_INPUT,
                          "damaged WebP picture: its header can be read as %u x %u pixels and as "
                          "%d x %d",
                          frame->width, frame->height, features->width, features->height);
    }
    return WL_OK;
}

static enum wl_status decode_frame(const struct webp_frame *frame, struct image *out,
                                   struct wl_err *err) {
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config)) {
        return wl_err_set(err, WL_UNSUPPORTED, "libwebp is not the version it was built with");
    }
    enum wl_status status = check_agreement(frame, &config.input, err);
    uint32_t channels = config.input.has_alpha ? 4 : 3;
    if (!status) {
        status = pixels_alloc(out, frame->width, frame->height, channels, err);
    }
    if (status) {
        return status;
    }
    config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = out->rgb;
    config.output.u.RGBA.stride = (int)(frame->width * channels);
    config.output.u.RGBA.size = (size_t)frame->width * frame->height * channels;
    VP8StatusCode code = WebPDecode(frame->bytes.data, frame->bytes.n, &config);
    WebPFreeDecBuffer(&config.output);
    if (code) {
        return decoder_error(code, err);
    }
    if (channels == 4) {
        pixels_rgba_on_white(out);
    }
    return WL_OK;
}

// A frame may cover a part of the picture; the rest is transparent, so white.
static enum wl_status place(const struct webp_layout *layout, struct image *out,
                            struct wl_err *err) {
    const struct webp_frame *frame = &layout->frame;
    if (frame->width == layout->width && frame->height == layout->height) {
        return WL_OK;
    }
    struct image whole;
    enum wl_status status = pixels_alloc(&whole, layout->width, layout->height, 3, err);
    if (status) {
        return status;
    }
    memset(whole.rgb, 255, (size_t)whole.width * whole.height * 3);
    for (uint32_t y = 0; y < frame->height; y++) {
        memcpy(whole.rgb + ((size_t)(frame->y + y) * whole.width + frame->x) * 3,
               out->rgb + (size_t)y * frame->width * 3, (size_t)frame->width * 3);
    }
    image_release(out);
    *out = whole;
    return WL_OK;
}

static enum wl_status decode(struct image_bytes file, const struct codec_header *header,
                             uint32_t divisor, struct image *out, struct wl_err *err) {
    (void)header, (void)divisor; // always 1
    struct webp_layout layout;
    enum wl_status status = webp_walk(file, &layout, err);
    if (!status) {
        status = decode_frame(&layout.frame, out, err);
    }
    return status ? status : place(&layout, out, err);
}

static enum wl_status encode(const struct image *image, int quality, struct buf *out,
                             struct wl_err *err) {
    if (image->width > WEBP_MAX_DIMENSION || image->height > WEBP_MAX_DIMENSION) {
        return wl_err_set(err, WL_LIMIT,
                          "a WebP picture cannot be %u x %u pixels: a side may have %d",
                          image->width, image->height, WEBP_MAX_DIMENSION);
    }
    int width = (int)image->width, height = (int)image->height;
    uint8_t *bytes = NULL;
    size_t n = quality == 100
                   ? WebPEncodeLosslessRGB(image->rgb, width, height, width * 3, &bytes)
                   : WebPEncodeRGB(image->rgb, width, height, width * 3, (float)quality, &bytes);
    enum wl_status status = WL_OK;
    if (n == 0) {
        status = wl_err_set(err, WL_MEMORY, "cannot make a WebP picture of %u x %u pixels",
                            image->width, image->height);
    }
    buf_append(out, bytes, n);
    WebPFree(bytes);
    return status;
}

const struct image_codec IMAGE_CODEC_WEBP = {
    .name = "webp",
    .max_divisor = 1,
    .is_mine = webp_walk_is_mine,
    .read_header = read_header,
    .decode = decode,
    .encode = encode,
};
