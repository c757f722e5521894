// Charts of the second law: cost against nominal pixels, the staircase of tokens, and cost against
// what the encoder really sees.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/html_vision.h"
#include "report/svg.h"

enum { N_CURVE = 90, MARK_RADIUS = 4 };

struct extent {
    double x_min, x_max, y_max;
    size_t n;
};

static void extend(struct extent *e, double x, double y) {
    if (isfinite(x) && x > 0 && isfinite(y)) {
        e->x_min = e->n ? fmin(e->x_min, x) : x;
        e->x_max = e->n ? fmax(e->x_max, x) : x;
        e->y_max = e->n ? fmax(e->y_max, y) : y;
        e->n++;
    }
}

// The budgets with a mark in the chart.
struct budget_legend {
    struct svg_legend entry[SVG_MAX_LEGEND];
    char text[SVG_MAX_LEGEND][FIGURE_BYTES];
    size_t n;
};

static void add_budget(struct budget_legend *legend, const struct report_vision *vision, size_t b) {
    static const char *const LINE[REPORT_MAX_BUDGETS] = {
        "line hue b0", "line hue b1", "line hue b2", "line hue b3",
        "line hue b4", "line hue b5", "line hue b6", "line hue b7"};
    if (legend->n < SVG_MAX_LEGEND) {
        size_t k = legend->n++;
        html_budget_text(legend->text[k], vision->budget[b].image_max_tokens);
        legend->entry[k] = (struct svg_legend){LINE[b], legend->text[k], true};
    }
}

// Room to the left and right of the outer marks.
static struct svg_axis megapixels(const struct extent *e, double ticks[SVG_MAX_TICKS]) {
    struct svg_axis axis = {.title = "Megapixels of the picture (log scale)",
                            .min = e->x_min / 1e6 / 1.18,
                            .max = e->x_max / 1e6 * 1.18,
                            .is_log = true,
                            .ticks = ticks};
    axis.n_ticks = svg_log_ticks(axis.min, axis.max, SVG_MAX_TICKS, ticks);
    return axis;
}

// ---- cost against nominal pixels ----

static struct extent extent_of_cost(const struct report_vision *vision, enum report_image_law law,
                                    struct budget_legend *legend) {
    struct extent e = {0};
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        const struct report_image_budget *budget = &vision->budget[b];
        size_t n_before = e.n;
        for (size_t i = 0; i < budget->n_points; i++) {
            const struct report_image_point *point = &budget->point[i];
            const struct stats_summary *s = &point->summary[law];
            if (html_is_known(point, law)) {
                double high = isfinite(s->ci95_mean.high) ? s->ci95_mean.high : s->median;
                // A wild interval must not flatten the rest.
                extend(&e, point->nominal_px, fmin(fmax(s->median, high), 2 * s->median));
            }
        }
        if (e.n > n_before) {
            add_budget(legend, vision, b);
        }
    }
    return e;
}

static bool has_curve(const struct report_image_budget *budget, unsigned law) {
    return law < REPORT_N_IMAGE_LAWS && budget->has_knee[law] && budget->knee[law].has_knee;
}

// Under the marks: the strips of the knees and the lines of the exact ones.
static void draw_knees(struct svg_plot *plot, const struct report_vision *vision,
                       enum report_image_law law) {
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        const struct report_image_budget *budget = &vision->budget[b];
        if (has_curve(budget, law)) {
            const struct stats_interval *ci = &budget->knee[law].knee_ci95;
            svg_strip(plot, HTML_BUDGET[b], ci->low / 1e6, ci->high / 1e6);
        }
    }
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        char css[32];
        snprintf(css, sizeof css, "exact %s", HTML_BUDGET[b]);
        if (vision->budget[b].n_stairs > 0) {
            svg_vertical(plot, css, vision->budget[b].token_knee_px / 1e6);
        }
    }
}

