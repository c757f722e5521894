// SYNTH of image encoders: every family loads in libmtmd and encodes an image, true shapes have the
// parameters of the published models, absurd ones are refused.
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/client.h"
#include "image/image.h"
#include "os/file.h"
#include "plan/shapes.h"
#include "plan/vision.h"
#include "tiny_pair.h"

static const char *const PASSIVE[] = {"OMP_WAIT_POLICY=passive", NULL};

static struct drive drive;    // makes the files
static struct engine *engine; // loads them
static char folder[] = "/tmp/wattlaw-synth-vision-XXXXXX";
static char model_path[TINY_PATH_BYTES], mmproj_path[TINY_PATH_BYTES];
static unsigned char *picture;
static size_t picture_bytes;

static bool make_picture(uint32_t width, uint32_t height) {
    struct image image = {width, height, malloc((size_t)width * height * 3)};
    for (size_t i = 0; i < (size_t)width * height * 3; i++) {
        image.rgb[i] = (unsigned char)(i * 7919 >> 3);
    }
    bool is_ok = image_encode(&image, IMAGE_PNG, 0, &picture, &picture_bytes, NULL) == WL_OK;
    free(image.rgb);
    return is_ok;
}

static int start(void **state) {
    (void)state;
    struct wl_err err = {0};
    const struct engine_options options = {.omp_wait_policy = "passive"};
    if (!mkdtemp(folder) || !make_picture(300, 200) || !drive_start(&drive, PASSIVE, -1, NULL)) {
        return -1;
    }
    return engine_start(&options, &engine, &err) == WL_OK ? 0 : -1;
}

static size_t files_left(void) {
    char pattern[160];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return n;
}

static int remove_files(void **state) {
    (void)state;
    unlink(model_path);
    unlink(mmproj_path);
    return files_left() == 0 ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    rmdir(folder);
    free(picture);
    engine_stop(engine);
    return drive_stop(&drive) == 0 ? 0 : -1;
}

static void load(const char *family, struct engine_vision *vision) {
    struct wl_err err = {0};
    const struct engine_load_options options = {
        .path = model_path, .load_mode = "none", .threads = 1, .threads_batch = 1};
    struct engine_model model;
    if (engine_load(engine, &options, &model, NULL, &err) != WL_OK ||
        engine_load_vision(engine, &(struct engine_vision_options){.mmproj = mmproj_path}, vision,
                           NULL, &err) != WL_OK) {
        fail_msg("load %s: %s", family, err.message);
    }
    assert_true(model.is_synthetic);
}

// A tensor that is missing does not show in the load: it ends the process here.
static void encode_a_picture(const char *family) {
    struct wl_err err = {0};
    const uint32_t slots[] = {0};
    struct engine_run_result result;
    const struct engine_run_options options = {.prompt = "What is it?",
                                               .images = slots,
                                               .n_images = 1,
                                               .n_predict = 2,
                                               .ignore_eos = true};
    assert_int_equal(engine_put_image(engine, 0, picture, picture_bytes, NULL, &err), WL_OK);
    if (engine_run(engine, &options, NULL, &result, &err) != WL_OK) {
        fail_msg("run %s: %s", family, err.message);
    }
    assert_non_null(engine_result_phase(&result, "vision"));
    assert_true(result.n_image_tokens >= 16);
    assert_int_equal(result.n_generated, 2);
    engine_run_result_release(&result);
}

static void every_family_encodes_an_image(void **state) {
    (void)state;
    for (int i = 0; i < TINY_N_FAMILIES; i++) {
        const struct tiny_family *family = &TINY_FAMILIES[i];
        struct engine_vision vision;
        assert_true(tiny_pair(&drive, family->name, folder, model_path, mmproj_path));
        load(family->name, &vision);
        assert_string_equal(vision.projector, family->projector);
        // A deepstack output comes on top.
        bool is_deep = strcmp(family->projector, "qwen3vl_merger") == 0;
        assert_int_equal(vision.n_embd_out, is_deep ? 2 * TINY_EMBD : TINY_EMBD);
        assert_int_equal(vision.n_layer, 2);
        encode_a_picture(family->name);
        remove_files(NULL);
    }
}

static json_t *vision_request(const char *family) {
    return tiny_vision_request(tiny_family(family), mmproj_path);
}

static json_t *with(json_t *request, const char *key, json_t *value) {
    json_object_set_new(request, key, value);
    return request;
}

static int64_t n_of_type(const struct drive_answer *answer, const char *table, const char *type) {
    return wl_json_opt_i64(json_object_get(answer->json, table), type, 0);
}

static void every_type_encodes_an_image(void **state) {
    (void)state;
    const char *const types[] = {"f32", "q8_0"};
    const char *const families[] = {"qwen2vl_merger", "gemma3", "llama4"};
    for (size_t i = 0; i < 6; i++) {
        const char *family = families[i / 2], *type = types[i % 2];
        struct engine_vision vision;
        assert_true(tiny_pair(&drive, family, folder, model_path, mmproj_path));
        struct drive_answer answer = drive_call(
            &drive, ENGINE_SYNTH, with(vision_request(family), "type", json_string(type)), 60);
        assert_int_equal(answer.outcome, DRIVE_RESULT);
        assert_true(n_of_type(&answer, "types", type) >= 12);
        // The patch convolution is never quantised.
        assert_true((n_of_type(&answer, "types", "f16") > 0) == (strcmp(type, "q8_0") == 0));
        drive_answer_release(&answer);
        load(family, &vision);
        encode_a_picture(family);
        remove_files(NULL);
    }
}

