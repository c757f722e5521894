// Charts as SVG text: axes with round ticks (linear or logarithmic), bands, lines, dots, whiskers,
// bars and a legend. Colours come from CSS classes of the page ("base", "vs", ...), so that light,
// dark and print differ in CSS only. All text is escaped; values that are not finite are skipped.
#ifndef WATTLAW_REPORT_SVG_H
#define WATTLAW_REPORT_SVG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { SVG_MAX_TICKS = 24, SVG_MAX_LEGEND = 8 };

struct svg_axis {
    const char *title; // with the unit
    double min, max;   // of the data; a linear axis is extended to round numbers
    bool is_log;       // min must be > 0
    bool from_zero;    // linear only
    bool
        ends_at_max; // linear: the axis ends a little after max instead of at the next round number
    // Where ticks are wished (thinned so that labels do not touch), and their labels if they are
    // not the numbers themselves. NULL: round numbers.
    const double *ticks;
    const char *const *labels;
    size_t n_ticks;
};

struct svg_legend {
    const char *css; // class of the swatch
    const char *text;
    bool is_line; // a stroke instead of a box
};

struct svg_scale {
    double min, max;
    bool is_log;
    double at_min, at_max; // pixels
};

struct svg_plot {
    struct buf *out;
    double width, height;
    double left, right, top, bottom; // of the plotting area
    struct svg_scale x, y;
};

struct svg_band_point {
    double x, low, high;
};

// `id` makes element ids unique in the page; `title` and `description` are what a screen reader
// says.
void svg_open(struct svg_plot *plot, struct buf *out, const char *id, const char *title,
              const char *description, const struct svg_axis *x, const struct svg_axis *y,
              const struct svg_legend *legend, size_t n_legend);
void svg_close(struct svg_plot *plot);

// Where a point is, in the drawing's own units.
double svg_pixel_x(const struct svg_plot *plot, double x);
double svg_pixel_y(const struct svg_plot *plot, double y);

void svg_line(struct svg_plot *plot, const char *css, const double *xs, const double *ys, size_t n);
void svg_band(struct svg_plot *plot, const char *css, const struct svg_band_point *points,
              size_t n);
// `tip` is shown on hover; may be NULL.
void svg_dot(struct svg_plot *plot, const char *css, double x, double y, double radius,
             const char *tip);
void svg_whisker(struct svg_plot *plot, const char *css, double x, double low, double high);
// The same lying, of a range in x.
void svg_whisker_across(struct svg_plot *plot, const char *css, double y, double low, double high);
void svg_rule(struct svg_plot *plot, const char *css, double y); // a horizontal line
// A vertical line, and the strip between two; what lies outside the plotting area is left out.
void svg_vertical(struct svg_plot *plot, const char *css, double x);
void svg_strip(struct svg_plot *plot, const char *css, double x0, double x1);
// A dot of another shape.
void svg_diamond(struct svg_plot *plot, const char *css, double x, double y, double radius,
                 const char *tip);
// From x0 to x1 and y0 to y1 in the axes' units.
void svg_bar(struct svg_plot *plot, const char *css, double x0, double x1, double y0, double y1,
             const char *tip);

// Round tick positions that cover min..max; returns their number (2..max_n). Exposed for tests.
size_t svg_round_ticks(double min, double max, size_t max_n, double *out);
// Decades and, where they are few, their 2 and 5, within min..max.
size_t svg_log_ticks(double min, double max, size_t max_n, double *out);

#endif
