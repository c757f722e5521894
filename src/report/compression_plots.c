// Divergence against what a file costs: the result and what could be taken instead.
#include <math.h>
#include <stdio.h>

#include "base/units.h"
#include "report/compression_parts.h"
#include "report/html.h"
#include "report/svg.h"
#include "report/svg_names.h"

enum { TIP_BYTES = 320, MAX_DOTS = COMPRESSION_RIVALS + 1 };
static const double LEAST_KL = 1e-7; // smaller ones are drawn here
static const double ROOM = 0.07;     // beside the dots, of the axis
static const char ORIGINAL_NAME[] = "the original (KL 0)";

struct cost { // what is on the axis across
    const char *id, *title, *about, *unit;
    double factor; // of what is shown
    const struct compression_range *(*range)(const struct compression_file *file);
    double (*value)(const struct compression_file *file);
};

static const char *css_of(const struct compression *c, const struct compression_file *file) {
    return file == &c->own ? "vs" : file->is_model ? "hue b2" : "base";
}

// The files that are drawn: those judged, of known cost, the result last so that it is on top.
static size_t dots_of(const struct compression *c, const struct cost *cost,
                      const struct compression_file *dots[MAX_DOTS]) {
    size_t n = 0;
    for (size_t i = 0; i <= c->n_rivals; i++) {
        const struct compression_file *file = i < c->n_rivals ? &c->rivals[i] : &c->own;
        if (file->verdict.is_there && isfinite(cost->value(file))) {
            dots[n++] = file;
        }
    }
    return n;
}

// In whole decades, so that the lower ends of intervals that reach 0 do not decide.
static struct svg_axis kl_axis(const struct compression_file *const *dots, size_t n) {
    double low = INFINITY, high = LEAST_KL;
    for (size_t i = 0; i < n; i++) {
        const struct compression_verdict *v = &dots[i]->verdict;
        double kl = fmax(v->kl, LEAST_KL);
        low = fmin(low, fmax(isfinite(v->kl_low) ? v->kl_low : kl, kl / 3));
        high = fmax(high, isfinite(v->kl_high) ? v->kl_high : kl);
    }
    return (struct svg_axis){.title = "KL divergence, nats per token (log scale)",
                             .min = pow(10, floor(log10(low))),
                             .max = pow(10, ceil(log10(high) + 0.01)),
                             .is_log = true};
}

static struct svg_axis cost_axis(const struct compression *c, const struct cost *cost,
                                 const struct compression_file *const *dots, size_t n) {
    double low = cost->value(&c->original), high = low;
    for (size_t i = 0; i < n; i++) {
        const struct compression_range *range = cost->range ? cost->range(dots[i]) : NULL;
        double value = cost->value(dots[i]);
        low = fmin(low, range && isfinite(range->low) ? range->low : value);
        high = fmax(high, range && isfinite(range->high) ? range->high : value);
    }
    double room = ROOM * (high - low);
    return (struct svg_axis){.title = cost->unit,
                             .min = fmax(low - room, 0) * cost->factor,
                             .max = (high + room) * cost->factor,
                             .ends_at_max = true};
}

static void draw_file(struct svg_plot *plot, const struct compression *c, const struct cost *cost,
                      const struct compression_file *file) {
    char tip[TIP_BYTES], kl_text[FIGURE_BYTES], css[32], number[UNITS_TEXT_BYTES];
    const struct compression_verdict *v = &file->verdict;
    const struct compression_range *range = cost->range ? cost->range(file) : NULL;
    double x = cost->value(file) * cost->factor, kl = fmax(v->kl, LEAST_KL);
    snprintf(tip, sizeof tip, "%s: %s %s, %.40s nats per token", file->name,
             units_number(number, x), cost->unit, compression_kl_text(kl_text, v->kl));
    svg_whisker(plot, css_of(c, file), x, fmax(v->kl_low, plot->y.min),
                compression_has_interval(v) ? v->kl_high : NAN);
    if (range) {
        svg_whisker_across(plot, css_of(c, file), kl, range->low * cost->factor,
                           range->high * cost->factor);
    }
    snprintf(css, sizeof css, "dot %s", css_of(c, file));
    if (file == &c->own) {
        svg_diamond(plot, css, x, kl, 8, tip);
    } else {
        svg_dot(plot, css, x, kl, 5, tip);
    }
}

