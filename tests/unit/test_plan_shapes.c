// Every shape in shapes.def gives back its published parameter count.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "plan/shapes.h"

static void test_parameter_counts(void **state) {
    (void)state;
    assert_true(plan_shape_count() >= 20);
    for (size_t i = 0; i < plan_shape_count(); i++) {
        const struct plan_shape *shape = plan_shape_at(i);
        double published = (double)shape->published_params;
        double computed = (double)plan_shape_params(shape);
        if (fabs(computed / published - 1.0) > 0.0001) {
            fail_msg("%s: published %.0f, the shape gives %.0f", shape->name, published, computed);
        }
    }
}

static void test_shapes_are_consistent(void **state) {
    (void)state;
    for (size_t i = 0; i < plan_shape_count(); i++) {
        const struct plan_shape *s = plan_shape_at(i);
        assert_int_equal(s->n_head % s->n_head_kv, 0);
        assert_int_equal(s->n_embd % 32, 0);
        assert_int_equal(s->n_ff % 32, 0);
        assert_int_equal(s->head_dim % 2, 0);
        assert_true(s->n_ctx_train >= 2048);
        assert_ptr_equal(plan_shape_by_name(s->name), s);
    }
}

static void test_lookup(void **state) {
    (void)state;
    assert_string_equal(plan_shape_by_name("SmolLM2-135M")->name, "smollm2-135m");
    assert_null(plan_shape_by_name("smollm2"));
    assert_null(plan_shape_by_name("smollm2-135m "));
    assert_null(plan_shape_by_name(NULL));
    assert_null(plan_shape_at(plan_shape_count()));
}

static void test_bytes(void **state) {
    (void)state;
    const struct plan_shape *tied = plan_shape_by_name("smollm2-135m");
    // All matrices at 8.5 bits; 30 layers of 2 x 576 norms and the last norm in F32.
    double vectors = 30.0 * 2 * 576 + 576;
    double expected = (134515008.0 - vectors) * 8.5 / 8 + 4 * vectors;
    assert_true(fabs(plan_shape_bytes(tied, 8.5) - expected) < 1);
    assert_true(fabs(plan_shape_bytes_per_token(tied, 8.5) - expected) < 1);
    // Untied: the embedding table is only looked up.
    const struct plan_shape *untied = plan_shape_by_name("tinyllama-1.1b");
    double table = 32000.0 * 2048 * 8.5 / 8;
    double gap = plan_shape_bytes(untied, 8.5) - plan_shape_bytes_per_token(untied, 8.5);
    assert_true(fabs(gap - table) < 1);
    // 30 layers x 3 heads x 64 x (K and V) x 2 bytes.
    assert_true(fabs(plan_shape_kv_bytes_per_token(tied, 16) - 23040) < 1e-9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameter_counts),
        cmocka_unit_test(test_shapes_are_consistent),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests_name("plan_shapes", tests, NULL, NULL);
}
