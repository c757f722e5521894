// A block of an image encoder against the same formulas written out plainly, in double, one number
// after the other.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compress/tower.h"
#include "compress/tower_heal.h"

enum { EMBD = 12, HEADS = 3, HEAD_DIM = 8, WIDTH = HEADS * HEAD_DIM, FF = 20, MAX_PATCHES = 300 };

struct fixture {
    struct rng rng;
    float memory[8192];
    size_t n_used;
    struct tower_shape shape;
    struct tower_weights weights;
    int32_t rows[MAX_PATCHES], columns[MAX_PATCHES];
};

static const float *draw(struct fixture *f, size_t n, double middle, double spread) {
    float *out = f->memory + f->n_used;
    f->n_used += n;
    assert_true(f->n_used <= sizeof f->memory / sizeof f->memory[0]);
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)(middle + spread * rng_normal(&f->rng));
    }
    return out;
}

static void fixture_init(struct fixture *f, enum tower_act act, bool has_rope, bool has_biases) {
    memset(f, 0, sizeof *f);
    rng_seed(&f->rng, 3);
    f->shape = (struct tower_shape){.n_embd = EMBD,
                                    .n_head = HEADS,
                                    .head_dim = HEAD_DIM,
                                    .n_ff = FF,
                                    .eps = 1e-5F,
                                    .act = act,
                                    .has_rope = has_rope};
    struct tower_weights *w = &f->weights;
    w->ln1 = draw(f, EMBD, 1, 0.3);
    w->wq = draw(f, WIDTH * EMBD, 0, 0.5);
    w->wk = draw(f, WIDTH * EMBD, 0, 0.5);
    w->wv = draw(f, WIDTH * EMBD, 0, 0.5);
    w->wo = draw(f, EMBD * WIDTH, 0, 0.3);
    w->ln2 = draw(f, EMBD, 1, 0.3);
    w->up = draw(f, FF * EMBD, 0, 0.5);
    w->down = draw(f, EMBD * FF, 0, 0.5);
    if (has_biases) {
        w->ln1_bias = draw(f, EMBD, 0, 0.3);
        w->bq = draw(f, WIDTH, 0, 0.3);
        w->bk = draw(f, WIDTH, 0, 0.3);
        w->bv = draw(f, WIDTH, 0, 0.3);
        w->bo = draw(f, EMBD, 0, 0.3);
        w->ln2_bias = draw(f, EMBD, 0, 0.3);
        w->up_bias = draw(f, FF, 0, 0.3);
        w->down_bias = draw(f, EMBD, 0, 0.3);
    }
    for (int i = 0; i < MAX_PATCHES; i++) {
        f->rows[i] = i / 17;
        f->columns[i] = i % 17;
    }
}

// ---- the same, plainly ----

static double at(const float *w, size_t i) {
    return w ? (double)w[i] : 0;
}

static void plain_norm(const struct fixture *f, const double *x, const float *factor,
                       const float *bias, double *u) {
    double mean = 0, variance = 0;
    for (size_t i = 0; i < EMBD; i++) {
        mean += x[i] / EMBD;
    }
    for (size_t i = 0; i < EMBD; i++) {
        variance += (x[i] - mean) * (x[i] - mean) / EMBD;
    }
    for (size_t i = 0; i < EMBD; i++) {
        u[i] = (x[i] - mean) / sqrt(variance + (double)f->shape.eps) * at(factor, i) + at(bias, i);
    }
}

static void plain_multiply(const float *w, const float *bias, const double *x, size_t n_in,
                           size_t n_out, double *y) {
    for (size_t i = 0; i < n_out; i++) {
        y[i] = at(bias, i);
        for (size_t j = 0; j < n_in; j++) {
            y[i] += at(w, i * n_in + j) * x[j];
        }
    }
}

