#include "compress/heal_adam.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compress/heal_grad.h"

static const double BETA_MEAN = 0.9, BETA_SQUARE = 0.95, EPS = 1e-9;
static const double MAX_GRADIENT = 1.0, WIDTH = 256;
static const double WARM_UP = 0.05, LAST_RATE = 0.05;

bool heal_tensor_init(struct heal_tensor *tensor, float *w, size_t n_rows, size_t n_columns) {
    *tensor = (struct heal_tensor){.w = w};
    if (n_columns > SIZE_MAX / sizeof(float) / n_rows) {
        return false;
    }
    tensor->n = n_rows * n_columns;
    tensor->length = sqrt(heal_sum_of_squares(w, tensor->n));
    tensor->reach = tensor->length / sqrt((double)tensor->n) * sqrt(WIDTH / (double)n_columns);
    tensor->gradient = calloc(tensor->n, sizeof(float));
    tensor->mean = calloc(tensor->n, sizeof(float));
    tensor->square = calloc(tensor->n, sizeof(float));
    tensor->best = calloc(tensor->n, sizeof(float));
    if (!tensor->gradient || !tensor->mean || !tensor->square || !tensor->best) {
        return false;
    }
    heal_tensor_keep(tensor);
    return true;
}

void heal_tensor_release(struct heal_tensor *tensor) {
    free(tensor->gradient);
    free(tensor->mean);
    free(tensor->square);
    free(tensor->best);
    *tensor = (struct heal_tensor){0};
}

void heal_tensor_keep(struct heal_tensor *tensor) {
    memcpy(tensor->best, tensor->w, tensor->n * sizeof(float));
}

void heal_tensor_restore(struct heal_tensor *tensor) {
    memcpy(tensor->w, tensor->best, tensor->n * sizeof(float));
}

double heal_schedule(size_t step, size_t n_steps) {
    const double pi = 3.14159265358979323846;
    double n_warm = ceil(WARM_UP * (double)n_steps), at = (double)step;
    if (at < n_warm) {
        return (at + 1) / n_warm;
    }
    double share = (at + 1 - n_warm) / ((double)n_steps - n_warm);
    return LAST_RATE + (1 - LAST_RATE) * (1 + cos(pi * share)) / 2;
}

struct adam_factors {
    float gradient; // to relative units, clipped
    float square;   // 1 / bias of the running square, as a root
    float rate;     // absolute, over the bias of the running mean
    float keep;     // what decay leaves
};

static void update(struct heal_tensor *tensor, struct adam_factors by) {
    const float beta = (float)BETA_MEAN, beta_square = (float)BETA_SQUARE, eps = (float)EPS;
    for (size_t i = 0; i < tensor->n; i++) {
        float g = tensor->gradient[i] * by.gradient;
        float mean = beta * tensor->mean[i] + (1 - beta) * g;
        float square = beta_square * tensor->square[i] + (1 - beta_square) * g * g;
        tensor->mean[i] = mean;
        tensor->square[i] = square;
        tensor->w[i] = by.keep * tensor->w[i] - by.rate * mean / (sqrtf(square) * by.square + eps);
    }
}

bool heal_adam_step(struct heal_tensor *tensors, size_t n_tensors, size_t step, double rate,
                    double decay) {
    double squares = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        double length = tensors[i].length;
        squares += length * length * heal_sum_of_squares(tensors[i].gradient, tensors[i].n);
    }
    double clip = fmin(1, MAX_GRADIENT / sqrt(squares)), t = (double)step + 1;
    if (!isfinite(squares)) {
        return false;
    }
    for (size_t i = 0; i < n_tensors; i++) {
        update(&tensors[i], (struct adam_factors){
                                .gradient = (float)(tensors[i].length * clip),
                                .square = (float)(1 / sqrt(1 - pow(BETA_SQUARE, t))),
                                .rate = (float)(rate * tensors[i].reach / (1 - pow(BETA_MEAN, t))),
                                .keep = (float)(1 - rate * decay),
                            });
    }
    return true;
}
