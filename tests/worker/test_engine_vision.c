// Images in the real engine, on tiny pairs of every projector family: what COUNT says without
// pixels, without weights and without the text model is what a RUN then takes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "pictures.h"
#include "tiny_pair.h"

enum { N_CTX = 8192 };

static const char *const PASSIVE[] = {"OMP_WAIT_POLICY=passive", NULL};
static struct drive engine;
static char dir[64] = "/tmp/wattlaw-vision-XXXXXX";

struct pair {
    char model[TINY_PATH_BYTES];
    char mmproj[TINY_PATH_BYTES];
};

static struct pair pair_of(const char *family) {
    struct pair pair;
    snprintf(pair.model, sizeof pair.model, "%s/%s.gguf", dir, family);
    snprintf(pair.mmproj, sizeof pair.mmproj, "%s/mmproj-%s.gguf", dir, family);
    return pair;
}

static int start(void **state) {
    (void)state;
    if (!mkdtemp(dir) || !drive_start(&engine, PASSIVE, -1, NULL)) {
        return -1;
    }
    for (int i = 0; i < TINY_N_FAMILIES; i++) {
        struct pair pair;
        if (!tiny_pair(&engine, TINY_FAMILIES[i].name, dir, pair.model, pair.mmproj)) {
            return -1;
        }
    }
    return 0;
}

