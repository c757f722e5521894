// The second law in the result model: what images cost against their size under each budget, where
// the knee is and whether it moved, and what accuracy a smaller budget leaves. PURE.
#ifndef WATTLAW_REPORT_VISION_H
#define WATTLAW_REPORT_VISION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record/record.h"
#include "stats/describe.h"
#include "stats/knee.h"
#include "stats/law.h"

enum { REPORT_MAX_BUDGETS = 8, REPORT_MAX_IMAGE_SIZES = 64, REPORT_MAX_STAIRS = 256 };
enum { REPORT_MAX_KINDS = 64, REPORT_KIND_BYTES = 64 };

// In points of accuracy: what a saving may lose, and what its interval should exclude.
#define REPORT_SAVING_POINTS 1.0
#define REPORT_SAVING_EXCLUDES 3.0

// What the law is fitted to.
enum report_image_law {
    REPORT_IMAGE_TIME,   // METRIC_image_s: encoding and image prefill
    REPORT_IMAGE_CPU,    // METRIC_image_core_s
    REPORT_IMAGE_ENERGY, // METRIC_image_net_j
    REPORT_IMAGE_WINDOW, // METRIC_time_s: the whole request, with decoding the file and the answer
    REPORT_N_IMAGE_LAWS,
};
enum metric_id report_image_metric(enum report_image_law law);

// All windows of one size under one budget.
struct report_image_point {
    uint32_t width, height;
    double nominal_px, effective_px; // effective 0: the family does not tell
    uint32_t image_tokens, n_views;
    size_t n;
    struct stats_summary summary[REPORT_N_IMAGE_LAWS];
};

// Exact counts for squares (no measurement).
struct report_stair {
    double nominal_px, effective_px;
    uint32_t image_tokens;
};

struct report_image_budget {
    uint32_t image_max_tokens;                               // as asked; 0 = the file's own
    struct report_image_point point[REPORT_MAX_IMAGE_SIZES]; // ascending by nominal pixels
    size_t n_points;
    bool has_knee[REPORT_N_IMAGE_LAWS];
    struct knee_fit knee[REPORT_N_IMAGE_LAWS]; // against nominal pixels, squares only
    char *reason[REPORT_N_IMAGE_LAWS];         // why there is no fit; NULL when there is
    struct report_stair stair[REPORT_MAX_STAIRS];
    size_t n_stairs; // 0: not counted
    enum knee_shape token_shape;
    double token_knee_px; // exact; NaN without one
    double grid_step_px;  // distance of the sampled squares around the token knee: what "within one
                          // step" means; NaN when it lies outside of them
};

// Answers of one group of questions.
struct report_accuracy {
    char kind[REPORT_KIND_BYTES]; // "" = all kinds together
    size_t n, n_right, n_empty, n_looping;
    struct stats_interval ci95; // of the share, Wilson
    struct report_accuracy_cost {
        double mean;
        struct stats_interval ci95;
    } time_s, net_j, image_tokens; // per answer; NaN when not measured
    bool is_energy_resolved;
};

struct report_accuracy_group {
    bool has_images;
    uint32_t image_max_tokens;
    struct report_accuracy all;
    struct report_accuracy kind[REPORT_MAX_KINDS];
    size_t n_kinds;
    // Against the first group with images, over the questions that both answered.
    double accuracy_change; // points; NaN for the first and for text
    struct stats_interval accuracy_change_ci95;
    double net_j_ratio, time_ratio;
    struct stats_interval net_j_ratio_ci95, time_ratio_ci95;
};

struct report_vision {
    struct report_image_budget *budget; // in the order of the study's options
    size_t n_budgets;
    bool has_law[REPORT_N_IMAGE_LAWS];
    struct law_fit law[REPORT_N_IMAGE_LAWS]; // cost against effective pixels, all budgets together;
                                             // law.h's prompt tokens are effective kilopixels; the
                                             // fixed part alone where every size becomes as many
    char *law_reason[REPORT_N_IMAGE_LAWS];
    bool is_per_token; // the family does not tell its effective pixels: law.h's prompt tokens are
                       // image tokens
    bool is_energy_resolved; // of the image energies; else only the word may be shown
    struct report_accuracy_group *accuracy; // text first, then by falling budget
    size_t n_accuracies;
    // The smallest budget that lost at most one point of accuracy, and what it saves; -1: none.
    int saving; // index in accuracy
    // With the model's default: text and the first group with images together; n = 0: not scored.
    struct report_accuracy right;
};

// The knee of `budget` over that of the first budget, beside the same ratio of the exact counts.
struct report_knee_move {
    double ratio;
    struct stats_interval ratio_ci95;
    double exact_ratio; // NaN when either has no token knee
    bool is_moved;      // 1 is outside of the interval
};
// false when either has no knee, or for the first budget.
bool report_knee_move(const struct report_vision *vision, size_t budget, enum report_image_law law,
                      struct report_knee_move *out);

// Two models' right answers, over the questions that both answered with their default.
struct report_right_change {
    size_t n;                   // questions; 0: not comparable, the rest is NaN
    double points;              // vs - base
    struct stats_interval ci95; // paired
};

// ---- inputs ----

struct report_answer {
    int64_t record_id;
    const char *item, *kind, *defect;
    bool is_right;
};

#endif
