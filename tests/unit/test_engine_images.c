// The client's requests about images, against tests/fake_engine.c: what works, and every lie.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/client.h"

static const char *fake_path;
static const struct engine_load_options LOAD = {
    .path = "fake.gguf", .mmproj = "mmproj.gguf", .image_max_tokens = 100};

static void start(const char *fault, struct engine **engine) {
    struct wl_err err;
    setenv("FAKE_ENGINE_FAULT", fault, 1);
    struct engine_options options = {.path = fake_path};
    if (engine_start(&options, engine, &err) != WL_OK) {
        fail_msg("start: %s", err.message);
    }
}

static struct engine *start_loaded(const char *fault) {
    struct engine *engine;
    struct wl_err err;
    start(fault, &engine);
    if (engine_load(engine, &LOAD, NULL, NULL, &err) != WL_OK) {
        fail_msg("load: %s", err.message);
    }
    return engine;
}

static void expect_words(const struct wl_err *err, const char *words) {
    if (!strstr(err->message, words)) {
        fail_msg("expected '%s' in: %s", words, err->message);
    }
}

// As much of a PNG as the fake engine looks at.
static void make_png(unsigned char out[24], uint32_t width, uint32_t height) {
    memcpy(out, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
    for (int i = 0; i < 4; i++) {
        out[16 + i] = (unsigned char)(width >> (24 - 8 * i));
        out[20 + i] = (unsigned char)(height >> (24 - 8 * i));
    }
}

static void put_png(struct engine *engine, uint32_t slot, uint32_t width, uint32_t height) {
    unsigned char png[24];
    struct engine_image image;
    struct wl_err err;
    make_png(png, width, height);
    if (engine_put_image(engine, slot, png, sizeof png, &image, &err) != WL_OK) {
        fail_msg("put: %s", err.message);
    }
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    assert_string_equal(image.format, "png");
}

static void loads_an_encoder(void **state) {
    (void)state;
    struct engine *engine;
    struct engine_model *model = calloc(1, sizeof *model);
    struct engine_vision vision;
    struct engine_phase load;
    struct wl_err err;
    start("none", &engine);
    struct engine_load_options plain = {.path = "fake.gguf"};
    assert_int_equal(engine_load(engine, &plain, model, NULL, &err), WL_OK);
    assert_false(model->has_vision);
    struct engine_vision_options other = {.image_max_tokens = 64};
    assert_int_equal(engine_load_vision(engine, &other, &vision, &load, &err), WL_USAGE);
    assert_int_equal(engine_load(engine, &LOAD, model, NULL, &err), WL_OK);
    assert_true(model->has_vision);
    assert_string_equal(model->vision.projector, "fake_merger");
    assert_int_equal(model->vision.image_max_tokens, 100);
    assert_true(model->vision.pixels_per_token == 784);
    assert_int_equal(engine_load_vision(engine, &other, &vision, &load, &err), WL_OK);
    assert_int_equal(vision.image_max_tokens, 64);
    assert_string_equal(load.name, "load");
    assert_true(load.peak_rss_bytes > 0);
    assert_int_equal(engine_load_vision(engine, &other, NULL, NULL, &err), WL_OK);
    assert_int_equal(engine_describe(engine, model, &err), WL_OK);
    assert_int_equal(model->vision.image_max_tokens, 64);
    engine_stop(engine);
    free(model);
}

static void counts_images(void **state) {
    (void)state;
    struct engine *engine;
    struct engine_vision vision;
    struct engine_image_count counts[3];
    static const struct engine_image_size SIZES[] = {{1, 1}, {280, 280}, {4000, 3000}};
    struct wl_err err;
    start("none", &engine);
    assert_int_equal(engine_count_images(engine, SIZES, 3, counts, &err), WL_USAGE);
    struct engine_counter_options options = {.mmproj = "mmproj.gguf"};
    assert_int_equal(engine_open_counter(engine, &options, &vision, &err), WL_OK);
    assert_true(vision.is_stand_in);
    assert_int_equal(engine_count_images(engine, SIZES, 3, counts, &err), WL_OK);
    assert_int_equal(counts[0].image_tokens, 4);
    assert_int_equal(counts[1].image_tokens, 100);
    assert_int_equal(counts[2].image_tokens, 256);
    assert_int_equal(counts[1].text_tokens, 0);
    assert_int_equal(counts[1].effective_pixels, 78400);
    options = (struct engine_counter_options){
        .mmproj = "mmproj.gguf", .model = "fake.gguf", .image_max_tokens = 50};
    assert_int_equal(engine_open_counter(engine, &options, NULL, &err), WL_OK);
    assert_int_equal(engine_count_images(engine, SIZES, 3, counts, &err), WL_OK);
    assert_int_equal(counts[2].image_tokens, 50);
    assert_int_equal(counts[2].positions, 52);
    assert_int_equal(engine_count_images(engine, SIZES, 0, counts, &err), WL_USAGE);
    assert_int_equal(engine_count_images(engine, SIZES, ENGINE_MAX_COUNTS + 1, counts, &err),
                     WL_USAGE);
    engine_stop(engine);
}

static void runs_with_images(void **state) {
    (void)state;
    static const uint32_t SLOTS[] = {255, 0};
    struct engine *engine = start_loaded("none");
    struct engine_run_result result;
    struct wl_err err;
    put_png(engine, 255, 280, 140);
    put_png(engine, 0, 2800, 2800);
    struct engine_run_options options = {
        .prompt = "what?", .n_predict = 3, .images = SLOTS, .n_images = 2};
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_OK);
    assert_int_equal(result.n_images, 2);
    assert_int_equal(result.images[0].width, 280);
    assert_int_equal(result.images[0].image_tokens, 50);
    assert_int_equal(result.images[1].image_tokens, 100); // of the LOAD's budget
    assert_int_equal(result.n_image_tokens, 150);
    assert_int_equal(result.n_prompt, 150 + 4 + 3);
    assert_int_equal(result.n_positions, result.n_prompt);
    static const char *const PHASES[] = {"image_decode",  "preprocess", "vision",
                                         "image_prefill", "prefill",    "decode"};
    assert_int_equal(result.n_phases, 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(result.phases[i].name, PHASES[i]);
        assert_true(result.phases[i].peak_rss_bytes > 0);
    }
    assert_int_equal(engine_result_phase(&result, "vision")->n_tokens, 150);
    engine_run_result_release(&result);
    assert_int_equal(engine_put_image(engine, 0, NULL, 0, NULL, &err), WL_OK); // freed
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_USAGE);
    engine_run_result_release(&result);
    options.n_images = 0;
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_OK);
    assert_int_equal(result.n_images, 0);
    assert_int_equal(result.n_positions, result.n_prompt);
    engine_run_result_release(&result);
    engine_stop(engine);
}

