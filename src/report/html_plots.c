// Charts: cost against prompt tokens with the fitted laws, residuals, and phases.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/figures.h"
#include "report/html.h"
#include "report/html_sections.h"
#include "report/summary.h"
#include "report/svg.h"

enum { MAX_DOTS = 2000, N_LINE_POINTS = 60, MAX_BAR_GROUPS = 16 };

static const enum report_law SHOWN[] = {REPORT_LAW_TIME, REPORT_LAW_CPU, REPORT_LAW_RAM,
                                        REPORT_LAW_ENERGY_GROSS};
enum { N_SHOWN = sizeof SHOWN / sizeof SHOWN[0] };

static const char *const RAW_CLASS[] = {"raw base", "raw vs"};
static const char *const LINE_CLASS[] = {"line base", "line vs"};

// A record of the chart: used, of the chosen number of generated tokens, with a finite value, and
// not of a figure that is called unresolved everywhere else.
static bool is_plotted(const struct report_result *result, size_t m, const struct record *record,
                       enum metric_id metric) {
    return result->model[m].metric[metric].all.is_resolved && summary_is_used(record) &&
           isfinite(record->value[metric]) &&
           record->generated_tokens == result->reference.generated_tokens;
}

struct extent {
    double x_min, x_max, y_min, y_max;
    size_t n;
};

static void extend(struct extent *e, double x, double y) {
    if (isfinite(x) && isfinite(y)) {
        e->x_min = e->n ? fmin(e->x_min, x) : x;
        e->x_max = e->n ? fmax(e->x_max, x) : x;
        e->y_min = e->n ? fmin(e->y_min, y) : y;
        e->y_max = e->n ? fmax(e->y_max, y) : y;
        e->n++;
    }
}

static struct extent extent_of(const struct report_result *result, enum metric_id metric) {
    struct extent e = {0};
    for (size_t m = 0; m < html_n_models(result); m++) {
        for (size_t i = 0; i < result->model[m].n_records; i++) {
            const struct record *record = &result->model[m].records[i];
            if (is_plotted(result, m, record, metric)) {
                extend(&e, record->prompt_tokens, record->value[metric]);
            }
        }
    }
    return e;
}

static size_t model_legend(const struct report_result *result, bool is_line,
                           struct svg_legend out[REPORT_MAX_MODELS]) {
    for (size_t m = 0; m < html_n_models(result); m++) {
        out[m] = (struct svg_legend){is_line ? LINE_CLASS[m] : HTML_ROLE[m], result->model[m].name,
                                     is_line};
    }
    return result->n_models;
}

// ---- cost against tokens ----

static void draw_law(struct svg_plot *plot, const struct report_result *result, size_t m,
                     enum report_law law, const struct extent *e, struct figure_unit unit) {
    double xs[N_LINE_POINTS], ys[N_LINE_POINTS];
    struct svg_band_point band[N_LINE_POINTS];
    const struct report_model *model = &result->model[m];
    if (!model->has_law[law]) {
        return;
    }
    for (int i = 0; i < N_LINE_POINTS; i++) {
        struct law_prediction p;
        xs[i] = e->x_min + (e->x_max - e->x_min) * i / (N_LINE_POINTS - 1);
        law_predict(&model->law[law], xs[i], result->reference.generated_tokens, &p);
        ys[i] = p.value * unit.factor;
        band[i] =
            (struct svg_band_point){xs[i], p.pi95.low * unit.factor, p.pi95.high * unit.factor};
    }
    svg_band(plot, HTML_ROLE[m], band, N_LINE_POINTS);
    svg_line(plot, HTML_ROLE[m], xs, ys, N_LINE_POINTS);
}