static void square_range(const struct report_image_budget *budget, struct extent *e) {
    for (size_t i = 0; i < budget->n_points; i++) {
        if (html_is_square(&budget->point[i])) {
            extend(e, budget->point[i].nominal_px, 0);
        }
    }
}

static void draw_curve(struct svg_plot *plot, const struct report_image_budget *budget, size_t b,
                       enum report_image_law law, struct figure_unit unit) {
    double xs[N_CURVE], ys[N_CURVE];
    struct extent e = {0};
    char tip[160], mpx[FIGURE_BYTES], css[32];
    square_range(budget, &e);
    if (!has_curve(budget, law) || e.n == 0) {
        return;
    }
    const struct knee_fit *fit = &budget->knee[law];
    double ratio = e.x_max / e.x_min;
    for (int i = 0; i < N_CURVE; i++) {
        xs[i] = e.x_min * pow(ratio, (double)i / (N_CURVE - 1));
        // The corner itself is one of the points.
        double next = e.x_min * pow(ratio, (double)(i + 1) / (N_CURVE - 1));
        xs[i] = xs[i] < fit->knee_x && next > fit->knee_x ? fit->knee_x : xs[i];
        ys[i] = knee_predict(fit, xs[i]) * unit.factor;
        xs[i] /= 1e6;
    }
    svg_line(plot, HTML_BUDGET[b], xs, ys, N_CURVE);
    snprintf(tip, sizeof tip, "knee at %s", html_mpx_text(mpx, fit->knee_x));
    snprintf(css, sizeof css, "ring %s", HTML_BUDGET[b]);
    svg_dot(plot, css, fit->knee_x / 1e6, knee_predict(fit, fit->knee_x) * unit.factor, 7.5, tip);
}

static void draw_points(struct svg_plot *plot, const struct report_image_budget *budget, size_t b,
                        enum report_image_law law, struct figure_unit unit) {
    for (size_t i = 0; i < budget->n_points; i++) {
        const struct report_image_point *point = &budget->point[i];
        const struct stats_summary *s = &point->summary[law];
        char tip[200], css[32], size[FIGURE_BYTES], cost[FIGURE_BYTES];
        if (!html_is_known(point, law)) {
            continue;
        }
        double x = point->nominal_px / 1e6, y = s->median * unit.factor;
        snprintf(tip, sizeof tip, "%.40s, %u tokens: %.40s (n = %zu)",
                 html_size_text(size, point->width, point->height), point->image_tokens,
                 figure_text(cost, report_image_metric(law), s->median), s->n);
        svg_whisker(plot, HTML_BUDGET[b], x, s->ci95_mean.low * unit.factor,
                    s->ci95_mean.high * unit.factor);
        snprintf(css, sizeof css, "%s %s", html_is_square(point) ? "dot" : "open", HTML_BUDGET[b]);
        if (html_is_square(point)) {
            svg_dot(plot, css, x, y, MARK_RADIUS, tip);
        } else {
            svg_diamond(plot, css, x, y, MARK_RADIUS + 1.5, tip);
        }
    }
}

void html_image_cost_plot(struct buf *out, const struct report_model *model, size_t m,
                          enum report_image_law law) {
    const struct report_vision *vision = &model->vision;
    const struct metric_info *info = metric_info(report_image_metric(law));
    struct budget_legend legend = {.n = 0};
    struct extent e = extent_of_cost(vision, law, &legend);
    double ticks[SVG_MAX_TICKS];
    char id[32], y_title[FIGURE_BYTES], about[160];
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, info->title);
    if (e.n > 0) {
        struct figure_unit unit = figure_unit_for(report_image_metric(law), e.y_max);
        const struct svg_axis x = megapixels(&e, ticks);
        snprintf(y_title, sizeof y_title, "%.40s per image", unit.text);
        const struct svg_axis y = {
            .title = y_title, .min = 0, .max = e.y_max * unit.factor * 1.04, .from_zero = true};
        snprintf(id, sizeof id, "image-%d-%zu", (int)law, m);
        snprintf(about, sizeof about,
                 "%.60s against the picture's megapixels for each budget, with the knees",
                 info->title);
        struct svg_plot plot;
        svg_open(&plot, out, id, info->title, about, &x, &y, legend.entry, legend.n);
        draw_knees(&plot, vision, law);
        for (size_t b = 0; b < html_n_budgets(vision); b++) {
            draw_curve(&plot, &vision->budget[b], b, law, unit);
            draw_points(&plot, &vision->budget[b], b, law, unit);
        }
        svg_close(&plot);
    }
    buf_puts(out, "<figcaption>");
    html_say_cost(out, model, law);
    buf_puts(out, "</figcaption>");
    html_point_table(out, vision, law);
    buf_puts(out, "</figure>");
}

