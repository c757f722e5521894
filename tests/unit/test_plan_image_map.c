// The map of image costs: knees, steps, levers and traps of made-up families, each with the rule of
// a real one.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plan/families.h"
#include "plan/image_map.h"

typedef struct image_map_cost (*family)(uint32_t width, uint32_t height, int32_t budget);

static struct image_map_cost one_view(uint32_t tokens, uint64_t pixels) {
    return (struct image_map_cost){tokens, 0, tokens, 1, pixels};
}

// One view, a token per 28 x 28 pixels, 8 to 4096 tokens (or the budget).
static struct image_map_cost cells(uint32_t width, uint32_t height, int32_t budget) {
    double w = width, h = height, max = (budget ? budget : 4096) * 784.0;
    double x = round(w / 28) * 28, y = round(h / 28) * 28;
    if (x * y > max) {
        double shrink = sqrt(w * h / max);
        x = fmax(28, floor(w / shrink / 28) * 28);
        y = fmax(28, floor(h / shrink / 28) * 28);
    } else if (x * y < 8 * 784) {
        double grow = sqrt(8 * 784 / (w * h));
        x = ceil(w * grow / 28) * 28;
        y = ceil(h * grow / 28) * 28;
    }
    return one_view((uint32_t)(x * y / 784), (uint64_t)(x * y));
}

static struct image_map_cost constant(uint32_t width, uint32_t height, int32_t budget) {
    (void)width;
    (void)height;
    (void)budget;
    return one_view(256, 896 * 896);
}

static struct image_map_cost endless(uint32_t width, uint32_t height, int32_t budget) {
    (void)budget;
    return one_view(1 + (uint32_t)((uint64_t)width * height / 1024), (uint64_t)width * height);
}

// The long side is brought to 2048, tiles of 512 and an overview, 64 tokens each, 14 of wrapper per
// tile; a budget below 128 leaves one tile, and is exceeded by thin pictures. Knows budgets
// from 64.
static struct image_map_cost blown_up(uint32_t width, uint32_t height, int32_t budget) {
    double longest = fmax(width, height), shortest = fmin(width, height);
    uint32_t across = budget && budget <= 128 ? 1 : 4;
    uint32_t down = (uint32_t)fmax(1, ceil(shortest / longest * across));
    if (budget && budget <= 128 && shortest * 4 < longest) {
        across = 3;
    }
    uint32_t views = across * down + 1;
    return (struct image_map_cost){64 * views, 14 * views, 78 * views, views,
                                   (uint64_t)views * 512 * 512};
}

// One view of a token per 1024 pixels up to twice the budget, tiles of 256 tokens above: inverted.
static struct image_map_cost inverted(uint32_t width, uint32_t height, int32_t budget) {
    double pixels = (double)width * height, max = (budget ? budget : 256) * 1024.0;
    if (pixels <= 2 * max) {
        double tokens = fmin(fmax(pixels, 64 * 1024) / 1024, max / 1024);
        return one_view((uint32_t)tokens, (uint64_t)(tokens * 1024));
    }
    uint32_t views = 5 + (pixels > 2000000 ? 4 : 0);
    return (struct image_map_cost){256 * views, 8 * views, 264 * views, views,
                                   (uint64_t)views * 262144};
}

// Up to 12 squares of 448, and an overview, as the aspect asks for; no budget changes that.
static struct image_map_cost tiles(uint32_t width, uint32_t height, int32_t budget) {
    (void)budget;
    uint32_t across = width / 448 + (width % 448 > 0), down = height / 448 + (height % 448 > 0);
    while (across * down > 12) {
        across -= across >= down;
        down -= down > across;
    }
    uint32_t views = across * down + (across * down > 1);
    return (struct image_map_cost){256 * views, 2, 256 * views + 2, views,
                                   (uint64_t)views * 448 * 448};
}

