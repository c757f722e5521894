#include "report/svg.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html.h"

// The drawing's own units; CSS scales the whole. Text sizes are in style.css.
static const double WIDTH = 480, HEIGHT = 312;
static const double CHAR_WIDTH = 6.7; // of a digit at the tick labels' size
static const double WIDE_CHAR = 8.2;  // of a legend's letters, at the larger size of small screens
static const double LEGEND_ROW = 19, TITLE_ROW = 28, X_LABEL_ROW = 22, X_TITLE_ROW = 20;

enum { MAX_Y_TICKS = 6, MAX_X_TICKS = 8, LABEL_BYTES = 24, MAX_LEGEND_CHARS = 30 };

// ---- ticks ----

size_t svg_round_ticks(double min, double max, size_t max_n, double *out) {
    if (!(max > min)) {
        double pad = min != 0 ? fabs(min) * 0.1 : 1;
        max = min + pad;
        min -= min != 0 ? pad : 0;
    }
    static const double FACTORS[] = {1, 2, 2.5, 5, 10};
    double decade = pow(10, floor(log10((max - min) / (double)(max_n - 1))));
    for (int round = 0; round < 2; round++, decade *= 10) {
        for (size_t i = 0; i < sizeof FACTORS / sizeof FACTORS[0]; i++) {
            double step = decade * FACTORS[i];
            double first = floor(min / step + 1e-9), last = ceil(max / step - 1e-9);
            if (last - first + 1 <= (double)max_n) {
                size_t n = (size_t)(last - first) + 1;
                for (size_t k = 0; k < n; k++) {
                    out[k] = (first + (double)k) * step;
                }
                return n;
            }
        }
    }
    out[0] = min;
    out[1] = max;
    return 2;
}

size_t svg_log_ticks(double min, double max, size_t max_n, double *out) {
    static const double MANTISSAS[] = {1, 2, 5};
    double decades = log10(max / min);
    size_t n = 0;
    int stride = decades > (double)max_n - 1 ? (int)ceil(decades / ((double)max_n - 1)) : 1;
    bool has_mantissas = decades * 3 <= (double)max_n - 1;
    for (int e = (int)floor(log10(min)); e <= (int)ceil(log10(max)); e += stride) {
        for (int i = 0; i < (has_mantissas ? 3 : 1); i++) {
            double tick = MANTISSAS[i] * pow(10, e);
            if (tick >= min * (1 - 1e-9) && tick <= max * (1 + 1e-9) && n < max_n) {
                out[n++] = tick;
            }
        }
    }
    return n;
}

struct ticks {
    size_t n;
    double at[SVG_MAX_TICKS];
    char label[SVG_MAX_TICKS][LABEL_BYTES];
};

// Enough decimals to tell neighbouring ticks apart, the same for all.
static void label_numbers(struct ticks *ticks, bool is_log) {
    double step = ticks->n > 1 ? fabs(ticks->at[1] - ticks->at[0]) : 1;
    int decimals = step > 0 ? (int)ceil(-log10(step) - 1e-9) : 0;
    double scaled = step * pow(10, decimals);
    decimals += fabs(scaled - round(scaled)) > 1e-6; // steps of 2.5
    decimals = decimals < 0 ? 0 : decimals > 9 ? 9 : decimals;
    for (size_t i = 0; i < ticks->n; i++) {
        double at = fabs(ticks->at[i]) < step * 1e-9 ? 0 : ticks->at[i];
        if (is_log || fabs(at) >= 1e7) {
            snprintf(ticks->label[i], LABEL_BYTES, "%.6g", at);
        } else {
            snprintf(ticks->label[i], LABEL_BYTES, "%.*f", decimals, at);
        }
    }
}

static void wished_ticks(const struct svg_axis *axis, struct ticks *ticks) {
    for (size_t i = 0; i < axis->n_ticks && ticks->n < SVG_MAX_TICKS; i++) {
        size_t k = ticks->n++;
        ticks->at[k] = axis->ticks[i];
        if (axis->labels) {
            snprintf(ticks->label[k], LABEL_BYTES, "%s", axis->labels[i]);
        } else {
            snprintf(ticks->label[k], LABEL_BYTES, "%.6g", axis->ticks[i]);
        }
    }
}

