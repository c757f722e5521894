// Decoding of what the engine says about images: a good answer is taken whole, every single lie is
// refused by name.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "engine/result.h"

static const struct engine_bounds BOUNDS = {
    .t_min_ns = 1000, .t_max_ns = 9000, .n_predict = 4, .n_images = 2};

static const char RUN[] =
    "{\"text\": \"x\", \"n_prompt\": 120, \"n_generated\": 3, \"stop\": \"eos\","
    " \"n_image_tokens\": 100, \"n_positions\": 40, \"images\": ["
    "{\"width\": 4000, \"height\": 3000, \"decoded_width\": 1000, \"decoded_height\": 750,"
    " \"image_tokens\": 64, \"n_views\": 1, \"effective_pixels\": 50176},"
    "{\"width\": 1, \"height\": 1, \"decoded_width\": 1, \"decoded_height\": 1,"
    " \"image_tokens\": 36, \"n_views\": 3, \"effective_pixels\": 0}], \"phases\": ["
    "{\"phase\": \"vision\", \"t0_ns\": 1000, \"t1_ns\": 2000, \"cpu0_ns\": 0, \"cpu1_ns\": 1,"
    " \"n_tokens\": 100, \"peak_rss_bytes\": 1048576},"
    "{\"phase\": \"image_prefill\", \"t0_ns\": 2000, \"t1_ns\": 3000, \"cpu0_ns\": 1,"
    " \"cpu1_ns\": 2, \"n_tokens\": 100},"
    "{\"phase\": \"prefill\", \"t0_ns\": 3000, \"t1_ns\": 4000, \"cpu0_ns\": 2, \"cpu1_ns\": 3,"
    " \"n_tokens\": 20}]}";

static const char VISION[] =
    "{\"projector\": \"qwen2vl_merger\", \"name\": \"n\", \"file_bytes\": 10, \"n_params\": 5,"
    " \"n_layer\": 2, \"n_embd\": 32, \"n_ff\": 64, \"n_head\": 2, \"patch_size\": 14,"
    " \"image_size\": 560, \"n_embd_out\": 64, \"pixels_per_token\": 784.0,"
    " \"image_min_tokens\": 0, \"image_max_tokens\": 256, \"is_mrope\": true,"
    " \"is_non_causal\": false, \"is_stand_in\": true}";