static int stop(void **state) {
    (void)state;
    int result = drive_stop(&engine);
    for (int i = 0; i < TINY_N_FAMILIES; i++) {
        struct pair pair = pair_of(TINY_FAMILIES[i].name);
        unlink(pair.model);
        unlink(pair.mmproj);
    }
    return result == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static struct drive_answer call(uint16_t type, json_t *request) {
    return drive_call(&engine, type, request, 120);
}

static void expect_result(struct drive_answer *answer) {
    if (answer->outcome != DRIVE_RESULT) {
        fail_msg("%s", wl_json_opt_string(answer->json, "message", "died or hung"));
    }
}

static void expect_error(struct drive_answer answer, const char *status, const char *words) {
    const char *message = wl_json_opt_string(answer.json, "message", "no error");
    if (strcmp(wl_json_opt_string(answer.json, "status", ""), status) != 0 ||
        !strstr(message, words)) {
        fail_msg("expected %s with '%s', found: %s", status, words, message);
    }
    drive_answer_release(&answer);
}

// The result's `vision`, a new reference.
static json_t *load(const char *family, json_t *budget) {
    struct pair pair = pair_of(family);
    json_t *request =
        json_pack("{s:s, s:s, s:i}", "path", pair.model, "mmproj", pair.mmproj, "n_ctx", N_CTX);
    if (budget) {
        json_object_update(request, budget);
        json_decref(budget);
    }
    struct drive_answer answer = call(ENGINE_LOAD, request);
    expect_result(&answer);
    json_t *vision = json_incref(json_object_get(answer.json, "vision"));
    drive_answer_release(&answer);
    assert_non_null(vision);
    return vision;
}

static void open_counter(const char *family, bool has_model, json_t *budget) {
    struct pair pair = pair_of(family);
    json_t *request =
        json_pack("{s:s, s:s}", "mmproj", pair.mmproj, "model", has_model ? pair.model : "");
    json_object_update(request, budget);
    struct drive_answer answer = call(ENGINE_COUNTER, request);
    expect_result(&answer);
    const json_t *vision = json_object_get(answer.json, "vision");
    assert_int_equal(wl_json_opt_bool(vision, "is_stand_in", has_model), !has_model);
    drive_answer_release(&answer);
}

// ---- counting

static const int SIZES[][2] = {{1, 1},       {1, 700},     {700, 1},     {28, 28},    {64, 64},
                               {224, 224},   {336, 336},   {448, 448},   {512, 512},  {640, 480},
                               {896, 896},   {1024, 768},  {1000, 200},  {200, 1000}, {1920, 1080},
                               {2048, 2048}, {4000, 3000}, {3000, 4000}, {8000, 500}, {16384, 1}};
enum { N_SIZES = sizeof SIZES / sizeof SIZES[0] };

// What a counter says must be what the whole files say, but for the wrapper of a stand-in.
static void compare_counts(const char *family, const json_t *whole, const json_t *counted,
                           bool is_stand_in) {
    assert_int_equal(json_array_size(counted), N_SIZES);
    for (size_t i = 0; i < N_SIZES; i++) {
        json_int_t wrapper = pictures_field(whole, i, 1);
        const json_int_t less[5] = {0, is_stand_in ? wrapper : 0, is_stand_in ? wrapper : 0, 0, 0};
        for (size_t f = 0; f < 5; f++) {
            json_int_t expected = pictures_field(whole, i, f) - less[f];
            if (pictures_field(counted, i, f) != expected) {
                fail_msg("%s %dx%d field %zu: expected %lld, found %lld", family, SIZES[i][0],
                         SIZES[i][1], f, (long long)expected,
                         (long long)pictures_field(counted, i, f));
            }
        }
    }
}

static void check_counters(const char *family, json_t *budget) {
    json_decref(load(family, json_incref(budget)));
    json_t *whole = pictures_count(&engine, SIZES, N_SIZES);
    assert_int_equal(json_array_size(whole), N_SIZES);
    for (int has_model = 0; has_model < 2; has_model++) {
        open_counter(family, has_model, budget);
        json_t *counted = pictures_count(&engine, SIZES, N_SIZES);
        compare_counts(family, whole, counted, !has_model);
        json_decref(counted);
    }
    json_decref(whole);
    json_decref(budget);
}

static void counts_without_weights(void **state) {
    (void)state;
    for (int i = 0; i < TINY_N_FAMILIES; i++) {
        const char *family = TINY_FAMILIES[i].name;
        check_counters(family, json_object());
        check_counters(family, json_pack("{s:i}", "image_max_tokens", i % 2 ? 64 : 300));
    }
}

struct known {
    const char *family;
    int width, height, tokens;
};

// Published and measured counts of the families whose shape the tiny pairs share.
static const struct known KNOWN[] = {
    {"qwen2vl_merger", 64, 64, 9},
    {"qwen2vl_merger", 448, 448, 256},
    {"qwen2vl_merger", 640, 480, 391},
    {"qwen2vl_merger", 1024, 768, 999},
    {"qwen2vl_merger", 1920, 1080, 2691},
    {"qwen2vl_merger", 2048, 2048, 4096},
    {"qwen2vl_merger", 4000, 3000, 4015},
    {"qwen2.5vl_merger", 1536, 1536, 3025},
    {"qwen3vl_merger", 512, 512, 256},
    {"qwen3vl_merger", 1920, 1080, 2040},
    {"gemma4v", 64, 64, 81},
    {"gemma4v", 1024, 1024, 441},
    {"gemma4v", 4000, 3000, 1064},
    {"lfm2", 512, 512, 256},
    {"lfm2", 640, 480, 234},
    {"pixtral", 512, 512, 1055},
    {"pixtral-merge", 1024, 1024, 1055},
    {"resampler", 448, 448, 64},
    {"resampler", 896, 896, 320},
    {"resampler", 4000, 3000, 640},
};

static void counts_what_is_known(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        const int size[1][2] = {{KNOWN[i].width, KNOWN[i].height}};
        json_t *none = json_object();
        open_counter(KNOWN[i].family, false, none);
        json_decref(none);
        json_t *counts = pictures_count(&engine, size, 1);
        if (pictures_field(counts, 0, 0) != KNOWN[i].tokens) {
            fail_msg("%s %dx%d: expected %d, found %lld", KNOWN[i].family, size[0][0], size[0][1],
                     KNOWN[i].tokens, (long long)pictures_field(counts, 0, 0));
        }
        json_decref(counts);
    }
}