static void read_family(struct image_map *map, family of, int32_t budget) {
    struct image_map_cost *costs = calloc(IMAGE_MAP_MAX_SIZES, sizeof *costs);
    struct image_map_size *sizes = calloc(IMAGE_MAP_MAX_SIZES, sizeof *sizes);
    for (size_t i = 0; i < map->sizes.n; i++) {
        costs[i] = of(map->sizes.at[i].width, map->sizes.at[i].height, budget);
    }
    assert_int_equal(image_map_add(map, budget, costs, NULL, NULL), WL_OK);
    size_t n = image_map_refine(map, map->n_readings - 1, sizes);
    assert_true(n <= IMAGE_MAP_MAX_SIZES);
    for (size_t i = 0; i < n; i++) {
        costs[i] = of(sizes[i].width, sizes[i].height, budget);
    }
    image_map_take_refined(map, map->n_readings - 1, costs);
    assert_int_equal(image_map_refine(map, map->n_readings - 1, sizes), n); // asks for the same
    free(costs);
    free(sizes);
}

static struct image_map *map_of(family of, const int32_t *budgets, size_t n_budgets) {
    struct image_map *map;
    assert_int_equal(image_map_new(&map, NULL), WL_OK);
    read_family(map, of, 0);
    for (size_t i = 0; i < n_budgets; i++) {
        read_family(map, of, budgets[i]);
    }
    return map;
}

static const struct image_map_trap *find_trap(const struct image_map *map,
                                              enum image_map_trap_kind kind) {
    static struct image_map_trap traps[IMAGE_MAP_MAX_TRAPS];
    size_t n = image_map_traps(map, false, traps);
    for (size_t i = 0; i < n; i++) {
        if (traps[i].kind == kind) {
            return &traps[i];
        }
    }
    return NULL;
}

static const struct image_map_lever *find_lever(const struct image_map_photo *photo,
                                                enum image_map_lever_kind kind) {
    for (size_t i = 0; i < photo->n_levers; i++) {
        if (photo->lever[i].kind == kind) {
            return &photo->lever[i];
        }
    }
    return NULL;
}

static void sizes_fit_in_one_request(void **state) {
    (void)state;
    struct image_map *map;
    assert_int_equal(image_map_new(&map, NULL), WL_OK);
    assert_int_equal(map->sizes.n_table, 18);
    assert_true(map->sizes.n < IMAGE_MAP_MAX_SIZES);
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        const struct image_map_series *s = &map->sizes.series[a];
        struct image_map_size last = map->sizes.at[s->first + s->n - 1];
        assert_true(s->n > 100 && s->n <= IMAGE_MAP_MAX_SERIES);
        assert_true(last.width == IMAGE_MAP_LONGEST_SIDE);
        for (size_t i = 0; i < s->n; i++) {
            struct image_map_size size = map->sizes.at[s->first + i];
            assert_int_equal((uint64_t)size.width * s->unit.height,
                             (uint64_t)size.height * s->unit.width);
            assert_true(i == 0 || s->side[i] > s->side[i - 1]);
        }
    }
    image_map_free(map);
    image_map_free(NULL);
}

static void a_clamp_is_a_knee_exact_to_the_pixel(void **state) {
    (void)state;
    const int32_t budgets[] = {64, 256, 1024};
    struct image_map *map = map_of(cells, budgets, 3);
    const struct image_map_knee *square = &map->reading[0].knee[0];
    assert_int_equal(square->shape, IMAGE_MAP_KNEE);
    assert_int_equal(square->at.width, 1778); // 63.5 cells, rounded up to 64
    assert_int_equal(square->at.height, 1778);
    assert_true(square->is_exact);
    assert_int_equal(square->tokens, 4096);
    assert_int_equal(square->least_tokens, 9);
    assert_int_equal(map->reading[2].knee[0].at.width, 434); // 15.5 cells
    assert_int_equal(map->reading[2].knee[0].tokens, 256);
    assert_int_equal(map->reading[0].steps[0].n, 0);
    const struct image_map_size hd = {1920, 1080}, absent = {7, 7};
    assert_int_equal(image_map_cost_of(map, 0, hd)->image_tokens, 2691);
    assert_null(image_map_cost_of(map, 0, absent));
    assert_false(map->reading[1].is_ignored);
    assert_int_equal(map->reading[1].rise.size.width, 0);
    assert_null(find_trap(map, IMAGE_MAP_TRAP_BUDGET_RAISES));
    assert_null(find_trap(map, IMAGE_MAP_TRAP_BUDGET_IGNORED));
    assert_null(find_trap(map, IMAGE_MAP_TRAP_BLOWN_UP));
    assert_non_null(find_trap(map, IMAGE_MAP_TRAP_CONTEXT));
    image_map_free(map);
}

