// The map of image costs by the real engine, for tiny encoders of every family: what is said of
// knees and steps holds when the sizes on both sides are counted one by one.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "measure/image_map_count.h"
#include "tiny_pair.h"

static char dir[] = "/tmp/wattlaw-knee-XXXXXX";
static char model_path[TINY_PATH_BYTES], mmproj_path[TINY_PATH_BYTES];

static void make_pair(const char *family) {
    struct drive drive;
    assert_true(drive_start(&drive, NULL, -1, NULL));
    assert_true(tiny_pair(&drive, family, dir, model_path, mmproj_path));
    drive_stop(&drive);
}

static struct image_map *map_of(const char *family, const char *model, const int32_t *budgets,
                                size_t n_budgets, struct engine_vision *vision) {
    struct image_map_request request = {
        .mmproj = mmproj_path, .model = model, .budgets = budgets, .n_budgets = n_budgets};
    struct image_map *map;
    struct wl_err err = {0};
    if (image_map_count(&request, vision, &map, &err) != WL_OK) {
        fail_msg("%s: %s", family, err.message);
    }
    return map;
}

static uint32_t tokens_of(struct engine *engine, struct image_map_size size) {
    const struct engine_image_size one = {size.width, size.height};
    struct engine_image_count count;
    assert_int_equal(engine_count_images(engine, &one, 1, &count, NULL), WL_OK);
    return count.image_tokens + count.text_tokens;
}

static struct image_map_size less(struct image_map_size size, struct image_map_size unit) {
    return (struct image_map_size){size.width - unit.width, size.height - unit.height};
}

static void check_reading(struct engine *engine, const struct image_map *map,
                          const struct image_map_reading *reading) {
    const struct engine_counter_options options = {
        .mmproj = mmproj_path, .model = model_path, .image_max_tokens = reading->budget};
    assert_int_equal(engine_open_counter(engine, &options, NULL, NULL), WL_OK);
    for (size_t a = 0; a < IMAGE_MAP_N_ASPECTS; a++) {
        struct image_map_size unit = map->sizes.series[a].unit;
        const struct image_map_knee *knee = &reading->knee[a];
        if (knee->at.width > 0) {
            double level = knee->tokens;
            assert_true(knee->is_exact);
            assert_true(fabs(tokens_of(engine, knee->at) - level) <= 0.02 * level);
            assert_true(fabs(tokens_of(engine, less(knee->at, unit)) - level) > 0.02 * level);
        }
        for (size_t i = 0; i < reading->steps[a].n; i++) {
            const struct image_map_step *step = &reading->steps[a].step[i];
            assert_true(step->is_exact);
            assert_int_equal(tokens_of(engine, step->at), step->after);
            assert_int_equal(tokens_of(engine, less(step->at, unit)), step->before);
        }
    }
}

static void every_family_is_mapped_exactly(void **state) {
    (void)state;
    for (int f = 0; f < TINY_N_FAMILIES; f++) {
        struct engine_vision vision;
        struct engine *engine;
        make_pair(TINY_FAMILIES[f].name);
        struct image_map *map = map_of(TINY_FAMILIES[f].name, model_path, NULL, 0, &vision);
        assert_string_equal(vision.projector, TINY_FAMILIES[f].projector);
        assert_true(map->n_readings >= 4);
        assert_int_equal(engine_start(NULL, &engine, NULL), WL_OK);
        for (size_t i = 0; i < map->n_readings; i += 3) {
            if (map->reading[i].costs) {
                check_reading(engine, map, &map->reading[i]);
            }
        }
        engine_stop(engine);
        image_map_free(map);
    }
}

static enum image_map_shape shape_of(const char *family, bool *is_ignored, bool *is_raised) {
    struct engine_vision vision;
    const int32_t budgets[] = {16, 64};
    make_pair(family);
    struct image_map *map = map_of(family, NULL, budgets, 2, &vision);
    enum image_map_shape shape = map->reading[0].knee[0].shape;
    assert_true(vision.is_stand_in);
    *is_ignored = map->reading[1].is_ignored;
    *is_raised = false;
    for (size_t i = 1; i < map->n_readings; i++) {
        *is_raised = *is_raised || map->reading[i].rise.size.width > 0;
    }
    image_map_free(map);
    return shape;
}

static void families_are_told_apart_by_their_counts(void **state) {
    (void)state;
    bool is_ignored, is_raised;
    assert_int_equal(shape_of("qwen2vl_merger", &is_ignored, &is_raised), IMAGE_MAP_KNEE);
    assert_false(is_ignored || is_raised);
    assert_int_equal(shape_of("idefics3", &is_ignored, &is_raised), IMAGE_MAP_CONSTANT);
    assert_false(is_ignored);
    assert_int_equal(shape_of("gemma3", &is_ignored, &is_raised), IMAGE_MAP_CONSTANT);
    assert_int_equal(shape_of("mlp", &is_ignored, &is_raised), IMAGE_MAP_CONSTANT);
    assert_true(is_ignored);
    assert_int_equal(shape_of("internvl", &is_ignored, &is_raised), IMAGE_MAP_STEPS);
    assert_true(is_ignored);
    assert_int_equal(shape_of("lfm2", &is_ignored, &is_raised), IMAGE_MAP_STEPS);
    assert_true(is_raised);
}

static void a_text_model_is_no_encoder(void **state) {
    (void)state;
    struct engine_vision vision;
    struct image_map *map;
    struct wl_err err = {0};
    make_pair("qwen2vl_merger");
    const struct image_map_request request = {.mmproj = model_path};
    assert_int_not_equal(image_map_count(&request, &vision, &map, &err), WL_OK);
    assert_null(map);
    assert_true(err.message[0]);
}

static int set_up(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    for (int f = 0; f < TINY_N_FAMILIES; f++) {
        char path[TINY_PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s.gguf", dir, TINY_FAMILIES[f].name);
        unlink(path);
        snprintf(path, sizeof path, "%s/mmproj-%s.gguf", dir, TINY_FAMILIES[f].name);
        unlink(path);
    }
    return rmdir(dir);
}

int main(void) {
    const char *engine = getenv("WATTLAW_ENGINE");
    if (!engine || access(engine, X_OK) != 0) {
        puts("skipped: WATTLAW_ENGINE does not name wattlaw-engine");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_family_is_mapped_exactly),
        cmocka_unit_test(families_are_told_apart_by_their_counts),
        cmocka_unit_test(a_text_model_is_no_encoder),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