static void knows_what_the_encoder_sees(void **state) {
    (void)state;
    static const int SIZE[1][2] = {{640, 480}};
    static const struct {
        const char *family;
        json_int_t views, pixels;
    } ROWS[] = {{"qwen2vl_merger", 1, 644 * 476}, {"gemma3", 1, 224 * 224},
                {"idefics3", 13, 13 * 128 * 128}, {"internvl", 13, 13 * 112 * 112},
                {"pixtral", 1, 576 * 432},        {"resampler", 3, 3 * 448 * 448},
                {"mlp-tiles", 5, 5 * 112 * 112},  {"lfm2", 1, 576 * 416}};
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        json_t *none = json_object();
        open_counter(ROWS[i].family, false, none);
        json_decref(none);
        json_t *counts = pictures_count(&engine, SIZE, 1);
        assert_int_equal(pictures_field(counts, 0, 3), ROWS[i].views);
        assert_int_equal(pictures_field(counts, 0, 4), ROWS[i].pixels);
        json_decref(counts);
    }
}

static void counts_thousands(void **state) {
    (void)state;
    static int sizes[4096][2];
    for (int i = 0; i < 4096; i++) {
        sizes[i][0] = 1 + i;
        sizes[i][1] = 4097 - i;
    }
    json_t *none = json_object();
    open_counter("qwen2vl_merger", false, none);
    json_decref(none);
    int64_t t0_ns = os_now_ns();
    json_t *counts = pictures_count(&engine, (const int(*)[2])sizes, 4096);
    assert_int_equal(json_array_size(counts), 4096);
    assert_true(os_now_ns() - t0_ns < 10000000000); // 30 ms on an idle machine
    json_decref(counts);
}

// ---- running

static void check_phases(const struct drive_answer *answer) {
    const json_t *phases = json_object_get(answer->json, "phases");
    json_int_t n_prefilled = 0;
    int64_t last_ns = 0;
    int64_t last_cpu_ns = 0;
    for (size_t i = 0; i < json_array_size(phases); i++) {
        const json_t *phase = json_array_get(phases, i);
        const char *name = wl_json_opt_string(phase, "phase", "");
        static const char *const FIRST[] = {"image_decode", "preprocess", "vision"};
        if (i < 3) {
            assert_string_equal(name, FIRST[i]);
        }
        // One instant ends a phase and begins the next.
        assert_true(i == 0 || wl_json_opt_i64(phase, "t0_ns", 0) == last_ns);
        assert_true(i == 0 || wl_json_opt_i64(phase, "cpu0_ns", 0) == last_cpu_ns);
        last_ns = wl_json_opt_i64(phase, "t1_ns", 0);
        last_cpu_ns = wl_json_opt_i64(phase, "cpu1_ns", 0);
        assert_true(last_ns >= wl_json_opt_i64(phase, "t0_ns", INT64_MAX));
        bool is_prefill = strcmp(name, "prefill") == 0 || strcmp(name, "image_prefill") == 0;
        n_prefilled += is_prefill ? wl_json_opt_i64(phase, "n_tokens", 0) : 0;
#ifdef __linux__
        assert_true(wl_json_opt_i64(phase, "peak_rss_bytes", 0) > 1 << 20);
#endif
    }
    assert_int_equal(n_prefilled, wl_json_opt_i64(answer->json, "n_prompt", -1));
}

static const int SMALL[][2] = {{1, 1}, {64, 64}, {200, 100}, {300, 300}, {77, 301}};
enum { N_SMALL = sizeof SMALL / sizeof SMALL[0] };

