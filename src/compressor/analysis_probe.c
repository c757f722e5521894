#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor/analysis_walk.h"

// Rows of the output matrix that exist as floats at once.
enum { OUTPUT_ROWS = 4096 };

static const struct gguf_tensor *output_tensor(const struct compress_source *source) {
    return compress_source_tensor(source, -1,
                                  source->is_tied ? "token_embd.weight" : "output.weight");
}

// ---- through one block ----

static size_t row_of(const struct analysis_walk *walk, uint32_t layer, int variant) {
    return ((size_t)layer * N_VARIANTS + (size_t)variant) * walk->probe.n;
}

// `mid` is behind the attention already.
static enum wl_status finish(struct analysis_walk *walk, const struct block_shape *shape,
                             const struct block_weights *weights,
                             const struct analysis_chunk *chunk, const float *mid, size_t row,
                             struct wl_err *err) {
    size_t n = chunk->n_tokens;
    enum wl_status status;
    if ((status = block_ffn_inner(shape, weights, n, mid, NULL, walk->h, err)) ||
        (status = block_ffn_out(shape, weights, n, mid, walk->h, walk->y, err))) {
        return status;
    }
    return states_write(&walk->probe.variants, row + chunk->first, n, walk->y, err);
}

// The four variants of this block, and the original, from the same states.
static enum wl_status begin_variants(struct analysis_walk *walk, const struct compress_block *block,
                                     uint32_t layer, const struct analysis_halves *halves,
                                     const struct analysis_chunk *chunk, struct wl_err *err) {
    const struct block_shape *shape = &block->shape;
    const struct block_weights *w = &block->weights;
    struct states *variants = &walk->probe.variants;
    struct block_weights half_ffn = *w, half_attention = *w;
    size_t n = chunk->n_tokens, n_embd = shape->n_embd;
    float *x = walk->probe.x + chunk->first * n_embd;
    half_ffn.down = halves->down;
    half_attention.wo = halves->output ? halves->output : w->wo;
    enum wl_status status;
    if ((status = states_write(variants, row_of(walk, layer, VARIANT_NO_BLOCK) + chunk->first, n, x,
                               err)) ||
        (status =
             finish(walk, shape, w, chunk, x, row_of(walk, layer, VARIANT_NO_ATTENTION), err)) ||
        (status =
             block_attention(shape, &half_attention, &chunk->batch, x, walk->mid, NULL, err)) ||
        (status = finish(walk, shape, w, chunk, walk->mid,
                         row_of(walk, layer, VARIANT_HALF_ATTENTION), err)) ||
        (status = block_attention(shape, w, &chunk->batch, x, walk->mid, NULL, err)) ||
        (status = finish(walk, shape, &half_ffn, chunk, walk->mid,
                         row_of(walk, layer, VARIANT_HALF_FFN), err))) {
        return status;
    }
    return block_ffn_out(shape, w, n, walk->mid, walk->h, x,
                         err); // h is of all neurons
}

static enum wl_status pass_variant(struct analysis_walk *walk, const struct compress_block *block,
                                   size_t row, struct wl_err *err) {
    struct analysis_chunk chunk = {0};
    enum wl_status status = WL_OK;
    while (status == WL_OK && analysis_next_chunk(walk, &walk->probe.sequences, &chunk)) {
        size_t n = chunk.n_tokens;
        if ((status = states_read(&walk->probe.variants, row + chunk.first, n, walk->x, err)) ||
            (status = block_attention(&block->shape, &block->weights, &chunk.batch, walk->x,
                                      walk->mid, NULL, err)) ||
            (status = finish(walk, &block->shape, &block->weights, &chunk, walk->mid, row, err))) {
            return status;
        }
        status = analysis_worked(walk, (double)n * analysis_block_work(&block->shape), err);
    }
    return status;
}

enum wl_status analysis_probe_block(struct analysis_walk *walk, const struct compress_block *block,
                                    uint32_t layer, const struct analysis_halves *halves,
                                    struct wl_err *err) {
    struct analysis_chunk chunk = {0};
    double work = N_VARIANTS * analysis_block_work(&block->shape);
    enum wl_status status = WL_OK;
    while (status == WL_OK && analysis_next_chunk(walk, &walk->probe.sequences, &chunk)) {
        status = begin_variants(walk, block, layer, halves, &chunk, err);
        if (status == WL_OK) {
            status = analysis_worked(walk, (double)chunk.n_tokens * work, err);
        }
    }
    for (uint32_t i = 0; i < layer * N_VARIANTS && status == WL_OK; i++) {
        status = pass_variant(walk, block, (size_t)i * walk->probe.n, err);
    }
    return status;
}

// ---- the output matrix, a piece of the vocabulary at a time ----

