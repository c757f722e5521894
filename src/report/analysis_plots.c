#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/units.h"
#include "report/analysis_parts.h"
#include "report/block_axis.h"
#include "report/html.h"
#include "report/svg.h"

enum { N_SHADES = 6 };
static const double LEAST = 1e-5; // of what is drawn on a log axis
static const double BAR = 0.38;   // half of a bar's width, in blocks

// ---- heat ----

// Shades of divergence, from what cannot be seen to what is broken.
static const double SHADE_FROM[N_SHADES] = {0, 0.0001, 0.001, 0.01, 0.05, 0.15};
static const double SHADE_INK[N_SHADES] = {0.06, 0.16, 0.3, 0.48, 0.7, 1};
static const char *const SHADE_NAME[N_SHADES] = {"<0.001", "0.001", "0.003",
                                                 "0.01",   "0.05",  "0.15 nats"};

static size_t shade_of(double kl) {
    size_t i = 0;
    while (i + 1 < N_SHADES && kl >= SHADE_FROM[i + 1]) {
        i++;
    }
    return i;
}

static void put_shades(struct svg_plot *plot) {
    double x = plot->left + 42;
    for (size_t i = 0; i < N_SHADES; i++, x += 64) {
        buf_printf(plot->out,
                   "<g fill-opacity=\"%.2f\"><rect class=\"vs\" x=\"%.1f\" "
                   "y=\"%.1f\" width=\"12\" "
                   "height=\"12\" rx=\"2\"/></g>",
                   SHADE_INK[i], x, plot->top - 24);
        buf_printf(plot->out, "<text class=\"legend\" x=\"%.1f\" y=\"%.1f\">", x + 16,
                   plot->top - 14);
        html_text(plot->out, SHADE_NAME[i]);
        buf_puts(plot->out, "</text>");
    }
}

static void put_cell(struct svg_plot *plot, const struct report_analysis *a, uint32_t layer,
                     uint32_t sixteenths) {
    const struct report_analysis_layer *l = &a->layers[layer];
    char tip[128], kl_text[UNITS_TEXT_BYTES], error_text[UNITS_TEXT_BYTES];
    double kl = report_analysis_ffn_kl(l, sixteenths);
    snprintf(tip, sizeof tip, "block %" PRIu32 ", %" PRIu32 " neurons: %s nats (error %s)", layer,
             l->widths[sixteenths - 1], units_number(kl_text, kl),
             units_number(error_text, l->ffn_error[sixteenths - 1]));
    buf_printf(plot->out, "<g fill-opacity=\"%.2f\">", SHADE_INK[shade_of(kl)]);
    svg_bar(plot, "vs", sixteenths - 0.48, sixteenths + 0.48, layer - 0.46, layer + 0.46, tip);
    buf_puts(plot->out, "</g>");
}

void analysis_heat_plot(struct buf *out, const struct report_analysis *a) {
    static const double AT[] = {4, 8, 12, 16};
    static const char *const LABEL[] = {"1/4", "1/2", "3/4", "all"};
    const struct svg_axis x = {.title = "Neurons that stay",
                               .min = 0.5,
                               .max = 16.5,
                               .ticks = AT,
                               .labels = LABEL,
                               .n_ticks = 4};
    struct block_axis y;
    struct svg_plot plot;
    block_axis_init(&y, a->n_layer);
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, "What fewer neurons would cost, block by block");
    svg_open(&plot, out, "heat", "Divergence by block and number of neurons",
             "Expected divergence of the model in nats a token when one block "
             "has fewer neurons",
             &x, &y.axis, NULL, 0);
    put_shades(&plot);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        for (uint32_t k = 1; k <= REPORT_ANALYSIS_WIDTHS; k++) {
            put_cell(&plot, a, i, k);
        }
    }
    svg_close(&plot);
    buf_puts(out, "<figcaption>Error of the block's output times what an error "
                  "there costs at the "
                  "end; one block at a time, repaired by least squares. Shades "
                  "begin at the "
                  "figures above them.</figcaption></figure>");
}

// ---- bars ----

struct bars {
    const char *id, *title, *about, *y_title, *caption;
    bool is_log;
    size_t n; // series, 1 or 2
    const char *name[2], *what[2];
    double (*value[2])(const struct report_analysis_layer *layer);
};

static double highest(const struct report_analysis *a, const struct bars *bars, double *lowest) {
    double high = 0;
    *lowest = INFINITY;
    for (uint32_t i = 0; i < a->n_layer; i++) {
        for (size_t k = 0; k < bars->n; k++) {
            double value = bars->value[k](&a->layers[i]);
            high = fmax(high, value);
            *lowest = value > LEAST ? fmin(*lowest, value) : *lowest;
        }
    }
    return high;
}

static void draw_bars(struct svg_plot *plot, const struct report_analysis *a,
                      const struct bars *bars) {
    static const char *const ROLE[] = {"base", "vs"};
    double width = 2 * BAR / (double)bars->n;
    for (uint32_t i = 0; i < a->n_layer; i++) {
        for (size_t k = 0; k < bars->n; k++) {
            char tip[128], text[UNITS_TEXT_BYTES];
            double value = bars->value[k](&a->layers[i]);
            double left = (double)i - BAR + (double)k * width;
            snprintf(tip, sizeof tip, "block %" PRIu32 ", %s: %s", i, bars->what[k],
                     units_number(text, value));
            svg_bar(plot, ROLE[k], left, left + width, plot->y.min, fmax(value, plot->y.min), tip);
        }
    }
}