static json_t *true_request(const struct plan_vision *v, uint32_t n_embd_out, const char *type) {
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b}",
                     "path", "/nowhere/x.gguf", "projector", v->projector, "type", type, "v_layer",
                     (int)v->n_layer, "v_embd", (int)v->n_embd, "v_head", (int)v->n_head, "v_ff",
                     (int)v->n_ff, "patch_size", (int)v->patch_size, "image_size",
                     (int)v->image_size, "merge", (int)v->n_merge, "n_embd_out", (int)n_embd_out,
                     "preproc_image_size", (int)v->preproc_image_size, "n_deepstack",
                     (int)v->n_deepstack, "dry_run", 1);
}

static void check_true_shape(const struct plan_vision *v, const char *type, double bits) {
    uint32_t width = plan_shape_by_name(v->name)->n_embd;
    struct drive_answer answer = drive_call(&drive, ENGINE_SYNTH, true_request(v, width, type), 60);
    if (answer.outcome != DRIVE_RESULT) {
        fail_msg("%s: %s", v->name, wl_json_opt_string(answer.json, "message", "died"));
    }
    assert_int_equal(wl_json_opt_i64(answer.json, "n_params", 0), plan_vision_params(v, width));
    double bytes = (double)wl_json_opt_i64(answer.json, "file_bytes", 0);
    double predicted = plan_vision_bytes(v, width, bits);
    if (predicted < 0.99 * bytes || predicted > 1.01 * bytes) {
        fail_msg("%s %s: %.0f bytes, predicted %.0f", v->name, type, bytes, predicted);
    }
    drive_answer_release(&answer);
}

static void true_shapes_have_the_published_parameters(void **state) {
    (void)state;
    for (size_t i = 0; i < plan_vision_count(); i++) {
        check_true_shape(plan_vision_at(i), "f16", 16);
        check_true_shape(plan_vision_at(i), "q8_0", 8.5);
        check_true_shape(plan_vision_at(i), "f32", 32);
    }
}

static void a_dry_run_knows_the_size(void **state) {
    (void)state;
    assert_true(tiny_pair(&drive, "internvl", folder, model_path, mmproj_path));
    struct drive_answer answer = drive_call(
        &drive, ENGINE_SYNTH, with(vision_request("internvl"), "dry_run", json_true()), 60);
    uint64_t file_bytes = 0;
    assert_int_equal(os_file_size(mmproj_path, &file_bytes, NULL), WL_OK);
    assert_int_equal(wl_json_opt_i64(answer.json, "file_bytes", 0), file_bytes);
    drive_answer_release(&answer);
}

static struct engine_image_count count_one(uint32_t side) {
    const struct engine_image_size size = {side, side};
    struct engine_image_count count = {0};
    struct wl_err err = {0};
    const struct engine_counter_options options = {.mmproj = mmproj_path, .model = model_path};
    if (engine_open_counter(engine, &options, NULL, &err) != WL_OK ||
        engine_count_images(engine, &size, 1, &count, &err) != WL_OK) {
        fail_msg("count: %s", err.message);
    }
    return count;
}

static void the_file_sets_the_clamp(void **state) {
    (void)state;
    assert_true(tiny_pair(&drive, "qwen2vl_merger", folder, model_path, mmproj_path));
    json_t *request = vision_request("qwen2vl_merger");
    json_object_set_new(request, "min_pixels", json_integer(4 * 784));
    json_object_set_new(request, "max_pixels", json_integer(64 * 784));
    assert_true(tiny_synth(&drive, request));
    assert_int_equal(count_one(56).image_tokens, 4);
    assert_int_equal(count_one(448).image_tokens, 64);
    assert_int_equal(count_one(2048).image_tokens, 64);
}

// SmolVLM's names of tiles are one token each in the real vocabulary, as in a large synthetic one.
static void large_vocabularies_name_tiles(void **state) {
    (void)state;
    assert_true(tiny_pair(&drive, "idefics3", folder, model_path, mmproj_path));
    struct engine_image_count small = count_one(64);
    json_t *request = tiny_text_request(tiny_family("idefics3"), model_path);
    assert_true(tiny_synth(&drive, with(request, "n_vocab", json_integer(8192))));
    struct engine_image_count large = count_one(64);
    assert_int_equal(large.image_tokens, small.image_tokens);
    assert_int_equal(large.n_views, 17);
    print_message("text tokens around 17 tiles: %u with a small vocabulary, %u with a large one\n",
                  small.text_tokens, large.text_tokens);
    assert_true(small.text_tokens > 150 && large.text_tokens < 60);
}

