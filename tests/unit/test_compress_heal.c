// Block-local distillation: gradients against finite differences, and what training keeps.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cblas.h>
#include <cmocka.h>

#include "base/rng.h"
#include "compress/heal.h"
#include "compress/heal_adam.h"
#include "compress/heal_grad.h"
#include "heal_reference.h"
#include "near.h"

enum { N_EMBD = 16, N_WIDE = 48, N_FF = 28, N_ROWS = 1500, N_HELD_OUT = 300 };

static float *draw(struct rng *rng, size_t n, double mean, double sd) {
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(mean + sd * rng_normal(rng));
    }
    return x;
}

static struct heal_ffn draw_ffn(struct rng *rng, size_t n_embd, size_t n_ff, bool is_gelu) {
    struct heal_ffn ffn = {.n_embd = n_embd, .n_ff = n_ff, .rms_eps = 1e-5F, .is_gelu = is_gelu};
    ffn.norm = draw(rng, n_embd, 1, 0.3);
    ffn.gate = draw(rng, n_ff * n_embd, 0, 1.5 / sqrt((double)n_embd));
    ffn.up = draw(rng, n_ff * n_embd, 0, 1 / sqrt((double)n_embd));
    ffn.down = draw(rng, n_embd * n_ff, 0, 1 / sqrt((double)n_ff));
    return ffn;
}

static void release_ffn(struct heal_ffn *ffn) {
    free(ffn->norm);
    free(ffn->gate);
    free(ffn->up);
    free(ffn->down);
}

static void check_gradient(bool is_gelu) {
    enum { E = 5, F = 7, N = 4, B = 6 };
    static const uint32_t rows[N] = {5, 0, 3, 2};
    struct rng rng;
    rng_seed(&rng, 3);
    struct heal_ffn ffn = draw_ffn(&rng, E, F, is_gelu);
    ffn.norm[2] = 0; // the gain's gradient must not divide by it
    float *mid = draw(&rng, B * E, 0.5, 3), *target = draw(&rng, B * E, 0, 3);
    struct heal_tensor tensors[4] = {0};
    assert_true(heal_tensor_init(&tensors[0], ffn.norm, 1, E));
    assert_true(heal_tensor_init(&tensors[1], ffn.gate, F, E));
    assert_true(heal_tensor_init(&tensors[2], ffn.up, F, E));
    assert_true(heal_tensor_init(&tensors[3], ffn.down, E, F));
    struct heal_pass pass;
    struct wl_err err;
    assert_int_equal(heal_pass_init(&pass, &ffn, mid, target, B, &err), WL_OK);
    struct heal_gradient gradient = {tensors[0].gradient, tensors[1].gradient, tensors[2].gradient,
                                     tensors[3].gradient};
    double error = heal_pass_gradient(&pass, rows, N, 0.25, &gradient);
    struct reference r = open_reference(&ffn);
    double expected = reference_error(&r, mid, target, rows, N);
    assert_near(error, expected, 1e-5 * expected);
    assert_near(heal_pass_error(&pass, rows, N), expected, 1e-5 * expected);
    for (size_t t = 0; t < 4; t++) {
        for (size_t i = 0; i < r.n[t]; i++) {
            const double step = 1e-5, at = r.w[t][i];
            r.w[t][i] = at + step;
            double high = reference_error(&r, mid, target, rows, N);
            r.w[t][i] = at - step;
            double low = reference_error(&r, mid, target, rows, N), slope;
            r.w[t][i] = at;
            slope = 0.25 * (high - low) / (2 * step);
            assert_near((double)tensors[t].gradient[i], slope, 2e-5 * (1 + fabs(slope)));
        }
        heal_tensor_release(&tensors[t]);
    }
    close_reference(&r);
    heal_pass_release(&pass);
    release_ffn(&ffn);
    free(mid);
    free(target);
}

static void test_gradient_of_silu(void **state) {
    (void)state;
    check_gradient(false);
}

static void test_gradient_of_gelu(void **state) {
    (void)state;
    check_gradient(true);
}

