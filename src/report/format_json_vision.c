// The second law and the scored answers, for programs.
#include <math.h>

#include "report/fields.h"
#include "report/vision_words.h"
#include "stats/law_json.h"

static const char *metric_name(unsigned law) {
    return metric_info(report_image_metric((enum report_image_law)law))->id;
}

// ---- images ----

static json_t *summary_json(const struct stats_summary *summary) {
    json_t *o = json_object();
    report_field_count(o, "n", summary->n);
    if (summary->n > 0) {
        report_field_real(o, "mean", summary->mean);
        report_field_interval(o, "ci95", summary->ci95_mean);
        report_field_real(o, "median", summary->median);
        report_field_real(o, "sd", summary->sd);
    }
    return o;
}

static json_t *point_json(const struct report_image_point *point) {
    json_t *o = json_object(), *costs = json_object();
    report_field_count(o, "width", point->width);
    report_field_count(o, "height", point->height);
    report_field_real(o, "nominal_px", point->nominal_px);
    report_field_real(o, "effective_px",
                      point->effective_px > 0 ? point->effective_px : (double)NAN);
    report_field_count(o, "image_tokens", point->image_tokens);
    report_field_count(o, "n_views", point->n_views);
    report_field_count(o, "n", point->n);
    for (unsigned law = 0; law < REPORT_N_IMAGE_LAWS; law++) {
        report_field_set(costs, metric_name(law), summary_json(&point->summary[law]));
    }
    report_field_set(o, "costs", costs);
    return o;
}

static json_t *knee_json(const struct knee_fit *knee) {
    json_t *o = json_object();
    report_field_flag(o, "has_knee", knee->has_knee);
    report_field_real(o, "p_no_knee", knee->p_no_knee);
    report_field_flag(o, "is_at_edge", knee->is_at_edge);
    report_field_real(o, "knee_px", knee->knee_x);
    report_field_interval(o, "knee_px_ci95", knee->knee_ci95);
    report_field_real(o, "fixed", knee->fixed);
    report_field_real(o, "slope_per_px", knee->slope);
    report_field_interval(o, "slope_per_px_ci95", knee->slope_ci95);
    report_field_real(o, "quadratic", knee->has_quadratic ? knee->quadratic : 0);
    report_field_real(o, "slope_above_per_px", knee->slope_above);
    report_field_interval(o, "slope_above_per_px_ci95", knee->slope_above_ci95);
    report_field_flag(o, "is_flat_above", knee->is_flat_above);
    report_field_real(o, "level_above", knee->level_above);
    report_field_interval(o, "level_above_ci95", knee->level_above_ci95);
    report_field_count(o, "n", knee->n);
    report_field_count(o, "n_outliers", knee->n_outliers);
    report_field_count(o, "n_sizes", knee->n_x);
    report_field_flag(o, "is_lack_of_fit", knee->is_lack_of_fit);
    report_field_real(o, "r2", knee->r2);
    return o;
}

static json_t *knees_json(const struct report_vision *vision, size_t index) {
    const struct report_image_budget *budget = &vision->budget[index];
    json_t *all = json_object();
    for (unsigned i = 0; i < REPORT_N_IMAGE_LAWS; i++) {
        enum report_image_law law = (enum report_image_law)i;
        struct report_knee_move move;
        json_t *o = budget->has_knee[i] ? knee_json(&budget->knee[i]) : json_object();
        if (!budget->has_knee[i]) {
            report_field_text(o, "reason", budget->reason[i] ? budget->reason[i] : "");
        } else if (budget->knee[i].has_knee && isfinite(budget->grid_step_px)) {
            report_field_flag(o, "is_within_grid_step", vision_is_within_step(budget, law));
        }
        if (report_knee_move(vision, index, law, &move)) {
            report_field_real(o, "moved_ratio", move.ratio);
            report_field_interval(o, "moved_ratio_ci95", move.ratio_ci95);
            report_field_flag(o, "is_moved", move.is_moved);
        }
        report_field_set(all, metric_name(i), o);
    }
    return all;
}

static json_t *tokens_json(const struct report_image_budget *budget) {
    static const char *const SHAPES[] = {"flat-after", "constant", "growing"};
    json_t *o = json_object(), *rows = json_array();
    if (budget->n_stairs > 0) {
        report_field_text(o, "shape", SHAPES[budget->token_shape]);
    }
    report_field_real(o, "knee_px", budget->token_knee_px);
    report_field_real(o, "grid_step_px", budget->grid_step_px);
    for (size_t i = 0; i < budget->n_stairs; i++) {
        const struct report_stair *stair = &budget->stair[i];
        json_array_append_new(rows, json_pack("[I, I, I]", (json_int_t)stair->nominal_px,
                                              (json_int_t)stair->image_tokens,
                                              (json_int_t)stair->effective_px));
    }
    report_field_set(o, "counts", rows);
    return o;
}

