#include "compressor/analysis_text.h"

#include <stdlib.h>
#include <string.h>

// Places of the tokens of a part, [4][stride], where a part has images and
// where it has none.
static void put_positions(const struct calib_part *part, size_t first, size_t stride,
                          int32_t *out) {
    for (size_t row = 0; row < 4; row++) {
        size_t at = 0;
        for (size_t s = 0; s < part->n_sequences; s++) {
            for (uint32_t i = 0; i < part->lengths[s]; i++, at++) {
                out[row * stride + first + at] = part->positions
                                                     ? part->positions[row * part->n_tokens + at]
                                                 : row < 3 ? (int32_t)i
                                                           : 0;
            }
        }
    }
}

static void put_part(struct analysis_text *out, const struct calib_part *part, size_t n_embd) {
    struct compress_text *text = &out->text;
    memcpy(out->tokens + text->n_tokens, part->tokens, part->n_tokens * sizeof *out->tokens);
    memcpy(out->lengths + text->n_sequences, part->lengths,
           part->n_sequences * sizeof *out->lengths);
    if (out->embeddings && part->n_image_tokens > 0) {
        memcpy(out->embeddings + text->n_image_tokens * n_embd, part->embeddings,
               part->n_image_tokens * n_embd * sizeof *out->embeddings);
    }
    text->n_tokens += part->n_tokens;
    text->n_sequences += part->n_sequences;
    text->n_image_tokens += part->n_image_tokens;
}

enum wl_status analysis_text_join(struct analysis_text *out, const struct calib *calib,
                                  uint32_t n_embd, struct wl_err *err) {
    const struct calib_part *a = &calib->calibration, *b = &calib->held_out;
    size_t n = a->n_tokens + b->n_tokens, n_images = a->n_image_tokens + b->n_image_tokens;
    bool has_positions = a->positions || b->positions;
    *out = (struct analysis_text){.n_held_out = b->n_sequences};
    out->tokens = calloc(n + 1, sizeof *out->tokens);
    out->lengths = calloc(a->n_sequences + b->n_sequences + 1, sizeof *out->lengths);
    out->positions = has_positions ? calloc(n, 4 * sizeof *out->positions) : NULL;
    out->embeddings = n_images ? calloc(n_images, n_embd * sizeof *out->embeddings) : NULL;
    if (!out->tokens || !out->lengths || (has_positions && !out->positions) ||
        (n_images && !out->embeddings)) {
        analysis_text_release(out);
        return wl_err_set(err, WL_MEMORY, "no memory for a text of %zu tokens", n);
    }
    if (has_positions) {
        put_positions(a, 0, n, out->positions);
        put_positions(b, a->n_tokens, n, out->positions);
    }
    put_part(out, a, n_embd);
    put_part(out, b, n_embd);
    out->text.tokens = out->tokens;
    out->text.lengths = out->lengths;
    out->text.positions = out->positions;
    out->text.embeddings = out->embeddings;
    return WL_OK;
}

void analysis_text_release(struct analysis_text *text) {
    free(text->tokens);
    free(text->lengths);
    free(text->positions);
    free(text->embeddings);
    *text = (struct analysis_text){0};
}
