// Gradients of a decoder block against differences of the same block written down plainly, in
// double (block_plain.h), for every choice that models make; and those of what a model's output
// matrix is judged by.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block_plain.h"
#include "compress/back.h"
#include "compress/back_output.h"

static const double TOLERANCE = 1e-3; // of a slope; what is found is about 1e-5
static const double STEP = 1e-3;

// ---- a block ----

enum { ALL = BACK_MATRICES + BACK_VECTORS + 1 }; // and x itself

struct trial {
    struct sample sample;
    float *judge;         // [n_tokens][n_embd]: the loss is its product with y
    float *gradient[ALL]; // shaped as what it is of
};

// Where the weights of a gradient lie; NULL: the block has none.
static const float **weights_of(struct block_weights *w, size_t i) {
    const float **of[] = {[BACK_Q] = &w->wq,
                          [BACK_K] = &w->wk,
                          [BACK_V] = &w->wv,
                          [BACK_O] = &w->wo,
                          [BACK_GATE] = &w->gate,
                          [BACK_UP] = &w->up,
                          [BACK_DOWN] = &w->down,
                          [BACK_MATRICES + BACK_ATTN_NORM] = &w->attn_norm,
                          [BACK_MATRICES + BACK_Q_BIAS] = &w->bq,
                          [BACK_MATRICES + BACK_K_BIAS] = &w->bk,
                          [BACK_MATRICES + BACK_V_BIAS] = &w->bv,
                          [BACK_MATRICES + BACK_Q_NORM] = &w->q_norm,
                          [BACK_MATRICES + BACK_K_NORM] = &w->k_norm,
                          [BACK_MATRICES + BACK_O_BIAS] = &w->bo,
                          [BACK_MATRICES + BACK_ATTN_POST_NORM] = &w->attn_post_norm,
                          [BACK_MATRICES + BACK_FFN_NORM] = &w->ffn_norm,
                          [BACK_MATRICES + BACK_DOWN_BIAS] = &w->down_bias,
                          [BACK_MATRICES + BACK_FFN_POST_NORM] = &w->ffn_post_norm};
    return i < ALL - 1 ? of[i] : NULL;
}

static size_t size_of(const struct sample *sample, size_t i) {
    const struct block_shape *s = &sample->shape;
    size_t embd = s->n_embd, heads = (size_t)s->n_head * s->head_dim;
    size_t kv = (size_t)s->n_head_kv * s->head_dim, ff = s->n_ff;
    const size_t sizes[] = {heads * embd,
                            kv * embd,
                            kv * embd,
                            embd * heads,
                            ff * embd,
                            ff * embd,
                            embd * ff,
                            embd,
                            heads,
                            kv,
                            kv,
                            s->head_dim,
                            s->head_dim,
                            embd,
                            embd,
                            embd,
                            embd,
                            embd,
                            sample->batch.n_tokens * embd};
    assert_int_equal(sizeof sizes / sizeof sizes[0], ALL);
    return sizes[i];
}

static double plain_loss(const struct trial *t) {
    const struct sample *s = &t->sample;
    size_t n = s->batch.n_tokens, embd = s->shape.n_embd;
    double *heads = calloc(n * s->shape.n_head * s->shape.head_dim, sizeof *heads);
    double *mid = calloc(n * embd, sizeof *mid), u[64], h[64], loss = 0;
    plain_attention(s, heads, mid);
    for (size_t token = 0; token < n; token++) {
        plain_ffn(s, mid + token * embd, u, h);
    }
    for (size_t i = 0; i < n * embd; i++) {
        loss += (double)t->judge[i] * mid[i];
    }
    free(heads);
    free(mid);
    return loss;
}

static void take_matrix(void *context, enum back_matrix matrix, size_t n, const float *x,
                        const float *dy) {
    struct trial *t = context;
    const struct block_shape *s = &t->sample.shape;
    size_t heads = (size_t)s->n_head * s->head_dim;
    size_t n_in = matrix == BACK_DOWN ? s->n_ff : matrix == BACK_O ? heads : s->n_embd;
    size_t n_out = size_of(&t->sample, matrix) / n_in;
    for (size_t row = 0; row < n; row++) {
        for (size_t o = 0; o < n_out; o++) {
            for (size_t i = 0; i < n_in; i++) {
                t->gradient[matrix][o * n_in + i] += dy[row * n_out + o] * x[row * n_in + i];
            }
        }
    }
}

