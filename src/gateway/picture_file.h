// The file of one picture: taken from its address, checked, made smaller, and made an address
// again. Takes long, so it runs on the worker's thread. PURE.
#ifndef WATTLAW_GATEWAY_PICTURE_FILE_H
#define WATTLAW_GATEWAY_PICTURE_FILE_H

#include <stddef.h>

#include "gateway/picture_choice.h"
#include "image/image.h"
#include "openai/fault.h"

struct picture_file {
    unsigned char *bytes;
    size_t n;
    struct image_header header;
};

// Of a data: URI. The fault's code is one of OpenAI's: invalid_image_url, image_file_too_large;
// those of picture_file_check. `out` is to be released, also after a failure.
enum wl_status picture_file_open(const char *uri, size_t n_uri, const struct image_limits *limits,
                                 struct picture_file *out, struct openai_fault *fault);
// Fills in the header of file->bytes. INPUT: image_parse_error, unsupported_image_media_type;
// LIMIT: image_too_large.
enum wl_status picture_file_check(struct picture_file *file, const struct image_limits *limits,
                                  struct openai_fault *fault);
void picture_file_release(struct picture_file *file); // zeroed ones are fine

// Writes the address of the same picture in another size. What was JPEG or WebP becomes JPEG of
// `jpeg_quality`. PNG stays PNG where that takes at most four times the bytes of JPEG (drawings,
// text: JPEG would blur them), and becomes JPEG where not (photos).
enum wl_status picture_file_shrink(const struct picture_file *file,
                                   const struct image_limits *limits, struct picture_size size,
                                   int jpeg_quality, struct buf *uri, struct openai_fault *fault);
// Writes its address as it is.
enum wl_status picture_file_wrap(const struct picture_file *file, struct buf *uri,
                                 struct openai_fault *fault);

#endif
