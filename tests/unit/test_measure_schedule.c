// The order of a study: complete, seeded, interleaved; and the stop rule.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "measure/schedule.h"

static void grid_has_every_length_once_and_more_than_one_answer_length(void **state) {
    (void)state;
    const uint32_t prompts[] = {16, 32, 64, 128, 256, 512, 1024, 2048};
    struct schedule_cell cells[SCHEDULE_MAX_CELLS];
    size_t n = schedule_grid(prompts, 8, 32, cells);
    assert_int_equal(n, 12);
    for (size_t i = 0; i < 8; i++) {
        size_t n_found = 0, n_same = 0;
        for (size_t c = 0; c < n; c++) {
            n_found += cells[c].prompt_tokens == prompts[i] && cells[c].generated_tokens == 32;
            n_same += cells[c].prompt_tokens == prompts[i];
        }
        assert_int_equal(n_found, 1);
        assert_true(n_same == 1 || n_same == 3);
    }
}

static void grid_of_one_length_still_tells_the_answer_from_the_fixed_cost(void **state) {
    (void)state;
    const uint32_t prompts[] = {100};
    struct schedule_cell cells[SCHEDULE_MAX_CELLS];
    assert_int_equal(schedule_grid(prompts, 1, 1, cells), 2);
    assert_int_equal(schedule_grid(prompts, 1, 40, cells), 3);
    assert_int_equal(schedule_grid(prompts, 0, 40, cells), 0);
}

static void order_is_a_permutation_that_repeats_from_its_seed(void **state) {
    (void)state;
    uint32_t a[SCHEDULE_MAX_CELLS], b[SCHEDULE_MAX_CELLS];
    size_t n_different = 0;
    for (uint32_t round = 0; round < 50; round++) {
        schedule_order(7, round, 12, a);
        schedule_order(7, round, 12, b);
        assert_memory_equal(a, b, 12 * sizeof *a);
        uint32_t seen = 0;
        for (size_t i = 0; i < 12; i++) {
            seen |= 1u << a[i];
        }
        assert_int_equal(seen, 0xfff);
        schedule_order(8, round, 12, b);
        n_different += memcmp(a, b, 12 * sizeof *a) != 0;
    }
    assert_true(n_different >= 49);
}

static void each_model_goes_first_about_half_the_time(void **state) {
    (void)state;
    int n_swapped = 0;
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t cell = 0; cell < 20; cell++) {
            n_swapped += schedule_is_swapped(3, round, cell);
        }
    }
    assert_in_range(n_swapped, 900, 1100);
}

static void rule_stops_when_narrow_enough_and_at_the_maximum(void **state) {
    (void)state;
    struct schedule_rule rule = {.min_repeats = 3, .max_repeats = 6, .target_rel_ci = 0.02};
    const double steady[] = {1.000, 1.001, 0.999, 1.0, 1.0, 1.0};
    const double wild[] = {1.0, 1.5, 0.7, 1.2, 0.8, 1.4};
    assert_false(schedule_is_enough(&rule, steady, 2));
    assert_true(schedule_is_enough(&rule, steady, 3));
    assert_false(schedule_is_enough(&rule, wild, 5));
    assert_true(schedule_is_enough(&rule, wild, 6));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grid_has_every_length_once_and_more_than_one_answer_length),
        cmocka_unit_test(grid_of_one_length_still_tells_the_answer_from_the_fixed_cost),
        cmocka_unit_test(order_is_a_permutation_that_repeats_from_its_seed),
        cmocka_unit_test(each_model_goes_first_about_half_the_time),
        cmocka_unit_test(rule_stops_when_narrow_enough_and_at_the_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