// Sets the scale's range and the ticks. Data ranges that are not finite become 0..1.
static void prepare(const struct svg_axis *axis, size_t max_ticks, struct svg_scale *scale,
                    struct ticks *ticks) {
    double min = isfinite(axis->min) ? axis->min : 0;
    double max = isfinite(axis->max) && axis->max >= min ? axis->max : min + 1;
    *ticks = (struct ticks){0};
    *scale = (struct svg_scale){.min = min, .max = max, .is_log = axis->is_log && min > 0};
    if (axis->from_zero && !scale->is_log) {
        scale->min = fmin(0, min);
        scale->max = fmax(0, max);
    }
    if (axis->ticks) {
        wished_ticks(axis, ticks);
    } else if (scale->is_log) {
        ticks->n = svg_log_ticks(min, max, max_ticks, ticks->at);
        label_numbers(ticks, true);
    } else {
        ticks->n = svg_round_ticks(scale->min, scale->max, max_ticks, ticks->at);
        label_numbers(ticks, false);
        scale->min = fmin(scale->min, ticks->at[0]);
        double room = scale->max + (scale->max - scale->min) * 0.03;
        while (axis->ends_at_max && ticks->n > 2 && ticks->at[ticks->n - 1] > room) {
            ticks->n--;
        }
        scale->max = fmax(axis->ends_at_max ? room : scale->max, ticks->at[ticks->n - 1]);
    }
    if (!(scale->max > scale->min)) {
        scale->max = scale->is_log ? scale->min * 2 : scale->min + 1;
    }
}

// ---- coordinates ----

static double to_pixel(const struct svg_scale *scale, double value) {
    double share = scale->is_log ? log(fmax(value, scale->min * 1e-3) / scale->min) /
                                       log(scale->max / scale->min)
                                 : (value - scale->min) / (scale->max - scale->min);
    // Points far outside must not make numbers that no viewer can draw.
    share = fmin(fmax(share, -1), 2);
    return scale->at_min + share * (scale->at_max - scale->at_min);
}

static double px(const struct svg_plot *plot, double x) {
    return to_pixel(&plot->x, x);
}

static double py(const struct svg_plot *plot, double y) {
    return to_pixel(&plot->y, y);
}

double svg_pixel_x(const struct svg_plot *plot, double x) {
    return px(plot, x);
}

double svg_pixel_y(const struct svg_plot *plot, double y) {
    return py(plot, y);
}

// ---- frame ----

static size_t longest_label(const struct ticks *ticks) {
    size_t longest = 1;
    for (size_t i = 0; i < ticks->n; i++) {
        size_t len = strlen(ticks->label[i]);
        longest = len > longest ? len : longest;
    }
    return longest;
}

static double legend_width(const struct svg_legend *entry) {
    size_t len = strlen(entry->text);
    len = len > MAX_LEGEND_CHARS ? MAX_LEGEND_CHARS + 1 : len;
    return 19 + (double)len * WIDE_CHAR + 12;
}

// Lays entries out in rows from the left; draws them when is_drawing; returns the height.
static double legend(struct svg_plot *plot, const struct svg_legend *entries, size_t n,
                     bool is_drawing) {
    double x = 4, y = 14;
    for (size_t i = 0; i < n; i++) {
        if (x > 4 && x + legend_width(&entries[i]) > plot->width) {
            x = 4;
            y += LEGEND_ROW;
        }
        if (is_drawing) {
            if (entries[i].is_line) {
                buf_printf(plot->out, "<path class=\"%s\" d=\"M%.1f %.1fh14\"/>", entries[i].css, x,
                           y - 4);
            } else {
                buf_printf(plot->out,
                           "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" "
                           "rx=\"2\"/>",
                           entries[i].css, x, y - 10);
            }
            buf_printf(plot->out, "<text class=\"legend\" x=\"%.1f\" y=\"%.1f\">", x + 19, y);
            html_text_cut(plot->out, entries[i].text, MAX_LEGEND_CHARS);
            buf_puts(plot->out, "</text>");
        }
        x += legend_width(&entries[i]);
    }
    return n > 0 ? y + 6 : 0;
}

static void draw_y_axis(struct svg_plot *plot, const struct ticks *ticks, const char *title) {
    for (size_t i = 0; i < ticks->n; i++) {
        double y = py(plot, ticks->at[i]);
        bool is_zero = ticks->at[i] == 0;
        buf_printf(plot->out, "<path class=\"%s\" d=\"M%.1f %.1fH%.1f\"/>",
                   is_zero ? "axis" : "grid", plot->left, y, plot->right);
        buf_printf(plot->out, "<text class=\"tick end\" x=\"%.1f\" y=\"%.1f\">", plot->left - 7,
                   y + 4);
        html_figure(plot->out, ticks->label[i]);
        buf_puts(plot->out, "</text>");
    }
    buf_printf(plot->out, "<text class=\"axis-title\" x=\"4\" y=\"%.1f\">", plot->top - 13);
    html_text(plot->out, title);
    buf_puts(plot->out, "</text>");
}

