#include "cli/knee_plot.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/term.h"
#include "report/svg.h"

enum { HEIGHT = 14, MARGIN = 9, MIN_WIDTH = 40, MAX_WIDTH = 120, MAX_CURVES = 8, N_Y_TICKS = 6 };

struct curve {
    const struct image_map_series *series;
    double tokens[IMAGE_MAP_MAX_SERIES];
    char mark;
    char name[24];
};

struct plot {
    struct curve curve[MAX_CURVES];
    size_t n;
    double x_min, x_max; // log10 of megapixels
    double y_max;
    int width; // of the drawing area
    char cell[HEIGHT][MAX_WIDTH + 1];
};

static double megapixels_log(const struct image_map_series *series, size_t i) {
    struct image_map_size size = {series->unit.width * series->side[i],
                                  series->unit.height * series->side[i]};
    return log10((double)image_map_pixels(size) * 1e-6);
}

static void add_curve(struct plot *plot, const struct image_map *map, size_t reading, size_t aspect,
                      char mark, const char *name) {
    const struct image_map_series *series = &map->sizes.series[aspect];
    if (plot->n == MAX_CURVES) {
        return;
    }
    struct curve *curve = &plot->curve[plot->n++];
    curve->series = series;
    curve->mark = mark;
    snprintf(curve->name, sizeof curve->name, "%s", name);
    image_map_smooth(map, reading, aspect, curve->tokens);
    for (size_t i = 0; i < series->n; i++) {
        plot->y_max = fmax(plot->y_max, curve->tokens[i]);
    }
    double first = megapixels_log(series, 0), last = megapixels_log(series, series->n - 1);
    plot->x_min = plot->n == 1 ? first : fmin(plot->x_min, first);
    plot->x_max = plot->n == 1 ? last : fmax(plot->x_max, last);
}

static void add_curves(struct plot *plot, const struct image_map *map) {
    char mark = 'a';
    for (size_t i = 1; i < map->n_readings && plot->n < MAX_CURVES - 1; i++) {
        const struct image_map_reading *reading = &map->reading[i];
        if (reading->costs && !reading->is_same) {
            char name[24];
            snprintf(name, sizeof name, "%" PRId32, reading->budget);
            add_curve(plot, map, i, 0, mark++, name);
        }
    }
    if (plot->n == 0) {
        add_curve(plot, map, 0, 2, 'o', "16:9");
        add_curve(plot, map, 0, 1, '+', "4:3");
        add_curve(plot, map, 0, 0, '*', "square");
    } else {
        add_curve(plot, map, 0, 0, '*', "default");
    }
}

// The cost of the largest size that is not right of the column; the first size's left of it.
static double tokens_at(const struct curve *curve, double x) {
    size_t i = 0;
    while (i + 1 < curve->series->n && megapixels_log(curve->series, i + 1) <= x + 1e-9) {
        i++;
    }
    return curve->tokens[i];
}

static int row_of(const struct plot *plot, double tokens) {
    return (int)lround((1 - tokens / plot->y_max) * (HEIGHT - 1));
}

static void draw_curve(struct plot *plot, const struct curve *curve) {
    int last = -1;
    for (int column = 0; column < plot->width; column++) {
        double share = (double)column / (plot->width - 1);
        double x = plot->x_min + (plot->x_max - plot->x_min) * share;
        int row = row_of(plot, tokens_at(curve, x));
        for (int between = row + 1; last > row && between < last; between++) {
            plot->cell[between][column] = curve->mark; // a jump is a line
        }
        plot->cell[row][column] = curve->mark;
        last = row;
    }
}

// The tick that falls on this row, as text; "" when there is none.
static void label_row(const struct plot *plot, int row, char label[16]) {
    double ticks[SVG_MAX_TICKS];
    size_t n = svg_round_ticks(0, plot->y_max, N_Y_TICKS, ticks);
    label[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        if (ticks[i] <= plot->y_max && row_of(plot, ticks[i]) == row) {
            snprintf(label, 16, "%.0f", ticks[i]);
        }
    }
}

static void print_row(const struct plot *plot, int row) {
    char label[16];
    label_row(plot, row, label);
    printf("%*s |", MARGIN - 2, label);
    const char *cells = plot->cell[row];
    size_t length = (size_t)plot->width;
    while (length > 0 && cells[length - 1] == ' ') {
        length--;
    }
    bool is_bold = false;
    for (size_t i = 0; i < length; i++) {
        if ((cells[i] == '*') != is_bold) {
            is_bold = !is_bold;
            fputs(is_bold ? term_bold(stdout) : term_reset(stdout), stdout);
        }
        putchar(cells[i]);
    }
    printf("%s\n", is_bold ? term_reset(stdout) : "");
}

static void print_x_axis(const struct plot *plot) {
    char line[MAX_WIDTH + 1], labels[MAX_WIDTH + 16];
    memset(line, '-', (size_t)plot->width);
    memset(labels, ' ', sizeof labels);
    line[plot->width] = '\0';
    int end = 0;
    for (int decade = (int)ceil(plot->x_min - 0.01); decade <= (int)floor(plot->x_max); decade++) {
        char label[16];
        double share = (decade - plot->x_min) / (plot->x_max - plot->x_min);
        int column = (int)lround(fmax(share, 0) * (plot->width - 1));
        int n = snprintf(label, sizeof label, "%g%s", pow(10, decade),
                         decade == (int)floor(plot->x_max) ? " MP" : "");
        line[column] = '+';
        if (column >= end) {
            memcpy(labels + column, label, (size_t)n);
            end = column + n + 1;
        }
    }
    printf("%*s +%s\n%*s%.*s\n", MARGIN - 2, "", line, MARGIN, "", end > 0 ? end - 1 : 0, labels);
}

void knee_plot_print(const struct image_map *map, int width) {
    struct plot plot = {0};
    add_curves(&plot, map);
    width = width > MAX_WIDTH ? MAX_WIDTH : width < MIN_WIDTH ? MIN_WIDTH : width;
    plot.width = width - MARGIN - 1;
    plot.y_max = fmax(plot.y_max, 1);
    memset(plot.cell, ' ', sizeof plot.cell);
    for (size_t i = 0; i < plot.n; i++) {
        draw_curve(&plot, &plot.curve[i]);
    }
    bool is_square = plot.curve[0].series == plot.curve[plot.n - 1].series;
    printf("%sTokens of a %s against its megapixels%s\n", term_bold(stdout),
           is_square ? "square picture" : "picture", term_reset(stdout));
    for (int row = 0; row < HEIGHT; row++) {
        print_row(&plot, row);
    }
    print_x_axis(&plot);
    printf("%*s", MARGIN, "");
    for (size_t i = plot.n; i-- > 0;) {
        printf("%c %s%s", plot.curve[i].mark, plot.curve[i].name, i > 0 ? "   " : "\n");
    }
}