// A distribution over what has been seen of the vocabulary: sum of exp(logit -
// max).
struct mass {
    double max, sum;
};

struct output {
    struct analysis_walk *walk;
    const struct gguf_tensor *tensor;
    size_t n, n_embd, n_variants;
    float rms_eps;
    float *norm;          // [n_embd]
    float *rows;          // [OUTPUT_ROWS][n_embd]
    float *x, *original;  // [n][n_embd] normed: of a variant, of the original
    float *a, *exp_a, *b; // [n][OUTPUT_ROWS] logits of the original, of a variant
    double *fall;         // [n] what sums of the original shrink by as its maximum grows
    struct mass *of;      // [n] the original's
    struct mass *others;  // [n_variants][n]
    double *cross;        // [n_variants][n] sum exp(a - max) (a - b)
};

static void release_output(struct output *o) {
    free(o->norm);
    free(o->rows);
    free(o->x);
    free(o->original);
    free(o->a);
    free(o->exp_a);
    free(o->b);
    free(o->fall);
    free(o->of);
    free(o->others);
    free(o->cross);
}

static enum wl_status open_output(struct output *o, struct wl_err *err) {
    const struct compress_source *source = o->walk->source;
    size_t n = o->n, n_rows = source->n_vocab < OUTPUT_ROWS ? source->n_vocab : OUTPUT_ROWS;
    struct block_shape shape;
    enum wl_status status = compress_source_shape(source, 0, &shape, err);
    if (status != WL_OK) {
        return status;
    }
    o->rms_eps = shape.rms_eps;
    o->norm = calloc(o->n_embd, sizeof *o->norm);
    o->rows = calloc(n_rows, o->n_embd * sizeof *o->rows);
    o->x = calloc(n, o->n_embd * sizeof *o->x);
    o->original = calloc(n, o->n_embd * sizeof *o->original);
    o->a = calloc(n, n_rows * sizeof *o->a);
    o->exp_a = calloc(n, n_rows * sizeof *o->exp_a);
    o->b = calloc(n, n_rows * sizeof *o->b);
    o->fall = calloc(n, sizeof *o->fall);
    o->of = calloc(n, sizeof *o->of);
    o->others = calloc(n, o->n_variants * sizeof *o->others);
    o->cross = calloc(n, o->n_variants * sizeof *o->cross);
    if (!o->norm || !o->rows || !o->x || !o->original || !o->a || !o->exp_a || !o->b || !o->fall ||
        !o->of || !o->others || !o->cross) {
        return wl_err_set(err, WL_MEMORY,
                          "no memory for the next-token distributions of %zu tokens", n);
    }
    for (size_t i = 0; i < n * o->n_variants; i++) {
        o->others[i].max = -INFINITY;
    }
    for (size_t i = 0; i < n; i++) {
        o->of[i].max = -INFINITY;
    }
    const struct gguf_tensor *norm = compress_source_tensor(source, -1, "output_norm.weight");
    compress_source_rows(source, norm, 0, 1, o->norm);
    return WL_OK;
}

// The judged rows of states, each by its root mean square and times the norm.
static void norm_judged(const struct output *o, const float *states, float *out) {
    const struct analysis_probe *probe = &o->walk->probe;
    for (size_t i = 0; i < o->n; i++) {
        const float *x = states + probe->judged[i] * o->n_embd;
        double sum = cblas_dsdot((int)o->n_embd, x, 1, x, 1);
        float scale = (float)(1 / sqrt(sum / (double)o->n_embd + (double)o->rms_eps));
        for (size_t j = 0; j < o->n_embd; j++) {
            out[i * o->n_embd + j] = x[j] * scale * o->norm[j];
        }
    }
}

// The variants' last states are replaced by what the output matrix is applied
// to.
static enum wl_status norm_all(struct output *o, struct wl_err *err) {
    const struct analysis_probe *probe = &o->walk->probe;
    float *states = calloc(probe->n, o->n_embd * sizeof *states);
    if (!states) {
        return wl_err_set(err, WL_MEMORY, "no memory for the states of %zu tokens", probe->n);
    }
    enum wl_status status = WL_OK;
    norm_judged(o, probe->x, o->original);
    for (size_t v = 0; v < o->n_variants && status == WL_OK; v++) {
        status = states_read(&probe->variants, v * probe->n, probe->n, states, err);
        if (status == WL_OK) {
            norm_judged(o, states, o->x);
            status = states_write(&probe->variants, v * probe->n, o->n, o->x, err);
        }
    }
    free(states);
    return status;
}

static void multiply(const struct output *o, const float *x, size_t n_rows, float *logits) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)o->n, (int)n_rows, (int)o->n_embd, 1,
                x, (int)o->n_embd, o->rows, (int)o->n_embd, 0, logits, (int)n_rows);
}

