#include <cblas.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/obs.h"
#include "compress/repair.h"
#include "compress/spectrum.h"
#include "compressor/analysis_walk.h"
#include "compressor/pack.h"

enum { OBS_BLOCK = 64, BOND_EXACT = 2048, BOND_MOST = 512 };
static const double RIDGE = 1e-2; // as narrow.h uses it

// One matrix whose inputs may go: down, or the attention's output.
struct part {
    struct analysis_walk *walk;
    uint32_t layer;
    const char *name; // of its tensor
    size_t n_out, n_in, group, n_min;
    struct gram *gram;
    float *w;      // [n_out][n_in]
    float *square; // [n_in][n_in]
    uint32_t *order;
    double *error; // [n_in / group + 1]
    struct spectrum spectrum;
};

static void release_part(struct part *part) {
    free(part->w);
    free(part->square);
    free(part->order);
    free(part->error);
    spectrum_release(&part->spectrum);
}

static enum wl_status no_memory(const struct part *part, struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the analysis of block %" PRIu32 ": %zu inputs",
                      part->layer, part->n_in);
}

// A part whose inputs are always 0 loses nothing, whatever goes.
static bool is_silent(const struct part *part) {
    for (size_t i = 0; i < part->n_in; i++) {
        if (part->square[i * part->n_in + i] != 0) {
            return false;
        }
    }
    return true;
}

static enum wl_status find_order(struct part *part, struct wl_err *err) {
    struct obs_options options = {.ridge = RIDGE,
                                  .block = OBS_BLOCK,
                                  .group = part->group,
                                  .n_min = part->n_min,
                                  .go_on = analysis_goes_on,
                                  .context = part->walk};
    if (is_silent(part)) {
        for (size_t i = 0; i < part->n_in; i++) {
            part->order[i] = (uint32_t)i;
        }
        return WL_OK;
    }
    return obs_order(&options, part->w, part->n_out, part->n_in, part->square, part->order,
                     part->error, err);
}

// The whole curve and the spectrum; `square` is used up.
static enum wl_status open_part(struct part *part, struct wl_err *err) {
    size_t n = part->n_in;
    enum wl_status status = analysis_matrix(part->walk, part->layer, part->name, &part->w, err);
    if (status != WL_OK) {
        return status;
    }
    part->square = calloc(n, n * sizeof *part->square);
    part->order = calloc(n, sizeof *part->order);
    part->error = calloc(n / part->group + 1, sizeof *part->error);
    if (!part->square || !part->order || !part->error) {
        return no_memory(part, err);
    }
    gram_square(part->gram, part->square);
    status = spectrum_weighted(part->w, part->n_out, n, part->square, &part->spectrum, err);
    if (status == WL_OK) {
        status = analysis_worked(part->walk, 0, err);
    }
    return status == WL_OK ? find_order(part, err) : status;
}

static void gather(const float *from, size_t n_rows, size_t width, const uint32_t *columns,
                   size_t n_columns, float *out) {
    for (size_t row = 0; row < n_rows; row++) {
        for (size_t i = 0; i < n_columns; i++) {
            out[row * n_columns + i] = from[row * width + columns[i]];
        }
    }
}

// W C, of which the columns of what stays are the right side of the least
// squares.
static enum wl_status right_side(const struct part *part, const uint32_t *kept, size_t n_kept,
                                 float *th, struct wl_err *err) {
    int n_out = (int)part->n_out, n_in = (int)part->n_in;
    float *product = calloc(part->n_out, part->n_in * sizeof *product);
    if (!product) {
        return no_memory(part, err);
    }
    cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, n_out, n_in, 1, part->square, n_in, part->w,
                n_in, 0, product, n_in);
    gather(product, part->n_out, part->n_in, kept, n_kept, th);
    free(product);
    return WL_OK;
}

static enum wl_status solve(struct part *part, const uint32_t *kept, size_t n, float *small,
                            struct wl_err *err) {
    float *th = calloc(part->n_out, n * sizeof *th), *was = calloc(part->n_out, n * sizeof *was);
    float *hh = calloc(n, n * sizeof *hh);
    if (!th || !was || !hh) {
        free(th);
        free(was);
        free(hh);
        return no_memory(part, err);
    }
    enum wl_status status = right_side(part, kept, n, th, err);
    if (status == WL_OK) {
        gather(part->w, part->n_out, part->n_in, kept, n, was);
        for (size_t i = 0; i < n; i++) {
            gather(part->square + kept[i] * part->n_in, 1, part->n_in, kept, n, hh + i * n);
        }
        status = repair_solve(hh, th, was, part->n_out, n, RIDGE, small, err);
    }
    free(th);
    free(was);
    free(hh);
    return status;
}

// The matrix with only n of its inputs, repaired, at its old width.
static enum wl_status cut_to(struct part *part, size_t n, float **out, struct wl_err *err) {
    const uint32_t *kept = part->order + part->n_in - n;
    float *small = calloc(part->n_out, n * sizeof *small);
    *out = calloc(part->n_out, part->n_in * sizeof **out);
    if (!small || !*out) {
        free(small);
        return no_memory(part, err);
    }
    gram_square(part->gram, part->square);
    gram_release(part->gram);
    enum wl_status status = is_silent(part) ? WL_OK : solve(part, kept, n, small, err);
    for (size_t row = 0; row < part->n_out && status == WL_OK; row++) {
        for (size_t i = 0; i < n; i++) {
            (*out)[row * part->n_in + kept[i]] = small[row * n + i];
        }
    }
    free(small);
    return status;
}

