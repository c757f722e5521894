// Calibration text as the model would see it with the new image encoder.
#ifndef WATTLAW_COMPRESSOR_EYE_RENEW_H
#define WATTLAW_COMPRESSOR_EYE_RENEW_H

#include "compressor/eye_look.h"
#include "compressor/text.h"

struct eye_renew {
    const char *text_path;       // the text model
    const char *before, *after;  // encoders; `text` was made with the first
    const char *const *pictures; // files, all that the text may show
    size_t n_pictures;
    int32_t image_max_tokens, threads; // as the text was made with
    struct text_watch *watch;
};

// *embeddings [text->n_image_tokens][n_embd] is the caller's; NULL where the text has no images. A
// row of the text is found again by its value, so FAILED when the first encoder does not give the
// same again.
enum wl_status eye_renew(const struct eye_renew *options, const struct compress_text *text,
                         float **embeddings, struct wl_err *err);

#endif
