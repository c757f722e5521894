// SYNTH: files of a true shape with random weights, and what the engine then says about them.
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "drive.h"
#include "os/file.h"
#include "plan/shapes.h"

static const char *const PASSIVE[] = {"OMP_WAIT_POLICY=passive", NULL};

static struct drive engine;
static char folder[] = "/tmp/wattlaw-synth-XXXXXX";
static char path[128];

static int start(void **state) {
    (void)state;
    if (!mkdtemp(folder) || !drive_start(&engine, PASSIVE, -1, NULL)) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/model.gguf", folder);
    return 0;
}

static int stop(void **state) {
    (void)state;
    unlink(path);
    rmdir(folder);
    return drive_stop(&engine) == 0 ? 0 : -1;
}

static json_t *synth_request(const struct plan_shape *shape, const char *type) {
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:f, s:s, s:s}",
                     "path", path, "arch", shape->arch, "n_layer", (int)shape->n_layer, "n_embd",
                     (int)shape->n_embd, "n_head", (int)shape->n_head, "n_head_kv",
                     (int)shape->n_head_kv, "head_dim", (int)shape->head_dim, "n_ff",
                     (int)shape->n_ff, "n_vocab", (int)shape->n_vocab, "n_ctx",
                     (int)shape->n_ctx_train, "tied", (int)shape->is_tied, "rope_freq_base",
                     shape->rope_freq_base, "type", type, "name", shape->name);
}

static struct plan_shape tiny(const char *arch, bool is_tied) {
    return (struct plan_shape){.name = "tiny",
                               .arch = arch,
                               .n_layer = 2,
                               .n_embd = 64,
                               .n_head = 4,
                               .n_head_kv = 2,
                               .head_dim = 32, // not n_embd / n_head
                               .n_ff = 160,
                               .n_vocab = 512,
                               .is_tied = is_tied,
                               .rope_freq_base = 10000,
                               .n_ctx_train = 512};
}

static const json_t *load(struct drive_answer *answer) {
    *answer = drive_call(&engine, ENGINE_LOAD,
                         json_pack("{s:s, s:s}", "path", path, "load_mode", "none"), 60);
    if (answer->outcome != DRIVE_RESULT) {
        fail_msg("load: %s", wl_json_opt_string(answer->json, "message", "died"));
    }
    return json_object_get(answer->json, "model");
}

static void run_some_tokens(void) {
    struct drive_answer answer =
        drive_call(&engine, ENGINE_RUN,
                   json_pack("{s:s, s:i, s:i, s:b}", "prompt", "The people think about water",
                             "n_prompt", 40, "n_predict", 12, "ignore_eos", 1),
                   60);
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_int_equal(wl_json_opt_i64(answer.json, "n_generated", 0), 12);
    drive_answer_release(&answer);
}

static void check_shape(const struct plan_shape *shape, const char *type) {
    struct drive_answer made = drive_call(&engine, ENGINE_SYNTH, synth_request(shape, type), 60);
    if (made.outcome != DRIVE_RESULT) {
        fail_msg("synth %s %s: %s", shape->arch, type,
                 wl_json_opt_string(made.json, "message", "died"));
    }
    uint64_t file_bytes = 0;
    assert_int_equal(os_file_size(path, &file_bytes, NULL), WL_OK);
    assert_int_equal(wl_json_opt_i64(made.json, "file_bytes", 0), file_bytes);
    assert_int_equal(wl_json_opt_i64(made.json, "n_params", 0), plan_shape_params(shape));
    struct drive_answer loaded;
    const json_t *model = load(&loaded);
    assert_true(wl_json_opt_bool(model, "is_synthetic", false));
    assert_non_null(strstr(wl_json_opt_string(model, "name", ""), "random weights (wattlaw synth"));
    assert_string_equal(wl_json_opt_string(model, "arch", ""), shape->arch);
    assert_int_equal(wl_json_opt_i64(model, "n_params", 0), plan_shape_params(shape));
    assert_int_equal(wl_json_opt_i64(model, "kv_bytes_per_token", 0),
                     (int64_t)plan_shape_kv_bytes_per_token(shape, 16));
    drive_answer_release(&loaded);
    drive_answer_release(&made);
    run_some_tokens();
}