static json_t *parse(const char *text) {
    json_t *value;
    struct wl_err err;
    if (wl_json_parse(text, strlen(text), &value, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    return value;
}

static void takes_a_good_run(void **state) {
    (void)state;
    struct engine_run_result result;
    struct wl_err err = {0};
    json_t *json = parse(RUN);
    if (engine_run_result_decode(json, &BOUNDS, &result, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(result.n_images, 2);
    assert_int_equal(result.n_image_tokens, 100);
    assert_int_equal(result.n_positions, 40);
    assert_int_equal(result.images[0].decoded_height, 750);
    assert_int_equal(result.images[0].effective_pixels, 50176);
    assert_int_equal(result.images[1].n_views, 3);
    assert_int_equal(result.phases[0].peak_rss_bytes, 1048576);
    assert_int_equal(result.phases[1].peak_rss_bytes, 0);
    engine_run_result_release(&result);
    json_decref(json);
}

// What a run that was stopped early did not reach is 0.
static void takes_a_stopped_run(void **state) {
    (void)state;
    struct engine_run_result result;
    struct wl_err err = {0};
    json_t *json = parse(RUN);
    static const char *const ZEROS[] = {"decoded_width", "decoded_height", "image_tokens",
                                        "n_views", "effective_pixels"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 5; k++) {
            json_object_set_new(json_array_get(json_object_get(json, "images"), i), ZEROS[k],
                                json_integer(0));
        }
    }
    json_object_set_new(json, "n_image_tokens", json_integer(0));
    json_object_set_new(json, "n_positions", json_integer(0));
    json_object_set_new(json, "n_prompt", json_integer(0));
    json_object_set_new(json, "phases", json_array());
    assert_int_equal(engine_run_result_decode(json, &BOUNDS, &result, &err), WL_PROTOCOL);
    json_object_set_new(json, "stop", json_string("cancel"));
    if (engine_run_result_decode(json, &BOUNDS, &result, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    engine_run_result_release(&result);
    json_decref(json);
}

static void expect_lie(const char *key, const char *value, int image, const char *words) {
    struct engine_run_result result;
    struct wl_err err = {0};
    json_t *json = parse(RUN);
    json_t *object =
        image >= 0 ? json_array_get(json_object_get(json, "images"), (size_t)image) : json;
    if (value) {
        json_object_set_new(object, key, parse(value));
    } else {
        json_object_del(object, key);
    }
    enum wl_status status = engine_run_result_decode(json, &BOUNDS, &result, &err);
    json_decref(json);
    if (status != WL_PROTOCOL || err.status != WL_PROTOCOL || !strstr(err.message, words)) {
        fail_msg("%s = %s: expected '%s', found %s: %s", key, value ? value : "(none)", words,
                 wl_status_name(status), err.message);
    }
    assert_int_equal(result.n_images, 0);
    assert_null(result.text);
}

static void names_the_lie(void **state) {
    (void)state;
    static const char *const KEYS[] = {"n_image_tokens", "n_positions", "images"};
    static const char *const IMAGE_KEYS[] = {"width",           "height",  "decoded_width",
                                             "decoded_height",  "n_views", "image_tokens",
                                             "effective_pixels"};
    static const char *const WRONG[] = {"null", "1.5", "{}", "true", "-1", NULL};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        for (size_t k = 0; k < sizeof KEYS / sizeof KEYS[0]; k++) {
            expect_lie(KEYS[k], WRONG[i], -1, KEYS[k]);
        }
        for (size_t k = 0; k < sizeof IMAGE_KEYS / sizeof IMAGE_KEYS[0]; k++) {
            expect_lie(IMAGE_KEYS[k], WRONG[i], 1, "image 1");
        }
    }
    expect_lie("n_image_tokens", "99", -1, "found 99, but the images have 100");
    expect_lie("n_image_tokens", "121", -1, "expected 0 to 120");
    expect_lie("n_positions", "121", -1, "expected 0 to 120");
    expect_lie("n_prompt", "99", -1, "n_image_tokens");
    expect_lie("images", "[]", -1, "expected the 2 asked for, found 0");
    expect_lie("images", "[{},{},{}]", -1, "found 3");
    expect_lie("decoded_width", "4001", 0, "decoded to 4001 x 750, larger than 4000 x 3000");
    expect_lie("image_tokens", "65", 0, "but the images have 101");
    expect_lie("image_tokens", "0", 1, "image_tokens");
    expect_lie("width", "1048577", 0, "width");
    expect_lie("n_views", "65537", 0, "n_views");
    expect_lie("effective_pixels", "1099511627777", 0, "effective_pixels");
    expect_lie("n_prompt", "119", -1, "n_tokens is 120 of 119");
}

static void takes_a_good_encoder(void **state) {
    (void)state;
    struct engine_vision vision;
    struct wl_err err = {0};
    json_t *json = parse(VISION);
    if (engine_vision_decode(json, &vision, &err) != WL_OK) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(vision.projector, "qwen2vl_merger");
    assert_int_equal(vision.n_embd_out, 64);
    assert_true(vision.pixels_per_token == 784);
    assert_int_equal(vision.image_max_tokens, 256);
    assert_true(vision.is_mrope && !vision.is_non_causal && vision.is_stand_in);
    json_decref(json);
}

static void refuses_bad_encoders(void **state) {
    (void)state;
    static const char *const REQUIRED[] = {
        "projector",        "file_bytes", "n_params",         "n_layer",
        "n_embd",           "n_ff",       "n_head",           "patch_size",
        "image_size",       "n_embd_out", "pixels_per_token", "image_min_tokens",
        "image_max_tokens", "is_mrope",   "is_non_causal",    "is_stand_in"};
    static const char *const WRONG[] = {"null", "-1", "1e300", "[]", "\"A B\"", NULL};
    for (size_t i = 0; i < sizeof REQUIRED / sizeof REQUIRED[0]; i++) {
        for (size_t w = 0; w < sizeof WRONG / sizeof WRONG[0]; w++) {
            struct engine_vision vision;
            struct wl_err err = {0};
            json_t *json = parse(VISION);
            if (WRONG[w]) {
                json_object_set_new(json, REQUIRED[i], parse(WRONG[w]));
            } else {
                json_object_del(json, REQUIRED[i]);
            }
            if (engine_vision_decode(json, &vision, &err) != WL_PROTOCOL ||
                !strstr(err.message, REQUIRED[i])) {
                fail_msg("%s = %s: %s", REQUIRED[i], WRONG[w] ? WRONG[w] : "(none)", err.message);
            }
            assert_string_equal(vision.projector, "");
            json_decref(json);
        }
    }
}

static void expect_counts(const char *text, enum wl_status status, const char *words) {
    struct engine_image_count counts[2];
    struct wl_err err = {0};
    json_t *json = parse(text);
    if (engine_counts_decode(json, 2, counts, &err) != status || !strstr(err.message, words)) {
        fail_msg("%s: expected '%s', found '%s'", text, words, err.message);
    }
    assert_int_equal(counts[1].image_tokens, status == WL_OK ? 64 : 0);
    json_decref(json);
}

static void checks_counts(void **state) {
    (void)state;
    expect_counts("{\"counts\": [[9, 2, 5, 1, 7056], [64, 0, 64, 1, 0]]}", WL_OK, "");
    expect_counts("{\"counts\": [[9, 2, 5, 1, 7056]]}", WL_PROTOCOL, "expected 2, found 1");
    expect_counts("{\"counts\": 5}", WL_PROTOCOL, "counts");
    expect_counts("{}", WL_PROTOCOL, "counts");
    expect_counts("{\"counts\": [[9, 2, 5, 1], [64, 0, 64, 1, 0]]}", WL_PROTOCOL, "5 numbers");
    expect_counts("{\"counts\": [[9, 2, 5, 1, 1], [64, 0, 64, 1, \"x\"]]}", WL_PROTOCOL,
                  "count 1: effective pixels");
    expect_counts("{\"counts\": [[0, 2, 2, 1, 1], [64, 0, 64, 1, 0]]}", WL_PROTOCOL,
                  "image tokens: expected 1");
    expect_counts("{\"counts\": [[9, 2, 12, 1, 1], [64, 0, 64, 1, 0]]}", WL_PROTOCOL,
                  "positions: 12 of 11 tokens");
    expect_counts("{\"counts\": [[9, 2, 5, 0, 1], [64, 0, 64, 1, 0]]}", WL_PROTOCOL, "views");
    expect_counts("{\"counts\": [[9, -2, 5, 1, 1], [64, 0, 64, 1, 0]]}", WL_PROTOCOL,
                  "text tokens");
}

static void checks_images(void **state) {
    (void)state;
    struct engine_image image;
    struct wl_err err = {0};
    json_t *json = parse("{\"width\": 7, \"height\": 5, \"format\": \"jpeg\"}");
    assert_int_equal(engine_image_decode(json, &image, &err), WL_OK);
    assert_int_equal(image.width, 7);
    assert_string_equal(image.format, "jpeg");
    json_object_set_new(json, "format", json_string("A picture"));
    assert_int_equal(engine_image_decode(json, &image, &err), WL_PROTOCOL);
    assert_int_equal(image.width, 0);
    json_object_del(json, "height");
    assert_int_equal(engine_image_decode(json, &image, &err), WL_PROTOCOL);
    assert_int_equal(engine_image_decode(NULL, &image, NULL), WL_PROTOCOL);
    json_decref(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_a_good_run),     cmocka_unit_test(takes_a_stopped_run),
        cmocka_unit_test(names_the_lie),        cmocka_unit_test(takes_a_good_encoder),
        cmocka_unit_test(refuses_bad_encoders), cmocka_unit_test(checks_counts),
        cmocka_unit_test(checks_images),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
