// Which size a picture gets, in families of every kind; and what is remembered of their costs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/picture_choice.h"
#include "gateway/picture_costs.h"
#include "picture_families.h"

typedef int64_t cost_function(struct picture_size size);

static int n_asked;

static struct picture_choice chosen(uint32_t width, uint32_t height, int64_t max_tokens,
                                    uint64_t max_pixels, cost_function *cost) {
    struct picture_choice choice;
    struct picture_size size;
    picture_choice_begin(&choice, (struct picture_size){width, height}, max_tokens, max_pixels);
    for (n_asked = 0; picture_choice_next(&choice, &size); n_asked++) {
        assert_in_range(n_asked, 0, 40);
        assert_in_range(size.width, 1, width);
        assert_in_range(size.height, 1, height);
        picture_choice_take(&choice, cost(size));
    }
    return choice;
}

static void assert_kept(const struct picture_choice *choice, uint32_t width, uint32_t height) {
    assert_int_equal(choice->size.width, width);
    assert_int_equal(choice->size.height, height);
}

static void what_fits_is_kept(void **state) {
    (void)state;
    struct picture_choice choice = chosen(1024, 768, 1100, 0, cost_of_cells);
    assert_kept(&choice, 1024, 768);
    assert_int_equal(choice.tokens_in, 999);
    assert_int_equal(choice.tokens_out, 999);
    assert_int_equal(n_asked, 1);
    choice = chosen(4000, 3000, 0, 0, cost_of_cells);
    assert_kept(&choice, 4000, 3000);
    assert_int_equal(n_asked, 0);
}

static void the_largest_that_fits_is_taken(void **state) {
    static const int64_t BUDGETS[] = {64, 100, 256, 500, 1024, 2000, 4000};
    (void)state;
    for (size_t i = 0; i < sizeof BUDGETS / sizeof *BUDGETS; i++) {
        struct picture_choice choice = chosen(4032, 3024, BUDGETS[i], 0, cost_of_cells);
        assert_in_range(choice.tokens_out, BUDGETS[i] * 85 / 100, BUDGETS[i]);
        assert_int_equal(choice.tokens_out, cost_of_cells(choice.size));
        assert_int_equal(choice.tokens_in, cost_of_cells((struct picture_size){4032, 3024}));
        double share = (double)choice.size.width / choice.size.height;
        assert_true(fabs(share - 4.0 / 3) < 0.01);
        assert_in_range(n_asked, 2, 14);
    }
}

static void pictures_of_one_shape_share_their_sizes(void **state) {
    (void)state;
    struct picture_choice a = chosen(4000, 3000, 300, 0, cost_of_cells);
    struct picture_choice b = chosen(1600, 1200, 300, 0, cost_of_cells);
    assert_kept(&a, b.size.width, b.size.height);
    a = chosen(1080, 1920, 300, 0, cost_of_cells);
    b = chosen(720, 1280, 300, 0, cost_of_cells);
    assert_kept(&a, b.size.width, b.size.height);
}

static void what_saves_nothing_is_kept(void **state) {
    (void)state;
    struct picture_choice choice = chosen(4000, 3000, 100, 0, cost_of_nothing_else);
    assert_kept(&choice, 4000, 3000);
    assert_int_equal(choice.tokens_out, 256);
    assert_in_range(n_asked, 1, 10);
    choice = chosen(4000, 3000, 0, 1000000, cost_of_nothing_else);
    assert_kept(&choice, 4000, 3000);
    assert_int_equal(n_asked, 2);
}

static void steps_are_climbed_to_their_edge(void **state) {
    (void)state;
    struct picture_choice choice = chosen(1920, 1080, 300, 0, cost_of_tiles);
    assert_int_equal(choice.tokens_out, 256);
    assert_in_range(choice.size.width, 448 * 95 / 100, 448);
    choice = chosen(1920, 1080, 1000, 0, cost_of_tiles); // two tiles and the overview
    assert_int_equal(choice.tokens_out, 768);
    assert_in_range(choice.size.height, 448 * 95 / 100, 448);
}

static void without_one_that_fits_the_cheapest_is_taken(void **state) {
    (void)state;
    struct picture_choice choice = chosen(1920, 1080, 100, 0, cost_of_tiles);
    assert_int_equal(choice.tokens_out, 256);
    assert_in_range(choice.size.width, 448 * 95 / 100, 448); // the largest of them
    choice = chosen(600, 600, 690, 0, cost_of_small_ones_is_higher);
    assert_kept(&choice, 600, 600);
    choice = chosen(1000, 1000, 690, 0, cost_of_small_ones_is_higher);
    assert_kept(&choice, 1000, 1000);
}

static void hills_are_not_climbed(void **state) {
    (void)state;
    struct picture_choice choice = chosen(1200, 900, 1000, 0, cost_with_a_hill);
    assert_int_equal(choice.tokens_in, 1600);
    assert_in_range(choice.tokens_out, 440, 513);
    choice = chosen(4000, 3000, 1200, 1000000, cost_with_a_hill); // the limit is on the hill
    assert_kept(&choice, 4000, 3000);
    choice = chosen(4000, 3000, 0, 1000000, cost_with_a_hill);
    assert_kept(&choice, 4000, 3000);
    choice = chosen(4000, 3000, 600, 1000000, cost_with_a_hill);
    assert_in_range(choice.tokens_out, 440, 513);
}