// Labels that would touch the one before are left out, their tick marks stay. The last label wins
// over its neighbour, so that the end of the range is named.
static void draw_x_axis(struct svg_plot *plot, const struct ticks *ticks, const char *title) {
    double free_from = -1e9;
    double last_left = 1e9;
    for (size_t i = 0; i < ticks->n; i++) {
        double x = px(plot, ticks->at[i]);
        double half = (double)strlen(ticks->label[i]) * CHAR_WIDTH / 2;
        bool is_last = i + 1 == ticks->n;
        buf_printf(plot->out, "<path class=\"axis\" d=\"M%.1f %.1fv4\"/>", x, plot->bottom);
        if (i == 0) {
            size_t last = ticks->n - 1;
            last_left =
                px(plot, ticks->at[last]) - (double)strlen(ticks->label[last]) * CHAR_WIDTH / 2 - 8;
        }
        bool fits = is_last ? x - half > free_from - 8
                            : x - half > free_from && (i == 0 || x + half < last_left);
        if (fits) {
            buf_printf(plot->out, "<text class=\"tick mid\" x=\"%.1f\" y=\"%.1f\">", x,
                       plot->bottom + 18);
            html_figure(plot->out, ticks->label[i]);
            buf_puts(plot->out, "</text>");
            free_from = x + half + 8;
        }
    }
    buf_printf(plot->out, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>", plot->left, plot->bottom,
               plot->right);
    buf_printf(plot->out, "<text class=\"axis-title end\" x=\"%.1f\" y=\"%.1f\">", plot->right,
               plot->bottom + X_LABEL_ROW + 14);
    html_text(plot->out, title);
    buf_puts(plot->out, "</text>");
}

static void put_head(struct buf *out, const char *id, const char *title, const char *description) {
    buf_printf(out,
               "<svg class=\"plot\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
               "aria-labelledby=\"%s-t %s-d\"><title id=\"%s-t\">",
               WIDTH, HEIGHT, id, id, id);
    html_text(out, title);
    buf_printf(out, "</title><desc id=\"%s-d\">", id);
    html_text(out, description);
    buf_puts(out, "</desc>");
}

void svg_open(struct svg_plot *plot, struct buf *out, const char *id, const char *title,
              const char *description, const struct svg_axis *x, const struct svg_axis *y,
              const struct svg_legend *legend_entries, size_t n_legend) {
    struct ticks x_ticks, y_ticks;
    *plot = (struct svg_plot){.out = out, .width = WIDTH, .height = HEIGHT};
    prepare(x, MAX_X_TICKS, &plot->x, &x_ticks);
    prepare(y, MAX_Y_TICKS, &plot->y, &y_ticks);
    plot->left = 14 + (double)longest_label(&y_ticks) * CHAR_WIDTH;
    plot->right = WIDTH - 18;
    plot->top = TITLE_ROW + legend(plot, legend_entries, n_legend, false);
    plot->bottom = HEIGHT - X_LABEL_ROW - X_TITLE_ROW;
    plot->x.at_min = plot->left;
    plot->x.at_max = plot->right;
    plot->y.at_min = plot->bottom;
    plot->y.at_max = plot->top;
    put_head(out, id, title, description);
    legend(plot, legend_entries, n_legend, true);
    draw_y_axis(plot, &y_ticks, y->title);
    draw_x_axis(plot, &x_ticks, x->title);
}

void svg_close(struct svg_plot *plot) {
    buf_puts(plot->out, "</svg>\n");
}

// ---- marks ----

void svg_line(struct svg_plot *plot, const char *css, const double *xs, const double *ys,
              size_t n) {
    bool is_down = false;
    buf_printf(plot->out, "<path class=\"line %s\" d=\"", css);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(xs[i]) || !isfinite(ys[i])) {
            is_down = false;
            continue;
        }
        buf_printf(plot->out, "%c%.1f %.1f", is_down ? 'L' : 'M', px(plot, xs[i]), py(plot, ys[i]));
        is_down = true;
    }
    buf_puts(plot->out, "\"/>");
}

static bool is_drawable(const struct svg_band_point *p) {
    return isfinite(p->x) && isfinite(p->low) && isfinite(p->high);
}

// A band may be wider than the data: it ends at the plotting area's edge.
static double py_inside(const struct svg_plot *plot, double y) {
    return fmin(fmax(py(plot, y), plot->top), plot->bottom);
}