static json_t *budget_json(const struct report_vision *vision, size_t index) {
    const struct report_image_budget *budget = &vision->budget[index];
    json_t *o = json_object(), *points = json_array();
    report_field_count(o, "image_max_tokens", budget->image_max_tokens);
    for (size_t i = 0; i < budget->n_points; i++) {
        json_array_append_new(points, point_json(&budget->point[i]));
    }
    report_field_set(o, "points", points);
    report_field_set(o, "knees", knees_json(vision, index));
    report_field_set(o, "tokens", tokens_json(budget));
    return o;
}

static json_t *laws_json(const struct report_vision *vision) {
    json_t *all = json_object();
    for (unsigned i = 0; i < REPORT_N_IMAGE_LAWS; i++) {
        enum report_image_law law = (enum report_image_law)i;
        char words[LAW_TEXT_BYTES];
        json_t *o = vision->has_law[i] ? law_to_json(&vision->law[i]) : json_object();
        if (vision->has_law[i]) {
            report_field_text(o, "equation", vision_equation(words, vision, law));
            report_field_text(o, "meaning", vision_law_words(words, vision, law));
        } else {
            report_field_text(o, "reason", vision->law_reason[i] ? vision->law_reason[i] : "");
        }
        report_field_set(all, metric_name(i), o);
    }
    return all;
}

static json_t *images_json(const struct report_vision *vision) {
    json_t *o = json_object(), *budgets = json_array();
    report_field_text(o, "law_x", vision->is_per_token ? "image_tokens" : "effective_kilopixels");
    report_field_flag(o, "is_energy_resolved", vision->is_energy_resolved);
    for (size_t i = 0; i < vision->n_budgets; i++) {
        json_array_append_new(budgets, budget_json(vision, i));
    }
    report_field_set(o, "budgets", budgets);
    report_field_set(o, "laws", laws_json(vision));
    return o;
}

// ---- answers ----

static json_t *cost_json(const struct report_accuracy_cost *cost) {
    json_t *o = json_object();
    report_field_real(o, "mean", cost->mean);
    report_field_interval(o, "ci95", cost->ci95);
    return o;
}

static json_t *line_json(const struct report_accuracy *line) {
    json_t *o = json_object();
    report_field_count(o, "n", line->n);
    report_field_count(o, "n_right", line->n_right);
    report_field_real(o, "share", (double)line->n_right / (double)line->n); // never of none
    report_field_interval(o, "share_ci95", line->ci95);
    report_field_count(o, "n_empty", line->n_empty);
    report_field_count(o, "n_looping", line->n_looping);
    report_field_set(o, "time_s", cost_json(&line->time_s));
    report_field_set(o, "energy_net_j", cost_json(&line->net_j));
    report_field_flag(o, "is_energy_resolved", line->is_energy_resolved);
    report_field_set(o, "image_tokens", cost_json(&line->image_tokens));
    return o;
}

static json_t *group_json(const struct report_accuracy_group *group) {
    json_t *o = line_json(&group->all), *kinds = json_array();
    report_field_flag(o, "has_images", group->has_images);
    if (group->has_images) {
        report_field_count(o, "image_max_tokens", group->image_max_tokens);
    }
    if (isfinite(group->accuracy_change)) {
        report_field_real(o, "change_points", group->accuracy_change);
        report_field_interval(o, "change_points_ci95", group->accuracy_change_ci95);
        report_field_real(o, "energy_net_ratio", group->net_j_ratio);
        report_field_interval(o, "energy_net_ratio_ci95", group->net_j_ratio_ci95);
        report_field_real(o, "time_ratio", group->time_ratio);
        report_field_interval(o, "time_ratio_ci95", group->time_ratio_ci95);
    }
    for (size_t i = 0; i < group->n_kinds; i++) {
        json_t *kind = line_json(&group->kind[i]);
        report_field_text(kind, "kind", group->kind[i].kind);
        json_array_append_new(kinds, kind);
    }
    report_field_set(o, "kinds", kinds);
    return o;
}

static json_t *answers_json(const struct report_vision *vision) {
    json_t *o = json_object(), *groups = json_array();
    for (size_t i = 0; i < vision->n_accuracies; i++) {
        json_array_append_new(groups, group_json(&vision->accuracy[i]));
    }
    report_field_set(o, "right", line_json(&vision->right));
    report_field_set(o, "groups", groups);
    if (vision->saving >= 0) {
        char words[LAW_TEXT_BYTES];
        report_field_count(o, "saving", (uint64_t)vision->saving);
        report_field_text(o, "saving_meaning", vision_saving_words(words, vision));
    } else {
        report_field_set(o, "saving", json_null());
    }
    return o;
}

void report_field_vision(json_t *model, const struct report_vision *vision) {
    if (vision->n_budgets > 0) {
        report_field_set(model, "images", images_json(vision));
    }
    if (vision->n_accuracies > 0) {
        report_field_set(model, "answers", answers_json(vision));
    }
}
