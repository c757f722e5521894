// Counts that flicker above a clamp, before their knee is looked for.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "near.h"
#include "stats/knee.h"

static void expect(const double *before, const double *after, size_t n) {
    struct knee_point points[32];
    for (size_t i = 0; i < n; i++) {
        points[i] = (struct knee_point){(double)i, before[i]};
    }
    knee_smooth_counts(points, n);
    for (size_t i = 0; i < n; i++) {
        assert_near(points[i].x, (double)i, 0);
        assert_near(points[i].y, after[i], 0);
    }
}

static void single_drops_go(void **state) {
    (void)state;
    // Counted of a Qwen2-VL encoder under 64 tokens, sides from 204 px on, a last one added.
    static const double BEFORE[] = {49, 49, 49, 64, 64, 64, 64, 64, 49, 64, 64, 64, 64, 49};
    static const double AFTER[] = {49, 49, 49, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64};
    expect(BEFORE, AFTER, sizeof BEFORE / sizeof BEFORE[0]);
}

static void steps_stay_where_they_are(void **state) {
    (void)state;
    static const double STAIRS[] = {4, 4, 4, 9, 9, 9, 16, 25, 36, 36, 36, 36, 12, 12, 12};
    expect(STAIRS, STAIRS, sizeof STAIRS / sizeof STAIRS[0]);
}

// Three of the last five squares that a study counts dropped: the knee was put at the end.
static void drops_at_the_end_go(void **state) {
    (void)state;
    static const double BEFORE[] = {100, 144, 144, 144, 144, 144, 121, 144, 121, 121};
    static const double AFTER[] = {100, 144, 144, 144, 144, 144, 144, 144, 144, 144};
    expect(BEFORE, AFTER, sizeof BEFORE / sizeof BEFORE[0]);
}

static void few_points_are_legal(void **state) {
    (void)state;
    static const double ONE[] = {4};
    expect(ONE, ONE, 1);
    expect(ONE, ONE, 0);
}

// The knee is found although the counts drop now and then, by more than any tolerance.
static void knee_of_flickering_counts(void **state) {
    (void)state;
    struct knee_point points[100];
    double knee_x;
    for (size_t i = 0; i < 100; i++) {
        double side = (double)i < 30 ? (double)i / 3 + 1 : 10;
        double cells = (double)(int)side - (i % 11 == 10 && i >= 40 ? 2 : 0);
        points[i] = (struct knee_point){(double)(i + 1), cells * cells};
    }
    knee_smooth_counts(points, 100);
    assert_int_equal(knee_of_counts(points, 100, KNEE_COUNT_TOLERANCE, &knee_x), KNEE_FLAT_AFTER);
    assert_near(knee_x, 28, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_drops_go),           cmocka_unit_test(steps_stay_where_they_are),
        cmocka_unit_test(drops_at_the_end_go),       cmocka_unit_test(few_points_are_legal),
        cmocka_unit_test(knee_of_flickering_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
