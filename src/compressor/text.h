// Token sequences that a model is compressed with, or judged on; each begins anew. Some of their
// tokens may be parts of images: what the image encoder gave stands in their place.
#ifndef WATTLAW_COMPRESSOR_TEXT_H
#define WATTLAW_COMPRESSOR_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum { COMPRESS_IMAGE_TOKEN = -1 };

struct compress_text {
    const int32_t *tokens;   // [n_tokens]; COMPRESS_IMAGE_TOKEN: the next row of `embeddings`
    const uint32_t *lengths; // [n_sequences]
    size_t n_sequences, n_tokens;
    // [4][n_tokens]: time, row, column, unused, as M-RoPE counts; NULL: 0, 1, 2 ... in each
    // sequence. Models with one position take the first.
    const int32_t *positions;
    const float *embeddings; // [n_image_tokens][n_embd], in the order of the tokens
    size_t n_image_tokens;
};

#endif