static uint32_t tokens_of_cells(struct image_map_size unit, uint32_t side, int32_t budget) {
    return cells(unit.width * side, unit.height * side, budget).image_tokens;
}

// From the largest size down, through dips of a row or column (an error in the last binary digit)
// but not through other levels; then up to the first size that costs what the large ones do.
static uint32_t knee_by_hand(struct image_map_size unit, int32_t budget, uint32_t level) {
    uint32_t side = IMAGE_MAP_LONGEST_SIDE / unit.width;
    while (side > 1) {
        uint32_t tokens = tokens_of_cells(unit, side - 1, budget);
        if (tokens > 1.02 * level || tokens < 0.7 * level) {
            break;
        }
        side--;
    }
    while (fabs((double)tokens_of_cells(unit, side, budget) - level) > 0.02 * level) {
        side++;
    }
    return side;
}

static void knee_agrees_with_counting_every_size(void **state) {
    (void)state;
    const int32_t budgets[] = {64, 100, 256, 777, 2000, 8192};
    struct image_map *map = map_of(cells, budgets, 6);
    for (size_t r = 0; r < map->n_readings; r++) {
        for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
            const struct image_map_knee *knee = &map->reading[r].knee[a];
            struct image_map_size unit = map->sizes.series[a].unit;
            assert_int_equal(knee->shape, IMAGE_MAP_KNEE);
            assert_int_equal(knee->at.width,
                             unit.width * knee_by_hand(unit, map->reading[r].budget, knee->tokens));
        }
    }
    image_map_free(map);
}

static void levers_of_a_clamp_are_pixels_and_budget(void **state) {
    (void)state;
    const int32_t budgets[] = {256, 1024, 8192};
    struct image_map *map = map_of(cells, budgets, 3);
    struct image_map_photo hd, big;
    image_map_levers(map, 0, &hd);
    image_map_levers(map, 1, &big);
    assert_int_equal(hd.size.width, 1920);
    assert_int_equal(hd.cost.image_tokens, 2691);
    assert_true(hd.can_shrink);
    assert_int_equal(hd.free_size.width, 0); // below the knee every pixel counts
    assert_true(big.free_size.width > 1900 && big.free_size.width < 2200);
    assert_true(hd.n_levers >= 5);
    for (size_t i = 0; i < hd.n_levers; i++) {
        const struct image_map_lever *lever = &hd.lever[i];
        uint32_t counted = lever->kind == IMAGE_MAP_LEVER_BUDGET
                               ? cells(1920, 1080, lever->budget).image_tokens
                               : cells(lever->size.width, lever->size.height, 0).image_tokens;
        assert_int_equal(lever->tokens, counted);
        assert_true(lever->kind != IMAGE_MAP_LEVER_CROP); // saves what its pixels save, no more
        assert_true(i == 0 || hd.lever[i - 1].tokens <= lever->tokens);
    }
    const struct image_map_lever *budget = find_lever(&hd, IMAGE_MAP_LEVER_BUDGET);
    assert_int_equal(budget->budget, 256);
    image_map_free(map);
}