static void plain_turn(const struct fixture *f, size_t patch, double *q) {
    for (size_t head = 0; head < HEADS; head++) {
        for (size_t i = 0; i < HEAD_DIM / 2; i++) {
            bool is_row = i < HEAD_DIM / 4;
            double place = is_row ? f->rows[patch] : f->columns[patch];
            double pair = (double)(is_row ? i : i - HEAD_DIM / 4);
            double angle = place * pow(10000, -2 * pair / (HEAD_DIM / 2));
            double *a = q + head * HEAD_DIM + i, *b = a + HEAD_DIM / 2, old = *a;
            *a = old * cos(angle) - *b * sin(angle);
            *b = old * sin(angle) + *b * cos(angle);
        }
    }
}

static double plain_act(enum tower_act act, double x) {
    switch (act) {
    case TOWER_GELU: return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case TOWER_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case TOWER_SILU: break;
    }
    return x / (1 + exp(-x));
}

static void plain_attention(const struct fixture *f, size_t n, const float *x, double *mid) {
    double(*q)[WIDTH] = calloc(3 * n, sizeof *q);
    double(*k)[WIDTH] = q + n, (*v)[WIDTH] = q + 2 * n, *scores = calloc(n, sizeof *scores);
    const struct tower_weights *w = &f->weights;
    for (size_t i = 0; i < n; i++) {
        double in[EMBD], u[EMBD];
        for (size_t j = 0; j < EMBD; j++) {
            in[j] = (double)x[i * EMBD + j];
        }
        plain_norm(f, in, w->ln1, w->ln1_bias, u);
        plain_multiply(w->wq, w->bq, u, EMBD, WIDTH, q[i]);
        plain_multiply(w->wk, w->bk, u, EMBD, WIDTH, k[i]);
        plain_multiply(w->wv, w->bv, u, EMBD, WIDTH, v[i]);
        if (f->shape.has_rope) {
            plain_turn(f, i, q[i]);
            plain_turn(f, i, k[i]);
        }
    }
    for (size_t i = 0; i < n; i++) {
        double heads[WIDTH] = {0}, back[EMBD];
        for (size_t head = 0; head < WIDTH; head += HEAD_DIM) {
            double sum = 0;
            for (size_t j = 0; j < n; j++) {
                double dot = 0;
                for (size_t d = head; d < head + HEAD_DIM; d++) {
                    dot += q[i][d] * k[j][d];
                }
                sum += scores[j] = exp(dot / sqrt(HEAD_DIM));
            }
            for (size_t j = 0; j < n; j++) {
                for (size_t d = head; d < head + HEAD_DIM; d++) {
                    heads[d] += scores[j] / sum * v[j][d];
                }
            }
        }
        plain_multiply(w->wo, w->bo, heads, WIDTH, EMBD, back);
        for (size_t j = 0; j < EMBD; j++) {
            mid[i * EMBD + j] = (double)x[i * EMBD + j] + back[j];
        }
    }
    free(q);
    free(scores);
}

static void plain_ffn(const struct fixture *f, const double *mid, double *y) {
    double u[EMBD], h[FF], back[EMBD];
    plain_norm(f, mid, f->weights.ln2, f->weights.ln2_bias, u);
    plain_multiply(f->weights.up, f->weights.up_bias, u, EMBD, FF, h);
    for (size_t i = 0; i < FF; i++) {
        h[i] = plain_act(f->shape.act, h[i]);
    }
    plain_multiply(f->weights.down, f->weights.down_bias, h, FF, EMBD, back);
    for (size_t i = 0; i < EMBD; i++) {
        y[i] = mid[i] + back[i];
    }
}

// ---- tests ----

