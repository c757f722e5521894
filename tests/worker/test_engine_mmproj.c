// Image encoders that do not fit, are damaged or are something else; budgets, and another encoder
// for the model that is loaded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "os/file.h"
#include "pictures.h"
#include "tiny_pair.h"

enum { N_PAIRS = 4, MAX_FILE_BYTES = 16 << 20 };

static const char *const PASSIVE[] = {"OMP_WAIT_POLICY=passive", NULL};
static const char *const FAMILIES[N_PAIRS] = {"qwen2vl_merger", "gemma4v", "mlp", "qwen3vl_merger"};
enum { QWEN2, GEMMA4, MLP, QWEN3 };

static struct drive engine;
static char dir[64] = "/tmp/wattlaw-mmproj-XXXXXX";
static char models[N_PAIRS][TINY_PATH_BYTES];
static char mmprojs[N_PAIRS][TINY_PATH_BYTES];
static char damaged[TINY_PATH_BYTES];

static int start(void **state) {
    (void)state;
    if (!mkdtemp(dir) || !drive_start(&engine, PASSIVE, -1, NULL)) {
        return -1;
    }
    snprintf(damaged, sizeof damaged, "%s/damaged.gguf", dir);
    for (int i = 0; i < N_PAIRS; i++) {
        if (!tiny_pair(&engine, FAMILIES[i], dir, models[i], mmprojs[i])) {
            return -1;
        }
    }
    return 0;
}

static int stop(void **state) {
    (void)state;
    int result = drive_stop(&engine);
    for (int i = 0; i < N_PAIRS; i++) {
        unlink(models[i]);
        unlink(mmprojs[i]);
    }
    unlink(damaged);
    return result == 0 && rmdir(dir) == 0 ? 0 : -1;
}

static struct drive_answer call(uint16_t type, json_t *request) {
    return drive_call(&engine, type, request, 120);
}

static json_t *load_request(const char *model, const char *mmproj) {
    return json_pack("{s:s, s:s, s:i}", "path", model, "mmproj", mmproj, "n_ctx", 4096);
}

static void expect_error(struct drive_answer answer, const char *status, const char *words) {
    const char *message = wl_json_opt_string(answer.json, "message", "no error");
    if (strcmp(wl_json_opt_string(answer.json, "status", ""), status) != 0 ||
        !strstr(message, words)) {
        fail_msg("expected %s with '%s', found: %s", status, words, message);
    }
    drive_answer_release(&answer);
}

static void expect_ok(struct drive_answer answer) {
    if (answer.outcome != DRIVE_RESULT) {
        fail_msg("%s", wl_json_opt_string(answer.json, "message", "died or hung"));
    }
    drive_answer_release(&answer);
}

// Writes `from` with each `old` replaced by `new` of the same length.
static void write_changed(const char *from, const char *old, const char *new, size_t len) {
    struct buf text;
    buf_init(&text, MAX_FILE_BYTES);
    assert_int_equal(os_slurp(from, &text, NULL), WL_OK);
    int n_found = 0;
    for (size_t i = 0; i + len <= text.len; i++) {
        if (memcmp(text.data + i, old, len) == 0) {
            memcpy(text.data + i, new, len);
            n_found++;
        }
    }
    assert_true(n_found > 0);
    assert_int_equal(os_write_atomic(damaged, text.data, text.len, NULL), WL_OK);
    buf_release(&text);
}

// A LOAD and a COUNTER refuse the same file with the same words, and the engine lives on.
static void refuse_both(int pair, const char *mmproj, const char *status, const char *words) {
    expect_error(call(ENGINE_LOAD, load_request(models[pair], mmproj)), status, words);
    expect_error(call(ENGINE_COUNTER, json_pack("{s:s}", "mmproj", mmproj)), status, words);
    expect_ok(call(ENGINE_PING, json_object()));
}