static void draw_raw(struct svg_plot *plot, const struct report_result *result, size_t m,
                     enum metric_id metric, struct figure_unit unit) {
    const struct report_model *model = &result->model[m];
    size_t stride = model->n_records / MAX_DOTS + 1;
    for (size_t i = 0; i < model->n_records; i += stride) {
        const struct record *record = &model->records[i];
        char tip[128], text[FIGURE_BYTES];
        if (is_plotted(result, m, record, metric)) {
            snprintf(tip, sizeof tip, "%s, %u tokens: %s (run %u)", HTML_ROLE[m],
                     record->prompt_tokens, figure_text(text, metric, record->value[metric]),
                     record->seq);
            svg_dot(plot, RAW_CLASS[m], record->prompt_tokens, record->value[metric] * unit.factor,
                    3, tip);
        }
    }
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The mean of each cell with its 95 % interval.
static void draw_cells(struct svg_plot *plot, const struct report_result *result, size_t m,
                       enum metric_id metric, struct figure_unit unit) {
    const struct report_model *model = &result->model[m];
    double *values = calloc(model->n_records + 1, sizeof *values);
    for (size_t c = 0; values && c < model->n_cells; c++) {
        const struct report_cell *cell = &model->cells[c];
        struct stats_summary s;
        size_t n = 0;
        for (size_t i = 0; i < model->n_records; i++) {
            const struct record *record = &model->records[i];
            if (record->cell == cell->cell && is_plotted(result, m, record, metric)) {
                values[n++] = record->value[metric] * unit.factor;
            }
        }
        qsort(values, n, sizeof *values, compare_doubles);
        if (n >= 3 && stats_describe(values, n, &s, NULL) == WL_OK) {
            svg_whisker(plot, HTML_ROLE[m], cell->prompt_tokens, s.ci95_mean.low, s.ci95_mean.high);
        }
    }
    free(values);
}

static void put_cost_caption(struct buf *out, const struct report_result *result,
                             enum report_law law) {
    char text[FIGURE_BYTES];
    enum metric_id metric = report_law_metric(law);
    buf_puts(out, "<figcaption>");
    const char *joint = "";
    for (size_t m = 0; m < html_n_models(result); m++) {
        const struct report_model *model = &result->model[m];
        if (!model->has_law[law]) {
            buf_printf(out, "%s%s: ", joint, HTML_ROLE[m]);
            html_text(out, model->law_reason[law] ? model->law_reason[law] : "no law");
            joint = "; ";
            continue;
        }
        buf_puts(out, joint);
        if (result->n_models == 2) {
            buf_printf(out, "%s: ", HTML_ROLE[m]);
        }
        html_figure(out, figure_text(text, metric, model->law[law].coef[LAW_PROMPT]));
        buf_printf(out, " per prompt token, R\xc2\xb2 %.4f", model->law[law].r2);
        joint = "; ";
    }
    buf_puts(out, ". Band: where a single run falls, 95&nbsp;%.</figcaption>");
}

static void put_cost_plot(struct buf *out, const struct report_result *result,
                          enum report_law law) {
    enum metric_id metric = report_law_metric(law);
    const struct metric_info *info = metric_info(metric);
    struct extent e = extent_of(result, metric);
    char id[32], y_title[FIGURE_BYTES + 32], about[160];
    if (e.n == 0) {
        return;
    }
    struct figure_unit unit = figure_unit_for(metric, e.y_max);
    struct svg_legend legend[REPORT_MAX_MODELS];
    size_t n_legend = model_legend(result, true, legend);
    snprintf(id, sizeof id, "cost-%d", (int)law);
    snprintf(y_title, sizeof y_title, "%s per request", unit.text);
    snprintf(about, sizeof about,
             "%s per request against prompt tokens at %u generated tokens: "
             "every run, the mean of each size, and the fitted law",
             info->title, result->reference.generated_tokens);
    const struct svg_axis x = {.title = "Prompt tokens",
                               .min = e.x_min,
                               .max = e.x_max,
                               .from_zero = true,
                               .ends_at_max = true};
    const struct svg_axis y = {.title = y_title,
                               .min = e.y_min * unit.factor,
                               .max = e.y_max * unit.factor,
                               .from_zero = true};
    struct svg_plot plot;
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, info->title);
    svg_open(&plot, out, id, info->title, about, &x, &y, legend, n_legend);
    for (size_t m = 0; m < html_n_models(result); m++) {
        draw_law(&plot, result, m, law, &e, unit);
        draw_cells(&plot, result, m, metric, unit);
        draw_raw(&plot, result, m, metric, unit);
    }
    svg_close(&plot);
    put_cost_caption(out, result, law);
    buf_puts(out, "</figure>");
}