// Forth and back; y must be the plain one's too.
static void run(struct trial *t) {
    struct sample *s = &t->sample;
    size_t n = s->batch.n_tokens, size = n * s->shape.n_embd;
    struct back_batch batch = {.batch = s->batch};
    struct back_states states = {0};
    struct back_work work = {0};
    struct back_gradients gradients = {.on_matrix = take_matrix, .context = t};
    float *y = calloc(size, sizeof *y);
    for (size_t i = 0; i < BACK_VECTORS; i++) {
        gradients.vectors[i] = t->gradient[BACK_MATRICES + i];
    }
    assert_int_equal(back_forth(&s->shape, &s->weights, &batch, s->x, &states, &work, y, NULL),
                     WL_OK);
    double loss = 0;
    for (size_t i = 0; i < size; i++) {
        loss += (double)t->judge[i] * (double)y[i];
    }
    assert_true(fabs(loss - plain_loss(t)) < 1e-4 * (1 + fabs(loss)));
    memcpy(y, t->judge, size * sizeof *y); // in place
    assert_int_equal(
        back_block(&s->shape, &s->weights, &batch, s->x, &states, y, &gradients, &work, y, NULL),
        WL_OK);
    memcpy(t->gradient[ALL - 1], y, size * sizeof *y);
    back_batch_release(&batch);
    back_states_release(&states);
    back_work_release(&work);
    free(y);
}

// The slope along a random direction in which all of them change.
static void check_gradient(struct trial *t, size_t which) {
    const float **place = weights_of(&t->sample.weights, which);
    float *w = place ? (float *)(uintptr_t)*place : t->sample.x;
    size_t n = size_of(&t->sample, which);
    if (!w) {
        return;
    }
    float *was = calloc(n, sizeof *was), *way = calloc(n, sizeof *way);
    double slope = 0, length = 0, losses[2];
    memcpy(was, w, n * sizeof *w);
    for (size_t i = 0; i < n; i++) {
        way[i] = (float)rng_normal(&t->sample.rng);
        length += pow((double)t->gradient[which][i], 2);
    }
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++) {
            w[i] = was[i] + (float)(side ? STEP : -STEP) * way[i] / (float)sqrt((double)n);
        }
        losses[side] = plain_loss(t);
        for (size_t i = 0; i < n; i++) { // the step as it is after rounding
            slope += (side ? 1 : -1) * (double)(w[i] - was[i]) * (double)t->gradient[which][i];
        }
    }
    memcpy(w, was, n * sizeof *w);
    double found = losses[1] - losses[0], scale = 2 * STEP * sqrt(length / (double)n);
    if (!(fabs(found - slope) <= TOLERANCE * (fabs(found) + scale))) {
        fail_msg("gradient %zu: the loss changes by %g, expected %g", which, found, slope);
    }
    free(was);
    free(way);
}

static void check_trial(struct trial *t) {
    size_t size = t->sample.batch.n_tokens * t->sample.shape.n_embd;
    t->judge = draw(&t->sample, size, 0, 1);
    for (size_t i = 0; i < ALL; i++) {
        t->gradient[i] = calloc(size_of(&t->sample, i), sizeof(float));
    }
    run(t);
    for (size_t i = 0; i < ALL; i++) {
        check_gradient(t, i);
        free(t->gradient[i]);
    }
    sample_release(&t->sample);
}

enum option { BIAS = 1, NORMS = 2, WINDOW = 4, POST = 8, GELU = 16, FACTORS = 32, N_CHOICES = 64 };

static void choose(struct sample *sample, unsigned options, unsigned rope) {
    struct block_weights *weights = &sample->weights;
    sample->shape.rope = rope ? BLOCK_ROPE_HALVES : BLOCK_ROPE_PAIRS;
    if (rope == 2) {
        memcpy(sample->shape.rope_sections, (uint32_t[]){2, 1, 2, 1}, 4 * sizeof(uint32_t));
    }
    if (!(options & BIAS)) {
        weights->bq = weights->bk = weights->bv = weights->bo = weights->down_bias = NULL;
    }
    if (!(options & NORMS)) {
        weights->q_norm = weights->k_norm = NULL;
    }
    if (!(options & POST)) {
        weights->attn_post_norm = weights->ffn_post_norm = NULL;
    }
    sample->shape.window = options & WINDOW ? 4 : 0;
    sample->shape.is_gelu = options & GELU;
    if (options & FACTORS) {
        for (size_t i = 0; i < sample->shape.head_dim / 2; i++) {
            sample->factors[i] = 1 + (float)i * 0.7F;
        }
        sample->shape.rope_factors = sample->factors;
        sample->shape.rope_scale = 0.25F;
        sample->shape.attention_scale = 0.4F;
    }
}

