#include "image/resize_taps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Catmull-Rom: R. G. Keys, "Cubic convolution interpolation for digital image processing" (1981),
// with a = -1/2, which reproduces quadratic functions.
static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) {
        return 1.0 - x * x * ((a + 3.0) - (a + 2.0) * x);
    }
    return x < 2.0 ? a * (x * (8.0 - x * (5.0 - x)) - 4.0) : 0.0;
}

// The output pixel's centre lies at `centre` of the input line; the curve is stretched by
// `stretch` so that a reduction averages. Beyond the line there is nothing, so what is left of the
// curve is made to add up to 1.
static void fill_pixel(struct resize_taps *taps, uint32_t at, uint32_t n_in, double centre,
                       double stretch, double *scratch) {
    double support = 2.0 * stretch;
    double low = floor(centre - support + 0.5), high = floor(centre + support + 0.5);
    uint32_t first = low > 0.0 ? (uint32_t)low : 0;
    uint32_t end = high < (double)n_in ? (uint32_t)high : n_in;
    double sum = 0.0;
    for (uint32_t i = first; i < end; i++) {
        scratch[i - first] = cubic(((double)i - centre + 0.5) / stretch);
        sum += scratch[i - first];
    }
    taps->first[at] = first;
    taps->n[at] = end - first;
    int32_t *weight = taps->weight + (size_t)at * taps->stride;
    for (uint32_t i = 0; i < end - first; i++) {
        weight[i] = (int32_t)lround(scratch[i] / sum * (1 << RESIZE_WEIGHT_BITS));
    }
}

enum wl_status resize_taps_init(struct resize_taps *taps, uint32_t n_in, uint32_t n_out,
                                struct wl_err *err) {
    double scale = (double)n_in / n_out;
    double stretch = scale > 1.0 ? scale : 1.0;
    *taps = (struct resize_taps){.n_out = n_out, .stride = (uint32_t)ceil(4.0 * stretch) + 1};
    taps->first = calloc(n_out, sizeof *taps->first);
    taps->n = calloc(n_out, sizeof *taps->n);
    taps->weight = calloc((size_t)n_out * taps->stride, sizeof *taps->weight);
    double *scratch = calloc(taps->stride, sizeof *scratch);
    if (!taps->first || !taps->n || !taps->weight || !scratch) {
        free(scratch);
        resize_taps_release(taps);
        return wl_err_set(err, WL_MEMORY, "no memory to resize a picture");
    }
    for (uint32_t i = 0; i < n_out; i++) {
        fill_pixel(taps, i, n_in, (i + 0.5) * scale, stretch, scratch);
    }
    free(scratch);
    return WL_OK;
}

void resize_taps_release(struct resize_taps *taps) {
    free(taps->first);
    free(taps->n);
    free(taps->weight);
    memset(taps, 0, sizeof *taps);
}