void svg_band(struct svg_plot *plot, const char *css, const struct svg_band_point *points,
              size_t n) {
    char letter = 'M';
    buf_printf(plot->out, "<path class=\"band %s\" d=\"", css);
    for (size_t i = 0; i < n; i++) {
        if (is_drawable(&points[i])) {
            buf_printf(plot->out, "%c%.1f %.1f", letter, px(plot, points[i].x),
                       py_inside(plot, points[i].high));
            letter = 'L';
        }
    }
    for (size_t i = n; i-- > 0;) {
        if (is_drawable(&points[i])) {
            buf_printf(plot->out, "L%.1f %.1f", px(plot, points[i].x),
                       py_inside(plot, points[i].low));
        }
    }
    buf_puts(plot->out, letter == 'L' ? "Z\"/>" : "\"/>");
}

static void put_tip(struct svg_plot *plot, const char *tip, const char *tag) {
    if (!tip) {
        buf_puts(plot->out, "/>");
        return;
    }
    buf_puts(plot->out, "><title>");
    html_figure(plot->out, tip);
    buf_printf(plot->out, "</title></%s>", tag);
}

void svg_dot(struct svg_plot *plot, const char *css, double x, double y, double radius,
             const char *tip) {
    if (isfinite(x) && isfinite(y)) {
        buf_printf(plot->out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"", css,
                   px(plot, x), py(plot, y), radius);
        put_tip(plot, tip, "circle");
    }
}

void svg_whisker(struct svg_plot *plot, const char *css, double x, double low, double high) {
    if (isfinite(x) && isfinite(low) && isfinite(high)) {
        double at = px(plot, x);
        buf_printf(
            plot->out, "<path class=\"whisker %s\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh6M%.1f %.1fh6\"/>",
            css, at, py(plot, low), py(plot, high), at - 3, py(plot, low), at - 3, py(plot, high));
    }
}

void svg_whisker_across(struct svg_plot *plot, const char *css, double y, double low, double high) {
    if (isfinite(y) && isfinite(low) && isfinite(high)) {
        double at = py(plot, y);
        buf_printf(
            plot->out, "<path class=\"whisker %s\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6\"/>",
            css, px(plot, low), at, px(plot, high), px(plot, low), at - 3, px(plot, high), at - 3);
    }
}

void svg_rule(struct svg_plot *plot, const char *css, double y) {
    buf_printf(plot->out, "<path class=\"%s\" d=\"M%.1f %.1fH%.1f\"/>", css, plot->left,
               py(plot, y), plot->right);
}

static bool is_inside_x(const struct svg_plot *plot, double x) {
    return isfinite(x) && x >= plot->x.min && x <= plot->x.max;
}

void svg_vertical(struct svg_plot *plot, const char *css, double x) {
    if (is_inside_x(plot, x)) {
        buf_printf(plot->out, "<path class=\"%s\" d=\"M%.1f %.1fV%.1f\"/>", css, px(plot, x),
                   plot->top, plot->bottom);
    }
}

void svg_strip(struct svg_plot *plot, const char *css, double x0, double x1) {
    if (!isfinite(x0) || !isfinite(x1) || x1 < plot->x.min || x0 > plot->x.max) {
        return;
    }
    buf_printf(plot->out, "<path class=\"strip %s\" d=\"M%.1f %.1fH%.1fV%.1fH%.1fZ\"/>", css,
               px(plot, fmax(x0, plot->x.min)), plot->top, px(plot, fmin(x1, plot->x.max)),
               plot->bottom, px(plot, fmax(x0, plot->x.min)));
}

void svg_diamond(struct svg_plot *plot, const char *css, double x, double y, double radius,
                 const char *tip) {
    if (isfinite(x) && isfinite(y)) {
        buf_printf(plot->out, "<path class=\"%s\" d=\"M%.1f %.1fl%.1f %.1fl%.1f %.1fl%.1f %.1fZ\"",
                   css, px(plot, x), py(plot, y) - radius, radius, radius, -radius, radius, -radius,
                   -radius);
        put_tip(plot, tip, "path");
    }
}

void svg_bar(struct svg_plot *plot, const char *css, double x0, double x1, double y0, double y1,
             const char *tip) {
    if (!isfinite(x0) || !isfinite(x1) || !isfinite(y0) || !isfinite(y1)) {
        return;
    }
    double left = px(plot, fmin(x0, x1)), top = py(plot, fmax(y0, y1));
    buf_printf(plot->out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"",
               css, left, top, px(plot, fmax(x0, x1)) - left, py(plot, fmin(y0, y1)) - top);
    put_tip(plot, tip, "rect");
}
