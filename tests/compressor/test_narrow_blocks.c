// KV groups, attention and whole blocks that go, alone and in mixed plans, for every architecture.
// Each file that comes of it is loaded with llama.cpp.
#include "narrow_test.h"

#define SHAPE " --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512 --type f16"

static const char *const ARCHS[] = {"llama", "qwen2", "qwen2vl", "qwen3", "gemma3"};
enum { N_ARCHS = sizeof ARCHS / sizeof *ARCHS };

// In the others the heads stay, unless blocks have sizes of their own.
static bool loses_heads(const char *arch) {
    return strncmp(arch, "qwen2", 5) != 0;
}

static bool synth_arch(struct made *m, const char *arch, unsigned n_layer) {
    char arguments[200];
    snprintf(arguments, sizeof arguments, "--arch %s --layers %u%s", arch, n_layer,
             strcmp(arch, "qwen3") == 0 ? " --head-dim 32" SHAPE : SHAPE);
    if (!synth(m, arguments)) {
        return false;
    }
    if (strcmp(arch, "llama") == 0) { // as Llama 3 has them
        *made_add(m, "rope_freqs.weight", 8, 1, 4, 0) = 1;
    }
    if (strcmp(arch, "gemma3") == 0) { // of seven blocks the sixth sees all
        gguf_set_val_u32(m->keys, "gemma3.attention.sliding_window", 8);
        gguf_set_val_f32(m->keys, "gemma3.rope.freq_base", 1e6F);
    }
    return true;
}

// llama.cpp looks gelu up in a table of F16.
static double tolerance(const char *arch, double exact) {
    return strcmp(arch, "gemma3") == 0 ? fmax(exact, 1e-3) : exact;
}

static void check_near(const char *what, const char *arch, double found, double most) {
    if (!(found <= most)) {
        printf("%s of a %s: %g off, expected %g\n", what, arch, found, most);
        n_wrong++;
    }
}

// ---- KV groups ----

// In block i group i % 2 leads nowhere.
static void test_dead_group(const char *arch) {
    struct made m;
    struct walk w;
    if (!synth_arch(&m, arch, 3)) {
        return;
    }
    int64_t ne[2];
    values_of(&m, 0, "attn_output.weight", ne);
    for (uint32_t i = 0; i < 3; i++) {
        scale_columns(&m, i, "attn_output.weight", i % 2 * ne[0] / 2, (i % 2 + 1) * ne[0] / 2, 0);
    }
    if (!made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    for (uint32_t i = 0; i < 3; i++) {
        w.plan.layers[i].n_head_kv = 1;
    }
    check_near("a dead group", arch, walk_distance(&w), tolerance(arch, 1e-5));
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(w.layers[i].attention_error_repaired < 1e-8);
        CHECK(w.layers[i].kept_groups && w.layers[i].attn_output && !w.layers[i].down);
    }
    walk_end(&w);
}

