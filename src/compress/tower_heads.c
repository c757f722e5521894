#include <cblas.h>
#include <math.h>
#include <stdlib.h>

#include "compress/block_parts.h"
#include "compress/tower_parts.h"

static const double ROPE_BASE = 10000;

// Dimensions i and i + head_dim / 2 turn together: by the row for the first half of the pairs, by
// the column for the second, the frequencies begin anew.
static void turn_token(const struct tower_shape *shape, const float *cosine, const float *sine,
                       float *x) {
    size_t half = shape->head_dim / 2;
    for (size_t head = 0; head < shape->n_head; head++, x += shape->head_dim) {
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cosine[i] - b * sine[i];
            x[i + half] = a * sine[i] + b * cosine[i];
        }
    }
}

enum wl_status tower_turn(const struct tower_shape *shape, const struct tower_picture *picture,
                          float *q, float *k, struct wl_err *err) {
    size_t half = shape->head_dim / 2, quarter = half / 2;
    size_t width = (size_t)shape->n_head * shape->head_dim;
    float *cosine = block_floats(2, half, err);
    if (!cosine) {
        return WL_MEMORY;
    }
    float *sine = cosine + half;
    for (size_t token = 0; token < picture->n_tokens; token++) {
        for (size_t i = 0; i < half; i++) {
            bool is_row = i < quarter;
            double place = is_row ? picture->rows[token] : picture->columns[token];
            double power = (double)(is_row ? i : i - quarter) / (double)quarter;
            double angle = place * pow(ROPE_BASE, -power);
            cosine[i] = (float)cos(angle);
            sine[i] = (float)sin(angle);
        }
        turn_token(shape, cosine, sine, q + token * width);
        turn_token(shape, cosine, sine, k + token * width);
    }
    free(cosine);
    return WL_OK;
}

static void soften(float *scores, size_t n) {
    float most = scores[0];
    double sum = 0;
    for (size_t i = 1; i < n; i++) {
        most = fmaxf(most, scores[i]);
    }
    for (size_t i = 0; i < n; i++) {
        scores[i] = expf(scores[i] - most);
        sum += (double)scores[i];
    }
    float scale = (float)(1 / sum);
    for (size_t i = 0; i < n; i++) {
        scores[i] *= scale;
    }
}

void tower_attend(const struct tower_shape *shape, size_t n, const float *q, const float *k,
                  const float *v, float *scores, float *out) {
    int head_dim = (int)shape->head_dim, width = (int)(shape->n_head * shape->head_dim);
    float scale = 1 / sqrtf((float)head_dim);
    for (uint32_t head = 0; head < shape->n_head; head++) {
        size_t at = (size_t)head * shape->head_dim;
        for (size_t first = 0; first < n; first += TOWER_QUERIES) {
            size_t rows = n - first < TOWER_QUERIES ? n - first : TOWER_QUERIES;
            size_t begin = first * (size_t)width + at;
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)n, head_dim, scale,
                        q + begin, width, k + at, width, 0, scores, (int)n);
            for (size_t row = 0; row < rows; row++) {
                soften(scores + row * n, n);
            }
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, head_dim, (int)n, 1,
                        scores, (int)n, v + at, width, 0, out + begin, width);
        }
    }
}