// Every `step`-th of all choices.
static void check_choices(uint32_t n_head_kv, unsigned step) {
    static const uint32_t LENGTHS[] = {7, 1, 12};
    for (unsigned options = 0; options < N_CHOICES; options++) {
        for (unsigned rope = options % step; rope < 3; rope += step) {
            struct trial trial = {.sample = sample_of(4, n_head_kv, LENGTHS, 3)};
            choose(&trial.sample, options, rope);
            trial.sample.shape.rope_factors = options & FACTORS ? trial.sample.factors : NULL;
            check_trial(&trial);
        }
    }
}

static void a_head_of_its_own(void **state) {
    (void)state;
    check_choices(4, 3);
}

static void two_heads_share(void **state) {
    (void)state;
    check_choices(2, 1);
}

static void four_heads_share(void **state) {
    (void)state;
    check_choices(1, 3);
}

// Longer than the rows of scores that exist at once.
static void long_sequences(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {150, 0, 129};
    for (uint32_t window = 0; window <= 100; window += 100) {
        struct trial trial = {.sample = sample_of(2, 1, LENGTHS, 3)};
        choose(&trial.sample, BIAS | NORMS, 1);
        trial.sample.shape.window = window;
        check_trial(&trial);
    }
}

// States, work and angles of another block and batch are in the way of none.
static void memory_is_used_again(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {9};
    struct sample s = sample_of(4, 2, LENGTHS, 1);
    struct back_batch batch = {.batch = s.batch};
    struct back_states states = {0};
    struct back_work work = {0};
    size_t size = 9 * s.shape.n_embd;
    float *first = calloc(size, sizeof *first), *y = calloc(size, sizeof *y);
    for (int i = 0; i < 5; i++) { // two rotations, then a third one, then the first one again
        s.shape.rope_base = i == 1 ? 100 : i == 2 ? 200 : i == 3 ? 300 : 500;
        float *to = i == 0 ? first : y;
        assert_int_equal(back_forth(&s.shape, &s.weights, &batch, s.x, &states, &work, to, NULL),
                         WL_OK);
        assert_true(i == 0 || (i == 4) == (memcmp(first, y, size * sizeof *y) == 0));
    }
    free(first);
    free(y);
    back_batch_release(&batch);
    back_states_release(&states);
    back_work_release(&work);
    sample_release(&s);
}

static void what_has_no_room_is_refused(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {1};
    struct sample s = sample_of(4, 2, LENGTHS, 1);
    struct back_batch batch = {.batch = s.batch};
    struct back_states states = {0};
    struct back_work work = {0};
    struct wl_err err = {0};
    s.shape.n_ff = s.shape.n_head = s.shape.head_dim = UINT32_MAX;
    assert_int_equal(back_forth(&s.shape, &s.weights, &batch, s.x, &states, &work, s.x, &err),
                     WL_MEMORY);
    assert_non_null(strstr(err.message, "no memory for"));
    back_batch_release(&batch);
    back_states_release(&states);
    back_work_release(&work);
    sample_release(&s);
}

// ---- the output matrix ----

enum { VOCAB = 50, EMBD = 8, TOKENS = 9, KEPT = 6 };

struct head {
    float w[VOCAB * EMBD], x[TOKENS * EMBD];
    int32_t ids[TOKENS][KEPT];
    float log_p[TOKENS][KEPT];
    struct back_target targets[TOKENS];
};

static void give_rows(void *context, size_t first, size_t n, float *out) {
    const struct head *head = context;
    memcpy(out, head->w + first * EMBD, n * EMBD * sizeof *out);
}

// Distributions of random logits: the likeliest KEPT and the rest, or all of them.
static void make_head(struct head *head, bool is_whole, struct rng *rng) {
    for (size_t i = 0; i < VOCAB * EMBD; i++) {
        head->w[i] = (float)rng_normal(rng);
    }
    for (size_t i = 0; i < TOKENS * EMBD; i++) {
        head->x[i] = (float)rng_normal(rng);
    }
    for (size_t t = 0; t < TOKENS; t++) {
        double left = 1;
        for (size_t i = 0; i < KEPT; i++) {
            double p = t == 3 && i == 2 ? 0 : left * (0.1 + 0.4 * rng_uniform(rng));
            head->ids[t][i] = (int32_t)((7 * t + 11 * i) % VOCAB);
            head->log_p[t][i] = p > 0 ? (float)log(p) : -INFINITY;
            left -= p;
        }
        head->targets[t] = (struct back_target){
            .n = KEPT, .ids = head->ids[t], .log_p = head->log_p[t], .rest = is_whole ? 0 : left};
    }
}