void html_cost_plots(struct buf *out, const struct report_result *result) {
    buf_printf(
        out,
        "<h2 id=\"cost\">Cost against prompt tokens</h2><p class=\"lead\">Every run is a dot; "
        "the line is the fitted law; the number of generated tokens is %u throughout.</p>"
        "<div class=\"grid\">",
        result->reference.generated_tokens);
    for (size_t i = 0; i < N_SHOWN; i++) {
        put_cost_plot(out, result, SHOWN[i]);
    }
    buf_puts(out, "</div>");
}

// ---- residuals ----

struct residuals {
    struct law_point *points;
    struct law_residual *residuals;
    size_t n;
};

static bool find_residuals(const struct report_model *model, enum report_law law,
                           struct residuals *out) {
    enum metric_id metric = report_law_metric(law);
    *out = (struct residuals){calloc(model->n_records + 1, sizeof *out->points),
                              calloc(model->n_records + 1, sizeof *out->residuals), 0};
    if (!out->points || !out->residuals || !model->has_law[law]) {
        return false;
    }
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        if (summary_is_used(record) && isfinite(record->value[metric])) {
            out->points[out->n++] = (struct law_point){
                record->prompt_tokens, record->generated_tokens, record->value[metric]};
        }
    }
    law_residuals(&model->law[law], out->points, out->n, out->residuals);
    return true;
}

static void draw_residuals(struct svg_plot *plot, const struct residuals *r, size_t m) {
    static const char *const OUTLIER[] = {"out base", "out vs"};
    size_t stride = r->n / MAX_DOTS + 1;
    for (size_t i = 0; i < r->n; i += stride) {
        const struct law_residual *one = &r->residuals[i];
        double shown = fmin(fmax(one->standardised, -6), 6);
        double x = fmax(r->points[i].prompt_tokens, 1);
        svg_dot(plot, RAW_CLASS[m], x, shown, 3, NULL);
        if (one->is_outlier) {
            svg_dot(plot, OUTLIER[m], x, shown, 6, "outlier: counted, left out of the fit");
        }
    }
}

// The distinct prompt lengths of the base model, ascending, as ticks.
static size_t prompt_ticks(const struct report_result *result, double out[SVG_MAX_TICKS]) {
    const struct report_model *model = &result->model[0];
    size_t n = 0;
    for (size_t i = 0; i < model->n_cells; i++) {
        double tokens = model->cells[i].prompt_tokens;
        if (tokens >= 1 && n < SVG_MAX_TICKS && (n == 0 || out[n - 1] < tokens)) {
            out[n++] = tokens;
        }
    }
    return n;
}

static void put_residual_plot(struct buf *out, const struct report_result *result,
                              enum report_law law) {
    const char *title = metric_info(report_law_metric(law))->title;
    struct residuals all[REPORT_MAX_MODELS] = {{0}};
    struct extent e = {0};
    double ticks[SVG_MAX_TICKS];
    bool has_any = false;
    for (size_t m = 0; m < html_n_models(result); m++) {
        has_any |= find_residuals(&result->model[m], law, &all[m]);
        for (size_t i = 0; i < all[m].n; i++) {
            double size = fmin(fabs(all[m].residuals[i].standardised), 6);
            extend(&e, fmax(all[m].points[i].prompt_tokens, 1), size);
        }
    }
    if (has_any && e.n > 0) {
        char id[32];
        struct svg_legend legend[REPORT_MAX_MODELS];
        size_t n_legend = model_legend(result, false, legend),
               n_ticks = prompt_ticks(result, ticks);
        double limit = fmax(3, e.y_max);
        const struct svg_axis x = {.title = "Prompt tokens (log scale)",
                                   .min = e.x_min,
                                   .max = e.x_max,
                                   .is_log = true,
                                   .ticks = ticks,
                                   .n_ticks = n_ticks};
        const struct svg_axis y = {
            .title = "Residual, standard deviations", .min = -limit, .max = limit};
        struct svg_plot plot;
        snprintf(id, sizeof id, "residual-%d", (int)law);
        buf_puts(out, "<figure>");
        html_element(out, "h3", NULL, title);
        svg_open(&plot, out, id, title,
                 "Measured minus fitted, in standard deviations of the noise", &x, &y, legend,
                 n_legend);
        svg_rule(&plot, "limit", 2);
        svg_rule(&plot, "limit", -2);
        for (size_t m = 0; m < html_n_models(result); m++) {
            draw_residuals(&plot, &all[m], m);
        }
        svg_close(&plot);
        buf_puts(out, "</figure>");
    }
    for (size_t m = 0; m < REPORT_MAX_MODELS; m++) {
        free(all[m].points);
        free(all[m].residuals);
    }
}

