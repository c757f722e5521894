// The figures behind the charts of images: the knees of all budgets, and under each chart its
// points.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/html_sections.h"
#include "report/html_vision.h"
#include "report/vision_words.h"

enum { MAX_SHOWN_STAIRS = 80 };

static void open_details(struct buf *out, const char *heads) {
    buf_puts(out, "<details><summary>Figures</summary><div class=\"scroll tall\"><table><thead>");
    buf_puts(out, heads);
    buf_puts(out, "</thead>");
}

static void put_group(struct buf *out, uint32_t image_max_tokens, unsigned n_columns) {
    char text[FIGURE_BYTES];
    buf_printf(out, "<tr class=\"group\"><th colspan=\"%u\" scope=\"rowgroup\">", n_columns);
    html_text(out, html_budget_head(text, image_max_tokens));
    buf_puts(out, "</th></tr>");
}

static void put_with_interval(struct buf *out, const char *value, const char *interval) {
    buf_puts(out, "<td>");
    html_figure(out, value);
    if (interval[0]) {
        buf_puts(out, "<span class=\"ci\">");
        html_figure(out, interval);
        buf_puts(out, "</span>");
    }
    buf_puts(out, "</td>");
}

// ---- the knees ----

static void put_knee_cell(struct buf *out, const struct report_image_budget *budget,
                          enum report_image_law law) {
    char value[FIGURE_BYTES], interval[FIGURE_BYTES];
    const struct knee_fit *fit = &budget->knee[law];
    if (!budget->has_knee[law] || !fit->has_knee) {
        html_element(out, "td", "word", budget->has_knee[law] ? "none" : "no fit");
        return;
    }
    figure_interval(interval, (struct figure_unit){1e-6, ""}, fit->knee_ci95);
    put_with_interval(out, html_mpx_text(value, fit->knee_x), interval);
}

// The measured knee against the exact one.
static void put_agreement(struct buf *out, const struct report_image_budget *budget) {
    const struct knee_fit *fit = &budget->knee[REPORT_IMAGE_TIME];
    char text[FIGURE_BYTES], step[FIGURE_BYTES];
    if (!budget->has_knee[REPORT_IMAGE_TIME] || !fit->has_knee || budget->n_stairs == 0 ||
        !isfinite(budget->token_knee_px) || !isfinite(budget->grid_step_px)) {
        buf_puts(out, "<td></td>");
        return;
    }
    bool is_within = vision_is_within_step(budget, REPORT_IMAGE_TIME);
    snprintf(text, sizeof text, "step %.60s", html_mpx_text(step, budget->grid_step_px));
    buf_printf(out, "<td><b class=\"%s\">%s</b>", is_within ? "good" : "bad",
               is_within ? "yes" : "no");
    html_element(out, "span", "ci", text);
    buf_puts(out, "</td>");
}

static void put_level_cell(struct buf *out, const struct report_image_budget *budget,
                           enum report_image_law law) {
    char value[FIGURE_BYTES], interval[FIGURE_BYTES];
    enum metric_id metric = report_image_metric(law);
    const struct knee_fit *fit = &budget->knee[law];
    if (!budget->has_knee[law] || !fit->has_knee) {
        buf_puts(out, "<td></td>");
        return;
    }
    figure_text(value, metric, fit->level_above);
    figure_interval(interval, figure_unit_for(metric, fit->level_above), fit->level_above_ci95);
    put_with_interval(out, value, interval);
}

static void put_token_knee(struct buf *out, const struct report_image_budget *budget) {
    char value[FIGURE_BYTES], square[FIGURE_BYTES];
    if (budget->n_stairs == 0) {
        buf_puts(out, "<td></td><td></td>");
        return;
    }
    if (isfinite(budget->token_knee_px)) {
        put_with_interval(out, html_mpx_text(value, budget->token_knee_px),
                          html_square_text(square, budget->token_knee_px));
    } else {
        html_element(out, "td", "word",
                     budget->token_shape == KNEE_NONE_CONSTANT ? "constant" : "none");
    }
    buf_printf(out, "<td>%u</td>", budget->stair[budget->n_stairs - 1].image_tokens);
}

