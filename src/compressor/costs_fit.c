#include "compressor/costs_fit.h"

#include <math.h>
#include <string.h>

#include "compress/nnls.h"

enum { EVEN_WIDTH = 256 };
enum term { TERM_BASE, TERM_BLOCK, TERM_HEAD, TERM_NEURON, TERM_SLOW, TERM_VOCABULARY, N_TERMS };

static double amount(const struct costs_variant *v, enum term term) {
    double n = v->n_layer;
    switch (term) {
    case TERM_BLOCK: return n;
    case TERM_HEAD: return n * v->n_head_kv;
    case TERM_NEURON: return n * v->n_ff;
    case TERM_SLOW: return v->n_ff % EVEN_WIDTH ? n * v->n_ff : 0;
    case TERM_VOCABULARY: return v->n_vocab;
    default: return 1;
    }
}

struct seen { // what differs between the files
    bool has_layers, has_heads, has_widths, has_slow, has_vocabularies;
};

static struct seen look(const struct costs_variant *variants, size_t n) {
    struct seen seen = {0};
    uint32_t even = 0;
    bool has_even_widths = false, has_odd = false;
    for (size_t i = 0; i < n; i++) {
        const struct costs_variant *a = &variants[0], *b = &variants[i];
        seen.has_layers = seen.has_layers || a->n_layer != b->n_layer;
        seen.has_heads = seen.has_heads || a->n_head_kv != b->n_head_kv;
        seen.has_widths = seen.has_widths || a->n_ff != b->n_ff;
        seen.has_vocabularies = seen.has_vocabularies || a->n_vocab != b->n_vocab;
        bool is_even = b->n_ff % EVEN_WIDTH == 0;
        has_odd = has_odd || !is_even;
        has_even_widths = has_even_widths || (is_even && even > 0 && even != b->n_ff);
        even = is_even ? b->n_ff : even;
    }
    seen.has_slow = has_even_widths && has_odd;
    return seen;
}

// Each file counts by its relative error; x [N_TERMS].
static enum wl_status fit(const struct costs_variant *variants, const double *seconds, size_t n,
                          const bool is_in[N_TERMS], double x[N_TERMS], double *residual_share,
                          struct wl_err *err) {
    double a[COSTS_MAX_VARIANTS * N_TERMS], b[COSTS_MAX_VARIANTS], packed[N_TERMS], residual;
    size_t n_in = 0;
    for (size_t t = 0; t < N_TERMS; t++) {
        n_in += is_in[t];
    }
    for (size_t i = 0; i < n; i++) {
        if (!(seconds[i] > 0)) {
            return wl_err_set(err, WL_FAILED, "a model took %g s for a token, expected more than 0",
                              seconds[i]);
        }
        b[i] = 1;
        for (size_t t = 0, at = 0; t < N_TERMS; t++) {
            if (is_in[t]) {
                a[i * n_in + at++] = amount(&variants[i], (enum term)t) / seconds[i];
            }
        }
    }
    enum wl_status status = nnls_solve(a, b, n, n_in, packed, &residual, err);
    for (size_t t = 0, at = 0; t < N_TERMS && status == WL_OK; t++) {
        x[t] = is_in[t] ? packed[at++] : 0;
    }
    *residual_share = status == WL_OK ? residual / sqrt((double)(n > n_in ? n - n_in : 1)) : NAN;
    return status;
}

static void take_terms(const double x[N_TERMS], double residual_share, struct cost_terms *out) {
    *out = (struct cost_terms){.base = x[TERM_BASE],
                               .block = x[TERM_BLOCK],
                               .per_head_kv = x[TERM_HEAD],
                               .per_neuron = x[TERM_NEURON],
                               .per_vocabulary = x[TERM_VOCABULARY],
                               .residual_share = residual_share};
    out->slow_share = x[TERM_NEURON] > 0 ? x[TERM_SLOW] / x[TERM_NEURON] : 0;
}

enum wl_status costs_fit_decode(const struct costs_variant *variants, const double *seconds,
                                size_t n, uint32_t n_vocab, struct cost_terms *out,
                                struct wl_err *err) {
    struct seen seen = look(variants, n);
    const bool is_in[N_TERMS] = {
        [TERM_BASE] = true,           [TERM_BLOCK] = seen.has_layers,
        [TERM_HEAD] = seen.has_heads, [TERM_NEURON] = seen.has_widths,
        [TERM_SLOW] = seen.has_slow,  [TERM_VOCABULARY] = seen.has_vocabularies};
    double x[N_TERMS] = {0}, residual_share;
    enum wl_status status = fit(variants, seconds, n, is_in, x, &residual_share, err);
    take_terms(x, residual_share, out);
    out->base += out->per_vocabulary * n_vocab;
    return status;
}

enum wl_status costs_fit_prompt(const struct costs_variant *variants, const double *seconds,
                                size_t n, uint32_t n_vocab, uint32_t n_prompt,
                                const struct cost_terms *decode, struct cost_terms *out,
                                struct wl_err *err) {
    struct seen seen = look(variants, n);
    const bool is_in[N_TERMS] = {[TERM_BASE] = true,
                                 [TERM_BLOCK] = seen.has_layers,
                                 [TERM_HEAD] = seen.has_heads,
                                 [TERM_NEURON] = seen.has_widths,
                                 [TERM_SLOW] = seen.has_slow};
    double blocks[COSTS_MAX_VARIANTS], x[N_TERMS] = {0}, residual_share;
    for (size_t i = 0; i < n; i++) { // at least half is not the output matrix
        double output = decode->per_vocabulary * variants[i].n_vocab / n_prompt;
        blocks[i] = seconds[i] - fmin(output, seconds[i] / 2);
    }
    enum wl_status status = fit(variants, blocks, n, is_in, x, &residual_share, err);
    take_terms(x, residual_share, out);
    out->base += decode->per_vocabulary * n_vocab / n_prompt;
    return status;
}