static void the_nominal_limit_is_kept_where_it_saves(void **state) {
    (void)state;
    struct picture_choice choice = chosen(4000, 3000, 0, 1000000, cost_of_cells);
    assert_in_range(choice.size.width * choice.size.height, 995000, 1000000);
    assert_true(choice.tokens_out < choice.tokens_in);
    assert_int_equal(n_asked, 2);
    choice = chosen(4000, 3000, 300, 1000000, cost_of_cells);
    assert_in_range(choice.tokens_out, 255, 300);
    choice = chosen(4000, 3000, 3000, 1000000, cost_of_cells);
    assert_in_range(choice.size.width * choice.size.height, 995000, 1000000);
}

static void without_counts_only_the_nominal_limit_counts(void **state) {
    struct picture_choice choice;
    (void)state;
    picture_choice_begin(&choice, (struct picture_size){3000, 4000}, 100, 480000);
    picture_choice_give_up(&choice);
    assert_kept(&choice, 600, 800);
    assert_int_equal(choice.tokens_in, 0);
    picture_choice_begin(&choice, (struct picture_size){3000, 4000}, 100, 0);
    picture_choice_take(&choice, 4000);
    picture_choice_give_up(&choice); // in the middle
    assert_kept(&choice, 3000, 4000);
    assert_int_equal(choice.tokens_in, 0);
    struct picture_size size;
    assert_false(picture_choice_next(&choice, &size));
}

static void any_shape_and_cost_comes_to_an_end(void **state) {
    static const uint32_t SIDES[] = {1, 2, 31, 32, 33, 63, 64, 65, 100, 860, 861, 4000, 32768};
    enum { N = sizeof SIDES / sizeof *SIDES };
    static cost_function *const COSTS[] = {cost_of_cells, cost_of_nothing_else, cost_of_tiles,
                                           cost_with_a_hill, cost_of_small_ones_is_higher};
    (void)state;
    for (size_t i = 0; i < N * N * 5 * 4; i++) {
        uint32_t width = SIDES[i % N], height = SIDES[i / N % N];
        cost_function *cost = COSTS[i / N / N % 5];
        int64_t max_tokens = (i / N / N / 5) % 2 ? 70 : 0;
        uint64_t max_pixels = (i / N / N / 5) / 2 ? 200000 : 0;
        struct picture_choice choice = chosen(width, height, max_tokens, max_pixels, cost);
        int64_t before = cost((struct picture_size){width, height});
        if (choice.size.width == width && choice.size.height == height) {
            continue;
        }
        assert_true(cost(choice.size) < before);
        assert_int_equal(cost(choice.size), choice.tokens_out);
        assert_int_equal(before, choice.tokens_in);
        assert_true(max_pixels == 0 || (uint64_t)choice.size.width * choice.size.height <= 200000 ||
                    (uint64_t)width * height <= 200000);
    }
}

// ---- what is remembered ----

static void costs_are_found_again(void **state) {
    struct picture_costs *costs = calloc(1, sizeof *costs);
    int64_t n;
    (void)state;
    struct picture_costs_model *a = picture_costs_model(costs, "a");
    assert_int_equal(a->n_base, -1);
    assert_ptr_equal(picture_costs_model(costs, "a"), a);
    assert_false(picture_costs_get(costs, a, (struct picture_size){3, 4}, &n));
    picture_costs_put(costs, a, (struct picture_size){3, 4}, 77);
    picture_costs_put(costs, a, (struct picture_size){4, 3}, 78);
    picture_costs_put(costs, a, (struct picture_size){3, 4}, 79);
    assert_true(picture_costs_get(costs, a, (struct picture_size){3, 4}, &n));
    assert_int_equal(n, 79);
    const struct picture_costs_model *b = picture_costs_model(costs, "");
    assert_false(picture_costs_get(costs, b, (struct picture_size){3, 4}, &n));
    free(costs);
}

static void costs_are_bounded(void **state) {
    struct picture_costs *costs = calloc(1, sizeof *costs);
    char name[PICTURE_COSTS_NAME_BYTES + 1];
    int64_t n;
    (void)state;
    struct picture_costs_model *used = picture_costs_model(costs, "used");
    int n_found = 0;
    for (uint32_t i = 1; i <= 20000; i++) {
        picture_costs_put(costs, used, (struct picture_size){i, i + 1}, i);
    }
    for (uint32_t i = 1; i <= 20000; i++) {
        if (picture_costs_get(costs, used, (struct picture_size){i, i + 1}, &n)) {
            assert_int_equal(n, i);
            n_found++;
        }
    }
    assert_in_range(n_found, 3500, PICTURE_COSTS_SETS * PICTURE_COSTS_WAYS);
    for (int i = 0; i < 100; i++) { // others come and go; the one in use stays
        snprintf(name, sizeof name, "model %d", i);
        picture_costs_put(costs, picture_costs_model(costs, name), (struct picture_size){1, 1}, i);
        assert_ptr_equal(picture_costs_model(costs, "used"), used);
    }
    assert_int_equal(used->number, 1);
    assert_false(picture_costs_get(costs, picture_costs_model(costs, "model 3"),
                                   (struct picture_size){1, 1}, &n));
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_null(picture_costs_model(costs, name));
    free(costs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_kept),
        cmocka_unit_test(the_largest_that_fits_is_taken),
        cmocka_unit_test(pictures_of_one_shape_share_their_sizes),
        cmocka_unit_test(what_saves_nothing_is_kept),
        cmocka_unit_test(steps_are_climbed_to_their_edge),
        cmocka_unit_test(without_one_that_fits_the_cheapest_is_taken),
        cmocka_unit_test(hills_are_not_climbed),
        cmocka_unit_test(the_nominal_limit_is_kept_where_it_saves),
        cmocka_unit_test(without_counts_only_the_nominal_limit_counts),
        cmocka_unit_test(any_shape_and_cost_comes_to_an_end),
        cmocka_unit_test(costs_are_found_again),
        cmocka_unit_test(costs_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