static void run_family(const char *family) {
    json_decref(load(family, NULL));
    json_t *counts = pictures_count(&engine, SMALL, N_SMALL);
    for (size_t i = 0; i < N_SMALL; i++) {
        struct drive_answer answer =
            call(ENGINE_RUN,
                 json_pack("{s:s, s:[i], s:b, s:i, s:b}", "prompt", "What is in it?", "images",
                           (int)i, "template", 1, "n_predict", 3, "ignore_eos", 1));
        expect_result(&answer);
        check_phases(&answer);
        const json_t *image = json_array_get(json_object_get(answer.json, "images"), 0);
        json_int_t n_image = wl_json_opt_i64(answer.json, "n_image_tokens", -1);
        assert_int_equal(wl_json_opt_i64(image, "width", 0), SMALL[i][0]);
        assert_int_equal(wl_json_opt_i64(image, "image_tokens", -1), pictures_field(counts, i, 0));
        assert_int_equal(wl_json_opt_i64(image, "n_views", -1), pictures_field(counts, i, 3));
        assert_int_equal(wl_json_opt_i64(image, "effective_pixels", -1),
                         pictures_field(counts, i, 4));
        assert_int_equal(n_image, pictures_field(counts, i, 0));
        // The words are the same: tokens and positions differ only by the image's.
        json_int_t n_words = wl_json_opt_i64(answer.json, "n_prompt", 0) - n_image;
        json_int_t n_places = wl_json_opt_i64(answer.json, "n_positions", 0);
        assert_int_equal(n_places - n_words,
                         pictures_field(counts, i, 2) - pictures_field(counts, i, 1));
        assert_int_equal(wl_json_opt_i64(answer.json, "n_generated", 0), 3);
        drive_answer_release(&answer);
    }
    json_decref(counts);
}

static void runs_every_family(void **state) {
    (void)state;
    for (size_t i = 0; i < N_SMALL; i++) {
        assert_true(pictures_put(&engine, (uint32_t)i, (uint32_t)SMALL[i][0], (uint32_t)SMALL[i][1],
                                 i % 2 ? IMAGE_JPEG : IMAGE_PNG));
    }
    for (int i = 0; i < TINY_N_FAMILIES; i++) {
        run_family(TINY_FAMILIES[i].name);
    }
}

static void runs_several_images(void **state) {
    (void)state;
    static const char *const NAMES[] = {"image_decode",  "preprocess",    "vision",
                                        "prefill",       "image_prefill", "prefill",
                                        "image_prefill", "prefill",       "decode"};
    json_decref(load("idefics3", NULL));
    struct drive_answer answer =
        call(ENGINE_RUN, json_pack("{s:[{s:s, s:s}], s:[i, i], s:b, s:i, s:b}", "messages", "role",
                                   "user", "content", "one <__media__> two <__media__> three",
                                   "images", 2, 2, "template", 1, "n_predict", 4, "ignore_eos", 1));
    expect_result(&answer);
    check_phases(&answer);
    const json_t *phases = json_object_get(answer.json, "phases");
    assert_int_equal(json_array_size(phases), 9); // tiles do not make more of them
    for (size_t i = 0; i < 9; i++) {
        assert_string_equal(wl_json_opt_string(json_array_get(phases, i), "phase", ""), NAMES[i]);
    }
    const json_t *images = json_object_get(answer.json, "images");
    assert_int_equal(json_array_size(images), 2);
    assert_true(json_equal(json_array_get(images, 0), json_array_get(images, 1)));
    drive_answer_release(&answer);
}

