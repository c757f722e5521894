// One decoder block against the same written down plainly (block_plain.h), with every choice that
// models make; and what must hold whatever the formulas are: nothing is seen ahead or across
// sequences.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "block_plain.h"

static const double TOLERANCE = 2e-5; // of the largest figure: float32 rounding, nothing else

// The block's results, float and plain.
struct states {
    float *mid, *heads, *u, *h, *y;
};

static struct states run_block(const struct sample *sample) {
    const struct block_shape *shape = &sample->shape;
    size_t n = sample->batch.n_tokens;
    struct states out = {calloc(n * shape->n_embd, sizeof(float)),
                         calloc(n * shape->n_head * shape->head_dim, sizeof(float)),
                         calloc(n * shape->n_embd, sizeof(float)),
                         calloc(n * shape->n_ff, sizeof(float)),
                         calloc(n * shape->n_embd, sizeof(float))};
    struct wl_err err;
    assert_int_equal(block_attention(shape, &sample->weights, &sample->batch, sample->x, out.mid,
                                     out.heads, &err),
                     WL_OK);
    assert_int_equal(block_ffn_inner(shape, &sample->weights, n, out.mid, out.u, out.h, &err),
                     WL_OK);
    assert_int_equal(block_ffn_out(shape, &sample->weights, n, out.mid, out.h, out.y, &err), WL_OK);
    return out;
}

static void states_release(struct states *states) {
    free(states->mid);
    free(states->heads);
    free(states->u);
    free(states->h);
    free(states->y);
}

static void check(const char *what, const float *found, const double *expected, size_t n) {
    double largest = 0, apart = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(expected[i]));
        double difference = fabs((double)found[i] - expected[i]);
        apart = isfinite(difference) ? fmax(apart, difference) : INFINITY;
    }
    if (!(apart <= TOLERANCE * largest)) {
        fail_msg("%s is %g away of %g", what, apart, largest);
    }
}

static void check_sample(const struct sample *sample) {
    const struct block_shape *shape = &sample->shape;
    size_t n = sample->batch.n_tokens, width = (size_t)shape->n_head * shape->head_dim;
    double *heads = calloc(n * width, sizeof *heads), *mid = calloc(n * 64, sizeof *mid);
    double *u = calloc(n * 64, sizeof *u), *h = calloc(n * 64, sizeof *h);
    struct states found = run_block(sample);
    plain_attention(sample, heads, mid);
    check("heads", found.heads, heads, n * width);
    check("mid", found.mid, mid, n * shape->n_embd);
    for (size_t token = 0; token < n; token++) {
        plain_ffn(sample, mid + token * shape->n_embd, u + token * shape->n_embd,
                  h + token * shape->n_ff);
    }
    check("u", found.u, u, n * shape->n_embd);
    check("h", found.h, h, n * shape->n_ff);
    check("y", found.y, mid, n * shape->n_embd);
    states_release(&found);
    free(heads);
    free(mid);
    free(u);
    free(h);
}

enum option { BIAS = 1, NORMS = 2, WINDOW = 4, POST = 8, GELU = 16, FACTORS = 32, N_CHOICES = 64 };