static void refuses_other_files(void **state) {
    (void)state;
    refuse_both(QWEN2, models[QWEN2], "bad-input", "'qwen2vl', expected 'clip'");
    refuse_both(QWEN2, "/nonexistent/x.gguf", "not-found", "/nonexistent/x.gguf");
    assert_int_equal(os_write_atomic(damaged, "this is no GGUF file, at all", 28, NULL), WL_OK);
    refuse_both(QWEN2, damaged, "bad-input", "not a GGUF file");
    expect_error(call(ENGINE_LOAD, load_request(mmprojs[QWEN2], models[QWEN2])), "bad-input",
                 "is a vision projector");
    expect_error(call(ENGINE_COUNTER,
                      json_pack("{s:s, s:s}", "mmproj", mmprojs[QWEN2], "model", mmprojs[QWEN2])),
                 "bad-input", "is a vision projector");
    expect_error(call(ENGINE_COUNTER, json_object()), "bad-input", "'mmproj' is missing");
}

// A file with nothing but "it encodes audio".
static void refuses_audio(void **state) {
    (void)state;
    static const char BYTES[] = "GGUF\3\0\0\0"
                                "\0\0\0\0\0\0\0\0"
                                "\2\0\0\0\0\0\0\0"
                                "\24\0\0\0\0\0\0\0general.architecture\10\0\0\0"
                                "\4\0\0\0\0\0\0\0clip"
                                "\26\0\0\0\0\0\0\0clip.has_audio_encoder\7\0\0\0\1";
    assert_int_equal(os_write_atomic(damaged, BYTES, sizeof BYTES - 1, NULL), WL_OK);
    refuse_both(QWEN2, damaged, "unsupported", "audio only");
}

static void refuses_damaged_files(void **state) {
    (void)state;
    static const struct {
        const char *old, *new;
        size_t len;
        const char *words;
    } ROWS[] = {
        {"clip.vision.image_mean", "clip.vision.image_meen", 22,
         "key 'clip.vision.image_mean' (array of f32) is missing"},
        {"clip.vision.patch_size", "clip.vision.patch_syze", 22, "'clip.vision.patch_size' (u32)"},
        {"clip.projector_type", "clip.projector_tipe", 19, "'clip.projector_type' is ''"},
        {"qwen2vl_merger", "qwen9vl_merger", 14, "qwen9vl_merger"},
        // A u32 that says it is an f32, and a flag that says it is one byte of a number.
        {"clip.vision.block_count\4", "clip.vision.block_count\6", 24,
         "'clip.vision.block_count' is of type f32, expected u32"},
        {"clip.has_vision_encoder\7", "clip.has_vision_encoder\0", 24, "expected bool"},
        {"v.blk.1.attn_q.weight", "v.blk.1.attn_x.weight", 21, "block 1 of 2"},
        {"v.patch_embd.weight", "v.patch_embx.weight", 19, "'v.patch_embd.weight' is missing"},
        {"v.blk.1.ffn_up.weight", "v.blk.1.ffn_uq.weight", 21, "v.blk.1.ffn_up.weight"},
        {"mm.2.weight", "mm.3.weight", 11, "mm.2.weight"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        write_changed(mmprojs[QWEN2], ROWS[i].old, ROWS[i].new, ROWS[i].len);
        refuse_both(QWEN2, damaged, "bad-input", ROWS[i].words);
    }
}

static void refuses_cut_files(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, MAX_FILE_BYTES);
    assert_int_equal(os_slurp(mmprojs[QWEN2], &text, NULL), WL_OK);
    const size_t lengths[] = {10, 200, 1000, 3000, text.len / 2, text.len - 1000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(os_write_atomic(damaged, text.data, lengths[i], NULL), WL_OK);
        refuse_both(QWEN2, damaged, "bad-input", damaged);
    }
    buf_release(&text);
}

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    // qwen3vl has a deep stack: its image tokens are twice as wide.
    expect_error(call(ENGINE_LOAD, load_request(models[QWEN2], mmprojs[QWEN3])), "bad-input",
                 "gives 256 values per token, the model wants 128");
    expect_error(call(ENGINE_LOAD, load_request(models[QWEN3], mmprojs[QWEN2])), "bad-input",
                 "gives 128 values per token, the model wants 256");
    expect_error(call(ENGINE_COUNTER,
                      json_pack("{s:s, s:s}", "mmproj", mmprojs[QWEN3], "model", models[QWEN2])),
                 "bad-input", "gives 256 values per token, the model wants 128");
    // The widths fit, the positions do not.
    expect_error(call(ENGINE_LOAD, load_request(models[MLP], mmprojs[QWEN2])), "bad-input",
                 "M-RoPE");
    expect_error(call(ENGINE_RUN, json_pack("{s:s}", "prompt", "x")), "usage",
                 "no model is loaded");
}