// Far out both activations are 0 or x, and nothing turns into NaN on the way.
static void test_saturated_gates(void **state) {
    (void)state;
    for (int is_gelu = 0; is_gelu < 2; is_gelu++) {
        struct rng rng;
        rng_seed(&rng, 4);
        struct heal_ffn ffn = draw_ffn(&rng, 2, 2, is_gelu);
        const float gates[] = {1e18F, 0, -1e18F, 0}, mid[] = {1, 1}, target[] = {0, 0};
        memcpy(ffn.gate, gates, sizeof gates);
        float norm[2], gate[4], up[4], down[4];
        struct heal_gradient gradient = {norm, gate, up, down};
        struct heal_pass pass;
        struct wl_err err;
        assert_int_equal(heal_pass_init(&pass, &ffn, mid, target, 1, &err), WL_OK);
        assert_true(isfinite(heal_pass_gradient(&pass, (uint32_t[]){0}, 1, 1e-20, &gradient)));
        for (size_t i = 0; i < 4; i++) {
            assert_true(isfinite(norm[i % 2]) && isfinite(gate[i]) && isfinite(up[i]) &&
                        isfinite(down[i]));
        }
        assert_true(gate[2] == 0 && gate[3] == 0);
        heal_pass_release(&pass);
        release_ffn(&ffn);
    }
}

static void test_schedule(void **state) {
    (void)state;
    assert_near(heal_schedule(0, 100), 0.2, 1e-12); // five steps up
    assert_near(heal_schedule(4, 100), 1, 1e-12);
    assert_near(heal_schedule(99, 100), 0.05, 1e-12);
    assert_near(heal_schedule(0, 1), 1, 1e-12);
    assert_near(heal_schedule(1, 2), 0.05, 1e-12);
    for (size_t step = 5; step < 100; step++) {
        assert_true(heal_schedule(step, 100) < heal_schedule(step - 1, 100));
    }
}

// A wide random teacher, the states it answers to, and a student that has lost its last neurons.
struct lesson {
    struct heal_ffn student;
    float *mid, *target;
    struct heal_options options;
};

static void narrow(struct heal_ffn *ffn, size_t n_ff) {
    for (size_t i = 0; i < ffn->n_embd; i++) {
        memmove(ffn->down + i * n_ff, ffn->down + i * ffn->n_ff, n_ff * sizeof(float));
    }
    ffn->n_ff = n_ff;
}

// Everything in the stream is `scale` times as large; a power of two changes no rounding.
static struct lesson open_lesson(bool is_gelu, size_t n_ff, float scale) {
    struct rng rng;
    rng_seed(&rng, 11);
    struct lesson l = {
        .options = {
            .rate = 0.03F, .batch_tokens = 128, .n_steps = 250, .seed = 5, .check_every = 50}};
    l.student = draw_ffn(&rng, N_EMBD, N_WIDE, is_gelu);
    l.mid = draw(&rng, (size_t)N_ROWS * N_EMBD, 0.2, 2);
    l.target = draw(&rng, (size_t)N_ROWS * N_EMBD, 0, 0);
    for (size_t i = 0; i < (size_t)N_ROWS * N_EMBD; i++) { // some directions carry more
        size_t group = i % N_EMBD / 4;
        l.mid[i] *= scale / (float)(1 + group);
    }
    for (size_t i = 0; i < N_EMBD * N_WIDE; i++) {
        l.student.down[i] *= scale;
    }
    l.student.rms_eps *= scale * scale;
    struct reference teacher = open_reference(&l.student);
    for (size_t row = 0; row < N_ROWS; row++) {
        double y[64];
        reference_row(&teacher, l.mid + row * N_EMBD, y);
        for (size_t i = 0; i < N_EMBD; i++) {
            l.target[row * N_EMBD + i] = (float)y[i];
        }
    }
    close_reference(&teacher);
    narrow(&l.student, n_ff);
    return l;
}

static void close_lesson(struct lesson *l) {
    release_ffn(&l->student);
    free(l->mid);
    free(l->target);
}

