// What stays of each block, and how far each is off.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "report/block_axis.h"
#include "report/compression_parts.h"
#include "report/html.h"

enum { TIP_BYTES = 160 };
static const double LEAST_ERROR = 1e-9; // smaller ones are drawn here
static const double BAR = 0.38;         // half of a bar's width, in blocks

// ---- what stays ----

static double share(double after, double before) {
    return before > 0 && isfinite(after) ? fmin(100 * after / before, 100) : NAN;
}

static bool is_any_head_cut(const struct compression_blocks *b) {
    for (uint32_t i = 0; i < b->n; i++) {
        if (!b->items[i].is_removed && b->items[i].n_head_kv < b->items[i].n_head_kv_before) {
            return true;
        }
    }
    return false;
}

static void draw_block(struct svg_plot *plot, const struct compression_block *block, uint32_t i,
                       bool has_heads) {
    char tip[TIP_BYTES];
    double middle = has_heads ? i : i + BAR;
    if (block->is_removed) {
        svg_strip(plot, "b7", i - BAR, i + BAR);
        return;
    }
    snprintf(tip, sizeof tip, "block %" PRIu32 ": %.0f of %.0f neurons", i, block->n_ff,
             block->n_ff_before);
    svg_bar(plot, "base", i - BAR, middle, 0, share(block->n_ff, block->n_ff_before), tip);
    if (has_heads) {
        snprintf(tip, sizeof tip, "block %" PRIu32 ": %.0f of %.0f KV heads", i, block->n_head_kv,
                 block->n_head_kv_before);
        svg_bar(plot, "vs", middle, i + BAR, 0, share(block->n_head_kv, block->n_head_kv_before),
                tip);
    }
}

static size_t blocks_legend(const struct compression_blocks *b, bool has_heads,
                            struct svg_legend legend[3]) {
    bool is_any_removed = false;
    size_t n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        is_any_removed = is_any_removed || b->items[i].is_removed;
    }
    legend[n++] = (struct svg_legend){"base", "neurons", false};
    if (has_heads) {
        legend[n++] = (struct svg_legend){"vs", "KV heads", false};
    }
    if (is_any_removed) {
        legend[n++] = (struct svg_legend){"strip b7", "taken out whole", false};
    }
    return n;
}

void compression_neurons_plot(struct buf *out, const char *id, const struct compression_blocks *b) {
    static const double AT[] = {0, 25, 50, 75, 100};
    static const struct svg_axis SHARES = {
        .title = "% of the original's", .min = 0, .max = 100, .ticks = AT, .n_ticks = 5};
    struct svg_legend legend[3];
    struct block_axis x;
    struct svg_plot plot;
    char full_id[48];
    bool has_heads = is_any_head_cut(b);
    size_t n_legend = blocks_legend(b, has_heads, legend);
    block_axis_init(&x, b->n);
    snprintf(full_id, sizeof full_id, "%s-neurons", id);
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, "What stays of each block");
    svg_open(&plot, out, full_id, "What stays of each block",
             "Share of neurons, and of KV heads where any went, that stays in each block", &x.axis,
             &SHARES, legend, n_legend > 1 ? n_legend : 0);
    for (uint32_t i = 0; i < b->n; i++) {
        draw_block(&plot, &b->items[i], i, has_heads);
    }
    svg_close(&plot);
    buf_puts(out, "</figure>");
}

// ---- errors ----

enum { CHOICE, REPAIR, HEALING, N_SERIES };
static const struct {
    const char *line, *dot;
    struct svg_legend legend;
} SERIES[N_SERIES] = {
    {"hue b4", "dot hue b4", {"line hue b4", "after the choice", true}},
    {"base", "dot base", {"line base", "after repair", true}},
    {"vs", "dot vs", {"line vs", "after healing", true}},
};

static double series_value(const struct compression_block *block, size_t series) {
    const double *error = block->error;
    double value = series == CHOICE                    ? error[COMPRESSION_CUT]
                   : series == HEALING                 ? error[COMPRESSION_HEALED]
                   : isfinite(error[COMPRESSION_BIAS]) ? error[COMPRESSION_BIAS]
                                                       : error[COMPRESSION_REPAIRED];
    return block->is_removed || !isfinite(value) ? NAN : fmax(value, LEAST_ERROR);
}

static size_t extent_of(const struct compression_blocks *b, size_t series, double *low,
                        double *high) {
    size_t n = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        double value = series_value(&b->items[i], series);
        if (isfinite(value)) {
            *low = fmin(*low, value);
            *high = fmax(*high, value);
            n++;
        }
    }
    return n;
}

// A line piece by piece: no lists as long as the model.
static void draw_series(struct svg_plot *plot, const struct compression_blocks *b, size_t series) {
    for (uint32_t i = 0; i + 1 < b->n; i++) {
        const double xs[] = {i, i + 1.0};
        const double ys[] = {series_value(&b->items[i], series),
                             series_value(&b->items[i + 1], series)};
        if (isfinite(ys[0]) && isfinite(ys[1])) {
            svg_line(plot, SERIES[series].line, xs, ys, 2);
        }
    }
    for (uint32_t i = 0; i < b->n; i++) {
        char tip[TIP_BYTES], text[FIGURE_BYTES];
        double value = series_value(&b->items[i], series);
        snprintf(tip, sizeof tip, "block %" PRIu32 ", %s: %.40s", i, SERIES[series].legend.text,
                 compression_kl_text(text, value));
        svg_dot(plot, SERIES[series].dot, i, value, 3, tip);
    }
}

void compression_error_plot(struct buf *out, const char *id, const struct compression_blocks *b) {
    struct svg_legend legend[N_SERIES];
    struct block_axis x;
    struct svg_plot plot;
    char full_id[48];
    double low = INFINITY, high = 0;
    size_t n_legend = 0, n_values[N_SERIES];
    for (size_t k = 0; k < N_SERIES; k++) {
        n_values[k] = extent_of(b, k, &low, &high);
        if (n_values[k] > 0) {
            legend[n_legend++] = SERIES[k].legend;
        }
    }
    if (n_legend == 0) {
        return;
    }
    const struct svg_axis y = {.title = "Error, share of the output (log scale)",
                               .min = pow(10, floor(log10(low))),
                               .max = pow(10, ceil(log10(high) + 0.01)),
                               .is_log = true};
    block_axis_init(&x, b->n);
    snprintf(full_id, sizeof full_id, "%s-errors", id);
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, "How far each block is off");
    svg_open(&plot, out, full_id, "How far each block is off",
             "Error of each block's output after each step", &x.axis, &y, legend, n_legend);
    for (size_t k = 0; k < N_SERIES; k++) {
        draw_series(&plot, b, k);
    }
    svg_close(&plot);
    html_element(out, "figcaption", NULL,
                 "On text that was held out, as a share of the output's square; what earlier "
                 "blocks lost is in it.");
    buf_puts(out, "</figure>");
}
