// Changes of matrices: nothing is changed at first, gradients are slopes, and what is learnt fits.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress/lora.h"

enum { OUT = 7, IN = 10, ROWS = 23, SIZE = OUT * IN };

struct trial {
    struct rng rng;
    float w[SIZE], x[ROWS * IN], goal[ROWS * OUT];
    struct heal_tensor tensors[2];
    struct lora_change change;
};

static void fill(struct rng *rng, float *at, size_t n, double size) {
    for (size_t i = 0; i < n; i++) {
        at[i] = (float)(size * rng_normal(rng));
    }
}

static void begin(struct trial *t, uint32_t rank) {
    memset(t, 0, sizeof *t);
    rng_seed(&t->rng, 5);
    fill(&t->rng, t->w, SIZE, 0.5);
    fill(&t->rng, t->x, ROWS * IN, 1);
    fill(&t->rng, t->goal, ROWS * OUT, 1);
    assert_int_equal(lora_init(&t->change, t->w, OUT, IN, rank, &t->rng, t->tensors, NULL), WL_OK);
}

// Half the sum of (w x - goal)^2; dy are its slopes.
static double loss_of(const struct trial *t, float *dy) {
    float w[SIZE];
    double loss = 0;
    memcpy(w, t->w, sizeof w);
    lora_apply(&t->change, 0, OUT, w);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t o = 0; o < OUT; o++) {
            double off = -(double)t->goal[row * OUT + o];
            for (size_t i = 0; i < IN; i++) {
                off += (double)w[o * IN + i] * (double)t->x[row * IN + i];
            }
            loss += off * off / 2;
            dy[row * OUT + o] = (float)off;
        }
    }
    return loss;
}

static void take_gradient(struct trial *t, const float *dy) {
    float scratch[2 * ROWS * IN];
    for (size_t i = 0; i < lora_n_tensors(t->change.rank); i++) {
        memset(t->tensors[i].gradient, 0, t->tensors[i].n * sizeof(float));
    }
    size_t half = ROWS / 2; // in two parts
    lora_add_gradient(&t->change, half, t->x, dy, scratch);
    lora_add_gradient(&t->change, ROWS - half, t->x + half * IN, dy + half * OUT, scratch);
}

static void nothing_is_changed_at_first(void **state) {
    (void)state;
    for (uint32_t rank = 0; rank <= 3; rank++) {
        struct trial t;
        begin(&t, rank);
        float w[SIZE];
        memcpy(w, t.w, sizeof w);
        lora_apply(&t.change, 0, OUT, w);
        assert_memory_equal(w, t.w, sizeof w);
        lora_release(&t.change);
    }
}

static void gradients_are_slopes(void **state) {
    (void)state;
    for (uint32_t rank = 0; rank <= 3; rank++) {
        struct trial t;
        float dy[ROWS * OUT], unused[ROWS * OUT];
        begin(&t, rank);
        fill(&t.rng, t.tensors[lora_n_tensors(rank) - 1].w, 7, 0.3); // B is not zero
        loss_of(&t, dy);
        take_gradient(&t, dy);
        for (size_t k = 0; k < lora_n_tensors(rank); k++) {
            for (size_t i = 0; i < t.tensors[k].n; i++) {
                float was = t.tensors[k].w[i], step = 1e-2F;
                t.tensors[k].w[i] = was + step;
                double slope = loss_of(&t, unused);
                t.tensors[k].w[i] = was - step;
                slope = (slope - loss_of(&t, unused)) / (2 * (double)step);
                t.tensors[k].w[i] = was;
                assert_true(fabs(slope - (double)t.tensors[k].gradient[i]) <
                            2e-3 * (1 + fabs(slope)));
            }
        }
        lora_release(&t.change);
    }
}

static void some_rows_are_those_rows(void **state) {
    (void)state;
    for (uint32_t rank = 0; rank <= 3; rank += 3) {
        struct trial t;
        begin(&t, rank);
        size_t last = lora_n_tensors(rank) - 1;
        fill(&t.rng, t.tensors[last].w, t.tensors[last].n, 1);
        float all[SIZE], some[3 * IN];
        memcpy(all, t.w, sizeof all);
        memcpy(some, t.w + 2 * IN, sizeof some);
        lora_apply(&t.change, 0, OUT, all);
        lora_apply(&t.change, 2, 3, some);
        for (size_t i = 0; i < 3 * IN; i++) {
            assert_float_equal(some[i], all[2 * IN + i], 1e-5F);
        }
        lora_release(&t.change);
    }
}

static double learn(uint32_t rank, size_t n_steps) {
    struct trial t;
    float dy[ROWS * OUT];
    begin(&t, rank);
    double first = loss_of(&t, dy), loss = first;
    for (size_t step = 0; step < n_steps; step++) {
        take_gradient(&t, dy);
        double rate = 0.03 * lora_schedule((double)step / (double)n_steps);
        assert_true(heal_adam_step(t.tensors, lora_n_tensors(rank), step, rate, 0));
        loss = loss_of(&t, dy);
    }
    lora_release(&t.change);
    return loss / first;
}

// A higher rank fits better; of full rank, as well as the matrix itself.
static void learns(void **state) {
    (void)state;
    double whole = learn(0, 2000), one = learn(1, 2000), three = learn(3, 2000);
    double full = learn(OUT, 2000);
    assert_true(whole < three && three < one && one < 0.9);
    assert_true(fabs(full - whole) < 0.02);
}

static void sizes(void **state) {
    (void)state;
    assert_int_equal(lora_rank(100, 40, 16), 16);
    assert_int_equal(lora_rank(100, 4, 16), 4);
    assert_int_equal(lora_bytes(100, 40, 16), 20 * 16 * 140);
    assert_int_equal(lora_bytes(100, 40, 0), 20 * 100 * 40);
    assert_true(lora_bytes(SIZE_MAX, SIZE_MAX, 0) > (uint64_t)1 << 60);
    struct lora_change change;
    struct heal_tensor tensors[2] = {{0}};
    struct wl_err err = {0};
    assert_int_equal(lora_init(&change, NULL, SIZE_MAX, 8, 0, NULL, tensors, &err), WL_MEMORY);
    assert_non_null(strstr(err.message, "no memory"));
    lora_release(&change);
    lora_release(&change);
}

static void the_rate_goes_up_and_falls(void **state) {
    (void)state;
    assert_true(fabs(lora_schedule(0) - 0.05) < 1e-9);
    assert_true(fabs(lora_schedule(0.05) - 1) < 1e-9);
    assert_true(fabs(lora_schedule(1) - 0.05) < 1e-9 && lora_schedule(7) == lora_schedule(1));
    for (double at = 0.06; at < 1; at += 0.01) {
        assert_true(lora_schedule(at) < lora_schedule(at - 0.01));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_changed_at_first),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(some_rows_are_those_rows),
        cmocka_unit_test(learns),
        cmocka_unit_test(sizes),
        cmocka_unit_test(the_rate_goes_up_and_falls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