static void test_groups_and_neurons(const char *arch) {
    struct made m;
    struct walk w;
    if (!synth_arch(&m, arch, 3) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    for (uint32_t i = 0; i < 3; i++) {
        w.plan.layers[i] = (struct plan_layer){.n_head_kv = 1, .n_ff = 128};
    }
    CHECK(isfinite(walk_distance(&w)));
    for (uint32_t i = 0; i < 3; i++) {
        const struct narrow_layer *l = &w.layers[i];
        CHECK(l->attention_error_repaired <= l->attention_error_cut);
        CHECK(l->attention_error_repaired > 0.01 && l->error_repaired <= l->error_cut);
    }
    if (tolerance(arch, 0) == 0) {
        check_stream(&w);
    }
    walk_end(&w);
}

// ---- blocks ----

static void silence_block(struct made *m, uint32_t layer) {
    scale_columns(m, layer, "attn_output.weight", 0, 1000, 0);
    scale_columns(m, layer, "ffn_down.weight", 0, 1000, 0);
}

static void test_idle_blocks(const char *arch, bool has_list) {
    struct made m;
    struct walk w;
    if (!synth_arch(&m, arch, 8)) {
        return;
    }
    if (has_list) { // of windows
        static const int8_t IS_WINDOWED[] = {1, 0, 0, 1, 1, 1, 0, 1};
        gguf_set_arr_data(m.keys, "gemma3.attention.sliding_window_pattern", GGUF_TYPE_BOOL,
                          IS_WINDOWED, 8);
    }
    static const uint32_t IDLE[] = {1, 3, 4, 7};
    for (size_t i = 0; i < 4; i++) {
        silence_block(&m, IDLE[i]);
    }
    if (!made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    for (size_t i = 0; i < 4; i++) {
        w.plan.layers[IDLE[i]].is_removed = true;
    }
    check_near("idle blocks", arch, walk_distance(&w), tolerance(arch, 1e-4));
    for (uint32_t i = 0; i < 8; i++) {
        CHECK(w.layers[i].is_removed == w.plan.layers[i].is_removed);
    }
    struct compress_source small;
    CHECK_OK(compress_source_open(&small, out, COMPRESS_CAREFUL, &w.err), w.err);
    CHECK(small.n_layer == 4);
    compress_source_close(&small);
    walk_end(&w);
}

// What the blocks 2 and 3 add is a matrix times what block 1 has inside: one matrix does it all.
static void test_takeover(void) {
    struct made m;
    struct walk w;
    if (!synth_arch(&m, "llama", 5)) {
        return;
    }
    static const char *const SAME[] = {"ffn_gate.weight", "ffn_up.weight", "ffn_norm.weight"};
    for (uint32_t i = 2; i < 4; i++) {
        silence_block(&m, i);
        for (size_t j = 0; j < 3; j++) {
            copy_values(&m, i, 1, SAME[j]);
        }
        int64_t ne[2];
        float *down = values_of(&m, i, "ffn_down.weight", ne);
        for (int64_t j = 0; j < ne[0] * ne[1]; j++) {
            down[j] = (float)(2e-4 * rng_normal(&m.rng)); // so little that their input stays
        }
    }
    scale_columns(&m, 1, "ffn_down.weight", 0, 1000, 1e-2F);
    if (!made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    w.plan.layers[2].is_removed = w.plan.layers[3].is_removed = true;
    w.options.ridge = 1e-4;
    double distance = walk_distance(&w);
    CHECK(w.layers[1].error_cut > 0.1);
    CHECK(w.layers[1].error_repaired < 0.02 * w.layers[1].error_cut);
    CHECK(w.layers[1].down && !w.layers[1].kept && !w.layers[0].down);
    check_stream(&w);
    walk_end(&w);
    if (walk_begin(&w, made)) { // the same without taking over
        w.plan.layers[2].is_removed = w.plan.layers[3].is_removed = true;
        w.options.method = NARROW_CUT;
        CHECK(walk_distance(&w) > 3 * distance);
        walk_end(&w);
    }
}

static void test_all_at_once(const char *arch) {
    struct made m;
    struct walk w;
    if (!synth_arch(&m, arch, 6) || !made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    for (uint32_t i = 0; i < 6; i++) {
        w.plan.layers[i] = (struct plan_layer){.n_head_kv = loses_heads(arch) ? 1 : 2, .n_ff = 160};
    }
    w.plan.layers[2].is_removed = w.plan.layers[5].is_removed = true;
    w.options.may_add_bias = w.source.arch->takes_down_bias;
    w.options.on_output_norm = take_norm;
    CHECK(isfinite(walk_distance(&w)));
    if (tolerance(arch, 0) == 0) {
        check_stream(&w);
    }
    walk_end(&w);
}

// ---- mixed ----

static void test_mixed(const char *arch, bool has_free) {
    struct made m;
    struct walk w;
    if (!synth_arch(&m, arch, 7)) {
        return;
    }
    if (!has_free) {
        made_rename(&m, "output.weight", ""); // the embedding is
    }
    if (!made_write(&m, made) || !walk_begin(&w, made)) {
        return;
    }
    static const uint32_t KV[] = {2, 1, 0, 2, 1, 2, 1}, FF[] = {256, 64, 128, 32, 256, 96, 224};
    for (uint32_t i = 0; i < 7; i++) {
        w.plan.layers[i] = (struct plan_layer){
            .n_head_kv = KV[i] || has_free ? KV[i] : 1, .n_ff = FF[i], .is_removed = i == 3};
    }
    w.plan.is_mixed = true;
    w.options.may_add_bias = has_free; // deci
    w.options.on_output_norm = take_norm;
    CHECK(isfinite(walk_distance(&w)));
    CHECK(!w.layers[0].kept && w.layers[0].attn_output == NULL);
    CHECK(!has_free || fabs(w.layers[2].attention_error_cut - 1) < 1e-9);
    check_stream(&w);
    struct gguf_file written;
    char name[64] = "";
    CHECK_OK(gguf_file_open(&written, out, &w.err), w.err);
    gguf_file_string(&written, "general.architecture", name, sizeof name);
    CHECK(strcmp(name, has_free ? "deci" : "openelm") == 0);
    gguf_file_close(&written);
    walk_end(&w);
}

int main(void) {
    need_model(getenv("WATTLAW") ? getenv("WATTLAW") : "wattlaw, named in $WATTLAW");
    folder_begin();
    for (size_t i = 0; i < N_ARCHS; i++) {
        if (loses_heads(ARCHS[i])) {
            test_dead_group(ARCHS[i]);
            test_groups_and_neurons(ARCHS[i]);
        }
        test_idle_blocks(ARCHS[i], false);
        test_all_at_once(ARCHS[i]);
    }
    test_idle_blocks("gemma3", true);
    test_takeover();
    test_mixed("llama", true);
    test_mixed("qwen2", true);
    test_mixed("qwen3", false);
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
