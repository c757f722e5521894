// JPEG through libjpeg-turbo's TurboJPEG interface.
#include <limits.h>
#include <string.h>
#include <turbojpeg.h>

#include "image/codec.h"
#include "image/jpeg_walk.h"
#include "image/pixels.h"

static bool is_mine(struct image_bytes file) {
    static const unsigned char magic[3] = {0xff, 0xd8, 0xff};
    return file.n >= sizeof magic && memcmp(file.data, magic, sizeof magic) == 0;
}

static enum wl_status decoder_error(tjhandle handle, struct wl_err *err) {
    const char *text = tjGetErrorStr2(handle);
    bool is_memory = strstr(text, "nsufficient memory") || strstr(text, "llocation failure");
    return wl_err_set(err, is_memory ? WL_MEMORY : WL_INPUT, "damaged JPEG picture: %s", text);
}

// What decoders complain about although every pixel is there. All other complaints mean that some
// are made up, mostly a grey lower half.
static bool is_harmless(tjhandle handle) {
    static const char *const texts[] = {"extraneous bytes", "JFIF revision",
                                        "Adobe color transform"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (tjGetErrorCode(handle) == TJERR_WARNING && strstr(tjGetErrorStr2(handle), texts[i])) {
            return true;
        }
    }
    return false;
}

// The decoder must have found the same size as jpeg_walk_header.
static enum wl_status check_agreement(tjhandle handle, struct image_bytes file,
                                      const struct codec_header *header, bool *is_cmyk,
                                      struct wl_err *err) {
    int width = 0, height = 0, subsampling = 0, colours = 0;
    int failed = tjDecompressHeader3(handle, file.data, (unsigned long)file.n, &width, &height,
                                     &subsampling, &colours);
    if (failed && !is_harmless(handle)) {
        return decoder_error(handle, err);
    }
    if ((uint32_t)width != header->width || (uint32_t)height != header->height) {
        return wl_err_set(err, WL_INPUT,
                          "damaged JPEG picture: its header can be read as %u x %u pixels and as "
                          "%d x %d",
                          header->width, header->height, width, height);
    }
    *is_cmyk = colours == TJCS_CMYK || colours == TJCS_YCCK;
    return WL_OK;
}

static enum wl_status decompress(tjhandle handle, struct image_bytes file, enum TJPF pixel_format,
                                 struct image *out, struct wl_err *err) {
    int flags = TJFLAG_LIMITSCANS | TJFLAG_STOPONWARNING;
    for (;;) {
        int failed = tjDecompress2(handle, file.data, (unsigned long)file.n, out->rgb,
                                   (int)out->width, 0, (int)out->height, pixel_format, flags);
        if (!failed || (is_harmless(handle) && !(flags & TJFLAG_STOPONWARNING))) {
            return WL_OK;
        }
        if (!is_harmless(handle)) {
            return decoder_error(handle, err);
        }
        flags &= ~TJFLAG_STOPONWARNING;
    }
}

static enum wl_status decode_with(tjhandle handle, struct image_bytes file,
                                  const struct codec_header *header, uint32_t divisor,
                                  struct image *out, struct wl_err *err) {
    bool is_cmyk = false;
    enum wl_status status = check_agreement(handle, file, header, &is_cmyk, err);
    if (!status) {
        status = pixels_alloc(out, codec_scaled(header->width, divisor),
                              codec_scaled(header->height, divisor), is_cmyk ? 4 : 3, err);
    }
    if (!status) {
        status = decompress(handle, file, is_cmyk ? TJPF_CMYK : TJPF_RGB, out, err);
    }
    if (!status && is_cmyk) {
        pixels_inverted_cmyk_to_rgb(out);
    }
    return status;
}

static enum wl_status decode(struct image_bytes file, const struct codec_header *header,
                             uint32_t divisor, struct image *out, struct wl_err *err) {
    enum wl_status status = jpeg_walk_scans(file, err);
    if (status) {
        return status;
    }
    tjhandle handle = tjInitDecompress();
    if (!handle) {
        return wl_err_set(err, WL_MEMORY, "no memory for a JPEG decoder");
    }
    status = decode_with(handle, file, header, divisor, out, err);
    tjDestroy(handle);
    return status;
}

// Colour at half resolution up to quality 89, as most programs do; above, someone wants it all.
static enum wl_status encode(const struct image *image, int quality, struct buf *out,
                             struct wl_err *err) {
    if (image->width > INT_MAX / 3 || image->height > INT_MAX) {
        return wl_err_set(err, WL_LIMIT, "a JPEG picture cannot be %u x %u pixels", image->width,
                          image->height);
    }
    tjhandle handle = tjInitCompress();
    if (!handle) {
        return wl_err_set(err, WL_MEMORY, "no memory for a JPEG encoder");
    }
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    enum wl_status status = WL_OK;
    if (tjCompress2(handle, image->rgb, (int)image->width, 0, (int)image->height, TJPF_RGB, &bytes,
                    &n, quality < 90 ? TJSAMP_420 : TJSAMP_444, quality, 0)) {
        status = wl_err_set(err, WL_LIMIT, "cannot make a JPEG picture of %u x %u pixels: %s",
                            image->width, image->height, tjGetErrorStr2(handle));
    } else {
        buf_append(out, bytes, n);
    }
    tjFree(bytes);
    tjDestroy(handle);
    return status;
}

const struct image_codec IMAGE_CODEC_JPEG = {
    .name = "jpeg",
    .max_divisor = 8,
    .is_mine = is_mine,
    .read_header = jpeg_walk_header,
    .decode = decode,
    .encode = encode,
};