static struct heal_result trained(struct lesson *l) {
    struct heal_result result;
    struct wl_err err = {0};
    if (heal_ffn_train(&l->student, l->mid, l->target, N_ROWS, N_HELD_OUT, &l->options, &result,
                       &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static double held_out_by_reference(const struct lesson *l) {
    uint32_t rows[N_HELD_OUT];
    double mean[N_EMBD] = {0}, spread = 0;
    for (uint32_t k = 0; k < N_HELD_OUT; k++) {
        rows[k] = N_ROWS - N_HELD_OUT + k;
        for (size_t i = 0; i < N_EMBD; i++) {
            mean[i] += (double)l->target[rows[k] * N_EMBD + i] / N_HELD_OUT;
        }
    }
    for (size_t k = 0; k < (size_t)N_HELD_OUT * N_EMBD; k++) {
        spread += pow((double)l->target[rows[0] * N_EMBD + k] - mean[k % N_EMBD], 2);
    }
    struct reference r = open_reference(&l->student);
    double error = reference_error(&r, l->mid, l->target, rows, N_HELD_OUT);
    close_reference(&r);
    return error / spread;
}

static void check_healing(bool is_gelu) {
    struct lesson l = open_lesson(is_gelu, N_FF, 1);
    double before = held_out_by_reference(&l);
    struct heal_result result = trained(&l);
    assert_true(result.is_kept);
    assert_int_equal(result.n_steps, 250);
    assert_near(result.held_out_before, before, 1e-4 * before);
    double after = held_out_by_reference(&l);
    assert_near(result.held_out_after, after, 1e-4 * after);
    if (!(after < before / 2.5)) {
        fail_msg("held-out error fell from %g to %g only", before, after);
    }
    close_lesson(&l);
}

static void test_heals_a_narrowed_silu(void **state) {
    (void)state;
    check_healing(false);
}

static void test_heals_a_narrowed_gelu(void **state) {
    (void)state;
    check_healing(true);
}

// The same run whatever the scale of the stream, to the last bit.
static void test_scale_does_not_matter(void **state) {
    (void)state;
    double after[3];
    const float scales[3] = {1, 0x1p-12F, 0x1p12F};
    for (size_t i = 0; i < 3; i++) {
        struct lesson l = open_lesson(false, N_FF, scales[i]);
        l.options.n_steps = 60;
        after[i] = trained(&l).held_out_after;
        close_lesson(&l);
    }
    assert_near(after[1], after[0], 1e-12);
    assert_near(after[2], after[0], 1e-12);
}

static float *weights_of(const struct heal_ffn *ffn, size_t *n) {
    size_t size = ffn->n_ff * ffn->n_embd;
    *n = ffn->n_embd + 3 * size;
    float *all = malloc(*n * sizeof *all);
    assert_non_null(all);
    memcpy(all, ffn->norm, ffn->n_embd * sizeof *all);
    memcpy(all + ffn->n_embd, ffn->gate, size * sizeof *all);
    memcpy(all + ffn->n_embd + size, ffn->up, size * sizeof *all);
    memcpy(all + ffn->n_embd + 2 * size, ffn->down, size * sizeof *all);
    return all;
}

static void assert_untouched(const float *before, const struct heal_ffn *ffn) {
    size_t n;
    float *after = weights_of(ffn, &n);
    assert_memory_equal(before, after, n * sizeof *after);
    free(after);
}

static void test_perfect_start_stays(void **state) {
    (void)state;
    struct lesson l = open_lesson(false, N_WIDE, 1);
    size_t n;
    float *before = weights_of(&l.student, &n);
    struct heal_result result = trained(&l);
    assert_false(result.is_kept);
    assert_true(result.held_out_before < 1e-10);
    assert_true(result.held_out_after == result.held_out_before);
    assert_untouched(before, &l.student);
    free(before);
    close_lesson(&l);
}

// Far too high a rate ends in NaN or in worse weights: the start comes back.
static void test_divergence_restores_the_start(void **state) {
    (void)state;
    const float rates[] = {30, 1e20F};
    for (size_t i = 0; i < 2; i++) {
        struct lesson l = open_lesson(true, N_FF, 1);
        l.options.rate = rates[i];
        size_t n;
        float *before = weights_of(&l.student, &n);
        struct heal_result result = trained(&l);
        assert_false(result.is_kept);
        assert_true(result.held_out_after == result.held_out_before);
        assert_untouched(before, &l.student);
        free(before);
        close_lesson(&l);
    }
}

static void test_same_seed_same_bits(void **state) {
    (void)state;
    float *weights[3];
    size_t n = 0;
    for (size_t run = 0; run < 3; run++) {
        struct lesson l = open_lesson(false, N_FF, 1);
        l.options.n_steps = 40;
        l.options.check_every = 20;
        l.options.seed = run < 2 ? 5 : 6;
        assert_true(trained(&l).is_kept);
        weights[run] = weights_of(&l.student, &n);
        close_lesson(&l);
    }
    assert_memory_equal(weights[0], weights[1], n * sizeof(float));
    assert_memory_not_equal(weights[0], weights[2], n * sizeof(float));
    for (size_t run = 0; run < 3; run++) {
        free(weights[run]);
    }
}

struct log {
    size_t stop_at, n_calls, last_step;
    double train[64], held_out[64];
};

static bool note(void *context, size_t step, double train_error, double held_out_error) {
    struct log *log = context;
    assert_true(log->n_calls < 64);
    log->train[log->n_calls] = train_error;
    log->held_out[log->n_calls++] = held_out_error;
    log->last_step = step;
    return step != log->stop_at;
}

static void test_stops_when_told(void **state) {
    (void)state;
    struct lesson l = open_lesson(false, N_FF, 1);
    struct log log = {.stop_at = 30};
    l.options.check_every = 10;
    l.options.go_on = note;
    l.options.context = &log;
    struct heal_result result = trained(&l);
    assert_int_equal(result.n_steps, 30);
    assert_int_equal(log.n_calls, 3);
    assert_int_equal(log.last_step, 30);
    assert_true(result.is_kept);
    double best = fmin(log.held_out[0], fmin(log.held_out[1], log.held_out[2]));
    assert_true(result.held_out_after == best);
    assert_near(held_out_by_reference(&l), best, 1e-4 * best);
    close_lesson(&l);
}

// The last check comes even if its number is no multiple; errors of learnt and held-out rows are
// alike while nothing is learnt by heart.
static void test_checks_and_their_figures(void **state) {
    (void)state;
    struct lesson l = open_lesson(false, N_FF, 1);
    struct log log = {0};
    l.options.rate = 1e-6F;
    l.options.check_every = 20;
    l.options.n_steps = 50;
    l.options.go_on = note;
    l.options.context = &log;
    trained(&l);
    assert_int_equal(log.n_calls, 3);
    assert_int_equal(log.last_step, 50);
    for (size_t i = 0; i < 3; i++) {
        assert_near(log.train[i] / log.held_out[i], 1, 0.2);
    }
    close_lesson(&l);
}

static void test_held_out_rows_teach_nothing(void **state) {
    (void)state;
    struct log logs[2] = {0};
    for (size_t run = 0; run < 2; run++) {
        struct lesson l = open_lesson(false, N_FF, 1);
        l.options.check_every = 5;
        l.options.n_steps = 60;
        l.options.go_on = note;
        l.options.context = &logs[run];
        for (size_t i = (N_ROWS - N_HELD_OUT) * N_EMBD; run == 1 && i < N_ROWS * N_EMBD; i++) {
            l.target[i] = -l.target[i];
        }
        trained(&l);
        close_lesson(&l);
    }
    assert_int_equal(logs[0].n_calls, 12);
    assert_memory_equal(logs[0].train, logs[1].train, sizeof logs[0].train);
    assert_memory_not_equal(logs[0].held_out, logs[1].held_out, sizeof logs[0].held_out);
}

static void expect_refusal(struct lesson *l, size_t n_held_out, const char *part) {
    size_t n;
    float *before = weights_of(&l->student, &n);
    struct heal_result result;
    struct wl_err err = {0};
    assert_int_equal(heal_ffn_train(&l->student, l->mid, l->target, N_ROWS, n_held_out, &l->options,
                                    &result, &err),
                     WL_INPUT);
    if (!strstr(err.message, part)) {
        fail_msg("'%s' lacks '%s'", err.message, part);
    }
    assert_false(result.is_kept);
    assert_untouched(before, &l->student);
    free(before);
}

static void test_figures_that_are_not_finite(void **state) {
    (void)state;
    struct lesson l = open_lesson(false, N_FF, 1);
    float *places[] = {&l.mid[7 * N_EMBD], &l.target[8 * N_EMBD + 1], &l.student.norm[1],
                       &l.student.gate[5], &l.student.up[0],          &l.student.down[9]};
    const char *parts[] = {"row 7 of 1500 of the mid",
                           "row 8 of 1500 of the target",
                           "weight",
                           "weight",
                           "weight",
                           "weight"};
    for (size_t i = 0; i < 6; i++) {
        float was = *places[i];
        *places[i] = i % 2 ? NAN : INFINITY;
        expect_refusal(&l, N_HELD_OUT, parts[i]);
        *places[i] = was;
    }
    l.student.down[3] = 3e38F;
    l.student.up[3] = 3e38F;
    expect_refusal(&l, N_HELD_OUT, "too large");
    close_lesson(&l);
}

static void test_refuses_what_makes_no_sense(void **state) {
    (void)state;
    struct lesson l = open_lesson(false, N_FF, 1);
    expect_refusal(&l, 0, "held out");
    expect_refusal(&l, N_ROWS, "held out");
    l.options.rate = 0;
    expect_refusal(&l, N_HELD_OUT, "rate");
    l.options.rate = NAN;
    expect_refusal(&l, N_HELD_OUT, "rate");
    l.options.rate = 0.01F;
    l.options.batch_tokens = 0;
    expect_refusal(&l, N_HELD_OUT, "batches of 0");
    l.options.batch_tokens = 100;
    memcpy(l.target, l.mid, (size_t)N_ROWS * N_EMBD * sizeof(float));
    expect_refusal(&l, N_HELD_OUT, "the mid states");
    memset(l.target, 0, (size_t)N_ROWS * N_EMBD * sizeof(float));
    expect_refusal(&l, N_HELD_OUT, "all the same");
    close_lesson(&l);
}

// A batch larger than the data, and no steps at all, are fine.
static void test_small_corners(void **state) {
    (void)state;
    struct lesson l = open_lesson(false, N_FF, 1);
    l.options.n_steps = 0;
    struct heal_result result = trained(&l);
    assert_false(result.is_kept);
    assert_int_equal(result.n_steps, 0);
    assert_true(result.held_out_before > 0 && result.held_out_after == result.held_out_before);
    l.options.n_steps = 30;
    l.options.check_every = 0;
    l.options.batch_tokens = SIZE_MAX;
    l.options.decay = 0.01F;
    result = trained(&l);
    assert_true(result.is_kept);
    assert_int_equal(result.n_steps, 30);
    close_lesson(&l);
}

int main(void) {
    openblas_set_num_threads(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient_of_silu),
        cmocka_unit_test(test_gradient_of_gelu),
        cmocka_unit_test(test_saturated_gates),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_heals_a_narrowed_silu),
        cmocka_unit_test(test_heals_a_narrowed_gelu),
        cmocka_unit_test(test_scale_does_not_matter),
        cmocka_unit_test(test_perfect_start_stays),
        cmocka_unit_test(test_divergence_restores_the_start),
        cmocka_unit_test(test_same_seed_same_bits),
        cmocka_unit_test(test_stops_when_told),
        cmocka_unit_test(test_checks_and_their_figures),
        cmocka_unit_test(test_held_out_rows_teach_nothing),
        cmocka_unit_test(test_figures_that_are_not_finite),
        cmocka_unit_test(test_refuses_what_makes_no_sense),
        cmocka_unit_test(test_small_corners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