static void refuses_before_sending(void **state) {
    (void)state;
    static const uint32_t BAD[] = {256};
    static const uint32_t MANY[ENGINE_MAX_RUN_IMAGES + 1] = {0};
    struct engine *engine = start_loaded("none");
    struct engine_run_result result;
    struct wl_err err;
    assert_int_equal(engine_put_image(engine, 256, "x", 1, NULL, &err), WL_USAGE);
    expect_words(&err, "slot 256: expected 0 to 255");
    struct engine_run_options options = {
        .prompt = "x", .n_predict = 1, .images = BAD, .n_images = 1};
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_USAGE);
    expect_words(&err, "slot 256");
    options = (struct engine_run_options){
        .prompt = "x", .n_predict = 1, .images = MANY, .n_images = ENGINE_MAX_RUN_IMAGES + 1};
    assert_int_equal(engine_run(engine, &options, NULL, &result, &err), WL_USAGE);
    expect_words(&err, "at most 16 images");
    assert_int_equal(engine_ping(engine, &err), WL_OK);
    engine_stop(engine);
}

static void sends_large_images(void **state) {
    (void)state;
    struct engine *engine = start_loaded("none");
    size_t most = (size_t)64 << 20;
    unsigned char *bytes = calloc(1, most + 1);
    struct engine_image image;
    struct wl_err err;
    make_png(bytes, 123, 45);
    assert_int_equal(engine_put_image(engine, 7, bytes, most, &image, &err), WL_OK);
    assert_int_equal(image.width, 123);
    assert_int_equal(engine_put_image(engine, 7, bytes, most + 1, &image, &err), WL_LIMIT);
    expect_words(&err, "67108865 bytes: at most 67108864");
    assert_int_equal(engine_ping(engine, &err), WL_OK); // nothing was sent
    free(bytes);
    engine_stop(engine);
}

struct lie {
    const char *fault;
    enum wl_status status;
    const char *words;
};

static const struct lie RUN_LIES[] = {
    {"wrong_image_sum", WL_PROTOCOL, "'n_image_tokens': found 49, but the images have 50"},
    {"missing_image", WL_PROTOCOL, "'images': expected the 1 asked for, found 0"},
    {"extra_positions", WL_PROTOCOL, "'n_positions': expected 0 to 54, found 55"},
    {"swollen_prefill", WL_PROTOCOL, "n_tokens is 55 of 54"},
    {"larger_decode", WL_PROTOCOL, "decoded to 281 x 140, larger than 280 x 140"},
};

static void finds_lies_about_runs(void **state) {
    (void)state;
    static const uint32_t SLOT = 3;
    for (size_t i = 0; i < sizeof RUN_LIES / sizeof RUN_LIES[0]; i++) {
        struct engine *engine = start_loaded(RUN_LIES[i].fault);
        struct engine_run_result result;
        struct wl_err err = {0};
        put_png(engine, SLOT, 280, 140);
        struct engine_run_options options = {
            .prompt = "what", .n_predict = 2, .images = &SLOT, .n_images = 1};
        assert_int_equal(engine_run(engine, &options, NULL, &result, &err), RUN_LIES[i].status);
        expect_words(&err, RUN_LIES[i].words);
        assert_false(engine_is_running(engine));
        assert_int_equal(result.n_images, 0);
        engine_stop(engine);
    }
}

