// The mean square of each column of what goes into a matrix: how much an error of that column's
// weights does. PURE.
#ifndef WATTLAW_COMPRESS_MOMENTS_H
#define WATTLAW_COMPRESS_MOMENTS_H

#include <stddef.h>

#include "base/err.h"

struct moments {
    double *sums; // [width] of squares
    size_t width;
    size_t n_rows; // added
};

enum wl_status moments_init(struct moments *moments, size_t width, struct wl_err *err); // MEMORY
void moments_release(struct moments *moments); // zeroed ones are fine
// x [n_rows][width]
void moments_add(struct moments *moments, const float *x, size_t n_rows);
// Of the rows by their root mean square, times factor [width], as a block's norm does.
void moments_add_normed(struct moments *moments, const float *x, size_t n_rows, float eps,
                        const float *factor);
// out [width]. No column is quite without weight (a ten-thousandth of the mean), since another text
// may use it; all are 1 when there was nothing.
void moments_mean(const struct moments *moments, float *out);

#endif
