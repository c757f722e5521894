// What of a plan stock llama.cpp would not load, or compute slowly, is found before the work; what
// sizes a plan tells is what is written.
#include "compressor/plan.h"

#include "narrow_test.h"

#define SHAPE "--layers 5 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512 --type "

static struct compress_source source;
static struct plan plan;

static bool begin(const char *arguments) {
    struct wl_err err = {0};
    CHECK(made_synth(arguments, made));
    CHECK_OK(compress_source_open(&source, made, COMPRESS_CAREFUL, &err), err);
    CHECK_OK(plan_init(&plan, &source, &err), err);
    return err.status == WL_OK;
}

static void end(void) {
    plan_release(&plan);
    compress_source_close(&source);
}

static void again(void) {
    struct wl_err err = {0};
    plan_release(&plan);
    CHECK_OK(plan_init(&plan, &source, &err), err);
}

static void right(int line) {
    struct wl_err err = {0};
    if (plan_check(&plan, &source, &err) != WL_OK) {
        printf("line %d: %s\n", line, err.message);
        n_wrong++;
    }
    again();
}
#define RIGHT right(__LINE__)

static void wrong(enum wl_status expected, const char *word, int line) {
    struct wl_err err = {0};
    enum wl_status status = plan_check(&plan, &source, &err);
    if (status != expected || !message_has(&err, word)) {
        printf("line %d: %s, expected %s: %s\n", line, wl_status_name(status),
               wl_status_name(expected), err.message);
        n_wrong++;
    }
    again();
}
#define WRONG(status, word) wrong(status, word, __LINE__)

static void all(uint32_t n_head_kv, uint32_t n_ff) {
    for (uint32_t i = 0; i < plan.n_layer; i++) {
        plan.layers[i] = (struct plan_layer){.n_head_kv = n_head_kv, .n_ff = n_ff};
    }
}

static void test_same_sizes(void) {
    if (!begin("--arch llama " SHAPE "f16")) {
        return;
    }
    RIGHT;
    all(1, 96);
    RIGHT;
    all(2, 100);
    WRONG(WL_INPUT, "multiple of 32");
    all(2, 288);
    WRONG(WL_INPUT, "up to 256");
    all(2, 0);
    WRONG(WL_INPUT, "without neurons");
    all(3, 256);
    WRONG(WL_INPUT, "up to 2");
    all(0, 256);
    WRONG(WL_INPUT, "block 0");
    plan.layers[3].n_ff = 128;
    WRONG(WL_INPUT, "block 3");
    plan.layers[4].n_head_kv = 1;
    WRONG(WL_INPUT, "block 4");
    plan.layers[2].n_head_kv = 0;
    WRONG(WL_UNSUPPORTED, "block 2");
    plan.layers[1].is_removed = plan.layers[4].is_removed = true;
    plan.layers[1].n_ff = 7; // does not matter any more
    RIGHT;
    plan.layers[0].is_removed = true;
    WRONG(WL_INPUT, "block 0");
    plan.n_layer = 4;
    WRONG(WL_INPUT, "expected 5");
    end();
}

static void test_coarse_types(void) {
    if (begin("--arch llama " SHAPE "q8_0")) {
        all(1, 32);
        RIGHT;
        end();
    }
    // Rows of neurons and of heads are cut between blocks of 256 weights only.
    if (begin("--arch llama --layers 1 --embd 256 --heads 4 --kv-heads 2 --ff 512 --vocab 512 "
              "--type q6_k")) {
        plan.layers[0].n_ff = 288;
        WRONG(WL_INPUT, "multiple of 256");
        plan.layers[0].n_head_kv = 1; // 128 columns
        WRONG(WL_INPUT, "multiple of 2");
        plan.layers[0].n_ff = 256;
        RIGHT;
        end();
    }
    if (begin("--arch llama --layers 1 --embd 256 --heads 8 --kv-heads 4 --ff 2048 --vocab 512 "
              "--type f16")) {
        plan.layers[0].n_ff = 2048 - 32; // its kernels would be slow
        WRONG(WL_INPUT, "multiple of 256");
        plan.layers[0].n_head_kv = 3; // 192 columns
        WRONG(WL_INPUT, "multiple of 4");
        plan.layers[0].n_ff = 1024;
        RIGHT;
        end();
    }
}

