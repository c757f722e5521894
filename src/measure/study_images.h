// The images of a study's second law: which sizes under which budgets, the pictures in those sizes,
// and their exact token counts.
#ifndef WATTLAW_MEASURE_STUDY_IMAGES_H
#define WATTLAW_MEASURE_STUDY_IMAGES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/client.h"
#include "image/image.h"
#include "measure/subject.h"

enum { STUDY_MAX_IMAGE_SIZES = 40, STUDY_MAX_BUDGETS = 6, STUDY_MAX_PICTURES = 64 };

struct study_image_options {
    const char *const *paths; // pictures, resampled to every size; none: one is drawn
    size_t n_paths;
    const char *prompt;                                    // about the picture; NULL = a short one
    struct engine_image_size sizes[STUDY_MAX_IMAGE_SIZES]; // nominal; none: text alone
    size_t n_sizes;
    uint32_t budgets[STUDY_MAX_BUDGETS]; // image_max_tokens; 0 = as the file says
    size_t n_budgets;
};

// Sizes and budgets for a model, by counting: squares from far below its knee to far above, two
// elongated ones, and as budgets the file's own and half of the tokens that an image takes there.
// Families without a knee or without a budget get what they can show. Keeps what is given already.
enum wl_status study_images_choose(const struct subject_options *subject, const char *model_path,
                                   struct study_image_options *images, struct wl_err *err);

// Exact counts of the sweep's sizes under each budget, and a dense row of squares for the picture
// of the staircase.
struct study_counts {
    size_t n_sizes, n_budgets;
    struct engine_image_count count[STUDY_MAX_BUDGETS][STUDY_MAX_IMAGE_SIZES];
    json_t *json; // {"budgets": [{"image_max_tokens", "counts": [[w, h, tokens, effective], ...]}]}
};
// Of the loaded model; leaves it with the first budget.
enum wl_status study_counts_fill(struct subject *subject, const struct study_image_options *images,
                                 struct study_counts *out, struct wl_err *err);
void study_counts_release(struct study_counts *counts);

// The same picture in every size, as JPEG files in memory.
struct study_pictures {
    struct image source[STUDY_MAX_PICTURES];
    size_t n_sources;
    struct study_picture {
        unsigned char *bytes;
        size_t n;
    } made[STUDY_MAX_PICTURES][STUDY_MAX_IMAGE_SIZES]; // on demand
};
enum wl_status study_pictures_open(const struct study_image_options *images,
                                   struct study_pictures *out, struct wl_err *err);
// Of repeat number `repeat`: the pictures take turns.
enum wl_status study_pictures_get(struct study_pictures *pictures,
                                  const struct study_image_options *images, size_t size,
                                  uint32_t repeat, const struct study_picture **out,
                                  struct wl_err *err);
void study_pictures_release(struct study_pictures *pictures);

#endif