// ---- tokens against nominal pixels ----

static void draw_staircase(struct svg_plot *plot, const struct report_image_budget *budget,
                           size_t b) {
    double xs[2 * REPORT_MAX_STAIRS], ys[2 * REPORT_MAX_STAIRS];
    size_t n = 0;
    for (size_t i = 0; i < budget->n_stairs && i < REPORT_MAX_STAIRS; i++) {
        const struct report_stair *stair = &budget->stair[i];
        if (i > 0) { // up at once, then along
            xs[n] = stair->nominal_px / 1e6;
            ys[n++] = budget->stair[i - 1].image_tokens;
        }
        xs[n] = stair->nominal_px / 1e6;
        ys[n++] = stair->image_tokens;
    }
    svg_line(plot, HTML_BUDGET[b], xs, ys, n);
}

void html_stairs_plot(struct buf *out, const struct report_model *model, size_t m) {
    const struct report_vision *vision = &model->vision;
    struct budget_legend legend = {.n = 0};
    struct extent e = {0};
    double ticks[SVG_MAX_TICKS];
    char id[32];
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        const struct report_image_budget *budget = &vision->budget[b];
        for (size_t i = 0; i < budget->n_stairs; i++) {
            extend(&e, budget->stair[i].nominal_px, budget->stair[i].image_tokens);
        }
        if (budget->n_stairs > 0) {
            add_budget(&legend, vision, b);
        }
    }
    if (e.n == 0) {
        return;
    }
    static const char TITLE[] = "Image tokens";
    const struct svg_axis x = megapixels(&e, ticks);
    const struct svg_axis y = {
        .title = "tokens per square", .min = 0, .max = e.y_max, .from_zero = true};
    struct svg_plot plot;
    snprintf(id, sizeof id, "stairs-%zu", m);
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, TITLE);
    svg_open(&plot, out, id, TITLE,
             "Exact image tokens of square pictures against their megapixels for each budget", &x,
             &y, legend.entry, legend.n);
    draw_knees(&plot, vision, REPORT_N_IMAGE_LAWS);
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        if (vision->budget[b].n_stairs > 0) {
            draw_staircase(&plot, &vision->budget[b], b);
        }
    }
    svg_close(&plot);
    buf_puts(out, "<figcaption>");
    html_say_stairs(out, vision);
    buf_puts(out, "</figcaption>");
    html_stairs_table(out, vision);
    buf_puts(out, "</figure>");
}

// ---- cost against effective pixels ----

static void draw_law(struct svg_plot *plot, const struct law_fit *fit, const struct extent *e,
                     struct figure_unit unit) {
    double xs[N_CURVE], ys[N_CURVE];
    struct svg_band_point band[N_CURVE];
    for (int i = 0; i < N_CURVE; i++) {
        struct law_prediction p;
        xs[i] = e->x_min + (e->x_max - e->x_min) * i / (N_CURVE - 1);
        law_predict(fit, xs[i], fit->generated_typical, &p);
        ys[i] = p.value * unit.factor;
        band[i] =
            (struct svg_band_point){xs[i], p.pi95.low * unit.factor, p.pi95.high * unit.factor};
    }
    svg_band(plot, "law", band, N_CURVE);
    svg_line(plot, "law", xs, ys, N_CURVE);
}