static void test_architectures(void **state) {
    (void)state;
    const char *const archs[] = {"llama", "qwen2", "qwen3", "gemma3"};
    for (size_t i = 0; i < 4; i++) {
        for (int is_tied = 0; is_tied < 2; is_tied++) {
            struct plan_shape shape = tiny(archs[i], is_tied || i == 3);
            shape.head_dim = i == 1 ? 16 : 32; // qwen2 has no head size of its own
            check_shape(&shape, "f16");
        }
    }
}

static void test_types(void **state) {
    (void)state;
    const char *const types[] = {"f32",    "bf16",   "q8_0",   "q4_0",   "q4_k_m", "q6_k",
                                 "q5_k_s", "iq4_nl", "iq4_xs", "q3_k_m", "q2_k",   "q4_k"};
    struct plan_shape shape = tiny("llama", true);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        check_shape(&shape, types[i]); // rows of 64: every k-quant falls back
    }
    shape.n_embd = 512;
    shape.n_ff = 1024;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        check_shape(&shape, types[i]);
    }
}

// What the plan predicts from a shape is what the engine finds in the file.
static void test_bytes_per_token(void **state) {
    (void)state;
    struct plan_shape shape = tiny("llama", false);
    struct drive_answer made = drive_call(&engine, ENGINE_SYNTH, synth_request(&shape, "f16"), 60);
    drive_answer_release(&made);
    struct drive_answer loaded;
    const json_t *model = load(&loaded);
    assert_int_equal(wl_json_opt_i64(model, "tensor_bytes", 0),
                     (int64_t)plan_shape_bytes(&shape, 16));
    assert_int_equal(wl_json_opt_i64(model, "bytes_per_token", 0),
                     (int64_t)plan_shape_bytes_per_token(&shape, 16));
    drive_answer_release(&loaded);
}

static void test_fallbacks_are_told(void **state) {
    (void)state;
    struct plan_shape shape = tiny("llama", true);
    struct drive_answer made =
        drive_call(&engine, ENGINE_SYNTH, synth_request(&shape, "q4_k_m"), 60);
    const json_t *fallbacks = json_object_get(made.json, "fallbacks");
    assert_true(wl_json_opt_i64(fallbacks, "q5_0", 0) > 0);
    drive_answer_release(&made);
    json_t *request = synth_request(&shape, "q8_0");
    json_object_set_new(request, "pure", json_true());
    made = drive_call(&engine, ENGINE_SYNTH, request, 60);
    assert_int_equal(json_object_size(json_object_get(made.json, "fallbacks")), 0);
    assert_int_equal(json_object_size(json_object_get(made.json, "types")), 2); // and the F32 norms
    drive_answer_release(&made);
}

static uint64_t peak_rss_bytes(void) {
    char name[64];
    struct buf text;
    snprintf(name, sizeof name, "/proc/%d/status", (int)engine.pid);
    buf_init(&text, 65536);
    unsigned long long kib = 0;
    if (os_slurp(name, &text, NULL) == WL_OK) {
        const char *line = strstr(buf_text(&text), "VmHWM:");
        kib = line ? strtoull(line + 6, NULL, 10) : 0;
    }
    buf_release(&text);
    return kib * 1024;
}

