/*
 * Fused operations between the matrix products. Activations are bf16 (uint16_t here), the
 * residual stream, norms and gradients of parameters are f32; one CPU core. ops.py describes each
 * operation by its plain twin.
 */
#include "vectors.h"

/* ---- copies between types ---- */

void f32_to_bf16(const float *restrict x, uint16_t *restrict y, long n) {
    for (; n >= LANES; n -= LANES, x += LANES, y += LANES) {
        store_bf16(y, *(const vf_any *)x);
    }
    for (long i = 0; i < n; i++) {
        y[i] = to_bf16(x[i]);
    }
}

void bf16_to_f32(const uint16_t *restrict x, float *restrict y, long n) {
    for (; n >= LANES; n -= LANES, x += LANES, y += LANES) {
        *(vf_any *)y = load_bf16(x);
    }
    for (long i = 0; i < n; i++) {
        y[i] = from_bf16(x[i]);
    }
}

/* ---- norms; width is a multiple of LANES ---- */

/* scale keeps 1 / root mean square of each row for the backward pass */
void rms_norm_forward(const float *x, const float *weight, uint16_t *y, float *scale, long rows,
                      int width, float eps) {
    for (long row = 0; row < rows; row++, x += width, y += width) {
        vf squares = {0};
        for (int i = 0; i < width; i += LANES) {
            vf v = *(const vf_any *)(x + i);
            squares += v * v;
        }
        float s = 1.0F / sqrtf(sum_lanes(squares) / (float)width + eps);
        scale[row] = s;
        for (int i = 0; i < width; i += LANES) {
            store_bf16(y + i, *(const vf_any *)(x + i) * s * *(const vf_any *)(weight + i));
        }
    }
}

/* dweight is added to */
void rms_norm_backward(const uint16_t *dy, const float *x, const float *weight, const float *scale,
                       float *dx, float *dweight, long rows, int width) {
    for (long row = 0; row < rows; row++, dy += width, x += width, dx += width) {
        float s = scale[row];
        vf along = {0};
        for (int i = 0; i < width; i += LANES) {
            vf gx = load_bf16(dy + i) * *(const vf_any *)(x + i);
            along += gx * *(const vf_any *)(weight + i);
            *(vf_any *)(dweight + i) += gx * s;
        }
        float back = sum_lanes(along) * s * s * s / (float)width;
        for (int i = 0; i < width; i += LANES) {
            vf g = load_bf16(dy + i) * *(const vf_any *)(weight + i);
            *(vf_any *)(dx + i) = g * s - *(const vf_any *)(x + i) * back;
        }
    }
}

/* stats keeps mean and 1 / standard deviation of each row */
void layer_norm_forward(const float *x, const float *weight, const float *bias, uint16_t *y,
                        float *stats, long rows, int width, float eps) {
    for (long row = 0; row < rows; row++, x += width, y += width, stats += 2) {
        vf sum = {0};
        vf squares = {0};
        for (int i = 0; i < width; i += LANES) {
            sum += *(const vf_any *)(x + i);
        }
        float mean = sum_lanes(sum) / (float)width;
        for (int i = 0; i < width; i += LANES) {
            vf v = *(const vf_any *)(x + i) - mean;
            squares += v * v;
        }
        float s = 1.0F / sqrtf(sum_lanes(squares) / (float)width + eps);
        stats[0] = mean;
        stats[1] = s;
        for (int i = 0; i < width; i += LANES) {
            vf v = (*(const vf_any *)(x + i) - mean) * s;
            store_bf16(y + i, v * *(const vf_any *)(weight + i) + *(const vf_any *)(bias + i));
        }
    }
}

/* dweight and dbias are added to */
void layer_norm_backward(const uint16_t *dy, const float *x, const float *weight,
                         const float *stats, float *dx, float *dweight, float *dbias, long rows,
                         int width) {
    for (long row = 0; row < rows; row++, dy += width, x += width, dx += width, stats += 2) {
        float mean = stats[0];
        float s = stats[1];
        vf along = {0};
        vf level = {0};
        for (int i = 0; i < width; i += LANES) {
            vf g = load_bf16(dy + i);
            vf unit = (*(const vf_any *)(x + i) - mean) * s;
            vf gw = g * *(const vf_any *)(weight + i);
            *(vf_any *)(dweight + i) += g * unit;
            *(vf_any *)(dbias + i) += g;
            along += gw * unit;
            level += gw;
        }
        float along_mean = sum_lanes(along) / (float)width;
        float level_mean = sum_lanes(level) / (float)width;
        for (int i = 0; i < width; i += LANES) {
            vf unit = (*(const vf_any *)(x + i) - mean) * s;
            vf gw = load_bf16(dy + i) * *(const vf_any *)(weight + i);
            *(vf_any *)(dx + i) = (gw - level_mean - unit * along_mean) * s;
        }
    }
}

