#include "image/jpeg_walk.h"

#include <string.h>

#include "image/bytes.h"
#include "image/exif.h"

enum {
    TEM = 0x01,
    SOF0 = 0xc0,
    SOF2 = 0xc2,
    DHT = 0xc4,
    JPG = 0xc8,
    DAC = 0xcc,
    SOF15 = 0xcf,
    RST0 = 0xd0,
    RST7 = 0xd7,
    SOI = 0xd8,
    EOI = 0xd9,
    SOS = 0xda,
    APP1 = 0xe1,
};

struct walk {
    struct image_bytes file;
    size_t at; // of the next marker
    struct wl_err *err;
};

// A marker and what its segment holds; nothing for those that stand alone.
struct segment {
    unsigned marker;
    size_t at;
    const unsigned char *data;
    size_t n;
};

static enum wl_status cut(const struct walk *walk) {
    return wl_err_set(walk->err, WL_INPUT,
                      "damaged JPEG picture: the file ends early, after %zu "
                      "bytes",
                      walk->file.n);
}

static bool stands_alone(unsigned marker) {
    return (marker >= RST0 && marker <= EOI) || marker == TEM;
}

// Goes to the next marker. Bytes between segments are passed over as decoders do.
static enum wl_status find_marker(struct walk *walk) {
    const unsigned char *data = walk->file.data;
    while (walk->at < walk->file.n) {
        const unsigned char *found = memchr(data + walk->at, 0xff, walk->file.n - walk->at);
        if (!found) {
            break;
        }
        walk->at = (size_t)(found - data);
        while (walk->at < walk->file.n && data[walk->at] == 0xff) {
            walk->at++; // any number of them may stand in front of a marker
        }
        if (walk->at < walk->file.n && data[walk->at] != 0) {
            return WL_OK; // at the marker's second byte
        }
    }
    return cut(walk);
}

static enum wl_status next_segment(struct walk *walk, struct segment *out) {
    enum wl_status status = find_marker(walk);
    if (status) {
        return status;
    }
    *out = (struct segment){.marker = walk->file.data[walk->at], .at = walk->at - 1};
    walk->at++;
    if (stands_alone(out->marker)) {
        return WL_OK;
    }
    if (walk->file.n - walk->at < 2) {
        return cut(walk);
    }
    size_t n = bytes_be16(walk->file.data + walk->at); // with its own two bytes
    if (n < 2) {
        return wl_err_set(walk->err, WL_INPUT,
                          "damaged JPEG picture: the segment at byte %zu has a length of %zu",
                          out->at, n);
    }
    if (walk->file.n - walk->at < n) {
        return cut(walk);
    }
    out->data = walk->file.data + walk->at + 2;
    out->n = n - 2;
    walk->at += n;
    return WL_OK;
}

static bool is_frame(unsigned marker) {
    return marker >= SOF0 && marker <= SOF15 && marker != DHT && marker != JPG && marker != DAC;
}

// Bits per sample, height, width, number of components.
static enum wl_status read_frame(const struct segment *segment, struct codec_header *out,
                                 struct wl_err *err) {
    if (out->width) {
        return wl_err_set(err, WL_INPUT, "damaged JPEG picture: a second frame at byte %zu",
                          segment->at);
    }
    if (segment->n < 6) {
        return wl_err_set(err, WL_INPUT,
                          "damaged JPEG picture: the frame header at byte %zu has %zu bytes",
                          segment->at, segment->n);
    }
    if (segment->marker > SOF2 || segment->data[0] != 8) {
        return wl_err_set(err, WL_UNSUPPORTED,
                          "this kind of JPEG is not read (frame type %u, %u bits): only baseline "
                          "and progressive with 8 bits are",
                          segment->marker - SOF0, segment->data[0]);
    }
    out->height = bytes_be16(segment->data + 1);
    out->width = bytes_be16(segment->data + 3);
    if (out->width == 0 || out->height == 0) {
        return wl_err_set(err, WL_INPUT, "damaged JPEG picture: its header says %u x %u pixels",
                          out->width, out->height);
    }
    return WL_OK;
}

static bool is_exif(const struct segment *segment) {
    return segment->marker == APP1 && segment->n >= 6 && memcmp(segment->data, "Exif\0", 6) == 0;
}

enum wl_status jpeg_walk_header(struct image_bytes file, struct codec_header *out,
                                struct wl_err *err) {
    struct walk walk = {file, 2, err};
    bool has_exif = false;
    for (;;) {
        struct segment segment;
        enum wl_status status = next_segment(&walk, &segment);
        if (!status && is_frame(segment.marker)) {
            status = read_frame(&segment, out, err);
        }
        if (status) {
            return status;
        }
        if (is_exif(&segment) && !has_exif) { // the first one counts
            has_exif = true;
            out->orientation = exif_orientation(segment.data, segment.n);
        }
        if (segment.marker == SOS && out->width) {
            return WL_OK;
        }
        if (segment.marker == SOS || segment.marker == SOI || segment.marker == EOI) {
            return wl_err_set(err, WL_INPUT,
                              "damaged JPEG picture: no frame before the marker at byte %zu",
                              segment.at);
        }
    }
}

enum wl_status jpeg_walk_scans(struct image_bytes file, struct wl_err *err) {
    struct walk walk = {file, 2, err};
    for (int n_scans = 0;;) {
        struct segment segment;
        enum wl_status status = next_segment(&walk, &segment);
        if (status || segment.marker == EOI) {
            return status;
        }
        if (segment.marker == SOS && ++n_scans > JPEG_MAX_SCANS) {
            return wl_err_set(err, WL_LIMIT, "the JPEG picture has more than %d scans",
                              JPEG_MAX_SCANS);
        }
    }
}