static void choose(struct sample *sample, unsigned options, enum block_rope rope,
                   bool has_sections) {
    struct block_weights *weights = &sample->weights;
    sample->shape.rope = rope;
    if (has_sections) {
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

static void check_choices(uint32_t n_head_kv) {
    static const uint32_t LENGTHS[] = {7, 12};
    for (unsigned options = 0; options < N_CHOICES; options++) {
        for (unsigned rope = 0; rope < 3; rope++) {
            struct sample sample = sample_of(4, n_head_kv, LENGTHS, 2);
            choose(&sample, options, rope ? BLOCK_ROPE_HALVES : BLOCK_ROPE_PAIRS, rope == 2);
            check_sample(&sample);
            sample_release(&sample);
        }
    }
}

static void a_head_of_its_own(void **state) {
    (void)state;
    check_choices(4);
}

static void two_heads_share(void **state) {
    (void)state;
    check_choices(2);
}

static void four_heads_share(void **state) {
    (void)state;
    check_choices(1);
}

// Longer than what is computed at once, shorter, empty, and windows across the borders.
static void long_and_short_sequences(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {300, 1, 0, 150, 62, 700, 129, 0};
    for (uint32_t window = 0; window <= 200; window += 100) {
        struct sample sample = sample_of(2, 1, LENGTHS, 8);
        choose(&sample, BIAS | NORMS, BLOCK_ROPE_HALVES, false);
        sample.shape.window = window;
        check_sample(&sample);
        sample_release(&sample);
    }
}

// ---- what holds whatever the formulas are ----

// Large states in tokens from..to change no other token of theirs or another sequence before them.
static void check_unseen(size_t from, size_t to, size_t same_from, size_t same_to) {
    static const uint32_t LENGTHS[] = {140, 150};
    struct sample sample = sample_of(4, 2, LENGTHS, 2);
    size_t n_embd = sample.shape.n_embd;
    struct states before = run_block(&sample);
    for (size_t i = from * n_embd; i < to * n_embd; i++) {
        sample.x[i] = -100 * sample.x[i] + 1;
    }
    struct states after = run_block(&sample);
    size_t n_bytes = (same_to - same_from) * n_embd * sizeof(float);
    assert_memory_equal(after.y + same_from * n_embd, before.y + same_from * n_embd, n_bytes);
    assert_memory_not_equal(after.y + (to - 1) * n_embd, before.y + (to - 1) * n_embd,
                            n_embd * sizeof(float));
    states_release(&before);
    states_release(&after);
    sample_release(&sample);
}

static void sequences_do_not_see_each_other(void **state) {
    (void)state;
    check_unseen(0, 140, 140, 290);
    check_unseen(140, 290, 0, 140);
}

static void no_token_sees_ahead(void **state) {
    (void)state;
    check_unseen(289, 290, 0, 289);
    check_unseen(260, 290, 0, 260);
    check_unseen(5, 6, 0, 5);
}

static void equal_positions_make_sections_plain(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {7, 12};
    struct sample sample = sample_of(4, 2, LENGTHS, 2);
    size_t n = sample.batch.n_tokens;
    choose(&sample, 0, BLOCK_ROPE_HALVES, false);
    struct states plain = run_block(&sample);
    for (size_t i = n; i < 4 * n; i++) {
        sample.positions[i] = sample.positions[i - n];
    }
    choose(&sample, 0, BLOCK_ROPE_HALVES, true);
    struct states sections = run_block(&sample);
    assert_memory_equal(sections.y, plain.y, n * sample.shape.n_embd * sizeof(float));
    states_release(&plain);
    states_release(&sections);
    sample_release(&sample);
}

// Rows of a head from halves to pairs: new 2i is i, new 2i + 1 is i + head_dim / 2.
static float *paired(struct sample *sample, const float *w, size_t n_heads, size_t n_in) {
    size_t head_dim = sample->shape.head_dim;
    float *out = draw(sample, n_heads * head_dim * n_in, 0, 1);
    for (size_t row = 0; row < n_heads * head_dim; row++) {
        size_t head = row / head_dim, at = row % head_dim;
        size_t from = head * head_dim + at / 2 + (at % 2 ? head_dim / 2 : 0);
        memcpy(out + row * n_in, w + from * n_in, n_in * sizeof *out);
    }
    return out;
}

static void pairs_are_halves_with_rows_in_another_order(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {7, 12};
    struct sample sample = sample_of(4, 2, LENGTHS, 2);
    struct block_weights *weights = &sample.weights;
    size_t n = sample.batch.n_tokens * sample.shape.n_embd;
    choose(&sample, BIAS, BLOCK_ROPE_HALVES, false);
    struct states halves = run_block(&sample);
    weights->wq = paired(&sample, weights->wq, 4, sample.shape.n_embd);
    weights->wk = paired(&sample, weights->wk, 2, sample.shape.n_embd);
    weights->bq = paired(&sample, weights->bq, 4, 1);
    weights->bk = paired(&sample, weights->bk, 2, 1);
    sample.shape.rope = BLOCK_ROPE_PAIRS;
    struct states pairs = run_block(&sample);
    for (size_t i = 0; i < n; i++) {
        assert_float_equal(pairs.mid[i], halves.mid[i], 1e-5F);
    }
    states_release(&halves);
    states_release(&pairs);
    sample_release(&sample);
}

static void results_nobody_asks_for_change_nothing(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {600, 12, 5};
    struct sample sample = sample_of(4, 2, LENGTHS, 3);
    const struct block_shape *shape = &sample.shape;
    size_t n = sample.batch.n_tokens, n_bytes = n * shape->n_embd * sizeof(float);
    struct states all = run_block(&sample);
    float *mid = malloc(n_bytes), *h = calloc(n * shape->n_ff, sizeof *h);
    assert_int_equal(
        block_attention(shape, &sample.weights, &sample.batch, sample.x, mid, NULL, NULL), WL_OK);
    assert_memory_equal(mid, all.mid, n_bytes);
    assert_int_equal(block_ffn_inner(shape, &sample.weights, n, mid, NULL, h, NULL), WL_OK);
    assert_memory_equal(h, all.h, n * shape->n_ff * sizeof *h);
    assert_int_equal(block_ffn_out(shape, &sample.weights, n, mid, h, mid, NULL), WL_OK);
    assert_memory_equal(mid, all.y, n_bytes); // in place
    free(mid);
    free(h);
    states_release(&all);
    sample_release(&sample);
}

static void scores_may_be_huge(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {20};
    struct sample sample = sample_of(4, 2, LENGTHS, 1);
    sample.shape.attention_scale = 1e4F;
    struct states out = run_block(&sample);
    for (size_t i = 0; i < 20UL * sample.shape.n_embd; i++) {
        assert_true(isfinite(out.y[i]));
    }
    states_release(&out);
    sample_release(&sample);
}

static void a_width_beyond_blas_is_refused(void **state) {
    (void)state;
    static const uint32_t LENGTHS[] = {1};
    struct sample sample = sample_of(4, 2, LENGTHS, 1);
    struct wl_err err = {0};
    float out[64];
    sample.shape.n_head = sample.shape.n_head_kv = UINT32_MAX;
    sample.shape.head_dim = UINT32_MAX;
    assert_int_equal(
        block_attention(&sample.shape, &sample.weights, &sample.batch, sample.x, out, out, &err),
        WL_MEMORY);
    assert_non_null(strstr(err.message, "no memory for"));
    sample_release(&sample);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_of_its_own),
        cmocka_unit_test(two_heads_share),
        cmocka_unit_test(four_heads_share),
        cmocka_unit_test(long_and_short_sequences),
        cmocka_unit_test(sequences_do_not_see_each_other),
        cmocka_unit_test(no_token_sees_ahead),
        cmocka_unit_test(equal_positions_make_sections_plain),
        cmocka_unit_test(pairs_are_halves_with_rows_in_another_order),
        cmocka_unit_test(results_nobody_asks_for_change_nothing),
        cmocka_unit_test(scores_may_be_huge),
        cmocka_unit_test(a_width_beyond_blas_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