static double largest(const float *values, size_t n, double max) {
    for (size_t i = 0; i < n; i++) {
        max = fmax(max, (double)values[i]);
    }
    return max;
}

static void add_original(struct output *o, size_t n_rows) {
    multiply(o, o->original, n_rows, o->a);
    for (size_t t = 0; t < o->n; t++) {
        const float *a = o->a + t * n_rows;
        float *exp_a = o->exp_a + t * n_rows;
        double max = largest(a, n_rows, o->of[t].max), sum = 0;
        for (size_t i = 0; i < n_rows; i++) {
            exp_a[i] = expf(a[i] - (float)max);
            sum += (double)exp_a[i];
        }
        o->fall[t] = exp(o->of[t].max - max);
        o->of[t] = (struct mass){max, o->of[t].sum * o->fall[t] + sum};
    }
}

static void add_variant(struct output *o, size_t variant, size_t n_rows) {
    multiply(o, o->x, n_rows, o->b);
    for (size_t t = 0; t < o->n; t++) {
        const float *a = o->a + t * n_rows, *b = o->b + t * n_rows;
        const float *exp_a = o->exp_a + t * n_rows;
        struct mass *mass = &o->others[variant * o->n + t];
        double max = largest(b, n_rows, mass->max), sum = 0, cross = 0;
        for (size_t i = 0; i < n_rows; i++) {
            sum += (double)expf(b[i] - (float)max);
            cross += (double)exp_a[i] * (double)(a[i] - b[i]);
        }
        *mass = (struct mass){max, mass->sum * exp(mass->max - max) + sum};
        o->cross[variant * o->n + t] = o->cross[variant * o->n + t] * o->fall[t] + cross;
    }
}

static enum wl_status add_rows(struct output *o, uint64_t first, size_t n_rows,
                               struct wl_err *err) {
    struct analysis_walk *walk = o->walk;
    double work = 2 * (double)o->n * (double)n_rows * (double)o->n_embd;
    compress_source_rows(walk->source, o->tensor, first, n_rows, o->rows);
    add_original(o, n_rows);
    enum wl_status status = WL_OK;
    for (size_t v = 0; v < o->n_variants && status == WL_OK; v++) {
        status = states_read(&walk->probe.variants, v * walk->probe.n, o->n, o->x, err);
        if (status == WL_OK) {
            add_variant(o, v, n_rows);
            status = analysis_worked(walk, work, err);
        }
    }
    return status;
}

// sum p (log p - log q) of p from a, q from b: E(a - b) less the difference of
// what they sum to.
static enum wl_status divergences(const struct output *o, double *kl, struct wl_err *err) {
    for (size_t v = 0; v < o->n_variants; v++) {
        double sum = 0;
        for (size_t t = 0; t < o->n; t++) {
            const struct mass *p = &o->of[t], *q = &o->others[v * o->n + t];
            double log_ratio = p->max + log(p->sum) - q->max - log(q->sum);
            double one = o->cross[v * o->n + t] / p->sum - log_ratio;
            sum += one < 0 ? 0 : one; // by rounding; NaN stays
        }
        kl[v] = sum / (double)o->n;
        if (!isfinite(kl[v])) {
            return wl_err_set(err, WL_INPUT,
                              "the logits are not finite once block %zu is changed: is the file "
                              "damaged?",
                              v / N_VARIANTS);
        }
    }
    return WL_OK;
}

double analysis_output_work(const struct analysis_walk *walk) {
    return 2 * (double)walk->probe.n_judged * walk->source->n_vocab * walk->source->n_embd *
           ((double)walk->source->n_layer * N_VARIANTS);
}

enum wl_status analysis_probe_output(struct analysis_walk *walk, double *kl, struct wl_err *err) {
    struct output o = {.walk = walk,
                       .tensor = output_tensor(walk->source),
                       .n = walk->probe.n_judged,
                       .n_embd = walk->source->n_embd,
                       .n_variants = (size_t)walk->source->n_layer * N_VARIANTS};
    enum wl_status status = open_output(&o, err);
    if (status == WL_OK) {
        status = norm_all(&o, err);
    }
    for (uint64_t first = 0; first < walk->source->n_vocab && status == WL_OK;) {
        uint64_t left = walk->source->n_vocab - first;
        size_t n_rows = left < OUTPUT_ROWS ? (size_t)left : OUTPUT_ROWS;
        status = add_rows(&o, first, n_rows, err);
        first += n_rows;
    }
    if (status == WL_OK) {
        status = divergences(&o, kl, err);
    }
    release_output(&o);
    return status;
}