void html_residual_plots(struct buf *out, const struct report_result *result) {
    buf_puts(out, "<details><summary>Residuals: do the laws miss anything?</summary>"
                  "<p class=\"lead\">Measured minus fitted. Points scattered evenly between the "
                  "dashed lines (two standard deviations) mean that the law misses nothing; a bow "
                  "means that it does.</p><div class=\"grid\">");
    for (size_t i = 0; i < N_SHOWN; i++) {
        put_residual_plot(out, result, SHOWN[i]);
    }
    buf_puts(out, "</div></details>");
}

// ---- phases ----

struct phase_chart {
    const char *id;
    const char *title;
    enum metric_id part[2]; // prefill, decode
    const char *about;
};

static double cell_mean(const struct report_model *model, uint32_t cell, enum metric_id metric) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        if (record->cell == cell && summary_is_used(record) && isfinite(record->value[metric])) {
            sum += record->value[metric];
            n++;
        }
    }
    return n > 0 ? sum / (double)n : (double)NAN;
}

struct bar_group {
    uint32_t prompt_tokens;
    double part[REPORT_MAX_MODELS][2]; // in the metric's unit; NaN when not measured
};

// One group per cell at the reference number of generated tokens, thinned to MAX_BAR_GROUPS.
static size_t bar_groups(const struct report_result *result, const struct phase_chart *chart,
                         struct bar_group out[MAX_BAR_GROUPS], double *y_max) {
    const struct report_model *base = &result->model[0];
    size_t stride = (base->n_cells + MAX_BAR_GROUPS - 1) / MAX_BAR_GROUPS, n = 0;
    *y_max = 0;
    for (size_t c = 0; c < base->n_cells && n < MAX_BAR_GROUPS; c += stride) {
        if (base->cells[c].generated_tokens != result->reference.generated_tokens) {
            continue;
        }
        struct bar_group *group = &out[n++];
        group->prompt_tokens = base->cells[c].prompt_tokens;
        for (size_t m = 0; m < html_n_models(result); m++) {
            double sum = 0;
            for (int k = 0; k < 2; k++) {
                group->part[m][k] =
                    cell_mean(&result->model[m], base->cells[c].cell, chart->part[k]);
                sum += fmax(0, isfinite(group->part[m][k]) ? group->part[m][k] : 0);
            }
            *y_max = fmax(*y_max, sum);
        }
    }
    return n;
}

static void draw_stack(struct svg_plot *plot, const struct bar_group *group, size_t m,
                       const struct phase_chart *chart, struct figure_unit unit, double x0,
                       double x1) {
    static const char *const CLASSES[REPORT_MAX_MODELS][2] = {{"p0 base", "p1 base"},
                                                              {"p0 vs", "p1 vs"}};
    static const char *const NAMES[] = {"prefill", "decode"};
    double from = 0;
    for (int k = 0; k < 2; k++) {
        double height = group->part[m][k] * unit.factor;
        char tip[160], text[FIGURE_BYTES];
        if (!(height > 0)) {
            continue;
        }
        snprintf(tip, sizeof tip, "%s, %u tokens, %s: %s", HTML_ROLE[m], group->prompt_tokens,
                 NAMES[k], figure_text(text, chart->part[k], group->part[m][k]));
        svg_bar(plot, CLASSES[m][k], x0, x1, from, from + height, tip);
        from += height;
    }
}

