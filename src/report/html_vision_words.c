// The sentence under each chart of images, with the study's own figures. It says so where there is
// no knee, where the size does not matter, and where a cost is not resolved.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/html_vision.h"

static const char *const OF[REPORT_N_IMAGE_LAWS] = {"", " of CPU time", " of net energy",
                                                    " for the whole request"};

enum verdict {
    NOT_MEASURED,
    NOT_FITTED,
    CONSTANT, // the family makes every picture the same size
    GROWING,  // it has no limit within the sizes
    UNPROVEN, // a knee may be there, the scatter hides it
    FLAT,
    RISING, // it costs less per pixel above the knee, not nothing
};

static enum verdict verdict_of(const struct report_image_budget *budget,
                               enum report_image_law law) {
    bool is_measured = false;
    bool has_stairs = budget->n_stairs > 0;
    for (size_t i = 0; i < budget->n_points; i++) {
        is_measured |= html_is_known(&budget->point[i], law);
    }
    if (!is_measured) {
        return NOT_MEASURED;
    }
    if (budget->has_knee[law] && budget->knee[law].has_knee) {
        return budget->knee[law].is_flat_above ? FLAT : RISING;
    }
    return has_stairs && budget->token_shape == KNEE_NONE_CONSTANT  ? CONSTANT
           : !budget->has_knee[law]                                 ? NOT_FITTED
           : has_stairs && budget->token_shape == KNEE_NONE_GROWING ? GROWING
                                                                    : UNPROVEN;
}

// ---- cost against size ----

static void say_knee(struct buf *out, const struct knee_fit *fit) {
    char mpx[FIGURE_BYTES], square[FIGURE_BYTES], interval[FIGURE_BYTES];
    figure_interval(interval, (struct figure_unit){1e-6, ""}, fit->knee_ci95);
    html_say(out, "%s (%s%s%s)", html_mpx_text(mpx, fit->knee_x),
             html_square_text(square, fit->knee_x), interval[0] ? "; 95\xc2\xa0%: " : "", interval);
}

static void say_medians(struct buf *out, const struct report_image_budget *budget,
                        enum report_image_law law) {
    char low_text[FIGURE_BYTES], high_text[FIGURE_BYTES];
    double low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < budget->n_points; i++) {
        if (html_is_known(&budget->point[i], law)) {
            low = fmin(low, budget->point[i].summary[law].median);
            high = fmax(high, budget->point[i].summary[law].median);
        }
    }
    enum metric_id metric = report_image_metric(law);
    figure_text(low_text, metric, low);
    if (strcmp(low_text, figure_text(high_text, metric, high)) == 0) {
        html_say(out, "%s%s", low_text, OF[law]);
    } else {
        html_say(out, "%s to %s%s", low_text, high_text, OF[law]);
    }
}

static double largest_px(const struct report_image_budget *budget) {
    return budget->n_points > 0 ? budget->point[budget->n_points - 1].nominal_px : (double)NAN;
}

static void say_no_knee(struct buf *out, const struct report_image_budget *budget,
                        enum report_image_law law, enum verdict verdict) {
    char text[FIGURE_BYTES];
    if (verdict == CONSTANT) {
        buf_puts(out, "an image costs ");
        say_medians(out, budget, law);
        buf_puts(out, " at every size: each becomes the same number of tokens, so there is no knee "
                      "to move");
    } else if (verdict == GROWING) {
        html_say(out, "there is no knee up to %s: the cost grows with every pixel",
                 html_mpx_text(text, largest_px(budget)));
    } else if (verdict == UNPROVEN) {
        html_say(out, "no knee is proven (%s)", figure_p(text, budget->knee[law].p_no_knee));
        if (budget->n_stairs > 0 && isfinite(budget->token_knee_px)) {
            html_say(out, ", although the token count settles at %s",
                     html_mpx_text(text, budget->token_knee_px));
        }
    } else if (verdict == NOT_FITTED) {
        html_say(out, "there is no fit (%s)",
                 budget->reason[law] ? budget->reason[law] : "no reason given");
    } else {
        buf_puts(out, "this cost was not resolved");
    }
}