// A JPEG is decoded smaller where the encoder sees less anyway, and only there.
static void decodes_no_more_than_needed(void **state) {
    (void)state;
    static const struct {
        const char *family;
        json_int_t width;
    } ROWS[] = {{"qwen2vl_merger", 500}, {"gemma3", 1000}, {"idefics3", 2000}, {"resampler", 2000}};
    assert_true(pictures_put(&engine, 9, 2000, 1500, IMAGE_JPEG));
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        json_decref(load(ROWS[i].family, json_pack("{s:i}", "image_max_tokens", 60)));
        json_int_t n_tokens[2];
        for (int is_full = 0; is_full < 2; is_full++) {
            struct drive_answer answer =
                call(ENGINE_RUN, json_pack("{s:s, s:[i], s:i, s:b}", "prompt", "x", "images", 9,
                                           "n_predict", 1, "is_full_decode", is_full));
            expect_result(&answer);
            const json_t *image = json_array_get(json_object_get(answer.json, "images"), 0);
            assert_int_equal(wl_json_opt_i64(image, "width", 0), 2000);
            assert_int_equal(wl_json_opt_i64(image, "decoded_width", 0),
                             is_full ? 2000 : ROWS[i].width);
            n_tokens[is_full] = wl_json_opt_i64(image, "image_tokens", 0);
            drive_answer_release(&answer);
        }
        assert_int_equal(n_tokens[0], n_tokens[1]);
    }
}

static void sees_the_image(void **state) {
    (void)state;
    char first[256] = "";
    json_decref(load("qwen2vl_merger", NULL));
    // Random weights, but the same ones: the same picture gives the same answer, with words in
    // between, and after a text that would have been reused.
    for (int i = 0; i < 4; i++) {
        struct drive_answer words =
            call(ENGINE_RUN, json_pack("{s:s, s:i, s:b}", "prompt", "some words first", "n_predict",
                                       2, "reuse_prefix", 1));
        expect_result(&words);
        assert_int_equal(wl_json_opt_i64(words.json, "n_reused", -1), 0); // an image came between
        drive_answer_release(&words);
        struct drive_answer answer = call(
            ENGINE_RUN, json_pack("{s:s, s:[i], s:i, s:b, s:b}", "prompt", "some words", "images",
                                  3, "n_predict", 12, "ignore_eos", 1, "reuse_prefix", 1));
        expect_result(&answer);
        const char *text = wl_json_opt_string(answer.json, "text", "");
        assert_true(i == 0 || strcmp(first, text) == 0);
        snprintf(first, sizeof first, "%s", text);
        drive_answer_release(&answer);
    }
}

static void refuses_bad_runs(void **state) {
    (void)state;
    json_decref(load("mlp", NULL));
    expect_error(call(ENGINE_RUN,
                      json_pack("{s:s, s:[i]}", "prompt", "<__media__><__media__> x", "images", 0)),
                 "bad-input", "2 image markers but there are 1 images");
    expect_error(
        call(ENGINE_RUN, json_pack("{s:s, s:[i]}", "prompt", "x <__media__>", "images", 0)),
        "bad-input", "ends with an image");
    expect_error(call(ENGINE_RUN, json_pack("{s:s, s:[i]}", "prompt", "x", "images", 200)),
                 "not-found", "slot 200 is empty");
    expect_error(call(ENGINE_RUN, json_pack("{s:s, s:[i]}", "prompt", "x", "images", 256)),
                 "bad-input", "slot 256");
    expect_error(call(ENGINE_RUN,
                      json_pack("{s:s, s:[i], s:i}", "prompt", "x", "images", 0, "n_prompt", 10)),
                 "bad-input", "n_prompt cannot be used with images");
    expect_error(call(ENGINE_RUN, json_pack("{s:s, s:[i], s:i}", "prompt", "x", "images", 0,
                                            "n_predict", N_CTX)),
                 "limit", "or send smaller images");
    json_t *many = json_array();
    for (int i = 0; i < 17; i++) {
        json_array_append_new(many, json_integer(0));
    }
    expect_error(call(ENGINE_RUN, json_pack("{s:s, s:o}", "prompt", "x", "images", many)), "limit",
                 "17 images, at most 16");
    struct pair pair = pair_of("mlp");
    struct drive_answer blind = call(ENGINE_LOAD, json_pack("{s:s}", "path", pair.model));
    expect_result(&blind);
    assert_null(json_object_get(blind.json, "vision"));
    drive_answer_release(&blind);
    expect_error(call(ENGINE_RUN, json_pack("{s:s, s:[i]}", "prompt", "x", "images", 0)), "usage",
                 "no image encoder is loaded");
    expect_error(call(ENGINE_COUNT, json_pack("{s:[[i, i]]}", "sizes", 1, 1)), "usage",
                 "no image encoder is loaded");
}