static void constant_cost_has_no_knee_and_no_lever(void **state) {
    (void)state;
    const int32_t budgets[] = {16, 64, 256, 512};
    struct image_map *map = map_of(constant, budgets, 4);
    struct image_map_photo photo;
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        assert_int_equal(map->reading[0].knee[a].shape, IMAGE_MAP_CONSTANT);
        assert_int_equal(map->reading[0].knee[a].at.width, 0);
        assert_int_equal(map->reading[0].knee[a].tokens, 256);
    }
    assert_true(map->reading[1].is_ignored);
    assert_true(map->reading[4].is_same);
    assert_false(map->reading[4].is_ignored); // nothing costs more than 512 anyway
    assert_non_null(find_trap(map, IMAGE_MAP_TRAP_BUDGET_IGNORED));
    assert_non_null(find_trap(map, IMAGE_MAP_TRAP_BLOWN_UP));
    assert_null(find_trap(map, IMAGE_MAP_TRAP_BUDGET_EXCEEDED));
    image_map_levers(map, 1, &photo);
    assert_false(photo.can_shrink);
    assert_int_equal(photo.n_levers, 0);
    image_map_free(map);
}

static void endless_growth_is_said(void **state) {
    (void)state;
    struct image_map *map = map_of(endless, NULL, 0);
    struct image_map_photo photo;
    assert_int_equal(map->reading[0].knee[0].shape, IMAGE_MAP_GROWS);
    assert_int_equal(map->reading[0].knee[0].at.width, 0);
    image_map_levers(map, 1, &photo);
    assert_true(photo.can_shrink);
    image_map_free(map);
}

static void tiles_are_steps_exact_to_the_pixel(void **state) {
    (void)state;
    const int32_t budgets[] = {256, 1024};
    struct image_map *map = map_of(tiles, budgets, 2);
    const struct image_map_reading *base = &map->reading[0];
    assert_int_equal(base->knee[0].shape, IMAGE_MAP_STEPS);
    assert_int_equal(base->steps[0].step[0].at.width, 449);
    assert_int_equal(base->steps[0].step[0].before, 258);
    assert_int_equal(base->steps[0].step[0].after, 1282);
    assert_int_equal(base->steps[0].step[0].views_after, 5);
    assert_true(base->steps[0].step[0].is_exact);
    assert_true(map->reading[1].is_ignored);
    const struct image_map_trap *trap = find_trap(map, IMAGE_MAP_TRAP_STEP);
    assert_non_null(trap);
    assert_non_null(strstr(trap->text, "449x449"));
    struct image_map_photo photo;
    image_map_levers(map, 0, &photo);
    assert_true(photo.can_shrink);
    const struct image_map_lever *least = &photo.lever[0];
    assert_int_equal(least->kind, IMAGE_MAP_LEVER_SHRINK);
    assert_true(least->size.width <= 448 && least->size.width > 420);
    assert_int_equal(least->tokens, 258);
    image_map_free(map);
}

static void blown_up_pictures_cannot_be_shrunk(void **state) {
    (void)state;
    const int32_t budgets[] = {128, 512};
    struct image_map *map = map_of(blown_up, budgets, 2);
    struct image_map_photo hd, big;
    assert_int_equal(map->reading[0].knee[0].shape, IMAGE_MAP_CONSTANT);
    assert_non_null(find_trap(map, IMAGE_MAP_TRAP_BLOWN_UP));
    assert_non_null(find_trap(map, IMAGE_MAP_TRAP_WRAPPER));
    const struct image_map_trap *excess = find_trap(map, IMAGE_MAP_TRAP_BUDGET_EXCEEDED);
    assert_non_null(strstr(excess->text, "with 128, 1000x200 takes 256"));
    image_map_levers(map, 0, &hd);
    image_map_levers(map, 1, &big);
    assert_false(hd.can_shrink);
    assert_null(find_lever(&hd, IMAGE_MAP_LEVER_SHRINK));
    assert_int_equal(find_lever(&hd, IMAGE_MAP_LEVER_BUDGET)->budget, 128);
    assert_int_equal(find_lever(&hd, IMAGE_MAP_LEVER_BUDGET)->tokens, 2 * 78);
    const struct image_map_lever *crop = find_lever(&big, IMAGE_MAP_LEVER_CROP);
    assert_non_null(crop); // another aspect has fewer tiles
    assert_int_equal(crop->size.height, 2000);
    assert_true(fabs(crop->lost_share - 1.0 / 3) < 0.001);
    image_map_free(map);
}