/* ---- residual stream; width is a multiple of LANES, bias may be NULL ---- */

void add_forward(const float *x, const uint16_t *y, const float *bias, float *out, long rows,
                 int width) {
    for (long row = 0; row < rows; row++, x += width, y += width, out += width) {
        for (int i = 0; i < width; i += LANES) {
            vf v = *(const vf_any *)(x + i) + load_bf16(y + i);
            *(vf_any *)(out + i) = bias ? v + *(const vf_any *)(bias + i) : v;
        }
    }
}

/* dy is dout in bf16; dbias is added to unless NULL */
void add_backward(const float *dout, uint16_t *dy, float *dbias, long rows, int width) {
    for (long row = 0; row < rows; row++, dout += width, dy += width) {
        for (int i = 0; i < width; i += LANES) {
            vf g = *(const vf_any *)(dout + i);
            store_bf16(dy + i, g);
            if (dbias) {
                *(vf_any *)(dbias + i) += g;
            }
        }
    }
}

/* ---- activations; width is a multiple of LANES ---- */

INLINE vf sigmoid(vf x) {
    vf limited = larger(-x, splat(-80.0F));
    limited = -larger(-limited, splat(-80.0F));
    return 1.0F / (1.0F + exp2_lanes(limited * LOG2_E));
}

/* rows of x are width gates, then width values */
void swiglu_forward(const uint16_t *x, uint16_t *y, long rows, int width) {
    for (long row = 0; row < rows; row++, x += 2 * width, y += width) {
        for (int i = 0; i < width; i += LANES) {
            vf gate = load_bf16(x + i);
            store_bf16(y + i, gate * sigmoid(gate) * load_bf16(x + width + i));
        }
    }
}

void swiglu_backward(const uint16_t *dy, const uint16_t *x, uint16_t *dx, long rows, int width) {
    for (long row = 0; row < rows; row++, x += 2 * width, dx += 2 * width, dy += width) {
        for (int i = 0; i < width; i += LANES) {
            vf gate = load_bf16(x + i);
            vf g = load_bf16(dy + i);
            vf s = sigmoid(gate);
            store_bf16(dx + i, g * load_bf16(x + width + i) * s * (1.0F + gate * (1.0F - s)));
            store_bf16(dx + width + i, g * gate * s);
        }
    }
}

/* Normal distribution at x, up to 1e-7 (Abramowitz and Stegun 7.1.26); density is set too */
INLINE vf normal_share(vf x, vf *density) {
    vf size = larger(x, -x);
    vf bell = exp2_lanes(size * size * (-0.5F * LOG2_E));
    vf t = 1.0F / (1.0F + 0.23164190F * size);
    vf tail = 1.061405429F * t - 1.453152027F;
    tail = tail * t + 1.421413741F;
    tail = tail * t - 0.284496736F;
    tail = (tail * t + 0.254829592F) * t * bell * 0.5F;
    *density = bell * 0.39894228F;
    vu negative = (vu)(x < 0.0F);
    return (vf)((negative & (vu)tail) | (~negative & (vu)(1.0F - tail)));
}

void bias_gelu_forward(const uint16_t *x, const float *bias, uint16_t *y, long rows, int width) {
    for (long row = 0; row < rows; row++, x += width, y += width) {
        for (int i = 0; i < width; i += LANES) {
            vf density;
            vf v = load_bf16(x + i) + *(const vf_any *)(bias + i);
            store_bf16(y + i, v * normal_share(v, &density));
        }
    }
}

/* dbias is added to */
void bias_gelu_backward(const uint16_t *dy, const uint16_t *x, const float *bias, uint16_t *dx,
                        float *dbias, long rows, int width) {
    for (long row = 0; row < rows; row++, x += width, dx += width, dy += width) {
        for (int i = 0; i < width; i += LANES) {
            vf density;
            vf v = load_bf16(x + i) + *(const vf_any *)(bias + i);
            vf share = normal_share(v, &density);
            vf g = load_bf16(dy + i) * (share + v * density);
            *(vf_any *)(dbias + i) += g;
            store_bf16(dx + i, g);
        }
    }
}
