// PNG through libpng. What a file says about gamma and colour spaces is not applied, as in most
// programs that feed models; texts and profiles are passed over without being unpacked.
#include <png.h>
#include <setjmp.h>
#include <string.h>

#include "base/str.h"
#include "image/codec.h"
#include "image/pixels.h"
#include "image/png_walk.h"

// libpng reads the compressed pixels in pieces of 8 KiB, and a chunk costs 12 bytes.
enum { ROW_SLACK_BYTES = 65536 };

struct reader {
    struct image_bytes file;
    size_t at;
    size_t end; // nothing may be read from here on
    const struct codec_header *header;
    struct image *out;
    struct wl_err *err;
    char message[128];
};

_Noreturn static void on_error(png_structp png, const char *message) {
    struct reader *reader = png_get_error_ptr(png);
    if (!reader->message[0]) {
        str_copy(reader->message, sizeof reader->message, message);
    }
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, const char *message) {
    (void)png, (void)message;
}

static void read_bytes(png_structp png, unsigned char *to, size_t n) {
    struct reader *reader = png_get_io_ptr(png);
    if (n > reader->file.n - reader->at) {
        png_error(png, "the file ends early");
    }
    if (reader->at + n > reader->end) {
        png_error(png, "more compressed data than the picture has room for");
    }
    memcpy(to, reader->file.data + reader->at, n);
    reader->at += n;
}

static void set_limits(png_structp png, const struct codec_header *header) {
    png_set_user_limits(png, header->width, header->height);
    // Every chunk but those that the pixels need: IHDR, PLTE, tRNS, IDAT, IEND.
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
}

// All kinds become 8-bit RGB or RGBA. 16 bits lose the lower half, as elsewhere.
static int set_transforms(png_structp png, png_infop info) {
    png_set_expand(png);
    png_set_strip_16(png);
    png_set_gray_to_rgb(png);
    int n_passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return n_passes;
}

// No row may take more of the file than it can fill: what lies behind the last one would be
// unpacked into nothing, gigabytes of it if somebody wants that.
static void read_rows(png_structp png, struct reader *reader, int n_passes, size_t row_bytes) {
    size_t raw = (size_t)reader->header->width * 8; // 16 bits, four channels
    for (int pass = 0; pass < n_passes; pass++) {
        for (uint32_t y = 0; y < reader->out->height; y++) {
            reader->end = reader->at + raw + raw / 64 + ROW_SLACK_BYTES;
            png_read_row(png, reader->out->rgb + y * row_bytes, NULL);
        }
    }
    reader->end = SIZE_MAX;
}

static enum wl_status read_checked(png_structp png, png_infop info, struct reader *reader) {
    set_limits(png, reader->header);
    png_read_info(png, info);
    uint32_t width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    if (width != reader->header->width || height != reader->header->height) {
        return wl_err_set(reader->err, WL_INPUT,
                          "damaged PNG picture: its header can be read as "
                          "%u x %u pixels and as %u x %u",
                          reader->header->width, reader->header->height, width, height);
    }
    int n_passes = set_transforms(png, info);
    unsigned channels = png_get_channels(png, info);
    size_t row_bytes = png_get_rowbytes(png, info);
    if (channels < 3 || channels > 4 || row_bytes != (size_t)width * channels) {
        return wl_err_set(reader->err, WL_INPUT,
                          "damaged PNG picture: %u channels in a row of %zu "
                          "bytes",
                          channels, row_bytes);
    }
    enum wl_status status = pixels_alloc(reader->out, width, height, channels, reader->err);
    if (status) {
        return status;
    }
    read_rows(png, reader, n_passes, row_bytes);
    png_read_end(png, NULL);
    if (channels == 4) {
        pixels_rgba_on_white(reader->out);
    }
    return WL_OK;
}

static enum wl_status read_or_fail(png_structp png, png_infop info, struct reader *reader) {
    if (setjmp(png_jmpbuf(png))) {
        return wl_err_set(reader->err, WL_INPUT, "damaged PNG picture: %s", reader->message);
    }
    png_set_read_fn(png, reader, read_bytes);
    return read_checked(png, info, reader);
}

static enum wl_status decode(struct image_bytes file, const struct codec_header *header,
                             uint32_t divisor, struct image *out, struct wl_err *err) {
    (void)divisor; // always 1
    struct reader reader = {
        .file = file, .end = SIZE_MAX, .header = header, .out = out, .err = err};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    enum wl_status status = info ? read_or_fail(png, info, &reader)
                                 : wl_err_set(err, WL_MEMORY, "no memory for a PNG decoder");
    png_destroy_read_struct(&png, &info, NULL);
    return status;
}

struct writer {
    const struct image *image;
    struct buf *out;
    char message[128];
};

_Noreturn static void on_write_error(png_structp png, const char *message) {
    struct writer *writer = png_get_error_ptr(png);
    str_copy(writer->message, sizeof writer->message, message);
    png_longjmp(png, 1);
}

static void write_bytes(png_structp png, unsigned char *bytes, size_t n) {
    struct writer *writer = png_get_io_ptr(png);
    buf_append(writer->out, bytes, n); // a failure stays in the buffer
}

static void flush_bytes(png_structp png) {
    (void)png;
}

static enum wl_status write_or_fail(png_structp png, png_infop info, struct writer *writer,
                                    struct wl_err *err) {
    const struct image *image = writer->image;
    if (setjmp(png_jmpbuf(png))) {
        return wl_err_set(err, WL_LIMIT, "cannot make a PNG picture of %u x %u pixels: %s",
                          image->width, image->height, writer->message);
    }
    png_set_write_fn(png, writer, write_bytes, flush_bytes);
    png_set_IHDR(png, info, image->width, image->height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (uint32_t y = 0; y < image->height; y++) {
        png_write_row(png, image->rgb + (size_t)y * image->width * 3);
    }
    png_write_end(png, NULL);
    return WL_OK;
}

static enum wl_status encode(const struct image *image, int quality, struct buf *out,
                             struct wl_err *err) {
    (void)quality; // nothing is lost
    struct writer writer = {.image = image, .out = out};
    png_structp png =
        png_create_write_struct(PNG_LIBPNG_VER_STRING, &writer, on_write_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    enum wl_status status = info ? write_or_fail(png, info, &writer, err)
                                 : wl_err_set(err, WL_MEMORY, "no memory for a PNG encoder");
    png_destroy_write_struct(&png, &info);
    return status;
}

const struct image_codec IMAGE_CODEC_PNG = {
    .name = "png",
    .max_divisor = 1,
    .is_mine = png_walk_is_mine,
    .read_header = png_walk_header,
    .decode = decode,
    .encode = encode,
};