static void an_inverted_budget_is_shouted(void **state) {
    (void)state;
    const int32_t budgets[] = {64, 1024};
    struct image_map *map = map_of(inverted, budgets, 2);
    assert_int_equal(map->reading[0].knee[0].shape, IMAGE_MAP_STEPS);
    assert_int_equal(map->reading[0].steps[0].step[0].at.width, 725); // 724^2 < 2 x 262144
    assert_true(map->reading[1].rise.size.width > 0);
    assert_true(map->reading[1].rise.after > 5 * map->reading[1].rise.before);
    const struct image_map_trap *trap = find_trap(map, IMAGE_MAP_TRAP_BUDGET_RAISES);
    assert_non_null(strstr(trap->text, "image_max_tokens 64 RAISES"));
    struct image_map_photo hd;
    image_map_levers(map, 0, &hd);
    const struct image_map_lever *budget = find_lever(&hd, IMAGE_MAP_LEVER_BUDGET);
    assert_int_equal(budget->budget, 1024); // the higher one saves
    assert_int_equal(budget->tokens, 1024);
    const struct image_map_lever *shrink = find_lever(&hd, IMAGE_MAP_LEVER_SHRINK);
    assert_true((uint64_t)shrink->size.width * shrink->size.height <= 524288);
    image_map_free(map);
}

// A picture that is 64 tokens more than it should be between two sizes of the series.
static struct image_map_cost bumpy(uint32_t width, uint32_t height, int32_t budget) {
    double pixels = (double)width * height;
    (void)budget;
    uint32_t tokens = pixels > 400000 ? 300 : (uint32_t)(1 + pixels / 1000);
    return one_view(tokens, (uint64_t)pixels);
}

static void a_larger_picture_that_costs_less_is_a_trap(void **state) {
    (void)state;
    struct image_map *map = map_of(bumpy, NULL, 0);
    const struct image_map_trap *trap = find_trap(map, IMAGE_MAP_TRAP_NOT_MONOTONE);
    assert_non_null(trap);
    assert_non_null(strstr(trap->text, " 300"));
    assert_int_equal(map->reading[0].knee[0].at.width, 633); // 632^2 < 400000
    image_map_free(map);
}

static void a_budget_that_does_not_load_is_kept_with_its_reason(void **state) {
    (void)state;
    struct image_map *map = map_of(cells, NULL, 0);
    struct image_map_photo photo;
    assert_int_equal(image_map_add(map, 4, NULL, "the engine died", NULL), WL_OK);
    assert_null(image_map_cost_of(map, 1, map->sizes.at[0]));
    struct image_map_size *sizes = calloc(IMAGE_MAP_MAX_SIZES, sizeof *sizes);
    assert_int_equal(image_map_refine(map, 1, sizes), 0);
    free(sizes);
    const struct image_map_trap *trap = find_trap(map, IMAGE_MAP_TRAP_BUDGET_REFUSED);
    assert_string_equal(trap->text,
                        "the encoder does not load with image_max_tokens 4: the engine died");
    image_map_levers(map, 0, &photo);
    assert_null(find_lever(&photo, IMAGE_MAP_LEVER_BUDGET));
    struct image_map_trap traps[IMAGE_MAP_MAX_TRAPS];
    size_t n = image_map_traps(map, true, traps);
    assert_int_equal(traps[n - 1].kind, IMAGE_MAP_TRAP_MICRO_BATCH);
    image_map_free(map);
}

