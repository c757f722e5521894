#include "compressor/analysis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "compressor/analysis_walk.h"
#include "os/clock.h"

// A cut that loses less than this is no measure of what a loss does.
static const double LEAST_ERROR = 1e-6;

void analysis_release(struct analysis *analysis) {
    free(analysis->layers);
    *analysis = (struct analysis){0};
}

static enum wl_status analyse_block(struct analysis_walk *walk, uint32_t number,
                                    struct wl_err *err) {
    struct analysis_layer *layer = &walk->out->layers[number];
    struct analysis_moments moments = {0};
    struct analysis_halves halves = {0};
    struct compress_block block = {0};
    layer->layer = number;
    enum wl_status status = compress_source_load(walk->source, number, &block, err);
    if (status == WL_OK) {
        status = analysis_measure(walk, &block, layer, &moments, err);
    }
    struct block_shape shape = block.shape;
    compress_block_release(&block); // what comes next needs the room
    if (status == WL_OK) {
        status = analysis_curves(walk, &shape, &moments, layer, &halves, err);
    }
    analysis_moments_release(&moments);
    if (status == WL_OK) {
        status = compress_source_load(walk->source, number, &block, err);
    }
    if (status == WL_OK) {
        status = analysis_probe_block(walk, &block, number, &halves, err);
    }
    compress_block_release(&block);
    free(halves.down);
    free(halves.output);
    return status;
}

static double half_attention_error(const struct analysis_layer *layer) {
    return layer->n_groups > 1 ? layer->group_error[layer->n_groups / 2 - 1] : 1;
}

// A single group has no half: what its loss does is what no attention does.
static void take_divergences(struct analysis *out, const double *kl) {
    for (uint32_t i = 0; i < out->n_layer; i++) {
        struct analysis_layer *layer = &out->layers[i];
        const double *of = kl + (size_t)i * N_VARIANTS;
        double ffn_error = layer->ffn_error[ANALYSIS_WIDTHS / 2 - 1];
        enum analysis_variant half =
            layer->n_groups > 1 ? VARIANT_HALF_ATTENTION : VARIANT_NO_ATTENTION;
        layer->ffn_sensitivity = of[VARIANT_HALF_FFN] / fmax(ffn_error, LEAST_ERROR);
        layer->attention_sensitivity = of[half] / fmax(half_attention_error(layer), LEAST_ERROR);
        layer->kl_no_attention = of[VARIANT_NO_ATTENTION];
        layer->kl_removed = of[VARIANT_NO_BLOCK];
    }
}

static enum wl_status run(struct analysis_walk *walk, struct wl_err *err) {
    struct analysis *out = walk->out;
    double *kl = calloc(out->n_layer, N_VARIANTS * sizeof *kl);
    if (!kl) {
        return wl_err_set(err, WL_MEMORY, "no memory for the analysis");
    }
    enum wl_status status = WL_OK;
    for (uint32_t i = 0; i < out->n_layer && status == WL_OK; i++) {
        status = analyse_block(walk, i, err);
    }
    if (status == WL_OK) {
        status = analysis_probe_output(walk, kl, err);
    }
    if (status == WL_OK) {
        take_divergences(out, kl);
    }
    free(kl);
    return status;
}

enum wl_status analysis_run(const struct compress_source *source, const struct compress_text *text,
                            const struct analysis_options *options, struct analysis *out,
                            struct wl_err *err) {
    int64_t begin_ns = os_now_ns();
    *out = (struct analysis){.n_layer = source->n_layer};
    str_copy(out->arch, sizeof out->arch, source->arch->name);
    out->layers = calloc(source->n_layer, sizeof *out->layers);
    if (!out->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for the analysis of %u blocks",
                          source->n_layer);
    }
    struct analysis_walk walk = {.source = source, .text = text, .options = options, .out = out};
    enum wl_status status = analysis_walk_open(&walk, err);
    if (status == WL_OK) {
        status = run(&walk, err);
    }
    analysis_walk_close(&walk);
    out->seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
    if (status != WL_OK) {
        analysis_release(out);
    }
    return status;
}