// Wherever it is, a run with an image ends early and the next one is whole.
static void cancels(void **state) {
    (void)state;
    json_decref(load("qwen2vl_merger", json_pack("{s:i}", "image_max_tokens", 600)));
    assert_true(pictures_put(&engine, 8, 900, 900, IMAGE_PNG));
    for (int i = 0; i < 6; i++) {
        drive_send(&engine, ENGINE_RUN,
                   json_pack("{s:s, s:[i], s:i, s:b}", "prompt", "x", "images", 8, "n_predict",
                             6000, "ignore_eos", 1));
        os_sleep_until_ns(os_now_ns() + 60000000 * i);
        assert_true(drive_send(&engine, ENGINE_CANCEL, json_object()));
        struct drive_answer answer = drive_wait(&engine, 60);
        expect_result(&answer);
        assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "cancel");
        drive_answer_release(&answer);
    }
    struct drive_answer timed =
        call(ENGINE_RUN, json_pack("{s:s, s:[i], s:i, s:f}", "prompt", "x", "images", 8,
                                   "n_predict", 6000, "max_seconds", 0.001));
    expect_result(&timed);
    assert_string_equal(wl_json_opt_string(timed.json, "stop", ""), "time");
    drive_answer_release(&timed);
    struct drive_answer whole =
        call(ENGINE_RUN, json_pack("{s:s, s:[i], s:i, s:b}", "prompt", "x", "images", 8,
                                   "n_predict", 2, "ignore_eos", 1));
    expect_result(&whole);
    check_phases(&whole);
    drive_answer_release(&whole);
}

static void keeps_pictures_in_slots(void **state) {
    (void)state;
    enum { BIG = 64 << 20 };
    unsigned char *png = NULL;
    size_t n = 0;
    assert_true(pictures_make(30, 20, IMAGE_PNG, &png, &n));
    expect_error(pictures_send(&engine, 256, png, n), "bad-input", "slot 256");
    expect_error(pictures_send(&engine, 100, "no picture", 10), "bad-input", "PNG");
    expect_error(pictures_send(&engine, 100, png, 20), "bad-input", "");
    unsigned char *big = calloc(1, BIG);
    memcpy(big, png, n); // what follows a PNG's end is not looked at
    for (uint32_t slot = 100; slot < 104; slot++) {
        struct drive_answer answer = pictures_send(&engine, slot, big, BIG);
        if (slot < 103) {
            expect_result(&answer);
            drive_answer_release(&answer);
        } else { // the small ones of the other tests are there too
            expect_error(answer, "limit", "together at most 256 MiB");
        }
    }
    for (uint32_t slot = 100; slot < 104; slot++) {
        struct drive_answer freed = pictures_send(&engine, slot, "", 0);
        expect_result(&freed);
        drive_answer_release(&freed);
    }
    free(big);
    free(png);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_without_weights),
        cmocka_unit_test(counts_what_is_known),
        cmocka_unit_test(knows_what_the_encoder_sees),
        cmocka_unit_test(counts_thousands),
        cmocka_unit_test(runs_every_family),
        cmocka_unit_test(runs_several_images),
        cmocka_unit_test(decodes_no_more_than_needed),
        cmocka_unit_test(sees_the_image),
        cmocka_unit_test(refuses_bad_runs),
        cmocka_unit_test(cancels),
        cmocka_unit_test(keeps_pictures_in_slots),
    };
    return cmocka_run_group_tests_name("engine_vision", tests, start, stop);
}