static void budgets_are_bounded_and_follow_from_the_default(void **state) {
    (void)state;
    struct image_map *map = map_of(cells, NULL, 0);
    int32_t budgets[IMAGE_MAP_N_DEFAULT_BUDGETS];
    assert_int_equal(image_map_default_budgets(map, budgets), 6);
    assert_int_equal(budgets[0], 256);
    assert_int_equal(budgets[4], 4096);
    assert_int_equal(budgets[5], 8192);
    struct wl_err err;
    for (int i = 0; i < IMAGE_MAP_MAX_BUDGETS; i++) {
        assert_int_equal(image_map_add(map, i + 1, NULL, "no", &err), WL_OK);
    }
    assert_int_equal(image_map_add(map, 99, NULL, "no", &err), WL_LIMIT);
    image_map_free(map);
}

// Counts come from an engine that is not trusted: any of them must be survived.
static struct image_map_cost absurd(uint32_t width, uint32_t height, int32_t budget) {
    uint64_t mixed = (width * 2654435761u) ^ (height * 40503u) ^ (uint32_t)budget;
    static const uint32_t VALUES[] = {0, 1, 7, 1u << 20, 1u << 30, 3};
    return (struct image_map_cost){VALUES[mixed % 6], VALUES[mixed / 6 % 6], 0,
                                   VALUES[mixed / 36 % 6], mixed << 20};
}

static void absurd_counts_are_survived(void **state) {
    (void)state;
    const int32_t budgets[] = {1, 1000, IMAGE_MAP_MAX_BUDGET};
    struct image_map *map = map_of(absurd, budgets, 3);
    struct image_map_photo photo;
    struct image_map_trap traps[IMAGE_MAP_MAX_TRAPS];
    for (size_t i = 0; i < IMAGE_MAP_N_PHOTOS; i++) {
        image_map_levers(map, i, &photo);
        assert_true(photo.n_levers <= IMAGE_MAP_MAX_LEVERS);
    }
    assert_true(image_map_traps(map, true, traps) <= IMAGE_MAP_MAX_TRAPS);
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        assert_true(map->reading[0].steps[a].n <= IMAGE_MAP_MAX_STEPS);
    }
    image_map_free(map);
}

static void families_have_titles_and_no_doubles(void **state) {
    (void)state;
    assert_string_equal(plan_family_of("lfm2")->title, "LFM2-VL");
    assert_string_equal(plan_family_of("no such thing")->title, "unknown family");
    assert_string_equal(plan_family_of("no such thing")->key, "");
    for (size_t i = 0; i < plan_family_count(); i++) {
        const struct plan_family *f = plan_family_at(i);
        assert_true(f->projector[0] && f->title[0] && f->how[0]);
        assert_ptr_equal(plan_family_of(f->projector), f);
    }
    assert_null(plan_family_at(plan_family_count()));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_fit_in_one_request),
        cmocka_unit_test(a_clamp_is_a_knee_exact_to_the_pixel),
        cmocka_unit_test(knee_agrees_with_counting_every_size),
        cmocka_unit_test(levers_of_a_clamp_are_pixels_and_budget),
        cmocka_unit_test(constant_cost_has_no_knee_and_no_lever),
        cmocka_unit_test(endless_growth_is_said),
        cmocka_unit_test(tiles_are_steps_exact_to_the_pixel),
        cmocka_unit_test(blown_up_pictures_cannot_be_shrunk),
        cmocka_unit_test(an_inverted_budget_is_shouted),
        cmocka_unit_test(a_larger_picture_that_costs_less_is_a_trap),
        cmocka_unit_test(a_budget_that_does_not_load_is_kept_with_its_reason),
        cmocka_unit_test(budgets_are_bounded_and_follow_from_the_default),
        cmocka_unit_test(absurd_counts_are_survived),
        cmocka_unit_test(families_have_titles_and_no_doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