static void check(enum tower_act act, bool has_rope, bool has_biases, size_t n) {
    struct fixture *f = malloc(sizeof *f);
    struct wl_err err = {0};
    fixture_init(f, act, has_rope, has_biases);
    float *x = calloc(n, EMBD * sizeof *x), *mid = calloc(n, EMBD * sizeof *mid);
    float *h = calloc(n, FF * sizeof *h);
    double *plain = calloc(n, EMBD * sizeof *plain);
    for (size_t i = 0; i < n * EMBD; i++) {
        x[i] = (float)(2 * rng_normal(&f->rng));
    }
    struct tower_picture picture = {n, has_rope ? f->rows : NULL, has_rope ? f->columns : NULL};
    plain_attention(f, n, x, plain);
    assert_int_equal(tower_attention(&f->shape, &f->weights, &picture, x, mid, &err), WL_OK);
    for (size_t i = 0; i < n * EMBD; i++) {
        assert_true(fabs((double)mid[i] - plain[i]) < 2e-5);
    }
    assert_int_equal(tower_ffn_inner(&f->shape, &f->weights, n, mid, h, &err), WL_OK);
    assert_int_equal(tower_ffn_out(&f->shape, &f->weights, n, mid, h, mid, &err), WL_OK);
    for (size_t i = 0; i < n; i++) {
        double y[EMBD];
        plain_ffn(f, plain + i * EMBD, y);
        for (size_t j = 0; j < EMBD; j++) {
            assert_true(fabs((double)mid[i * EMBD + j] - y[j]) < 1e-4);
        }
    }
    free(x);
    free(mid);
    free(h);
    free(plain);
    free(f);
}

static void with_rope_and_biases(void **state) {
    (void)state;
    check(TOWER_GELU, true, true, 37);
}

static void plain_with_biases(void **state) {
    (void)state;
    check(TOWER_QUICK_GELU, false, true, 37);
}

static void without_biases(void **state) {
    (void)state;
    check(TOWER_SILU, true, false, 5);
}

static void one_patch_and_many(void **state) {
    (void)state;
    check(TOWER_GELU, true, true, 1);
    check(TOWER_GELU, false, true, MAX_PATCHES); // more than are worked on at once
}

// ---- healing ----

enum { HEAL_ROWS = 200, HEAL_HELD_OUT = 40 };

struct heal_fixture {
    struct fixture base;
    float up[FF * EMBD], up_bias[FF], down[EMBD * FF], down_bias[EMBD];
    float u[HEAL_ROWS * EMBD], target[HEAL_ROWS * EMBD];
    struct tower_heal_part part;
    int n_asked;
};

static double loss_of(const struct heal_fixture *f, size_t n) {
    double sum = 0;
    for (size_t row = 0; row < n; row++) {
        double in[EMBD], h[FF], y[EMBD];
        for (size_t i = 0; i < EMBD; i++) {
            in[i] = (double)f->u[row * EMBD + i];
        }
        plain_multiply(f->up, f->up_bias, in, EMBD, FF, h);
        for (size_t i = 0; i < FF; i++) {
            h[i] = plain_act(f->part.act, h[i]);
        }
        plain_multiply(f->down, f->down_bias, h, FF, EMBD, y);
        for (size_t i = 0; i < EMBD; i++) {
            double off = y[i] - (double)f->target[row * EMBD + i];
            sum += off * off;
        }
    }
    return sum;
}

// The part, and what it gave before its weights were shaken.
static struct heal_fixture *heal_fixture_new(enum tower_act act, double shake) {
    struct heal_fixture *f = calloc(1, sizeof *f);
    fixture_init(&f->base, act, false, true);
    const struct tower_weights *w = &f->base.weights;
    memcpy(f->up, w->up, sizeof f->up);
    memcpy(f->up_bias, w->up_bias, sizeof f->up_bias);
    memcpy(f->down, w->down, sizeof f->down);
    memcpy(f->down_bias, w->down_bias, sizeof f->down_bias);
    f->part = (struct tower_heal_part){EMBD, FF, act, f->up, f->up_bias, f->down, f->down_bias};
    for (size_t row = 0; row < HEAL_ROWS; row++) {
        double in[EMBD], h[FF], y[EMBD];
        for (size_t i = 0; i < EMBD; i++) {
            f->u[row * EMBD + i] = (float)rng_normal(&f->base.rng);
            in[i] = (double)f->u[row * EMBD + i];
        }
        plain_multiply(f->up, f->up_bias, in, EMBD, FF, h);
        for (size_t i = 0; i < FF; i++) {
            h[i] = plain_act(act, h[i]);
        }
        plain_multiply(f->down, f->down_bias, h, FF, EMBD, y);
        for (size_t i = 0; i < EMBD; i++) {
            f->target[row * EMBD + i] = (float)y[i];
        }
    }
    for (size_t i = 0; i < FF * EMBD; i++) {
        f->up[i] += (float)(shake * rng_normal(&f->base.rng));
        f->down[i] += (float)(shake * rng_normal(&f->base.rng));
    }
    return f;
}