static void takes_budgets(void **state) {
    (void)state;
    static const struct {
        int low, high; // asked
        int low_told;
        const char *words; // of the refusal
    } ROWS[] = {
        {0, 0, 0, NULL},
        {0, 16, 0, NULL},
        {0, 2, 2, NULL}, // below the family's minimum of 8
        {3, 3, 3, NULL},
        {50, 0, 50, NULL},
        {20, 10, 0, "above image_max_tokens 10"},
        {5000, 0, 0, "image_min_tokens 5000 is above the most"},
        {-1, 0, 0, "image_min_tokens is -1"},
        {0, 262145, 0, "image_max_tokens is 262145"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        json_t *request = load_request(models[QWEN2], mmprojs[QWEN2]);
        json_object_set_new(request, "image_min_tokens", json_integer(ROWS[i].low));
        json_object_set_new(request, "image_max_tokens", json_integer(ROWS[i].high));
        struct drive_answer answer = call(ENGINE_LOAD, request);
        if (ROWS[i].words) {
            expect_error(answer, "bad-input", ROWS[i].words);
            continue;
        }
        const json_t *vision = json_object_get(answer.json, "vision");
        assert_int_equal(wl_json_opt_i64(vision, "image_min_tokens", -1), ROWS[i].low_told);
        assert_int_equal(wl_json_opt_i64(vision, "image_max_tokens", -1), ROWS[i].high);
        drive_answer_release(&answer);
        static const int LARGE[1][2] = {{1500, 1500}};
        json_t *counts = pictures_count(&engine, LARGE, 1);
        json_int_t n = pictures_field(counts, 0, 0);
        assert_true(ROWS[i].high == 0 || (n >= 1 && n <= ROWS[i].high));
        json_decref(counts);
    }
}

static json_int_t tokens_of(int width, int height) {
    const int size[1][2] = {{width, height}};
    json_t *counts = pictures_count(&engine, size, 1);
    json_int_t n = pictures_field(counts, 0, 0);
    json_decref(counts);
    return n;
}

static void swaps_encoders(void **state) {
    (void)state;
    expect_ok(call(ENGINE_LOAD, json_pack("{s:s}", "path", models[QWEN2])));
    expect_error(call(ENGINE_VISION, json_object()), "usage", "no image encoder is loaded");
    struct drive_answer answer = call(ENGINE_VISION, json_pack("{s:s}", "mmproj", mmprojs[QWEN2]));
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    const json_t *phase = json_object_get(answer.json, "phase");
    const json_t *vision = json_object_get(answer.json, "vision");
    assert_string_equal(wl_json_opt_string(phase, "phase", ""), "load");
    assert_true(wl_json_opt_i64(phase, "t1_ns", 0) > wl_json_opt_i64(phase, "t0_ns", INT64_MAX));
    assert_string_equal(wl_json_opt_string(vision, "projector", ""), "qwen2vl_merger");
    assert_int_equal(wl_json_opt_i64(vision, "n_embd_out", 0), TINY_EMBD);
    assert_int_equal(wl_json_opt_i64(vision, "n_layer", 0), 2);
    assert_true(wl_json_opt_bool(vision, "is_mrope", false));
    drive_answer_release(&answer);
    assert_int_equal(tokens_of(448, 448), 256);
    expect_ok(call(ENGINE_VISION, json_pack("{s:i}", "image_max_tokens", 100)));
    assert_int_equal(tokens_of(448, 448), 100);
    // A file that is refused leaves the encoder that is there.
    expect_error(call(ENGINE_VISION, json_pack("{s:s}", "mmproj", models[QWEN2])), "bad-input",
                 "expected 'clip'");
    assert_int_equal(tokens_of(448, 448), 100);
    assert_true(pictures_put(&engine, 1, 448, 448, IMAGE_PNG));
    expect_ok(call(ENGINE_RUN,
                   json_pack("{s:s, s:[i], s:i}", "prompt", "x", "images", 1, "n_predict", 1)));
    expect_ok(call(ENGINE_UNLOAD, json_object()));
    expect_error(call(ENGINE_VISION, json_object()), "usage", "no model is loaded");
}

static json_int_t n_ubatch(void) {
    struct drive_answer answer = call(ENGINE_DESCRIBE, json_object());
    json_int_t n = wl_json_opt_i64(json_object_get(answer.json, "model"), "n_ubatch", 0);
    assert_non_null(json_object_get(answer.json, "vision"));
    drive_answer_release(&answer);
    return n;
}

// gemma4v sees an image in one piece of up to 1120 tokens, more than a micro-batch of 512.
static void makes_room_for_one_piece(void **state) {
    (void)state;
    assert_true(pictures_put(&engine, 1, 1024, 1024, IMAGE_PNG));
    json_t *run = json_pack("{s:s, s:[i], s:i}", "prompt", "x", "images", 1, "n_predict", 1);
    json_t *request = load_request(models[GEMMA4], mmprojs[GEMMA4]);
    json_object_set_new(request, "image_max_tokens", json_integer(280));
    expect_ok(call(ENGINE_LOAD, request));
    assert_int_equal(n_ubatch(), 512);
    expect_ok(call(ENGINE_RUN, json_incref(run)));
    expect_ok(call(ENGINE_VISION, json_object())); // the family's own budget
    assert_in_range(n_ubatch(), 1000, 1120);
    assert_int_equal(tokens_of(1024, 1024), 441);
    expect_ok(call(ENGINE_RUN, run));
    expect_ok(call(ENGINE_LOAD, load_request(models[GEMMA4], mmprojs[GEMMA4])));
    assert_in_range(n_ubatch(), 1000, 1120);
    expect_ok(call(ENGINE_LOAD, load_request(models[MLP], mmprojs[MLP])));
    assert_int_equal(n_ubatch(), 512); // others take an image in parts
}

static void predicts_its_memory(void **state) {
    (void)state;
    json_t *request = load_request(models[QWEN2], mmprojs[QWEN2]);
    struct drive_answer answer = call(ENGINE_LOAD, json_incref(request));
    const json_t *memory = json_object_get(answer.json, "memory");
    int64_t total = wl_json_opt_i64(memory, "total_bytes", 0);
    assert_true(wl_json_opt_i64(memory, "vision_bytes", 0) > 100000);
    drive_answer_release(&answer);
    json_object_set_new(request, "max_ram_bytes", json_integer(total - 1));
    expect_error(call(ENGINE_LOAD, json_incref(request)), "memory", "image encoder ");
    json_object_set_new(request, "max_ram_bytes", json_integer(total));
    expect_ok(call(ENGINE_LOAD, request));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_other_files),
        cmocka_unit_test(refuses_audio),
        cmocka_unit_test(refuses_damaged_files),
        cmocka_unit_test(refuses_cut_files),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(takes_budgets),
        cmocka_unit_test(swaps_encoders),
        cmocka_unit_test(makes_room_for_one_piece),
        cmocka_unit_test(predicts_its_memory),
    };
    return cmocka_run_group_tests_name("engine_mmproj", tests, start, stop);
}