static void say_first(struct buf *out, const struct report_image_budget *budget,
                      enum report_image_law law) {
    char level[FIGURE_BYTES], slope[FIGURE_BYTES];
    enum verdict verdict = verdict_of(budget, law);
    const struct knee_fit *fit = &budget->knee[law];
    enum metric_id metric = report_image_metric(law);
    if (verdict < FLAT) {
        say_no_knee(out, budget, law, verdict);
        return;
    }
    buf_puts(out, "above ");
    say_knee(out, fit);
    figure_text(level, metric, fit->level_above);
    if (verdict == FLAT) {
        html_say(out, " an image costs %s%s whatever its size", level, OF[law]);
    } else {
        html_say(out, ", at %s%s, the cost %s by only %s per megapixel", level, OF[law],
                 fit->slope_above < 0 ? "falls" : "grows",
                 figure_text(slope, metric, fabs(fit->slope_above) * 1e6));
    }
}

static bool overlaps(struct stats_interval a, struct stats_interval b) {
    return a.low <= b.high && b.low <= a.high;
}

static void say_budget(struct buf *out, uint32_t image_max_tokens) {
    char text[FIGURE_BYTES];
    html_say(out, "with %s%s ", image_max_tokens ? "at most " : "",
             html_budget_text(text, image_max_tokens));
}

// Budget `b` after the first: what it changes.
static void say_next(struct buf *out, const struct report_vision *vision, size_t b,
                     enum report_image_law law) {
    char text[FIGURE_BYTES];
    struct report_knee_move move;
    const struct knee_fit *before = &vision->budget[0].knee[law];
    const struct knee_fit *after = &vision->budget[b].knee[law];
    enum verdict verdict = verdict_of(&vision->budget[b], law);
    buf_puts(out, "; ");
    say_budget(out, vision->budget[b].image_max_tokens);
    if (verdict < FLAT) {
        say_no_knee(out, &vision->budget[b], law, verdict);
        return;
    }
    bool has_move = report_knee_move(vision, b, law, &move);
    if (has_move && !move.is_moved && overlaps(before->level_above_ci95, after->level_above_ci95)) {
        buf_puts(out, "neither the knee nor the cost above it moves by more than the noise");
        return;
    }
    buf_puts(out, has_move ? "the knee moves to " : "there is a knee at ");
    say_knee(out, after);
    html_say(out, " and the cost above it %s %s", has_move ? "to" : "is",
             figure_text(text, report_image_metric(law), after->level_above));
    if (has_move && before->level_above > 0) {
        buf_puts(out, " (");
        html_figure(out, figure_change(text, after->level_above / before->level_above));
        buf_puts(out, ")");
    }
}

// The first letter of a sentence, in place.
static void capitalise(struct buf *out, size_t start) {
    if (!out->is_failed && start < out->len && out->data[start] >= 'a' && out->data[start] <= 'z') {
        out->data[start] = (char)(out->data[start] - 'a' + 'A');
    }
}

void html_say_cost(struct buf *out, const struct report_model *model, enum report_image_law law) {
    const struct report_vision *vision = &model->vision;
    char source[4 * RECORD_NAME_BYTES];
    size_t start = out->len;
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        if (b == 0) {
            say_first(out, &vision->budget[0], law);
        } else {
            say_next(out, vision, b, law);
        }
    }
    capitalise(out, start);
    buf_puts(out, ".");
    if (law == REPORT_IMAGE_CPU) {
        buf_puts(out,
                 html_has_image_energy(vision)
                     ? " CPU time stands in for energy, which is unresolved here: its interval "
                       "is wider than its value."
                     : " CPU time stands in for energy, which was not measured.");
    } else if (law == REPORT_IMAGE_ENERGY) {
        figure_source(source, sizeof source, model);
        html_say(out, source[0] ? " Source: %s." : "%s", source);
    }
}

