#include "report/svg_names.h"

#include <math.h>
#include <string.h>

#include "base/str.h"
#include "report/html.h"

static const double CHAR_WIDTH = 7.4; // at the larger size of small screens
static const double ASCENT = 11, DESCENT = 4, DOT = 8, WHISKER = 4; // around a mark nothing may be
enum { MAX_CHARS = 22 };

struct box {
    double left, right, top, bottom;
};

struct place { // of a text beside its dot
    const char *css;
    double x, y;
    struct box box;
};

static double width_of(const char *text) {
    size_t n = 0;
    for (size_t len; n < MAX_CHARS && (len = str_utf8_len(text)) > 0; n++) {
        text += len;
    }
    return (double)n * CHAR_WIDTH;
}

// Right, left, above, below, and the corners between.
static struct place place_at(size_t way, double x, double y, double width) {
    static const double ACROSS[] = {1, -1, 0, 0, 1, 1, -1, -1};
    static const double DOWN[] = {0, 0, -1, 1, -1, 1, -1, 1};
    double side = ACROSS[way], gap = DOWN[way] == 0 ? DOT + 2 : 6;
    double left = side > 0 ? x + gap : side < 0 ? x - gap - width : x - width / 2;
    double line = y + 4 + DOWN[way] * (side == 0 ? 15 : 12);
    return (struct place){.css = side > 0   ? "legend"
                                 : side < 0 ? "legend end"
                                            : "legend mid",
                          .x = x + side * gap,
                          .y = line,
                          .box = {left, left + width, line - ASCENT, line + DESCENT}};
}

enum { N_WAYS = 8 };

static double overlap(const struct box *a, const struct box *b) {
    double across = fmin(a->right, b->right) - fmax(a->left, b->left);
    double down = fmin(a->bottom, b->bottom) - fmax(a->top, b->top);
    return across > 0 && down > 0 ? across * down : 0;
}

// How much of a text would lie outside of the plot.
static double outside(const struct svg_plot *plot, const struct box *box) {
    const struct box frame = {plot->left, plot->right + 12, plot->top - 6, plot->bottom};
    double area = (box->right - box->left) * (box->bottom - box->top);
    return 4 * (area - overlap(box, &frame));
}

static double end_of(double pixel, double dot) {
    return isfinite(pixel) ? pixel : dot;
}

// A dot with its whiskers: two boxes.
static void mark_boxes(const struct svg_plot *plot, const struct svg_name *name,
                       struct box out[2]) {
    double x = svg_pixel_x(plot, name->x), y = svg_pixel_y(plot, name->y);
    double left = end_of(svg_pixel_x(plot, name->left), x);
    double right = end_of(svg_pixel_x(plot, name->right), x);
    double low = end_of(svg_pixel_y(plot, name->low), y);
    double high = end_of(svg_pixel_y(plot, name->high), y);
    out[0] = (struct box){fmin(left, x - DOT), fmax(right, x + DOT), y - DOT, y + DOT};
    out[1] = (struct box){x - WHISKER, x + WHISKER, fmin(high, y), fmax(low, y)};
}

static void put(struct svg_plot *plot, const struct place *place, const char *text) {
    buf_printf(plot->out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", place->css, place->x,
               place->y);
    html_text_cut(plot->out, text, MAX_CHARS);
    buf_puts(plot->out, "</text>");
}

// The way that covers least.
static struct place best_place(const struct svg_plot *plot, const struct svg_name *name,
                               const struct box *taken, size_t n_taken) {
    double x = svg_pixel_x(plot, name->x), y = svg_pixel_y(plot, name->y), least = INFINITY;
    double width = width_of(name->text);
    struct place best = {0};
    for (size_t way = 0; way < N_WAYS; way++) {
        struct place place = place_at(way, x, y, width);
        double cost = outside(plot, &place.box);
        for (size_t k = 0; k < n_taken; k++) {
            cost += overlap(&place.box, &taken[k]);
        }
        if (cost < least) {
            least = cost;
            best = place;
        }
    }
    return best;
}

static bool is_drawn(const struct svg_name *name) {
    return isfinite(name->x) && isfinite(name->y);
}

void svg_names(struct svg_plot *plot, const struct svg_name *names, size_t n) {
    struct box taken[3 * SVG_MAX_NAMES];
    size_t n_taken = 0;
    n = n < SVG_MAX_NAMES ? n : SVG_MAX_NAMES;
    for (size_t i = 0; i < n; i++) {
        if (is_drawn(&names[i])) {
            mark_boxes(plot, &names[i], &taken[n_taken]);
            n_taken += 2;
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (is_drawn(&names[i])) {
            struct place place = best_place(plot, &names[i], taken, n_taken);
            put(plot, &place, names[i].text);
            taken[n_taken++] = place.box;
        }
    }
}