static void assert_refused(json_t *request, const char *status, const char *mentions) {
    struct drive_answer answer = drive_call(&drive, ENGINE_SYNTH, request, 60);
    assert_int_equal(answer.outcome, DRIVE_ERROR);
    assert_string_equal(wl_json_opt_string(answer.json, "status", ""), status);
    const char *message = wl_json_opt_string(answer.json, "message", "");
    if (!strstr(message, mentions)) {
        fail_msg("'%s' does not mention '%s'", message, mentions);
    }
    drive_answer_release(&answer);
    assert_int_equal(files_left(), 0);
}

static void assert_number_refused(const char *family, const char *key, json_int_t value,
                                  const char *mentions) {
    assert_refused(with(vision_request(family), key, json_integer(value)), "bad-input", mentions);
}

static void absurd_shapes_are_refused(void **state) {
    (void)state;
    snprintf(mmproj_path, sizeof mmproj_path, "%s/mmproj.gguf", folder);
    assert_number_refused("mlp", "v_layer", 0, "v_layer is 0");
    assert_number_refused("mlp", "v_layer", 100000, "v_layer is 100000");
    assert_number_refused("mlp", "v_embd", (json_int_t)1 << 40, "v_embd is 1099511627776");
    assert_number_refused("mlp", "v_head", 3, "not made of 3 heads");
    assert_number_refused("mlp", "v_ff", 32, "v_ff 32 equals v_embd");
    assert_number_refused("mlp", "patch_size", 0, "patch_size is 0");
    assert_number_refused("mlp", "image_size", -1, "image_size is -1");
    assert_number_refused("mlp", "merge", 2, "expected 1 for mlp");
    assert_number_refused("idefics3", "merge", 3, "expected a multiple of merge 3");
    assert_number_refused("qwen2vl_merger", "max_pixels", (json_int_t)1 << 40, "max_pixels");
    assert_number_refused("qwen2vl_merger", "n_deepstack", 1, "n_deepstack is 1");
    assert_number_refused("qwen3vl_merger", "n_deepstack", 2, "below v_layer");
    assert_number_refused("resampler", "n_embd_out", 64, "multiple of 128 for resampler");
    assert_refused(with(vision_request("mlp"), "projector", json_string("clairvoyance")),
                   "bad-input", "projector is 'clairvoyance', expected one of qwen2vl_merger");
    assert_refused(with(vision_request("mlp"), "type", json_string("q4_k_m")), "bad-input",
                   "expected f16, q8_0 or f32");
    assert_refused(with(vision_request("mlp"), "pinpoints", json_pack("[i]", 224)), "bad-input",
                   "pinpoints has 1 numbers");
    assert_refused(with(vision_request("mlp"), "pinpoints", json_pack("[i, i]", 224, 5)),
                   "bad-input", "pinpoints[1] is 5");
    assert_refused(with(vision_request("gemma3"), "pinpoints", json_pack("[i, i]", 224, 224)),
                   "bad-input", "mlp only");
    json_t *clamp = with(vision_request("qwen2vl_merger"), "min_pixels", json_integer(1000));
    assert_refused(with(clamp, "max_pixels", json_integer(999)), "bad-input", "above max_pixels");
    json_t *huge = with(vision_request("qwen3vl_merger"), "v_embd", json_integer(1 << 16));
    json_object_set_new(huge, "v_layer", json_integer(512));
    assert_refused(with(huge, "v_ff", json_integer(1 << 18)), "io", "free");
    json_t *wide = with(vision_request("idefics3"), "v_embd", json_integer(1 << 16));
    assert_refused(with(wide, "merge", json_integer(8)), "bad-input", "squared is above");
}

static void a_cancelled_one_leaves_nothing(void **state) {
    (void)state;
    snprintf(mmproj_path, sizeof mmproj_path, "%s/mmproj.gguf", folder);
    const struct plan_vision *v = plan_vision_by_name("qwen2-vl-2b");
    json_t *request = with(true_request(v, 1536, "f16"), "path", json_string(mmproj_path));
    drive_send(&drive, ENGINE_SYNTH, with(request, "dry_run", json_false()));
    os_sleep_until_ns(os_now_ns() + 150000000);
    drive_send(&drive, ENGINE_CANCEL, json_object());
    struct drive_answer answer = drive_wait(&drive, 60);
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "cancel");
    assert_int_equal(files_left(), 0);
    drive_answer_release(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_family_encodes_an_image, remove_files),
        cmocka_unit_test_teardown(every_type_encodes_an_image, remove_files),
        cmocka_unit_test_teardown(true_shapes_have_the_published_parameters, remove_files),
        cmocka_unit_test_teardown(a_dry_run_knows_the_size, remove_files),
        cmocka_unit_test_teardown(the_file_sets_the_clamp, remove_files),
        cmocka_unit_test_teardown(large_vocabularies_name_tiles, remove_files),
        cmocka_unit_test_teardown(absurd_shapes_are_refused, remove_files),
        cmocka_unit_test_teardown(a_cancelled_one_leaves_nothing, remove_files),
    };
    return cmocka_run_group_tests_name("engine_synth_vision", tests, start, stop);
}