static void put_knee_row(struct buf *out, const struct report_result *result, size_t m, size_t b,
                         enum report_image_law second) {
    const struct report_image_budget *budget = &result->model[m].vision.budget[b];
    char name[FIGURE_BYTES];
    buf_printf(out,
               "<tr><th scope=\"row\"><span class=\"key\"><span class=\"swatch %s\"></span><span>",
               HTML_BUDGET[b]);
    html_text(out, html_budget_head(name, budget->image_max_tokens));
    buf_puts(out, "</span></span>");
    if (result->n_models == 2) {
        html_element(out, "span", "ci", HTML_ROLE[m]);
    }
    buf_puts(out, "</th>");
    put_token_knee(out, budget);
    put_knee_cell(out, budget, REPORT_IMAGE_TIME);
    put_agreement(out, budget);
    put_level_cell(out, budget, REPORT_IMAGE_TIME);
    put_knee_cell(out, budget, second);
    put_level_cell(out, budget, second);
    buf_puts(out, "</tr>");
}

void html_knee_table(struct buf *out, const struct report_result *result) {
    enum report_image_law second = html_second_cost(&result->model[0].vision);
    const char *name = second == REPORT_IMAGE_ENERGY ? "net energy" : "CPU time";
    buf_puts(out, "<div class=\"scroll\"><table><thead><tr><th>Budget</th><th>Token knee<span "
                  "class=\"unit\">exact</span></th><th>Tokens above</th><th>Knee in time</th><th>"
                  "Within a step<span class=\"unit\">of the sizes</span></th><th>Time above</th>"
                  "<th>Knee in ");
    html_text(out, name);
    buf_printf(out, "</th><th>%s above</th></tr></thead><tbody>",
               second == REPORT_IMAGE_ENERGY ? "Net energy" : "CPU time");
    for (size_t m = 0; m < html_n_models(result); m++) {
        for (size_t b = 0; b < html_n_budgets(&result->model[m].vision); b++) {
            put_knee_row(out, result, m, b, second);
        }
    }
    buf_puts(out, "</tbody></table></div>");
}

// ---- the points of a chart ----

static void put_point(struct buf *out, const struct report_image_point *point,
                      enum report_image_law law) {
    char text[FIGURE_BYTES], interval[FIGURE_BYTES];
    const struct stats_summary *s = &point->summary[law];
    enum metric_id metric = report_image_metric(law);
    buf_puts(out, "<tr><th>");
    html_text(out, html_size_text(text, point->width, point->height));
    html_element(out, "span", "ci", html_mpx_text(interval, point->nominal_px));
    buf_printf(out, "</th><td>%u</td><td>%u</td><td>%zu</td>", point->image_tokens, point->n_views,
               s->n);
    if (s->n == 0 || !isfinite(s->median)) {
        buf_puts(out, "<td></td><td></td></tr>");
        return;
    }
    if (!html_is_known(point, law)) {
        buf_puts(out, "<td class=\"word\" colspan=\"2\">unresolved</td></tr>");
        return;
    }
    buf_puts(out, "<td>");
    html_figure(out, figure_text(text, metric, s->median));
    buf_puts(out, "</td>");
    figure_interval(interval, figure_unit_for(metric, s->mean), s->ci95_mean);
    put_with_interval(out, figure_text(text, metric, s->mean), interval);
    buf_puts(out, "</tr>");
}

void html_point_table(struct buf *out, const struct report_vision *vision,
                      enum report_image_law law) {
    open_details(out, "<tr><th>Picture</th><th>Tokens</th><th>Views</th><th>n</th><th>Median</th>"
                      "<th>Mean<span class=\"unit\">95&nbsp;% interval</span></th></tr>");
    buf_puts(out, "<tbody>");
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        const struct report_image_budget *budget = &vision->budget[b];
        put_group(out, budget->image_max_tokens, 6);
        for (size_t i = 0; i < budget->n_points; i++) {
            put_point(out, &budget->point[i], law);
        }
    }
    buf_puts(out, "</tbody></table></div></details>");
}

