#include "report/knee_svg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "report/html.h"
#include "report/svg.h"

enum { MAX_CURVES = 7, N_POINTS = 2 * IMAGE_MAP_MAX_SERIES, MAX_TITLE_CHARS = 60 };

// Seven colours that stay apart for colour-blind eyes; the default is the strongest.
static const char STYLE[] =
    ".bg{fill:#fff}.plot text,.head{fill:#586271;font:12px system-ui,sans-serif}"
    ".plot text.legend,.head.big{fill:#151a21}.head.big{font-weight:650;font-size:15px}"
    ".plot .mid{text-anchor:middle}.plot .end{text-anchor:end}"
    ".plot .grid{stroke:#e9ecf0;fill:none}.plot .axis{stroke:#586271;fill:none;stroke-opacity:.55}"
    ".line{fill:none;stroke-width:1.6;stroke-linejoin:round}.line.k0{stroke:#151a21;stroke-width:2."
    "6}"
    ".line.k1{stroke:#0072b2}.line.k2{stroke:#d55e00}.line.k3{stroke:#009e73}"
    ".line.k4{stroke:#cc79a7}.line.k5{stroke:#b58900}.line.k6{stroke:#56b4e9}"
    ".knee{fill:#fff;stroke:#151a21;stroke-width:2}"
    "@media (prefers-color-scheme:dark){.bg{fill:#161b22}.plot text,.head{fill:#9ba7b5}"
    ".plot text.legend,.head.big{fill:#e7ebf0}.plot .grid{stroke:#222931}.plot "
    ".axis{stroke:#9ba7b5}"
    ".line.k0{stroke:#e7ebf0}.line.k1{stroke:#56b4e9}.line.k2{stroke:#f2a25c}"
    ".line.k3{stroke:#63d19c}.line.k4{stroke:#e6a8c8}.line.k5{stroke:#e3c04f}.line.k6{stroke:#"
    "9bd3f5}"
    ".knee{fill:#161b22;stroke:#e7ebf0}}";

struct curve {
    size_t reading, aspect;
    char name[32];
};

struct picture {
    struct curve curve[MAX_CURVES]; // the default's square first
    size_t n;
    double x_min, x_max, y_max;
};

static void add_curve(struct picture *picture, const struct image_map *map, size_t reading,
                      size_t aspect, const char *name) {
    const struct image_map_series *series = &map->sizes.series[aspect];
    if (picture->n == MAX_CURVES) {
        return;
    }
    struct curve *curve = &picture->curve[picture->n++];
    *curve = (struct curve){.reading = reading, .aspect = aspect};
    snprintf(curve->name, sizeof curve->name, "%s", name);
    for (size_t i = series->first; i < series->first + series->n; i++) {
        double x = (double)image_map_pixels(map->sizes.at[i]) * 1e-6;
        picture->x_min = picture->n == 1 && i == series->first ? x : fmin(picture->x_min, x);
        picture->x_max = fmax(picture->x_max, x);
        picture->y_max =
            fmax(picture->y_max, (double)image_map_tokens(&map->reading[reading].costs[i]));
    }
}

static void choose_curves(struct picture *picture, const struct image_map *map) {
    bool has_budget = false;
    for (size_t i = 1; i < map->n_readings; i++) {
        has_budget = has_budget || (map->reading[i].costs && !map->reading[i].is_same);
    }
    add_curve(picture, map, 0, 0, has_budget ? "default" : "square");
    if (!has_budget) {
        add_curve(picture, map, 0, 1, "4:3");
        add_curve(picture, map, 0, 2, "16:9");
    }
    for (size_t i = 1; i < map->n_readings; i++) {
        char name[32];
        snprintf(name, sizeof name, "%" PRId32, map->reading[i].budget);
        if (map->reading[i].costs && !map->reading[i].is_same) {
            add_curve(picture, map, i, 0, name);
        }
    }
}

// Stairs: the cost of a size holds to the next one counted. Dips that rounding makes are left out.
static void draw_curve(struct svg_plot *plot, const struct image_map *map,
                       const struct curve *curve, const char *css) {
    double tokens[IMAGE_MAP_MAX_SERIES], xs[N_POINTS], ys[N_POINTS];
    const struct image_map_series *series = &map->sizes.series[curve->aspect];
    size_t n = 0;
    image_map_smooth(map, curve->reading, curve->aspect, tokens);
    for (size_t i = 0; i < series->n; i++) {
        double x = (double)image_map_pixels(map->sizes.at[series->first + i]) * 1e-6;
        if (n > 0) {
            xs[n] = x;
            ys[n] = ys[n - 1];
            n++;
        }
        xs[n] = x;
        ys[n] = tokens[i];
        n++;
    }
    svg_line(plot, css, xs, ys, n);
}

static void draw_knee(struct svg_plot *plot, const struct image_map *map) {
    const struct image_map_knee *knee = &map->reading[0].knee[0];
    char tip[96];
    if (knee->at.width > 0) {
        snprintf(tip, sizeof tip, "from %" PRIu32 "x%" PRIu32 " on: %" PRIu32 " tokens",
                 knee->at.width, knee->at.height, knee->tokens);
        svg_dot(plot, "knee", (double)image_map_pixels(knee->at) * 1e-6, (double)knee->tokens, 4.5,
                tip);
    }
}

static void put_heading(struct buf *out, const char *title, const char *subtitle) {
    buf_puts(out, "<text class=\"head big\" x=\"14\" y=\"28\">");
    html_text_cut(out, title, MAX_TITLE_CHARS);
    buf_puts(out, "</text>\n<text class=\"head\" x=\"14\" y=\"46\">");
    html_text_cut(out, subtitle, MAX_TITLE_CHARS + 10);
    buf_puts(out, "</text>\n");
}

void knee_svg(struct buf *out, const struct image_map *map, const char *title,
              const char *subtitle) {
    static const char *const LEGEND[MAX_CURVES] = {"line k0", "line k1", "line k2", "line k3",
                                                   "line k4", "line k5", "line k6"};
    static const char *const LINE[MAX_CURVES] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6"};
    struct picture picture = {0};
    struct svg_legend legend[MAX_CURVES];
    struct svg_plot plot;
    choose_curves(&picture, map);
    for (size_t i = 0; i < picture.n; i++) {
        legend[i] = (struct svg_legend){LEGEND[i], picture.curve[i].name, true};
    }
    const struct svg_axis x = {
        .title = "Megapixels", .min = picture.x_min, .max = picture.x_max, .is_log = true};
    const struct svg_axis y = {
        .title = "Tokens", .min = 0, .max = picture.y_max, .from_zero = true};
    buf_puts(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"712\" "
                  "viewBox=\"0 0 500 371\">\n<style>");
    buf_puts(out, STYLE);
    buf_puts(out, "</style>\n<rect class=\"bg\" width=\"500\" height=\"371\"/>\n");
    put_heading(out, title, subtitle);
    buf_puts(out, "<svg x=\"10\" y=\"54\" width=\"480\" height=\"312\">\n");
    svg_open(&plot, out, "knee", title, "Tokens of a picture against its megapixels, as counted",
             &x, &y, legend, picture.n);
    for (size_t i = picture.n; i-- > 0;) { // the default on top
        draw_curve(&plot, map, &picture.curve[i], LINE[i]);
    }
    draw_knee(&plot, map);
    svg_close(&plot);
    buf_puts(out, "</svg>\n</svg>\n");
}
