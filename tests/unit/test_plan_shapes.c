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
#include "plan/vision.h"

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

// Text and vision together are exactly what the hub counts in the published weights.
static void test_vision_parameter_counts(void **state) {
    (void)state;
    assert_true(plan_vision_count() >= 8);
    for (size_t i = 0; i < plan_vision_count(); i++) {
        const struct plan_vision *vision = plan_vision_at(i);
        const struct plan_shape *shape = plan_shape_by_name(vision->name);
        assert_non_null(shape);
        uint64_t tower = plan_vision_params(vision, shape->n_embd);
        uint64_t computed = plan_shape_params(shape) + tower;
        if (computed != vision->published_params) {
            fail_msg("%s: published %llu, text and vision give %llu", vision->name,
                     (unsigned long long)vision->published_params, (unsigned long long)computed);
        }
        print_message("%-18s %-16s vision %.1f M of %.1f M\n", vision->name, vision->projector,
                      (double)tower / 1e6, (double)computed / 1e6);
    }
    assert_null(plan_vision_at(plan_vision_count()));
}

static void test_vision_shapes_are_consistent(void **state) {
    (void)state;
    for (size_t i = 0; i < plan_vision_count(); i++) {
        const struct plan_vision *v = plan_vision_at(i);
        assert_ptr_equal(plan_vision_by_name(v->name), v);
        assert_int_equal(v->n_embd % v->n_head, 0);
        assert_int_equal(v->n_embd / v->n_head % 4, 0);
        assert_int_not_equal(v->n_ff, v->n_embd);
        assert_int_equal(v->image_size / v->patch_size % v->n_merge, 0);
        // f16 tensors and F32 tables: between 2 and 2.1 bytes for each parameter.
        double bytes = plan_vision_bytes(v, 2048, 16);
        double params = (double)plan_vision_params(v, 2048);
        assert_true(bytes > 2 * params && bytes < 2.1 * params);
        assert_true(plan_vision_bytes(v, 2048, 8.5) < 0.8 * bytes);
    }
    assert_null(plan_vision_by_name("smollm2-135m"));
    assert_null(plan_vision_by_name(NULL));
    assert_non_null(plan_vision_by_name("Qwen2-VL-2B"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameter_counts),
        cmocka_unit_test(test_shapes_are_consistent),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_vision_parameter_counts),
        cmocka_unit_test(test_vision_shapes_are_consistent),
    };
    return cmocka_run_group_tests_name("plan_shapes", tests, NULL, NULL);
}
