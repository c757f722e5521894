// With p what should be said and q what is: of a listed token dL/dlogit = m q - p, of another one
// q (m - rest / q_rest), where m is the mass of what is counted (1, unless there is no bucket) and
// q_rest the sum of q over the tokens that are not listed.
#include "compress/back_output.h"

#include <cblas.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "compress/block_parts.h"

// Where the bucket is ruled out that should have something: as verify_record.c has it.
static const double LOWEST_LOG = -1000;

struct token {
    float *kept; // logits of the listed ones, then e^(logit - the greatest)
    float *p;    // what they should be
    float max;   // of the others, so far
    double sum;  // of e^(logit - max) over them
    double log_total;
    double total;        // of e^(logit - the greatest) over all
    double mass, others; // the factors of q in the gradients
};

struct pass {
    struct back_output *output;
    const struct back_target *targets;
    const float *x;
    size_t n, n_chunk; // tokens, rows of the matrix at once
    float *rows, *logits;
    struct token *tokens;
};

void back_output_release(struct back_output *output) {
    free(output->memory);
    output->memory = NULL;
    output->n_floats = 0;
}

// ---- memory ----

static enum wl_status open_pass(struct pass *p, struct wl_err *err) {
    struct back_output *o = p->output;
    size_t n = p->n ? p->n : 1, chunk = o->most_logits / n;
    uint64_t n_kept = 0;
    p->n_chunk = chunk < 1 ? 1 : chunk < o->n_vocab ? chunk : o->n_vocab;
    for (size_t t = 0; t < p->n; t++) {
        n_kept += p->targets[t].n;
    }
    uint64_t wanted = (uint64_t)p->n_chunk * (o->n_embd + n) + 2 * n_kept;
    p->tokens = calloc(n, sizeof *p->tokens);
    if (wanted > o->n_floats) {
        back_output_release(o);
        o->memory =
            wanted <= PTRDIFF_MAX / sizeof(float) ? malloc((size_t)wanted * sizeof(float)) : NULL;
        o->n_floats = o->memory ? (size_t)wanted : 0;
    }
    if (!p->tokens || !o->memory || n > INT_MAX) {
        return wl_err_set(err, WL_MEMORY, "no memory for the logits of %zu tokens", p->n);
    }
    p->rows = o->memory;
    p->logits = p->rows + p->n_chunk * o->n_embd;
    float *kept = p->logits + p->n_chunk * n;
    for (size_t t = 0; t < p->n; t++) {
        p->tokens[t] = (struct token){.kept = kept, .p = kept + p->targets[t].n, .max = -INFINITY};
        kept += 2 * (size_t)p->targets[t].n;
        for (uint32_t i = 0; i < p->targets[t].n; i++) {
            p->tokens[t].kept[i] = -INFINITY;
        }
    }
    return WL_OK;
}

// ---- chunks ----

struct chunk {
    size_t first, n; // rows of the matrix
};

static void compute_logits(const struct pass *p, const struct chunk *chunk) {
    const struct back_output *o = p->output;
    o->rows(o->context, chunk->first, chunk->n, p->rows);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)p->n, (int)chunk->n, (int)o->n_embd,
                1, p->x, (int)o->n_embd, p->rows, (int)o->n_embd, 0, p->logits, (int)chunk->n);
}

// Where in the chunk a listed token is; NULL: elsewhere.
static float *place(const struct back_target *target, uint32_t i, const struct chunk *chunk,
                    float *row) {
    size_t id = target->ids ? (size_t)target->ids[i] : i;
    if (target->ids && target->ids[i] < 0) {
        return NULL;
    }
    return id >= chunk->first && id - chunk->first < chunk->n ? row + (id - chunk->first) : NULL;
}

// Listed logits are put aside, the others are summed.
static void sum_row(const struct back_target *target, const struct chunk *chunk, float *row,
                    struct token *token) {
    float max = token->max;
    for (uint32_t i = 0; i < target->n; i++) {
        float *at = place(target, i, chunk, row);
        if (at) {
            token->kept[i] = *at;
            *at = -INFINITY;
        }
    }
    for (size_t i = 0; i < chunk->n; i++) {
        max = row[i] > max ? row[i] : max;
    }
    if (max == -INFINITY) {
        return;
    }
    double sum = token->sum > 0 ? token->sum * exp((double)token->max - (double)max) : 0;
    for (size_t i = 0; i < chunk->n; i++) {
        sum += (double)block_exp(row[i] - max);
    }
    token->max = max;
    token->sum = sum;
}

