// Where a request with an image spends its time: the six phases by image size.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/html_sections.h"
#include "report/html_vision.h"
#include "report/svg.h"

enum { N_PHASES = 6, MAX_BARS = 16 };

static const char *const PHASE[N_PHASES] = {"image_decode",  "preprocess", "vision",
                                            "image_prefill", "prefill",    "decode"};
static const char *const TITLE[N_PHASES] = {"file decoding", "preprocessing", "image encoding",
                                            "image prefill", "text prefill",  "decode"};
static const char *const PHASE_CLASS[N_PHASES] = {"ph0", "ph1", "ph2", "ph3", "ph4", "ph5"};

enum part { PART_TIME, PART_ENERGY, PART_CPU };

static const enum metric_id PART_METRIC[] = {METRIC_time_s, METRIC_energy_net_j, METRIC_cpu_core_s};

static double part_of(const struct record_phase *phase, enum part part) {
    return part == PART_TIME     ? (double)phase->duration_ns / 1e9
           : part == PART_ENERGY ? phase->net_j
                                 : (double)phase->cpu_ns / 1e9;
}

struct bar {
    uint32_t width, height;
    size_t n;             // windows
    double sum[N_PHASES]; // then the mean; NaN when no window has it
    size_t n_known[N_PHASES];
};

static void add_window(struct bar *bar, const struct record *record, enum part part) {
    bar->n++;
    for (uint32_t i = 0; i < record->n_phases && i < RECORD_MAX_PHASES; i++) {
        for (int k = 0; k < N_PHASES; k++) {
            double value = part_of(&record->phase[i], part);
            if (strcmp(record->phase[i].name, PHASE[k]) == 0 && isfinite(value)) {
                bar->sum[k] += value;
                bar->n_known[k]++;
            }
        }
    }
}

static bool is_of(const struct record *record, const struct report_image_budget *budget,
                  const struct bar *bar) {
    const struct record_vision *seen = &record->vision;
    return (record->flags & (RECORD_WARMUP | RECORD_PAPER | RECORD_SCORED)) == 0 &&
           seen->n_images == 1 && seen->image_max_tokens == budget->image_max_tokens &&
           seen->width == bar->width && seen->height == bar->height;
}

static double total_of(const struct bar *bar) {
    double total = 0;
    for (int k = 0; k < N_PHASES; k++) {
        total += bar->sum[k] > 0 ? bar->sum[k] : 0;
    }
    return total;
}

static void fill_bar(const struct report_model *model, struct bar *bar, enum part part) {
    for (size_t i = 0; i < model->n_records; i++) {
        if (is_of(&model->records[i], &model->vision.budget[0], bar)) {
            add_window(bar, &model->records[i], part);
        }
    }
    for (int k = 0; k < N_PHASES; k++) {
        bar->sum[k] = bar->n_known[k] > 0 ? bar->sum[k] / (double)bar->n_known[k] : (double)NAN;
    }
}

// Squares of the first budget, thinned to MAX_BARS with both ends kept.
static size_t find_bars(const struct report_model *model, enum part part,
                        struct bar out[MAX_BARS]) {
    const struct report_image_budget *budget = &model->vision.budget[0];
    const struct report_image_point *square[REPORT_MAX_IMAGE_SIZES];
    size_t n_squares = 0;
    for (size_t i = 0; i < budget->n_points && i < REPORT_MAX_IMAGE_SIZES; i++) {
        if (html_is_square(&budget->point[i])) {
            square[n_squares++] = &budget->point[i];
        }
    }
    size_t n = n_squares < MAX_BARS ? n_squares : MAX_BARS;
    for (size_t i = 0; i < n; i++) {
        const struct report_image_point *point = square[n > 1 ? i * (n_squares - 1) / (n - 1) : 0];
        out[i] = (struct bar){.width = point->width, .height = point->height};
        fill_bar(model, &out[i], part);
    }
    return n;
}

static void draw_bar(struct svg_plot *plot, const struct bar *bar, size_t i, enum part part,
                     struct figure_unit unit) {
    double from = 0;
    for (int k = 0; k < N_PHASES; k++) {
        char tip[160], text[FIGURE_BYTES], size[FIGURE_BYTES];
        if (!(bar->sum[k] > 0)) {
            continue;
        }
        double height = bar->sum[k] * unit.factor;
        snprintf(tip, sizeof tip, "%.40s, %s: %.40s (n = %zu)",
                 html_size_text(size, bar->width, bar->height), TITLE[k],
                 figure_text(text, PART_METRIC[part], bar->sum[k]), bar->n_known[k]);
        svg_bar(plot, PHASE_CLASS[k], (double)i + 0.18, (double)i + 0.82, from, from + height, tip);
        from += height;
    }
}

static void say_bar(struct buf *out, const struct bar *bar, enum part part) {
    static const char *const OF[] = {"", " of net energy", " of CPU time"};
    char size[FIGURE_BYTES], text[FIGURE_BYTES];
    double total = total_of(bar);
    int largest = 0;
    for (int k = 1; k < N_PHASES; k++) {
        largest = !(bar->sum[largest] >= bar->sum[k]) && bar->sum[k] > 0 ? k : largest;
    }
    html_say(out, "At %s a request takes %s%s, ", html_size_text(size, bar->width, bar->height),
             figure_text(text, PART_METRIC[part], total), OF[part]);
    html_say(out, "%.0f\xc2\xa0%% of it %s.", 100 * bar->sum[largest] / total, TITLE[largest]);
}