static void test_own_sizes(void) {
    if (begin("--arch llama " SHAPE "f16")) {
        plan.is_mixed = true;
        plan.layers[1] = (struct plan_layer){.n_head_kv = 0, .n_ff = 32};
        plan.layers[2].n_head_kv = 1;
        plan.layers[3].is_removed = true;
        RIGHT;
        plan.is_mixed = true;
        plan.layers[0].n_head_kv = 0;
        WRONG(WL_INPUT, "block 0");
        plan.is_mixed = true;
        plan.layers[1].n_ff = 0;
        WRONG(WL_INPUT, "without neurons");
        end();
    }
    if (begin("--arch qwen2vl " SHAPE "f16")) {
        plan.is_mixed = true;
        WRONG(WL_UNSUPPORTED, "qwen2vl");
        end();
    }
    if (begin("--arch qwen3 " SHAPE "f16")) { // its output matrix is not the embedding
        plan.is_mixed = true;
        WRONG(WL_UNSUPPORTED, "output");
        end();
    }
}

static void test_tied_qwen3(void) {
    struct made m;
    struct wl_err err = {0};
    if (!synth(&m, "--arch qwen3 " SHAPE "f16")) {
        return;
    }
    made_rename(&m, "output.weight", "");
    CHECK(made_write(&m, made));
    CHECK_OK(compress_source_open(&source, made, COMPRESS_CAREFUL, &err), err);
    CHECK_OK(plan_init(&plan, &source, &err), err);
    plan.is_mixed = true;
    plan.layers[2] = (struct plan_layer){.n_head_kv = 1, .n_ff = 32};
    RIGHT;
    plan.is_mixed = true;
    plan.layers[2].n_head_kv = 0;
    WRONG(WL_UNSUPPORTED, "openelm");
    end();
}

static void test_heads_of_qwen2(void) {
    if (begin("--arch qwen2 " SHAPE "f16")) {
        all(1, 256);
        WRONG(WL_UNSUPPORTED, "sizes of their own");
        all(1, 256);
        plan.is_mixed = true;
        RIGHT;
        end();
    }
    if (begin("--arch qwen2vl " SHAPE "f16")) {
        all(1, 256);
        WRONG(WL_UNSUPPORTED, "all of them");
        all(2, 64);
        plan.layers[3].is_removed = true;
        RIGHT;
        end();
    }
}

static void test_gemma3_of_62_blocks(void) {
    if (!begin("--arch gemma3 --layers 63 --embd 32 --heads 2 --kv-heads 2 --ff 32 --vocab 512 "
               "--type f16")) {
        return;
    }
    plan.layers[5].is_removed = true;
    WRONG(WL_UNSUPPORTED, "27B");
    plan.layers[5].is_removed = plan.layers[6].is_removed = true;
    RIGHT;
    end();
}

// As written: no smaller, and larger by new keys only.
static void check_sizes(const char *arguments, bool is_mixed) {
    struct made m;
    struct walk w;
    struct plan_sizes sizes;
    if (!synth(&m, arguments) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    for (uint32_t i = 0; i < w.plan.n_layer; i++) {
        w.plan.layers[i].n_ff = 96;
        w.plan.layers[i].n_head_kv = 1;
    }
    w.plan.layers[1].is_removed = true;
    w.plan.is_mixed = is_mixed;
    w.plan.layers[2].n_head_kv = is_mixed ? 0 : 1;
    CHECK(isfinite(walk_distance(&w)));
    CHECK_OK(plan_sizes(&w.plan, &w.source, &sizes, &w.err), w.err);
    uint64_t n_bytes = 0;
    CHECK_OK(os_file_size(out, &n_bytes, &w.err), w.err);
    double off = (double)n_bytes - (double)sizes.file_bytes;
    CHECK(fabs(off) < 8192);
    uint64_t n_attention = is_mixed ? 3 : 4; // blocks that have one
    CHECK(sizes.ffn_weights == UINT64_C(4) * 3 * 64 * 96);
    CHECK(sizes.attention_weights == n_attention * 64 * 16 * (2 + 1 + 1 + 2));
    CHECK(sizes.block_weights == sizes.ffn_weights + sizes.attention_weights);
    walk_end(&w);
}

int main(void) {
    need_model(getenv("WATTLAW") ? getenv("WATTLAW") : "wattlaw, named in $WATTLAW");
    folder_begin();
    test_same_sizes();
    test_coarse_types();
    test_own_sizes();
    test_tied_qwen3();
    test_heads_of_qwen2();
    test_gemma3_of_62_blocks();
    check_sizes("--arch llama " SHAPE "f16", false);
    check_sizes("--arch llama " SHAPE "f16", true);
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
