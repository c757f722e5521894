#include "report/vision_words.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define TIMES "\xc3\x97"
#define SQUARED "\xc2\xb2"

// Appends to `out`; what does not fit is cut.
static void add(char out[LAW_TEXT_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void add(char out[LAW_TEXT_BYTES], const char *format, ...) {
    size_t used = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + used, LAW_TEXT_BYTES - used, format, args);
    va_end(args);
}

static bool is_known(struct stats_interval interval) {
    return isfinite(interval.low) && isfinite(interval.high);
}

// ---- the law ----

const char *vision_unit_words(const struct report_vision *vision) {
    return vision->is_per_token ? "image token" : "1000 effective pixels";
}

char *vision_equation(char out[LAW_TEXT_BYTES], const struct report_vision *vision,
                      enum report_image_law law) {
    static const char *const FACTOR[2][LAW_N_TERMS] = {
        {[LAW_PROMPT] = "kpx", [LAW_QUADRATIC] = "kpx" SQUARED},
        {[LAW_PROMPT] = "tokens", [LAW_QUADRATIC] = "tokens" SQUARED}};
    const struct law_fit *fit = &vision->law[law];
    out[0] = '\0';
    for (unsigned term = 0; term < LAW_N_TERMS; term++) {
        char number[FIGURE_BYTES];
        const char *factor = FACTOR[vision->is_per_token][term];
        if (!fit->has_term[term]) {
            continue;
        }
        bool is_negative = fit->coef[term] < 0;
        figure_text(number, report_image_metric(law), fabs(fit->coef[term]));
        const char *sign = out[0] == '\0' ? (is_negative ? "-" : "") : is_negative ? " - " : " + ";
        add(out, "%s%s", sign, number);
        if (factor) {
            add(out, " " TIMES " %s", factor);
        }
    }
    return out;
}

char *vision_law_words(char out[LAW_TEXT_BYTES], const struct report_vision *vision,
                       enum report_image_law law) {
    const struct law_fit *fit = &vision->law[law];
    const char *what = vision->is_per_token ? "image tokens" : "effective pixels";
    char p[FIGURE_BYTES];
    double share_pct = 100 * fit->max_quadratic_share;
    out[0] = '\0';
    if (!fit->has_term[LAW_PROMPT]) {
        add(out, "The same for every size: it always becomes as many %s.", what);
    } else if (fit->has_term[LAW_QUADRATIC]) {
        add(out, "Not linear: the square of the %s is needed (up to %.1f %% of the cost, %s).",
            what, share_pct, figure_p(p, fit->p_quadratic));
    } else if (isfinite(fit->p_quadratic)) {
        add(out,
            "Linear in %s: a quadratic term would be at most %.1f %% of the cost (%s) and is not "
            "needed.",
            what, share_pct, figure_p(p, fit->p_quadratic));
    } else {
        add(out, "Too few sizes to test whether it is linear.");
    }
    if (fit->is_lack_of_fit) {
        add(out,
            " The points deviate from it by more than their scatter (lack of fit, %s); the "
            "intervals are widened for that.",
            figure_p(p, fit->p_lack_of_fit));
    }
    return out;
}

// ---- the knee ----

char *vision_square(char out[FIGURE_BYTES], double px) {
    double side = px > 0 ? round(sqrt(px)) : 0;
    snprintf(out, FIGURE_BYTES, "%.0f " TIMES " %.0f px", side, side);
    return out;
}

bool vision_is_within_step(const struct report_image_budget *budget, enum report_image_law law) {
    return fabs(budget->knee[law].knee_x - budget->token_knee_px) <= budget->grid_step_px;
}

static void add_token_words(char out[LAW_TEXT_BYTES], const struct report_image_budget *budget,
                            enum report_image_law law) {
    char square[FIGURE_BYTES];
    bool has_knee = budget->has_knee[law] && budget->knee[law].has_knee;
    if (budget->n_stairs == 0) {
        return;
    }
    if (budget->token_shape == KNEE_NONE_CONSTANT) {
        add(out, " Every size becomes as many tokens, counted exactly.");
    } else if (budget->token_shape == KNEE_NONE_GROWING) {
        add(out, " Tokens grow to the largest size that was counted.");
    } else {
        add(out, " Tokens, counted exactly, stop at %s",
            vision_square(square, budget->token_knee_px));
        add(out, "%s",
            !has_knee                            ? "."
            : isnan(budget->grid_step_px)        ? ", outside of the measured sizes."
            : vision_is_within_step(budget, law) ? ": within one grid step."
                                                 : ": more than one grid step away.");
    }
}

char *vision_knee_words(char out[LAW_TEXT_BYTES], const struct report_image_budget *budget,
                        enum report_image_law law) {
    const struct knee_fit *knee = &budget->knee[law];
    char text[FIGURE_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    out[0] = '\0';
    if (!budget->has_knee[law]) {
        add(out, "No knee: %.200s.", budget->reason[law] ? budget->reason[law] : "not measured");
    } else if (!knee->has_knee && knee->is_at_edge) {
        add(out, "A bend at %s, but too few sizes beyond it to call it a knee.",
            vision_square(text, knee->knee_x));
    } else if (!knee->has_knee) {
        add(out, "No knee between the measured sizes (%s).", figure_p(text, knee->p_no_knee));
    } else {
        char number[UNITS_TEXT_BYTES];
        add(out, "Knee%s at %s: %s Mpx", law == REPORT_IMAGE_CPU ? " of the CPU time" : "",
            vision_square(text, knee->knee_x), units_number(number, knee->knee_x / 1e6));
        if (is_known(knee->knee_ci95)) {
            add(out, " (%s to %s)", units_number(low, knee->knee_ci95.low / 1e6),
                units_number(high, knee->knee_ci95.high / 1e6));
        }
        add(out, ".");
    }
    add_token_words(out, budget, law);
    return out;
}

char *vision_slope_words(char out[LAW_TEXT_BYTES], const struct report_image_budget *budget,
                         enum report_image_law law) {
    const struct knee_fit *knee = &budget->knee[law];
    out[0] = '\0';
    if (!budget->has_knee[law] || !knee->has_knee) {
        return out;
    }
    enum metric_id metric = report_image_metric(law);
    struct stats_interval ci = {1e6 * knee->slope_above_ci95.low,
                                1e6 * knee->slope_above_ci95.high};
    double slope = 1e6 * knee->slope_above;
    double magnitude = is_known(ci) ? fmax(fabs(ci.low), fabs(ci.high)) : slope;
    struct figure_unit unit = figure_unit_for(metric, magnitude);
    char number[FIGURE_BYTES], interval[FIGURE_BYTES];
    add(out, "%s: slope %s %s per Mpx",
        knee->is_flat_above ? "Flat above" : "Above, it goes on changing",
        figure_number(number, unit, slope), unit.text);
    if (figure_interval(interval, unit, ci)[0]) {
        add(out, " (%s)", interval);
    }
    add(out, ".");
    return out;
}

char *vision_move_words(char out[LAW_TEXT_BYTES], const struct report_vision *vision, size_t budget,
                        enum report_image_law law) {
    struct report_knee_move move;
    char ratio[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES];
    out[0] = '\0';
    if (!report_knee_move(vision, budget, law, &move)) {
        return out;
    }
    add(out, "The knee %s: %s of the first budget's",
        move.is_moved ? "moved" : "did not move for certain", figure_times(ratio, move.ratio));
    if (is_known(move.ratio_ci95)) {
        add(out, " (%s to %s)", figure_times(low, move.ratio_ci95.low),
            figure_times(high, move.ratio_ci95.high));
    }
    if (isfinite(move.exact_ratio)) {
        add(out, ", %s by the exact counts", figure_times(ratio, move.exact_ratio));
    }
    add(out, ".");
    return out;
}

// ---- the saving ----

static void add_ratio(char out[LAW_TEXT_BYTES], const char *what, double ratio,
                      struct stats_interval ci95) {
    char text[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES];
    add(out, "%s the %s", figure_times(text, ratio), what);
    if (is_known(ci95)) {
        add(out, " (%s to %s)", figure_times(low, ci95.low), figure_times(high, ci95.high));
    }
}

char *vision_saving_words(char out[LAW_TEXT_BYTES], const struct report_vision *vision) {
    out[0] = '\0';
    if (vision->saving < 0 || (size_t)vision->saving >= vision->n_accuracies) {
        return out;
    }
    const struct report_accuracy_group *group = &vision->accuracy[vision->saving];
    bool has_energy = group->all.is_energy_resolved && isfinite(group->net_j_ratio);
    size_t first = 0;
    while (!vision->accuracy[first].has_images) {
        first++;
    }
    add(out, "%.0f tokens per image instead of %.0f take ", group->all.image_tokens.mean,
        vision->accuracy[first].all.image_tokens.mean);
    if (has_energy) {
        add_ratio(out, "energy", group->net_j_ratio, group->net_j_ratio_ci95);
    } else {
        add_ratio(out, "time", group->time_ratio, group->time_ratio_ci95);
    }
    add(out, " and change accuracy by %+.1f points (%+.1f to %+.1f).", group->accuracy_change,
        group->accuracy_change_ci95.low, group->accuracy_change_ci95.high);
    add(out,
        group->accuracy_change_ci95.low > -REPORT_SAVING_EXCLUDES
            ? " A loss of more than %.0f points is excluded."
            : " A loss of more than %.0f points is not excluded: more questions would tell.",
        REPORT_SAVING_EXCLUDES);
    return out;
}
