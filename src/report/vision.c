#include "report/vision.h"

#include <math.h>
#include <stdlib.h>

#include "report/vision_parts.h"

enum metric_id report_image_metric(enum report_image_law law) {
    static const enum metric_id METRICS[REPORT_N_IMAGE_LAWS] = {
        [REPORT_IMAGE_TIME] = METRIC_image_s,
        [REPORT_IMAGE_CPU] = METRIC_image_core_s,
        [REPORT_IMAGE_ENERGY] = METRIC_image_net_j,
        [REPORT_IMAGE_WINDOW] = METRIC_time_s,
    };
    return law < REPORT_N_IMAGE_LAWS ? METRICS[law] : METRIC_COUNT;
}

bool vision_is_used(const struct record *record) {
    return (record->flags & (RECORD_WARMUP | RECORD_PAPER | RECORD_SCORED)) == 0 &&
           record->vision.n_images == 1;
}

double vision_law_x(const struct report_vision *vision, const struct record *record) {
    return vision->is_per_token ? record->vision.image_tokens
                                : (double)record->vision.effective_pixels / 1000;
}

static bool has_knee(const struct report_image_budget *budget, enum report_image_law law) {
    return budget->has_knee[law] && budget->knee[law].has_knee && budget->knee[law].knee_x > 0;
}

bool report_knee_move(const struct report_vision *vision, size_t budget, enum report_image_law law,
                      struct report_knee_move *out) {
    *out = (struct report_knee_move){NAN, {NAN, NAN}, NAN, false};
    if (budget == 0 || budget >= vision->n_budgets || !has_knee(&vision->budget[0], law) ||
        !has_knee(&vision->budget[budget], law)) {
        return false;
    }
    const struct report_image_budget *a = &vision->budget[0], *b = &vision->budget[budget];
    struct knee_comparison comparison;
    knee_compare(&a->knee[law], &b->knee[law], &comparison);
    out->ratio = comparison.knee.ratio;
    out->ratio_ci95 = comparison.knee.ratio_ci95;
    out->exact_ratio = b->token_knee_px / a->token_knee_px;
    out->is_moved = out->ratio_ci95.high < 1 || out->ratio_ci95.low > 1;
    return true;
}

enum wl_status vision_compute(struct report_result *result, const struct report_input *input,
                              struct wl_err *err) {
    enum wl_status status = WL_OK;
    result->right_change = (struct report_right_change){0, NAN, {NAN, NAN}};
    for (size_t i = 0; i < result->n_models && status == WL_OK; i++) {
        struct report_model *model = &result->model[i];
        model->vision.saving = -1;
        status = vision_collect(model, result->options, input->model[i].image_tokens_json, err);
        if (status == WL_OK) {
            status = vision_fit(model, result->seed, err);
        }
        if (status == WL_OK) {
            status = vision_accuracy(model, &input->model[i], result->seed, err);
        }
    }
    return status == WL_OK && result->n_models == 2
               ? vision_compare_right(result, input, &result->right_change, err)
               : status;
}

void vision_release(struct report_vision *vision) {
    for (unsigned law = 0; law < REPORT_N_IMAGE_LAWS; law++) {
        for (size_t i = 0; i < vision->n_budgets; i++) {
            free(vision->budget[i].reason[law]);
        }
        free(vision->law_reason[law]);
    }
    free(vision->budget);
    free(vision->accuracy);
    *vision = (struct report_vision){.saving = -1};
}
