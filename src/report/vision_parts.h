// Inside report only: how the second law's part of the result model is computed.
#ifndef WATTLAW_REPORT_VISION_PARTS_H
#define WATTLAW_REPORT_VISION_PARTS_H

#include "report/result.h"

// All of it, for every model of the result; its records are in place.
enum wl_status vision_compute(struct report_result *result, const struct report_input *input,
                              struct wl_err *err);
void vision_release(struct report_vision *vision); // a zeroed one is fine

// A window that the second law is fitted to: one image, no warm-up, no paper check, not scored.
bool vision_is_used(const struct record *record);
// What the cost is plotted against in the law: effective kilopixels, or image tokens.
double vision_law_x(const struct report_vision *vision, const struct record *record);

// vision_points.c: budgets, points and stairs. `options` are the study's.
enum wl_status vision_collect(struct report_model *model, const json_t *options,
                              const char *image_tokens_json, struct wl_err *err);
// vision_fit.c: knees and laws.
enum wl_status vision_fit(struct report_model *model, uint64_t seed, struct wl_err *err);
// vision_accuracy.c: groups of answers, their changes, the saving.
enum wl_status vision_accuracy(struct report_model *model, const struct report_model_input *input,
                               uint64_t seed, struct wl_err *err);
// Both models' right answers, side by side.
enum wl_status vision_compare_right(const struct report_result *result,
                                    const struct report_input *input,
                                    struct report_right_change *out, struct wl_err *err);

#endif