static void check_slope(const struct heal_fixture *f, float *weight, float found) {
    enum { N = 30 };
    const float step = 1e-2F;
    float old = *weight;
    *weight = old + step;
    double above = loss_of(f, N);
    *weight = old - step;
    double below = loss_of(f, N);
    *weight = old;
    double expected = (above - below) / (2 * (double)step);
    assert_true(fabs((double)found - expected) < 2e-3 * (fabs(expected) + 1));
}

static void gradient_is_the_slope(void **state) {
    (void)state;
    for (enum tower_act act = TOWER_GELU; act <= TOWER_SILU; act++) {
        struct heal_fixture *f = heal_fixture_new(act, 0.2);
        float up[FF * EMBD], up_bias[FF], down[EMBD * FF], down_bias[EMBD];
        struct tower_heal_gradient gradient = {up, up_bias, down, down_bias};
        struct wl_err err = {0};
        double loss;
        assert_int_equal(tower_heal_gradient(&f->part, f->u, f->target, 30, &loss, &gradient, &err),
                         WL_OK);
        assert_true(fabs(loss - loss_of(f, 30)) < 1e-3 * loss);
        for (size_t i = 0; i < EMBD; i++) {
            check_slope(f, &f->up[i * 7], up[i * 7]);
            check_slope(f, &f->up_bias[i], up_bias[i]);
            check_slope(f, &f->down[i * 11], down[i * 11]);
            check_slope(f, &f->down_bias[i], down_bias[i]);
        }
        free(f);
    }
}

static double a_thousand_steps(void *context) {
    struct heal_fixture *f = context;
    return f->n_asked++ / 1000.0;
}

static void healing_finds_back(void **state) {
    (void)state;
    struct heal_fixture *f = heal_fixture_new(TOWER_GELU, 0.1);
    struct tower_heal_options options = {.rate = 0.05F,
                                         .batch = 64,
                                         .check_every = 20,
                                         .seed = 1,
                                         .share_done = a_thousand_steps,
                                         .context = f};
    struct tower_heal_result result;
    struct wl_err err = {0};
    assert_int_equal(
        tower_heal(&f->part, f->u, f->target, HEAL_ROWS, HEAL_HELD_OUT, &options, &result, &err),
        WL_OK);
    assert_int_equal(result.n_steps, 1000);
    assert_true(result.before > 0.01 && result.after < 0.1 * result.before);
    free(f);
}

static void healing_refuses_nonsense(void **state) {
    (void)state;
    struct heal_fixture *f = heal_fixture_new(TOWER_GELU, 0.1);
    struct tower_heal_options options = {.rate = 0.05F, .batch = 64, .check_every = 20};
    struct tower_heal_result result;
    struct wl_err err = {0};
    assert_int_equal(tower_heal(&f->part, f->u, f->target, 5, 5, &options, &result, &err),
                     WL_INPUT);
    memset(f->target, 0, sizeof f->target);
    assert_int_equal(tower_heal(&f->part, f->u, f->target, 9, 5, &options, &result, &err),
                     WL_INPUT);
    free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_rope_and_biases),     cmocka_unit_test(plain_with_biases),
        cmocka_unit_test(without_biases),           cmocka_unit_test(one_patch_and_many),
        cmocka_unit_test(gradient_is_the_slope),    cmocka_unit_test(healing_finds_back),
        cmocka_unit_test(healing_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