static double plain_kl(const struct head *head) {
    double sum = 0;
    for (size_t t = 0; t < TOKENS; t++) {
        double logits[VOCAB], total = 0, kept = 0;
        for (size_t v = 0; v < VOCAB; v++) {
            logits[v] = 0;
            for (size_t i = 0; i < EMBD; i++) {
                logits[v] += (double)head->w[v * EMBD + i] * (double)head->x[t * EMBD + i];
            }
            total += exp(logits[v]);
        }
        const struct back_target *target = &head->targets[t];
        for (size_t i = 0; i < KEPT; i++) {
            double log_p = (double)target->log_p[i], q = exp(logits[target->ids[i]]) / total;
            sum += log_p > -1000 ? exp(log_p) * (log_p - log(q)) : 0;
            kept += q;
        }
        sum += target->rest > 0 ? target->rest * (log(target->rest) - log(1 - kept)) : 0;
    }
    return sum;
}

static void check_output(struct head *head, size_t most_logits) {
    struct back_output output = {.n_embd = EMBD,
                                 .n_vocab = VOCAB,
                                 .rows = give_rows,
                                 .context = head,
                                 .most_logits = most_logits};
    float dx[TOKENS * EMBD];
    double kl, alone;
    struct wl_err err;
    assert_int_equal(back_output_kl(&output, head->x, head->targets, TOKENS, 0.5, &kl, dx, &err),
                     WL_OK);
    assert_int_equal(
        back_output_kl(&output, head->x, head->targets, TOKENS, 0.5, &alone, NULL, &err), WL_OK);
    assert_true(fabs(kl - plain_kl(head)) < 1e-5 * kl && fabs(kl - alone) < 1e-6 * kl);
    for (size_t i = 0; i < TOKENS * EMBD; i++) {
        float was = head->x[i];
        head->x[i] = was + 1e-3F;
        double slope = plain_kl(head), step = (double)head->x[i];
        head->x[i] = was - 1e-3F;
        slope = (slope - plain_kl(head)) / (step - (double)head->x[i]);
        head->x[i] = was;
        assert_true(fabs(0.5 * slope - (double)dx[i]) < 1e-4);
    }
    back_output_release(&output);
}

static void divergence_of_the_likeliest_and_the_rest(void **state) {
    (void)state;
    struct head head;
    struct rng rng;
    rng_seed(&rng, 3);
    make_head(&head, false, &rng);
    check_output(&head, 1 << 20);    // all at once
    check_output(&head, TOKENS * 7); // seven rows of the matrix at a time
    check_output(&head, 1);          // one
}

static void divergence_without_rest(void **state) {
    (void)state;
    struct head head;
    struct rng rng;
    rng_seed(&rng, 4);
    make_head(&head, true, &rng);
    check_output(&head, 1 << 20);
    check_output(&head, TOKENS * 7);
}

// A divergence of its own distribution is 0, and nothing is to be changed; huge logits are numbers.
static void own_distribution(void **state) {
    (void)state;
    static struct head head;
    struct rng rng;
    float log_p[VOCAB], dx[EMBD];
    double kl, total = 0, logits[VOCAB];
    rng_seed(&rng, 5);
    make_head(&head, true, &rng);
    for (float size = 1; size < 1e4F; size *= 100) {
        double max = -INFINITY;
        total = 0;
        for (size_t v = 0; v < VOCAB; v++) {
            logits[v] = 0;
            for (size_t i = 0; i < EMBD; i++) {
                logits[v] += (double)head.w[v * EMBD + i] * (double)(size * head.x[i]);
            }
            max = fmax(max, logits[v]);
        }
        for (size_t v = 0; v < VOCAB; v++) {
            total += exp(logits[v] - max);
        }
        float x[EMBD];
        for (size_t v = 0; v < VOCAB; v++) {
            log_p[v] = (float)(logits[v] - max - log(total));
        }
        for (size_t i = 0; i < EMBD; i++) {
            x[i] = size * head.x[i];
        }
        struct back_target target = {.n = VOCAB, .log_p = log_p};
        struct back_output output = {.n_embd = EMBD,
                                     .n_vocab = VOCAB,
                                     .rows = give_rows,
                                     .context = &head,
                                     .most_logits = 20};
        assert_int_equal(back_output_kl(&output, x, &target, 1, 1, &kl, dx, NULL), WL_OK);
        assert_true(fabs(kl) < 1e-4);
        for (size_t i = 0; i < EMBD; i++) {
            assert_true(fabsf(dx[i]) < 1e-3F);
        }
        back_output_release(&output);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_of_its_own),
        cmocka_unit_test(two_heads_share),
        cmocka_unit_test(four_heads_share),
        cmocka_unit_test(long_sequences),
        cmocka_unit_test(memory_is_used_again),
        cmocka_unit_test(what_has_no_room_is_refused),
        cmocka_unit_test(divergence_of_the_likeliest_and_the_rest),
        cmocka_unit_test(divergence_without_rest),
        cmocka_unit_test(own_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
