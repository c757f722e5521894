// Questions about pictures as the model would see them: the image encoder's rows where the engine
// puts them, the prompt around them, the answer behind it.
#ifndef WATTLAW_COMPRESSOR_CALIB_IMAGE_H
#define WATTLAW_COMPRESSOR_CALIB_IMAGE_H

#include <stdbool.h>

#include "compressor/calib_chat.h"
#include "compressor/calib_image_rows.h"
#include "compressor/calib_read.h"
#include "worker/vision.h"

struct calib_encoder {
    // Set by the caller.
    struct text_model *model; // loaded whole: libmtmd asks it for its width
    const struct calib_chat *chat;
    const struct calib_documents *documents;
    struct calib_rows *rows;
    size_t max_length; // of a sequence
    // From calib_encoder_open.
    struct vision vision;
    struct calib_seen_picture { // [pictures]
        size_t first_row, n_rows;
        bool is_encoded, is_used, is_too_long;
    } * seen;
};

// INPUT, UNSUPPORTED: it is no image encoder, or not this model's. *can_be_computed is false for a
// model that sees a picture in one piece, where each token also knows the later ones.
enum wl_status calib_encoder_open(struct calib_encoder *encoder, const char *mmproj_path,
                                  int32_t image_max_tokens, int32_t threads, bool *can_be_computed,
                                  struct wl_err *err);
void calib_encoder_close(struct calib_encoder *encoder); // zeroed ones are fine

// Tokens and rows of a question with its answer, up to the token that ends it. *n_needed is their
// number; when that is above `room` or what a sequence may have, `out` stays empty and nothing is
// encoded. A picture is encoded when it is met first.
enum wl_status calib_encoder_ask(struct calib_encoder *encoder,
                                 const struct calib_document *document, size_t room,
                                 struct calib_tokens *out, size_t *n_needed, struct wl_err *err);

// Pictures that were part of an answer, and those that were only too long.
void calib_encoder_count(const struct calib_encoder *encoder, size_t *n_used, size_t *n_too_long);

#endif
