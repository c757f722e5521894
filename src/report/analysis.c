#include "report/analysis.h"

#include <math.h>
#include <stdlib.h>

static const double NO_TAIL = 1e-5; // what is left by the rounding of floats

void report_analysis_release(struct report_analysis *analysis) {
    free(analysis->layers);
    *analysis = (struct report_analysis){0};
}

double report_analysis_ffn_kl(const struct report_analysis_layer *layer, uint32_t sixteenths) {
    return layer->ffn_sensitivity * layer->ffn_error[sixteenths - 1];
}

double report_analysis_group_kl(const struct report_analysis_layer *layer, uint32_t n) {
    return layer->attention_sensitivity * layer->group_error[n - 1];
}

double report_analysis_all_kl(const struct report_analysis *analysis, uint32_t sixteenths) {
    double sum = 0;
    for (uint32_t i = 0; i < analysis->n_layer; i++) {
        sum += report_analysis_ffn_kl(&analysis->layers[i], sixteenths);
    }
    return sum;
}

uint32_t report_analysis_groups(const struct report_analysis_layer *layer, uint32_t quarters) {
    uint32_t n = layer->n_groups * quarters / 4;
    return n > 0 ? n : 1;
}

double report_analysis_ratio(double error, double tail) {
    return tail > NO_TAIL ? error / tail : NAN;
}
