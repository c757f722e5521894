#include "compressor/allocate_losses.h"

#include <math.h>
#include <string.h>

static bool is_measured(double value) {
    return isfinite(value) && value >= 0;
}

static enum wl_status check_layer(const struct analysis_layer *layer,
                                  const struct block_shape *shape, struct wl_err *err) {
    bool is_fine = is_measured(layer->ffn_sensitivity) && layer->n_groups == shape->n_head_kv &&
                   layer->n_groups <= ANALYSIS_MAX_GROUPS &&
                   layer->widths[ANALYSIS_WIDTHS - 1] == shape->n_ff;
    for (size_t i = 0; i < ANALYSIS_WIDTHS && is_fine; i++) {
        is_fine = is_measured(layer->ffn_error[i]) &&
                  (i == 0 || layer->widths[i] >= layer->widths[i - 1]);
    }
    for (size_t i = 0; i < layer->n_groups && is_fine; i++) {
        is_fine = is_measured(layer->group_error[i]);
    }
    is_fine = is_fine && (is_measured(layer->attention_sensitivity) || layer->n_groups == 1);
    return is_fine ? WL_OK
                   : wl_err_set(err, WL_INPUT,
                                "the analysis of block %u does not fit the model, or holds a value "
                                "that cannot be; analyse it again",
                                layer->layer);
}

enum wl_status allocate_losses_check(const struct compress_source *source,
                                     const struct analysis *analysis, struct wl_err *err) {
    struct block_shape shape;
    if (strcmp(analysis->arch, source->arch->name) != 0 || analysis->n_layer != source->n_layer) {
        return wl_err_set(err, WL_INPUT,
                          "the analysis is of a '%s' with %u blocks, the model is a '%s' with %u",
                          analysis->arch, analysis->n_layer, source->arch->name, source->n_layer);
    }
    enum wl_status status = compress_source_shape(source, 0, &shape, err);
    for (uint32_t i = 0; i < source->n_layer && status == WL_OK; i++) {
        status = check_layer(&analysis->layers[i], &shape, err);
    }
    return status;
}

// Without neurons all of the output is missing, with all of them nothing is.
static void make_ffn(struct curve *out, const struct analysis_layer *layer, uint32_t n_ff) {
    double x[ANALYSIS_WIDTHS + 2] = {0}, y[ANALYSIS_WIDTHS + 2] = {layer->ffn_sensitivity};
    size_t n = 1;
    for (size_t i = 0; i < ANALYSIS_WIDTHS; i++) {
        if (layer->widths[i] > x[n - 1] && layer->widths[i] < n_ff) {
            x[n] = layer->widths[i];
            y[n++] = layer->ffn_sensitivity * layer->ffn_error[i];
        }
    }
    x[n] = n_ff;
    y[n++] = 0;
    curve_hull(out, x, y, n);
}

static void make_heads(struct curve *out, const struct analysis_layer *layer, double most) {
    double x[ANALYSIS_MAX_GROUPS], y[ANALYSIS_MAX_GROUPS];
    for (size_t i = 0; i < layer->n_groups; i++) {
        double loss = layer->attention_sensitivity * layer->group_error[i];
        x[i] = (double)(i + 1);
        y[i] = i + 1 == layer->n_groups ? 0 : fmin(loss, most);
    }
    curve_hull(out, x, y, layer->n_groups);
}

void allocate_losses_init(struct allocate_losses *out, const struct analysis_layer *layer,
                          uint32_t n_ff) {
    bool has_none = isfinite(layer->kl_no_attention), has_removed = isfinite(layer->kl_removed);
    out->no_attention = has_none ? fmax(0, layer->kl_no_attention) : INFINITY;
    out->removed = has_removed ? fmax(0, layer->kl_removed) : INFINITY;
    make_ffn(&out->ffn, layer, n_ff);
    make_heads(&out->heads, layer, out->no_attention);
}

double allocate_losses_of(const struct allocate_losses *losses, uint32_t n_head_kv, uint32_t n_ff) {
    double attention = n_head_kv ? curve_at(&losses->heads, n_head_kv) : losses->no_attention;
    return curve_at(&losses->ffn, n_ff) + attention;
}