static void put_bar_table(struct buf *out, const struct bar *bars, size_t n, enum part part) {
    buf_puts(out, "<details><summary>Figures</summary><div class=\"scroll tall\"><table><thead><tr>"
                  "<th>Picture</th><th>n</th>");
    for (int k = 0; k < N_PHASES; k++) {
        html_element(out, "th", NULL, TITLE[k]);
    }
    buf_puts(out, "</tr></thead><tbody>");
    for (size_t i = 0; i < n; i++) {
        char text[FIGURE_BYTES];
        buf_puts(out, "<tr>");
        html_element(out, "th", NULL, html_size_text(text, bars[i].width, bars[i].height));
        buf_printf(out, "<td>%zu</td>", bars[i].n);
        for (int k = 0; k < N_PHASES; k++) {
            buf_puts(out, "<td>");
            html_figure(out, isfinite(bars[i].sum[k])
                                 ? figure_text(text, PART_METRIC[part], bars[i].sum[k])
                                 : "");
            buf_puts(out, "</td>");
        }
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div></details>");
}

static void put_plot(struct buf *out, const struct report_result *result, size_t m,
                     enum part part) {
    static const char *const TITLES[] = {"Time by phase, with an image",
                                         "Net energy by phase, with an image",
                                         "CPU time by phase, with an image"};
    struct bar bars[MAX_BARS];
    double at[MAX_BARS], y_max = 0;
    char label[MAX_BARS][16], id[32], y_title[FIGURE_BYTES], title[FIGURE_BYTES];
    const char *labels[MAX_BARS];
    struct svg_legend legend[N_PHASES];
    size_t n = find_bars(&result->model[m], part, bars);
    for (size_t i = 0; i < n; i++) {
        at[i] = (double)i + 0.5;
        snprintf(label[i], sizeof label[i], "%u", bars[i].width);
        labels[i] = label[i];
        y_max = fmax(y_max, total_of(&bars[i]));
    }
    if (!(y_max > 0)) {
        return;
    }
    for (int k = 0; k < N_PHASES; k++) {
        legend[k] = (struct svg_legend){PHASE_CLASS[k], TITLE[k], false};
    }
    struct figure_unit unit = figure_unit_for(PART_METRIC[part], y_max);
    snprintf(y_title, sizeof y_title, "%.40s per request", unit.text);
    snprintf(title, sizeof title, "%s%s%s", TITLES[part], result->n_models == 2 ? ": " : "",
             result->n_models == 2 ? HTML_ROLE[m] : "");
    snprintf(id, sizeof id, "image-phase-%d-%zu", (int)part, m);
    const struct svg_axis x = {.title = "Side of the square picture, pixels",
                               .min = 0,
                               .max = (double)n,
                               .ticks = at,
                               .labels = labels,
                               .n_ticks = n};
    const struct svg_axis y = {
        .title = y_title, .min = 0, .max = y_max * unit.factor, .from_zero = true};
    struct svg_plot plot;
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, title);
    svg_open(&plot, out, id, title, "Mean of each phase per image size, stacked", &x, &y, legend,
             N_PHASES);
    for (size_t i = 0; i < n; i++) {
        draw_bar(&plot, &bars[i], i, part, unit);
    }
    svg_close(&plot);
    buf_puts(out, "<figcaption>");
    say_bar(out, &bars[n - 1], part);
    buf_puts(out, "</figcaption>");
    put_bar_table(out, bars, n, part);
    buf_puts(out, "</figure>");
}

// Where the meter tells the encoder's energy apart at every size.
static bool has_energy(const struct report_model *model) {
    struct bar bars[MAX_BARS];
    size_t n = find_bars(model, PART_ENERGY, bars);
    bool is_known = model->vision.is_energy_resolved && n > 0;
    for (size_t i = 0; i < n; i++) {
        is_known &= isfinite(bars[i].sum[2]);
    }
    return is_known;
}

void html_image_phase_plots(struct buf *out, const struct report_result *result) {
    char text[FIGURE_BYTES];
    if (!html_has_images(result)) {
        return;
    }
    buf_puts(out, "<h2 id=\"image-phases\">Where it goes with an image</h2><p class=\"lead\">Its "
                  "file is decoded and brought to the encoder&#39;s size, then encoded, and its "
                  "tokens are read; text prefill and decode are as without an image.");
    for (size_t m = 0; m < html_n_models(result); m++) {
        if (result->model[m].vision.n_budgets > 0) {
            html_say(out, " Budget%s%s: %s.", result->n_models == 2 ? " of " : "",
                     result->n_models == 2 ? HTML_ROLE[m] : "",
                     html_budget_text(text, result->model[m].vision.budget[0].image_max_tokens));
        }
    }
    buf_puts(out, "</p><div class=\"grid\">");
    for (size_t m = 0; m < html_n_models(result); m++) {
        const struct report_model *model = &result->model[m];
        if (model->vision.n_budgets > 0) {
            put_plot(out, result, m, PART_TIME);
            put_plot(out, result, m, has_energy(model) ? PART_ENERGY : PART_CPU);
        }
    }
    buf_puts(out, "</div>");
}