// ---- the staircase: only where it steps ----

static void put_stairs(struct buf *out, const struct report_image_budget *budget) {
    size_t n_shown = 0;
    for (size_t i = 0; i < budget->n_stairs && n_shown < MAX_SHOWN_STAIRS; i++) {
        const struct report_stair *stair = &budget->stair[i];
        char square[FIGURE_BYTES], mpx[FIGURE_BYTES], seen[FIGURE_BYTES];
        if (i > 0 && stair->image_tokens == budget->stair[i - 1].image_tokens) {
            continue;
        }
        buf_puts(out, "<tr>");
        html_element(out, "th", NULL, html_square_text(square, stair->nominal_px));
        html_element(out, "td", NULL, html_mpx_text(mpx, stair->nominal_px));
        html_element(out, "td", NULL,
                     stair->effective_px > 0 ? html_mpx_text(seen, stair->effective_px) : "");
        buf_printf(out, "<td>%u</td></tr>", stair->image_tokens);
        n_shown++;
    }
}

void html_stairs_table(struct buf *out, const struct report_vision *vision) {
    open_details(out, "<tr><th>Square from</th><th>Pixels</th><th>Encoder sees</th><th>Tokens</th>"
                      "</tr>");
    buf_puts(out, "<tbody>");
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        if (vision->budget[b].n_stairs > 0) {
            put_group(out, vision->budget[b].image_max_tokens, 4);
            put_stairs(out, &vision->budget[b]);
        }
    }
    buf_puts(out, "</tbody></table></div></details>");
}

// ---- the line ----

static void put_coefficient(struct buf *out, const struct law_fit *fit, enum metric_id metric,
                            enum law_term term) {
    char value[FIGURE_BYTES], interval[FIGURE_BYTES];
    if (!fit->has_term[term]) {
        buf_puts(out, "<td></td>");
        return;
    }
    double magnitude = fmax(fabs(fit->ci95[term].low), fabs(fit->ci95[term].high));
    struct figure_unit unit =
        figure_unit_for(metric, isfinite(magnitude) ? magnitude : fit->coef[term]);
    figure_number(value, unit, fit->coef[term]);
    size_t used = strlen(value);
    snprintf(value + used, sizeof value - used, " %s", unit.text);
    put_with_interval(out, value, figure_interval(interval, unit, fit->ci95[term]));
}

void html_line_table(struct buf *out, const struct report_vision *vision) {
    open_details(out, vision->is_per_token ? "<tr><th>Cost</th><th>Fixed</th><th>Per token</th><th>"
                                             "Per its square</th><th>R\xc2\xb2</th><th>n</th></tr>"
                                           : "<tr><th>Cost</th><th>Fixed</th><th>Per kilopixel</th>"
                                             "<th>Per its square</th><th>R\xc2\xb2</th><th>n</th>"
                                             "</tr>");
    buf_puts(out, "<tbody>");
    for (unsigned law = 0; law < REPORT_N_IMAGE_LAWS; law++) {
        enum metric_id metric = report_image_metric((enum report_image_law)law);
        const struct law_fit *fit = &vision->law[law];
        buf_puts(out, "<tr>");
        html_element(out, "th", NULL,
                     law == REPORT_IMAGE_WINDOW ? "Whole request" : metric_info(metric)->title);
        if (!vision->has_law[law]) {
            buf_puts(out, "<td class=\"left wrap word\" colspan=\"5\">");
            html_text(out, vision->law_reason[law] ? vision->law_reason[law] : "no law");
            buf_puts(out, "</td></tr>");
            continue;
        }
        put_coefficient(out, fit, metric, LAW_FIXED);
        put_coefficient(out, fit, metric, LAW_PROMPT);
        put_coefficient(out, fit, metric, LAW_QUADRATIC);
        buf_puts(out, "<td>");
        if (isfinite(fit->r2) && fit->has_term[LAW_PROMPT]) {
            buf_printf(out, "%.4f", fit->r2);
        }
        buf_printf(out, "</td><td>%zu</td></tr>", fit->n);
    }
    buf_puts(out, "</tbody></table></div></details>");
}