static const struct lie COUNT_LIES[] = {
    {"short_counts", WL_PROTOCOL, "'counts': expected 2, found 1"},
    {"huge_count", WL_PROTOCOL, "count 0: image tokens: expected 1 to 16777216"},
    {"crash_in_count", WL_CRASHED, "while counting image tokens"},
};

static void finds_lies_about_counts(void **state) {
    (void)state;
    static const struct engine_image_size SIZES[] = {{10, 10}, {280, 280}};
    for (size_t i = 0; i < sizeof COUNT_LIES / sizeof COUNT_LIES[0]; i++) {
        struct engine *engine = start_loaded(COUNT_LIES[i].fault);
        struct engine_image_count counts[2] = {{.image_tokens = 1}};
        struct wl_err err = {0};
        assert_int_equal(engine_count_images(engine, SIZES, 2, counts, &err), COUNT_LIES[i].status);
        expect_words(&err, COUNT_LIES[i].words);
        assert_false(engine_is_running(engine));
        engine_stop(engine);
    }
}

static void counts_prompts(void **state) {
    (void)state;
    static const struct engine_message MESSAGES[] = {{"system", "abc"}, {"user", "de"}};
    static const struct engine_image_size SIZE = {10, 10};
    struct engine_counter_options options = {.model = "fake.gguf"};
    struct engine_prompt prompt = {
        .messages = MESSAGES, .n_messages = 2, .images = &SIZE, .n_images = 1};
    struct engine *engine;
    struct engine_vision vision = {.n_layer = 5};
    struct wl_err err;
    int64_t n;
    start("none", &engine);
    assert_int_equal(engine_open_counter(engine, &options, &vision, &err), WL_OK);
    assert_int_equal(vision.n_layer, 0); // there is none
    assert_int_equal(engine_count_prompt(engine, &prompt, &n, &err), WL_OK);
    assert_int_equal(n, 15);
    prompt = (struct engine_prompt){.text = "hello"};
    assert_int_equal(engine_count_prompt(engine, &prompt, &n, &err), WL_OK);
    assert_int_equal(n, 5);
    prompt.text = "no \xff UTF-8";
    assert_int_equal(engine_count_prompt(engine, &prompt, &n, &err), WL_INPUT);
    assert_true(engine_is_running(engine));
    engine_stop(engine);
}

static void finds_lies_about_prompts(void **state) {
    (void)state;
    static const struct lie LIES[] = {{"short_counts", WL_PROTOCOL, "'n_tokens'"},
                                      {"huge_count", WL_PROTOCOL, "'n_tokens'"},
                                      {"crash_in_count", WL_CRASHED, "tokens of a prompt"}};
    for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++) {
        struct engine *engine = start_loaded(LIES[i].fault);
        struct engine_prompt prompt = {.text = "hello"};
        struct wl_err err = {0};
        int64_t n;
        assert_int_equal(engine_count_prompt(engine, &prompt, &n, &err), LIES[i].status);
        expect_words(&err, LIES[i].words);
        assert_false(engine_is_running(engine));
        engine_stop(engine);
    }
}

static void finds_other_lies(void **state) {
    (void)state;
    struct engine *engine;
    struct wl_err err;
    start("bad_vision", &engine);
    assert_int_equal(engine_load(engine, &LOAD, NULL, NULL, &err), WL_PROTOCOL);
    expect_words(&err, "image encoder's description: key 'n_embd'");
    engine_stop(engine);
    start("bad_vision", &engine);
    struct engine_counter_options counter = {.mmproj = "x"};
    assert_int_equal(engine_open_counter(engine, &counter, NULL, &err), WL_PROTOCOL);
    engine_stop(engine);
    start("no_vision", &engine);
    assert_int_equal(engine_load(engine, &LOAD, NULL, NULL, &err), WL_PROTOCOL);
    expect_words(&err, "key 'vision': expected an object");
    engine_stop(engine);
    engine = start_loaded("bad_slot");
    assert_int_equal(engine_put_image(engine, 1, "JPEG", 4, NULL, &err), WL_PROTOCOL);
    expect_words(&err, "'width': expected 1 to");
    assert_int_equal(engine_put_image(engine, 1, "JPEG", 4, NULL, NULL), WL_CRASHED);
    engine_stop(engine);
}

int main(void) {
    fake_path = getenv("WATTLAW_FAKE_ENGINE");
    if (!fake_path || access(fake_path, X_OK) != 0) {
        fprintf(stderr, "skipped: WATTLAW_FAKE_ENGINE is not the fake engine\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_an_encoder),         cmocka_unit_test(counts_images),
        cmocka_unit_test(runs_with_images),         cmocka_unit_test(refuses_before_sending),
        cmocka_unit_test(sends_large_images),       cmocka_unit_test(finds_lies_about_runs),
        cmocka_unit_test(finds_lies_about_counts),  cmocka_unit_test(counts_prompts),
        cmocka_unit_test(finds_lies_about_prompts), cmocka_unit_test(finds_other_lies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