static void draw_groups(struct svg_plot *plot, const struct report_result *result,
                        const struct bar_group *groups, size_t n, const struct phase_chart *chart,
                        struct figure_unit unit) {
    double width = result->n_models == 2 ? 0.36 : 0.56;
    for (size_t i = 0; i < n; i++) {
        for (size_t m = 0; m < html_n_models(result); m++) {
            double x0 = (double)i + 0.5 - width * (double)result->n_models / 2 + width * (double)m;
            draw_stack(plot, &groups[i], m, chart, unit, x0 + 0.02, x0 + width - 0.02);
        }
    }
}

static void put_phase_plot(struct buf *out, const struct report_result *result,
                           const struct phase_chart *chart) {
    struct bar_group groups[MAX_BAR_GROUPS];
    double y_max, at[MAX_BAR_GROUPS];
    char text[MAX_BAR_GROUPS][16], y_title[FIGURE_BYTES + 32];
    const char *labels[MAX_BAR_GROUPS];
    size_t n = bar_groups(result, chart, groups, &y_max);
    if (n == 0 || !(y_max > 0)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        at[i] = (double)i + 0.5;
        snprintf(text[i], sizeof text[i], "%u", groups[i].prompt_tokens);
        labels[i] = text[i];
    }
    static const struct svg_legend LEGEND[] = {{"p0 base", "base prefill", false},
                                               {"p1 base", "base decode", false},
                                               {"p0 vs", "vs prefill", false},
                                               {"p1 vs", "vs decode", false}};
    static const struct svg_legend SINGLE[] = {{"p0 base", "prefill", false},
                                               {"p1 base", "decode", false}};
    bool is_pair = result->n_models == 2;
    struct figure_unit unit = figure_unit_for(chart->part[0], y_max);
    snprintf(y_title, sizeof y_title, "%s per request", unit.text);
    const struct svg_axis x = {.title = "Prompt tokens",
                               .min = 0,
                               .max = (double)n,
                               .ticks = at,
                               .labels = labels,
                               .n_ticks = n};
    const struct svg_axis y = {
        .title = y_title, .min = 0, .max = y_max * unit.factor, .from_zero = true};
    struct svg_plot plot;
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, chart->title);
    svg_open(&plot, out, chart->id, chart->title, chart->about, &x, &y, is_pair ? LEGEND : SINGLE,
             is_pair ? 4 : 2);
    draw_groups(&plot, result, groups, n, chart, unit);
    svg_close(&plot);
    buf_puts(out, "</figure>");
}

void html_phase_plots(struct buf *out, const struct report_result *result) {
    static const struct phase_chart CHARTS[] = {
        {"phase-time",
         "Time by phase",
         {METRIC_prefill_s, METRIC_decode_s},
         "Mean time of prefill and decode per prompt size, stacked"},
        {"phase-energy",
         "Net energy by phase",
         {METRIC_prefill_net_j, METRIC_decode_net_j},
         "Mean net energy of prefill and decode per prompt size, stacked"},
        {"phase-cpu",
         "CPU time by phase",
         {METRIC_prefill_core_s, METRIC_decode_core_s},
         "Mean core-seconds of prefill and decode per prompt size, stacked"}};
    buf_puts(out,
             "<h2 id=\"phases\">Where it goes: prefill and decode</h2><p class=\"lead\">Prefill "
             "reads the prompt, decode writes the answer. Short prompts are paid for in "
             "decode, long ones in prefill.</p><div class=\"grid\">");
    bool has_energy = result->model[0].metric[METRIC_prefill_net_j].all.is_resolved;
    put_phase_plot(out, result, &CHARTS[0]);
    put_phase_plot(out, result, has_energy ? &CHARTS[1] : &CHARTS[2]);
    buf_puts(out, "</div>");
}