static struct analysis_spectrum describe(const struct spectrum *spectrum) {
    return (struct analysis_spectrum){.entropy = spectrum_entropy(spectrum),
                                      .rank = (uint32_t)spectrum->n_all,
                                      .chi_10 = (uint32_t)spectrum_rank(spectrum, 0.1),
                                      .chi_1 = (uint32_t)spectrum_rank(spectrum, 0.01)};
}

// ---- the two parts ----

static void set_widths(const struct analysis_walk *walk, uint32_t n_ff, uint32_t *widths) {
    uint32_t step = pack_step(walk->source);
    for (uint32_t i = 0; i < ANALYSIS_WIDTHS; i++) {
        double wanted = (double)n_ff * (i + 1) / ANALYSIS_WIDTHS;
        uint32_t width = (uint32_t)lround(wanted / step) * step;
        width = width < step ? step : width;
        widths[i] = width < n_ff && i + 1 < ANALYSIS_WIDTHS ? width : n_ff;
    }
}

static enum wl_status ffn_curve(struct analysis_walk *walk, const struct block_shape *shape,
                                struct gram *gram, struct analysis_layer *layer, float **half,
                                struct wl_err *err) {
    set_widths(walk, shape->n_ff, layer->widths);
    struct part part = {.walk = walk,
                        .layer = layer->layer,
                        .name = "ffn_down.weight",
                        .n_out = shape->n_embd,
                        .n_in = shape->n_ff,
                        .group = 1,
                        .n_min = layer->widths[0],
                        .gram = gram};
    enum wl_status status = open_part(&part, err);
    for (size_t i = 0; i < ANALYSIS_WIDTHS && status == WL_OK; i++) {
        layer->ffn_error[i] = part.error[shape->n_ff - layer->widths[i]];
        layer->ffn_tail[i] = spectrum_tail(&part.spectrum, layer->widths[i]);
    }
    if (status == WL_OK) {
        layer->ffn = describe(&part.spectrum);
        status = cut_to(&part, layer->widths[ANALYSIS_WIDTHS / 2 - 1], half, err);
    }
    release_part(&part);
    return status;
}

static enum wl_status attention_curve(struct analysis_walk *walk, const struct block_shape *shape,
                                      struct gram *gram, struct analysis_layer *layer, float **half,
                                      struct wl_err *err) {
    uint32_t n = shape->n_head_kv, group = shape->n_head / n * shape->head_dim;
    struct part part = {.walk = walk,
                        .layer = layer->layer,
                        .name = "attn_output.weight",
                        .n_out = shape->n_embd,
                        .n_in = (size_t)group * n,
                        .group = group,
                        .n_min = group,
                        .gram = gram};
    if (n > ANALYSIS_MAX_GROUPS) {
        return wl_err_set(err, WL_LIMIT,
                          "block %" PRIu32 " has %" PRIu32 " KV heads, expected up to %d",
                          layer->layer, n, ANALYSIS_MAX_GROUPS);
    }
    layer->n_groups = n;
    enum wl_status status = open_part(&part, err);
    for (uint32_t i = 0; i < n && status == WL_OK; i++) {
        layer->group_error[i] = part.error[n - (i + 1)];
        layer->group_tail[i] = spectrum_tail(&part.spectrum, (size_t)group * (i + 1));
    }
    if (status == WL_OK) {
        layer->attention = describe(&part.spectrum);
    }
    if (status == WL_OK && n > 1) {
        status = cut_to(&part, (size_t)group * (n / 2), half, err);
    }
    release_part(&part);
    return status;
}

// ---- tensor trains ----

static enum wl_status bond_spectra(struct analysis_walk *walk, struct analysis_layer *layer,
                                   double work, struct wl_err *err) {
    static const char *const NAMES[ANALYSIS_BONDS] = {"ffn_gate.weight", "ffn_up.weight",
                                                      "ffn_down.weight", "attn_q.weight",
                                                      "attn_output.weight"};
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < ANALYSIS_BONDS && status == WL_OK; i++) {
        const struct gguf_tensor *tensor =
            compress_source_tensor(walk->source, (int32_t)layer->layer, NAMES[i]);
        float *w;
        status = analysis_matrix(walk, layer->layer, NAMES[i], &w, err);
        struct spectrum spectrum = {0};
        if (status == WL_OK) {
            status = spectrum_mpo(w, (size_t)tensor->ne[1], (size_t)tensor->ne[0], BOND_EXACT,
                                  BOND_MOST, &spectrum, err);
        }
        free(w);
        if (status == WL_OK) {
            layer->bonds[i] = describe(&spectrum);
            spectrum_release(&spectrum);
            status = analysis_worked(walk, work / ANALYSIS_BONDS, err);
        }
    }
    return status;
}

enum wl_status analysis_curves(struct analysis_walk *walk, const struct block_shape *shape,
                               struct analysis_moments *moments, struct analysis_layer *layer,
                               struct analysis_halves *halves, struct wl_err *err) {
    bool with_bonds = walk->options->with_bonds;
    double work = analysis_curves_work(walk, shape) / (with_bonds ? 3 : 2);
    enum wl_status status =
        attention_curve(walk, shape, &moments->heads, layer, &halves->output, err);
    gram_release(&moments->heads);
    if (status == WL_OK) {
        status = ffn_curve(walk, shape, &moments->h, layer, &halves->down, err);
    }
    gram_release(&moments->h);
    if (status == WL_OK) {
        status = analysis_worked(walk, 2 * work, err);
    }
    return status == WL_OK && with_bonds ? bond_spectra(walk, layer, work, err) : status;
}