// ---- tokens against size ----

static void say_staircase(struct buf *out, const struct report_image_budget *budget) {
    char text[FIGURE_BYTES], square[FIGURE_BYTES];
    const struct report_stair *last = &budget->stair[budget->n_stairs - 1];
    if (budget->token_shape == KNEE_NONE_CONSTANT) {
        html_say(out, "every square is %u tokens", last->image_tokens);
    } else if (budget->token_shape == KNEE_NONE_GROWING || !isfinite(budget->token_knee_px)) {
        html_say(out, "the count grows to the end, %u tokens at %s", last->image_tokens,
                 html_mpx_text(text, last->nominal_px));
    } else {
        html_say(out, "a square of %s (%s) or more is %u tokens",
                 html_mpx_text(text, budget->token_knee_px),
                 html_square_text(square, budget->token_knee_px), last->image_tokens);
    }
}

void html_say_stairs(struct buf *out, const struct report_vision *vision) {
    const char *joint = "";
    size_t start = out->len;
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        const struct report_image_budget *budget = &vision->budget[b];
        if (budget->n_stairs > 0) {
            buf_puts(out, joint);
            say_budget(out, budget->image_max_tokens);
            say_staircase(out, budget);
            joint = "; ";
        }
    }
    capitalise(out, start);
    buf_puts(out, ". Counted, not measured: these figures are exact.");
}

// ---- cost against effective pixels ----

static void say_equation(struct buf *out, const struct report_vision *vision,
                         enum report_image_law law) {
    static const char *const PIXELS[LAW_N_TERMS] = {"", " \xc3\x97 kilopixels", "",
                                                    " \xc3\x97 kilopixels\xc2\xb2", ""};
    static const char *const TOKENS[LAW_N_TERMS] = {"", " \xc3\x97 tokens", "",
                                                    " \xc3\x97 tokens\xc2\xb2", ""};
    const char *const *factor = vision->is_per_token ? TOKENS : PIXELS;
    const struct law_fit *fit = &vision->law[law];
    enum metric_id metric = report_image_metric(law);
    const char *sign = "";
    for (unsigned i = 0; i < LAW_N_TERMS; i++) {
        char text[FIGURE_BYTES];
        if (fit->has_term[i] && (i == LAW_FIXED || factor[i][0])) {
            buf_puts(out, fit->coef[i] < 0 ? " \xe2\x88\x92 " : sign);
            html_say(out, "%s%s", figure_text(text, metric, fabs(fit->coef[i])), factor[i]);
            sign = " + ";
        }
    }
}

void html_say_line(struct buf *out, const struct report_vision *vision, enum report_image_law law) {
    const struct law_fit *fit = &vision->law[law];
    if (!vision->has_law[law]) {
        html_say(out, "No law: %s.",
                 vision->law_reason[law] ? vision->law_reason[law] : "no reason given");
        return;
    }
    buf_puts(out, "Cost = ");
    say_equation(out, vision, law);
    if (!fit->has_term[LAW_PROMPT]) {
        html_say(out, " at every size: the encoder %s.",
                 vision->is_per_token ? "makes as many tokens of each" : "sees as much of each");
        return;
    }
    if (isfinite(fit->r2)) {
        html_say(out, ", R\xc2\xb2 %.4f", fit->r2);
    }
    if (fit->is_lack_of_fit) {
        buf_puts(out, ". The points deviate from it by more than their scatter.");
    } else {
        html_say(out, ": %s sets the cost%s.",
                 vision->is_per_token ? "the number of tokens" : "what the encoder really sees",
                 html_n_budgets(vision) > 1 ? ", whatever the budget" : "");
    }
    if (fit->has_term[LAW_QUADRATIC]) {
        html_say(out, " The square is needed, for up to %.1f\xc2\xa0%% of the cost (%s).",
                 100 * fit->max_quadratic_share, "attention between patches");
    }
    if (vision->is_per_token) {
        buf_puts(out, " This family does not tell how many pixels its encoder sees.");
    }
}