static bool is_on_line(const struct report_vision *vision, const struct report_image_point *point,
                       enum report_image_law law) {
    return html_is_known(point, law) && html_line_x(vision, point) > 0;
}

static void draw_seen(struct svg_plot *plot, const struct report_vision *vision, size_t b,
                      enum report_image_law law, struct figure_unit unit) {
    const struct report_image_budget *budget = &vision->budget[b];
    for (size_t i = 0; i < budget->n_points; i++) {
        const struct report_image_point *point = &budget->point[i];
        char tip[200], css[32], size[FIGURE_BYTES], cost[FIGURE_BYTES];
        if (!is_on_line(vision, point, law)) {
            continue;
        }
        double x = html_line_x(vision, point), median = point->summary[law].median;
        snprintf(tip, sizeof tip, "%.40s, seen as %.0f %s: %.40s (n = %zu)",
                 html_size_text(size, point->width, point->height), x,
                 vision->is_per_token ? "tokens" : "kilopixels",
                 figure_text(cost, report_image_metric(law), median), point->summary[law].n);
        snprintf(css, sizeof css, "%s %s", html_is_square(point) ? "raw" : "open", HTML_BUDGET[b]);
        if (html_is_square(point)) {
            svg_dot(plot, css, x, median * unit.factor, MARK_RADIUS, tip);
        } else {
            svg_diamond(plot, css, x, median * unit.factor, MARK_RADIUS + 1.5, tip);
        }
    }
}

static struct extent extent_of_line(const struct report_vision *vision, enum report_image_law law,
                                    struct budget_legend *legend) {
    struct extent e = {0};
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        size_t n_before = e.n;
        for (size_t i = 0; i < vision->budget[b].n_points; i++) {
            const struct report_image_point *point = &vision->budget[b].point[i];
            if (is_on_line(vision, point, law)) {
                extend(&e, html_line_x(vision, point), point->summary[law].median);
            }
        }
        if (e.n > n_before) {
            add_budget(legend, vision, b);
        }
    }
    return e;
}

static void draw_line(struct buf *out, const struct report_vision *vision, size_t m,
                      enum report_image_law law, const struct extent *e,
                      const struct budget_legend *legend) {
    char id[32], y_title[FIGURE_BYTES];
    struct figure_unit unit = figure_unit_for(report_image_metric(law), e->y_max);
    snprintf(y_title, sizeof y_title, "%.40s per image", unit.text);
    const struct svg_axis x = {.title = vision->is_per_token ? "Image tokens"
                                                             : "Kilopixels that the encoder sees",
                               .min = 0,
                               .max = e->x_max,
                               .from_zero = true,
                               .ends_at_max = true};
    const struct svg_axis y = {
        .title = y_title, .min = 0, .max = e->y_max * unit.factor, .from_zero = true};
    struct svg_plot plot;
    snprintf(id, sizeof id, "effective-%d-%zu", (int)law, m);
    svg_open(&plot, out, id, "The second law's line",
             "Cost of an image against what the encoder sees of it, all budgets together, with the "
             "fitted law",
             &x, &y, legend->entry, legend->n);
    if (vision->has_law[law]) {
        draw_law(&plot, &vision->law[law], e, unit);
    }
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        draw_seen(&plot, vision, b, law, unit);
    }
    svg_close(&plot);
}

void html_line_plot(struct buf *out, const struct report_model *model, size_t m,
                    enum report_image_law law) {
    const struct report_vision *vision = &model->vision;
    struct budget_legend legend = {.n = 0};
    struct extent e = extent_of_line(vision, law, &legend);
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, "Image time against what the encoder sees");
    if (e.n > 0) {
        draw_line(out, vision, m, law, &e, &legend);
    }
    buf_puts(out, "<figcaption>");
    html_say_line(out, vision, law);
    buf_puts(out, "</figcaption>");
    html_line_table(out, vision);
    buf_puts(out, "</figure>");
}