// The sum of p (log p - logit) over the listed tokens; p is set, and their sum.
static double compare_listed(const struct back_target *target, struct token *token, float max) {
    double sum = 0, mass = 0;
    for (uint32_t i = 0; i < target->n; i++) {
        token->p[i] = block_exp(target->log_p[i]);
    }
    for (uint32_t i = 0; i < target->n; i++) {
        if (token->p[i] > 0) {
            double lowest = (double)max + LOWEST_LOG, logit = (double)token->kept[i];
            sum += (double)token->p[i] * ((double)target->log_p[i] - fmax(logit, lowest));
            mass += (double)token->p[i];
        }
    }
    token->mass = mass + target->rest;
    return sum;
}

static double finish_token(const struct back_target *target, struct token *token) {
    float max = token->max;
    for (uint32_t i = 0; i < target->n; i++) {
        max = token->kept[i] > max ? token->kept[i] : max;
    }
    double rest = token->sum > 0 ? token->sum * exp((double)token->max - (double)max) : 0;
    double kl = compare_listed(target, token, max), total = rest;
    for (uint32_t i = 0; i < target->n; i++) {
        token->kept[i] = block_exp(token->kept[i] - max);
    }
    for (uint32_t i = 0; i < target->n; i++) {
        total += (double)token->kept[i];
    }
    token->total = total;
    token->log_total = (double)max + log(total);
    kl += (token->mass - target->rest) * token->log_total;
    token->others = token->mass;
    if (target->rest > 0) {
        double log_rest = rest > 0 ? log(rest / total) : LOWEST_LOG;
        kl += target->rest * (log(target->rest) - log_rest);
        token->others -= rest > 0 ? target->rest * total / rest : 0;
    }
    return kl;
}

// ---- back ----

// The logits of a row become their gradients.
static void back_row(const struct back_target *target, const struct chunk *chunk,
                     const struct token *token, double scale, float *row) {
    float log_total = (float)token->log_total, others = (float)(scale * token->others);
    float of_q = (float)(scale * token->mass / token->total), of_p = (float)scale;
    if (!target->ids && target->n >= chunk->first + chunk->n) { // all are listed
        const float *e = token->kept + chunk->first, *p = token->p + chunk->first;
        for (size_t i = 0; i < chunk->n; i++) {
            row[i] = of_q * e[i] - of_p * p[i];
        }
        return;
    }
    for (size_t i = 0; i < chunk->n; i++) {
        row[i] = others * block_exp(row[i] - log_total);
    }
    for (uint32_t i = 0; i < target->n; i++) {
        float *at = place(target, i, chunk, row);
        if (at) {
            *at = of_q * token->kept[i] - of_p * token->p[i];
        }
    }
}

static void back_chunk(const struct pass *p, const struct chunk *chunk, double scale, float *dx) {
    int n_embd = (int)p->output->n_embd, n = (int)chunk->n;
    for (size_t t = 0; t < p->n; t++) {
        back_row(&p->targets[t], chunk, &p->tokens[t], scale, p->logits + t * chunk->n);
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)p->n, n_embd, n, 1, p->logits, n,
                p->rows, n_embd, chunk->first > 0, dx, n_embd);
}

static struct chunk chunk_at(const struct pass *p, size_t first) {
    size_t left = p->output->n_vocab - first;
    return (struct chunk){first, left < p->n_chunk ? left : p->n_chunk};
}

enum wl_status back_output_kl(struct back_output *output, const float *x,
                              const struct back_target *targets, size_t n_tokens, double scale,
                              double *kl, float *dx, struct wl_err *err) {
    struct pass p = {.output = output, .targets = targets, .x = x, .n = n_tokens};
    enum wl_status status = open_pass(&p, err);
    *kl = 0;
    if (status != WL_OK || !p.tokens || !p.logits) {
        free(p.tokens);
        return status;
    }
    for (size_t first = 0; first < output->n_vocab; first += p.n_chunk) {
        struct chunk chunk = chunk_at(&p, first);
        compute_logits(&p, &chunk);
        for (size_t t = 0; t < n_tokens; t++) {
            sum_row(&targets[t], &chunk, p.logits + t * chunk.n, &p.tokens[t]);
        }
    }
    for (size_t t = 0; t < n_tokens; t++) {
        *kl += finish_token(&targets[t], &p.tokens[t]);
    }
    for (size_t first = 0; dx && isfinite(*kl) && first < output->n_vocab; first += p.n_chunk) {
        struct chunk chunk = chunk_at(&p, first);
        if (p.n_chunk < output->n_vocab) {
            compute_logits(&p, &chunk);
        }
        back_chunk(&p, &chunk, scale, dx);
    }
    free(p.tokens);
    return isfinite(*kl) ? WL_OK
                         : wl_err_set(err, WL_INPUT,
                                      "the model computes probabilities that are "
                                      "not numbers");
}
