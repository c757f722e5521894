#include <string.h>

#include "stats/describe.h"
#include "stats/knee.h"

enum { WIDTH = 5 };

// The window around point `i` begins here; at the ends it is shifted, not cut.
static size_t window_begin(size_t i, size_t n) {
    size_t begin = i >= WIDTH / 2 ? i - WIDTH / 2 : 0;
    return begin + WIDTH > n ? n - WIDTH : begin;
}

void knee_smooth_counts(struct knee_point *points, size_t n) {
    double raw[WIDTH]; // of the window as it was: what lies before `i` is smooth already
    size_t raw_begin = 0;
    if (n < WIDTH) {
        return;
    }
    for (size_t i = 0; i < WIDTH; i++) {
        raw[i] = points[i].y;
    }
    for (size_t i = 0; i < n; i++) {
        if (window_begin(i, n) > raw_begin) {
            memmove(raw, raw + 1, (WIDTH - 1) * sizeof raw[0]);
            raw_begin++;
            raw[WIDTH - 1] = points[raw_begin + WIDTH - 1].y;
        }
        double sorted[WIDTH];
        memcpy(sorted, raw, sizeof sorted);
        points[i].y = stats_median_in_place(sorted, WIDTH);
    }
}