static void put_bars(struct buf *out, const struct report_analysis *a, const struct bars *bars) {
    static const char *const ROLE[] = {"base", "vs"};
    struct svg_legend legend[2];
    struct block_axis x;
    struct svg_plot plot;
    double low, high = highest(a, bars, &low);
    block_axis_init(&x, a->n_layer);
    struct svg_axis y = {.title = bars->y_title, .min = 0, .max = high, .from_zero = true};
    if (bars->is_log && isfinite(low)) { // whole decades, so that the smallest bar can be seen
        y = (struct svg_axis){.title = bars->y_title,
                              .min = pow(10, floor(log10(low) - 0.1)),
                              .max = pow(10, ceil(log10(high) + 0.01)),
                              .is_log = true};
    }
    for (size_t k = 0; k < bars->n; k++) {
        legend[k] = (struct svg_legend){ROLE[k], bars->name[k], false};
    }
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, bars->title);
    svg_open(&plot, out, bars->id, bars->title, bars->about, &x.axis, &y, legend,
             bars->n > 1 ? bars->n : 0);
    draw_bars(&plot, a, bars);
    svg_close(&plot);
    html_element(out, "figcaption", NULL, bars->caption);
    buf_puts(out, "</figure>");
}

static double influence(const struct report_analysis_layer *layer) {
    return layer->influence;
}

static double no_attention(const struct report_analysis_layer *layer) {
    return layer->kl_no_attention;
}

static double no_block(const struct report_analysis_layer *layer) {
    return layer->kl_removed;
}

static double ffn(const struct report_analysis_layer *layer) {
    return layer->ffn_sensitivity;
}

static double attention(const struct report_analysis_layer *layer) {
    return layer->attention_sensitivity;
}

void analysis_influence_plot(struct buf *out, const struct report_analysis *a) {
    const struct bars bars = {.id = "influence",
                              .title = "How much each block changes the stream",
                              .about = "Block influence: 1 less the mean cosine between what "
                                       "enters a block and what leaves it",
                              .y_title = "Influence",
                              .caption = "1 less the mean cosine between what enters a block and "
                                         "what leaves it; 0 would be a block that does nothing.",
                              .n = 1,
                              .what = {"influence"},
                              .value = {influence}};
    put_bars(out, a, &bars);
}

void analysis_removal_plot(struct buf *out, const struct report_analysis *a) {
    const struct bars bars = {.id = "removal",
                              .title = "What a block is worth",
                              .about = "Divergence of the model without one attention or one block",
                              .y_title = "KL divergence, nats per token (log scale)",
                              .caption = "The model without one block, or without its attention "
                                         "only; nothing is repaired.",
                              .is_log = true,
                              .n = 2,
                              .name = {"without its attention", "without the block"},
                              .what = {"without its attention", "without the block"},
                              .value = {no_attention, no_block}};
    put_bars(out, a, &bars);
}

void analysis_sensitivity_plot(struct buf *out, const struct report_analysis *a) {
    const struct bars bars = {
        .id = "sensitivity",
        .title = "What an error costs at the end",
        .about = "Divergence per unit of relative error in a part's output, by block",
        .y_title = "Nats for an error of 1 (log scale)",
        .caption = "Divergence of the whole model over the error of the one part "
                   "that was cut to "
                   "half. High bars: keep this part whole.",
        .is_log = true,
        .n = 2,
        .name = {"feed-forward", "attention"},
        .what = {"feed-forward", "attention"},
        .value = {ffn, attention}};
    put_bars(out, a, &bars);
}

// ---- curves ----

void analysis_curve_plot(struct buf *out, const struct report_analysis *a, uint32_t layer) {
    const struct report_analysis_layer *l = &a->layers[layer];
    static const struct svg_legend LEGEND[] = {{"line base", "pruned and repaired", true},
                                               {"line vs", "bound of any choice", true}};
    double xs[REPORT_ANALYSIS_WIDTHS], error[REPORT_ANALYSIS_WIDTHS], tail[REPORT_ANALYSIS_WIDTHS];
    char id[32], title[48];
    struct svg_plot plot;
    for (size_t i = 0; i < REPORT_ANALYSIS_WIDTHS; i++) {
        xs[i] = l->widths[i];
        error[i] = l->ffn_error[i] >= LEAST ? l->ffn_error[i] : NAN;
        tail[i] = l->ffn_tail[i] >= LEAST ? l->ffn_tail[i] : NAN;
    }
    const struct svg_axis x = {.title = "Neurons that stay",
                               .min = 0,
                               .max = l->widths[REPORT_ANALYSIS_WIDTHS - 1],
                               .from_zero = true,
                               .ends_at_max = true};
    const struct svg_axis y = {
        .title = "Error, share of the output (log scale)", .min = LEAST, .max = 1, .is_log = true};
    snprintf(id, sizeof id, "curve-%" PRIu32, layer);
    snprintf(title, sizeof title, "Block %" PRIu32, layer);
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, title);
    svg_open(&plot, out, id, title, "Error of the feed-forward output against neurons", &x, &y,
             LEGEND, 2);
    svg_line(&plot, "vs", xs, tail, REPORT_ANALYSIS_WIDTHS);
    svg_line(&plot, "base", xs, error, REPORT_ANALYSIS_WIDTHS);
    for (size_t i = 0; i < REPORT_ANALYSIS_WIDTHS; i++) {
        char tip[96], text[UNITS_TEXT_BYTES];
        snprintf(tip, sizeof tip, "%" PRIu32 " neurons: %s", l->widths[i],
                 units_number(text, l->ffn_error[i]));
        svg_dot(&plot, "dot base", xs[i], error[i], 3, tip);
    }
    svg_close(&plot);
    buf_puts(out, "</figure>");
}