static void put_names(struct svg_plot *plot, const struct cost *cost,
                      const struct compression_file *const *dots, size_t n) {
    struct svg_name names[MAX_DOTS];
    for (size_t i = 0; i < n; i++) {
        const struct compression_range *range = cost->range ? cost->range(dots[i]) : NULL;
        const struct compression_verdict *v = &dots[i]->verdict;
        names[i] = (struct svg_name){.x = cost->value(dots[i]) * cost->factor,
                                     .y = fmax(v->kl, LEAST_KL),
                                     .text = dots[i]->label,
                                     .left = range ? range->low * cost->factor : NAN,
                                     .right = range ? range->high * cost->factor : NAN,
                                     .low = fmax(v->kl_low, plot->y.min),
                                     .high = v->kl_high};
    }
    svg_names(plot, names, n);
}

static size_t legend_of(const struct compression *c, const struct cost *cost,
                        const struct compression_file *const *dots, size_t n,
                        struct svg_legend legend[4]) {
    bool has_types = false, has_models = false;
    size_t n_legend = 0;
    for (size_t i = 0; i < n; i++) {
        has_models = has_models || dots[i]->is_model;
        has_types = has_types || (dots[i] != &c->own && !dots[i]->is_model);
    }
    legend[n_legend++] = (struct svg_legend){"vs", "this file", false};
    if (has_types) {
        legend[n_legend++] = (struct svg_legend){"base", "the original in other types", false};
    }
    if (has_models) {
        legend[n_legend++] = (struct svg_legend){"dot hue b2", "other models", false};
    }
    if (isfinite(cost->value(&c->original))) {
        legend[n_legend++] = (struct svg_legend){"limit", ORIGINAL_NAME, true};
    }
    return n_legend;
}

static void put_files(struct buf *out, const struct compression *c, const struct cost *cost) {
    const struct compression_file *dots[MAX_DOTS];
    struct svg_legend legend[4];
    struct svg_plot plot;
    size_t n = dots_of(c, cost, dots);
    if (n == 0 || dots[n - 1] != &c->own) {
        return;
    }
    const struct svg_axis x = cost_axis(c, cost, dots, n), y = kl_axis(dots, n);
    buf_puts(out, "<figure>");
    html_element(out, "h3", NULL, cost->title);
    svg_open(&plot, out, cost->id, cost->title, cost->about, &x, &y, legend,
             legend_of(c, cost, dots, n, legend));
    svg_vertical(&plot, "limit", cost->value(&c->original) * cost->factor);
    for (size_t i = 0; i < n; i++) {
        draw_file(&plot, c, cost, dots[i]);
    }
    put_names(&plot, cost, dots, n);
    svg_close(&plot);
    html_element(out, "figcaption", NULL, "Nearer to the corner below on the left is better.");
    buf_puts(out, "</figure>");
}

static double bytes_of(const struct compression_file *file) {
    return file->bytes;
}

static double decode_ms_of(const struct compression_file *file) {
    return file->speed.decode_ms.median;
}

static const struct compression_range *decode_range_of(const struct compression_file *file) {
    return &file->speed.decode_ms;
}

void compression_size_plot(struct buf *out, const struct compression *c) {
    static const double GIB = 1024 * UNITS_BYTES_PER_MIB;
    double most = fmax(c->original.bytes, c->own.bytes);
    struct cost size = {.id = "by-size",
                        .title = "Divergence and size",
                        .about = "KL divergence from the original against the size of each file",
                        .unit = "MiB",
                        .factor = 1 / UNITS_BYTES_PER_MIB,
                        .value = bytes_of};
    if (most >= GIB) {
        size.unit = "GiB";
        size.factor = 1 / GIB;
    } else if (most < UNITS_BYTES_PER_MIB) {
        size.unit = "KiB";
        size.factor = 1 / 1024.0;
    }
    put_files(out, c, &size);
}

void compression_decode_plot(struct buf *out, const struct compression *c) {
    static const struct cost DECODE = {
        .id = "by-decode",
        .title = "Divergence and time",
        .about = "KL divergence from the original against the time of a generated token",
        .unit = "ms per generated token",
        .factor = 1,
        .range = decode_range_of,
        .value = decode_ms_of};
    put_files(out, c, &DECODE);
}
