// What an image adds to a predicted request: its exact tokens, counted by the engine, and its cost
// by the study's second law.
#ifndef WATTLAW_CLI_PREDICT_IMAGE_H
#define WATTLAW_CLI_PREDICT_IMAGE_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "engine/client.h"
#include "record/record.h"
#include "report/vision.h"
#include "stats/law.h"
#include "store/store_fit.h"
#include "store/store_study.h"

struct predict_image {
    struct engine_image_size size; // nominal; width 0: no image
    uint32_t image_max_tokens;     // 0 = as the file says
    uint32_t image_min_tokens;     // as the study had it
    double idle_w;                 // as the study had it; NaN: not known
    double n_cores;                // of the study's machine; 0: not known
    struct engine_image_count count;
    bool has_law[REPORT_N_IMAGE_LAWS];
    struct law_prediction law[REPORT_N_IMAGE_LAWS];
};

// "1024x768"; false for anything else, and for sides that no picture has.
bool predict_image_parse(const char *text, struct engine_image_size *out);

// Counts the image for model `index` of the study, and predicts its cost. NOT_FOUND when the study
// measured no images.
enum wl_status predict_image_fill(struct predict_image *image, const struct store_study *study,
                                  const struct store_model *model, size_t index,
                                  const struct store_fit *fits, size_t n_fits, struct wl_err *err);

// Adds the image's part to the text's cost of that metric, or gives it where the metric is of the
// image alone. false when it is not known, or not a sum of the two (RAM AUC).
bool predict_image_add(const struct predict_image *image, enum metric_id metric,
                       struct law_prediction *cost);

json_t *predict_image_json(const struct predict_image *image);

#endif