// A true shape, the RAM it was predicted to need, and cancelling in the middle of a long prompt.
static void test_true_shape(void **state) {
    (void)state;
    const struct plan_shape *shape = plan_shape_by_name("smollm2-135m");
    int64_t t0_ns = os_now_ns();
    check_shape(shape, "q8_0");
    assert_true(os_now_ns() - t0_ns < 60000000000);
    struct drive_answer loaded;
    load(&loaded);
    run_some_tokens();
    double predicted = wl_json_opt_double(json_object_get(loaded.json, "memory"), "total_bytes", 0);
    double measured = (double)peak_rss_bytes();
    if (measured > 0) { // no procfs elsewhere
        print_message("RAM predicted %.0f MiB, peak %.0f MiB\n", predicted / 1048576,
                      measured / 1048576);
        assert_true(predicted > 0.9 * measured && predicted < 1.25 * measured);
    }
    drive_answer_release(&loaded);
    drive_send(&engine, ENGINE_RUN,
               json_pack("{s:s, s:i, s:i}", "prompt", "The people think about water", "n_prompt",
                         4000, "n_predict", 10));
    os_sleep_until_ns(os_now_ns() + 300000000);
    t0_ns = os_now_ns();
    drive_send(&engine, ENGINE_CANCEL, json_object());
    struct drive_answer answer = drive_wait(&engine, 60);
    double latency_ms = (double)(os_now_ns() - t0_ns) / 1e6;
    print_message("cancelled inside the prefill after %.1f ms\n", latency_ms);
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "cancel");
    assert_true(latency_ms < 1000);
    drive_answer_release(&answer);
    run_some_tokens();
}

static size_t files_left(void) {
    char pattern[160];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*", folder);
    size_t n = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return n;
}

static void assert_refused(json_t *request, const char *status, const char *mentions) {
    unlink(path);
    struct drive_answer answer = drive_call(&engine, ENGINE_SYNTH, request, 60);
    assert_int_equal(answer.outcome, DRIVE_ERROR);
    assert_string_equal(wl_json_opt_string(answer.json, "status", ""), status);
    const char *message = wl_json_opt_string(answer.json, "message", "");
    if (!strstr(message, mentions)) {
        fail_msg("'%s' does not mention '%s'", message, mentions);
    }
    drive_answer_release(&answer);
    assert_int_equal(files_left(), 0);
}

static void test_refusals(void **state) {
    (void)state;
    struct plan_shape shape = tiny("llama", true);
    assert_refused(synth_request(&shape, "q9"), "bad-input", "type is 'q9'");
    json_t *request = synth_request(&shape, "f16");
    json_object_set_new(request, "path", json_string("/nowhere/at/all/model.gguf"));
    assert_refused(request, "not-found", "/nowhere/at/all");
    request = synth_request(&shape, "f16");
    json_object_set_new(request, "arch", json_string("mamba"));
    assert_refused(request, "bad-input", "arch is 'mamba'");
    request = synth_request(&shape, "f16");
    json_object_set_new(request, "n_vocab", json_integer(100));
    assert_refused(request, "bad-input", "n_vocab is 100");
    request = synth_request(&shape, "f16");
    json_object_set_new(request, "n_head_kv", json_integer(3));
    assert_refused(request, "bad-input", "not a multiple of n_head_kv");
    request = synth_request(&shape, "f16"); // 2^22 x 2^20 x 2 bytes
    json_object_set_new(request, "n_vocab", json_integer(1 << 22));
    json_object_set_new(request, "n_embd", json_integer(1 << 20));
    assert_refused(request, "io", "free");
}

static void test_cancel(void **state) {
    (void)state;
    const struct plan_shape *shape = plan_shape_by_name("smollm2-1.7b");
    drive_send(&engine, ENGINE_SYNTH, synth_request(shape, "q4_0"));
    os_sleep_until_ns(os_now_ns() + 150000000);
    drive_send(&engine, ENGINE_CANCEL, json_object());
    struct drive_answer answer = drive_wait(&engine, 60);
    assert_int_equal(answer.outcome, DRIVE_RESULT);
    assert_string_equal(wl_json_opt_string(answer.json, "stop", ""), "cancel");
    assert_int_equal(files_left(), 0);
    drive_answer_release(&answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_architectures),   cmocka_unit_test(test_types),
        cmocka_unit_test(test_bytes_per_token), cmocka_unit_test(test_fallbacks_are_told),
        cmocka_unit_test(test_true_shape),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests_name("engine_synth", tests, start, stop);
}
