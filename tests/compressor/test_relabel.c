// Re-labelled models compute the same and take sizes of their own for each layer; what llama.cpp
// would not load, or not compute as said, is refused before anything is written.
#include "relabel_test.h"

// A sum in another order, as float32; and where roundings of float16 or Q8_0 then fall differently.
static const double FLOAT_NOISE = 3e-6;
static const double ROUNDING_NOISE = 3e-3;

// ---- the same logits ----

static void check_same(const char *what, const char *path, const char *arch,
                       enum test_precision precision, double limit) {
    struct edit edit;
    const char *found = "";
    struct wl_err err = {0};
    if (edit_begin(&edit, path)) {
        CHECK_OK(relabel_find(&edit.change.source, &found, &err), err);
        CHECK(strcmp(found, arch) == 0);
        edit_write(&edit);
        double worst = compare_logits(path, made, precision);
        printf("%s as %s: largest difference %g of the largest logit\n", what, found, worst);
        CHECK(worst <= limit);
        edit_end(&edit);
    }
}

static void test_same(void) {
    static const struct {
        const char *rest, *arch;
        enum made_type type;
        double limit;
    } CASES[] = {
        {"--arch llama --type f16", "deci", MADE_AS_IS, 0},
        {"--arch llama --type q8_0 --tied", "deci", MADE_AS_IS, 0},
        {"--arch qwen2 --type f16", "deci", MADE_AS_IS, ROUNDING_NOISE},
        {"--arch qwen2 --type q8_0", "deci", MADE_AS_IS, ROUNDING_NOISE},
        {"--arch qwen2 --type f16 --tied", "deci", MADE_F32, FLOAT_NOISE},
        {"--arch qwen3 --type f16 --tied", "openelm", MADE_AS_IS, 0},
        {"--arch qwen3 --type q8_0 --tied --head-dim 32", "openelm", MADE_AS_IS, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct made m;
        char varied[OS_PATH_BYTES];
        if (synth_varied(&m, CASES[i].rest, CASES[i].type)) {
            CHECK(made_write(&m, test_path(varied, folder, "varied.gguf")));
            check_same(CASES[i].rest, varied, CASES[i].arch,
                       CASES[i].type == MADE_F32 ? TEST_FLOAT : TEST_DEFAULT, CASES[i].limit);
        }
    }
}

static void test_trained_same(void) {
    char path[OS_PATH_BYTES];
    const char *dir = getenv("WATTLAW_TEST_MODELS");
    if (dir && os_exists(test_path(path, dir, "stories260k-f32.gguf"))) {
        check_same("stories260k", path, "deci", TEST_DEFAULT, 0);
    } else {
        printf("no stories260k-f32.gguf in $WATTLAW_TEST_MODELS: left out\n");
    }
}

// ---- sizes of their own ----

// Neurons and heads that contribute nothing are taken out, differently in each layer.
static void check_cut(const char *rest, bool has_bias) {
    struct made m;
    struct edit edit;
    char path[OS_PATH_BYTES];
    if (!synth_varied(&m, rest, MADE_F32)) {
        return;
    }
    zero_columns(&m, 1, "ffn_down.weight", 1, 2, FF);
    zero_columns(&m, 2, "ffn_down.weight", 320, 1, FF);
    zero_columns(&m, 1, "attn_output.weight", 0, 1, EMBD / 2);
    zero_columns(&m, 2, "attn_output.weight", EMBD / 2, 1, EMBD);
    CHECK(made_write(&m, test_path(path, folder, "zeroed.gguf")));
    if (edit_begin(&edit, path)) {
        uint32_t *even = keep(&edit, FF, sizeof *even);
        uint32_t *first = keep(&edit, FF, sizeof *first);
        for (uint32_t i = 0; i < FF; i++) {
            even[i] = 2 * i;
            first[i] = 319 - i; // in any order
        }
        cut_ff(&edit, 1, even, FF / 2);
        cut_ff(&edit, 2, first, 320);
        cut_heads(&edit, 1, 1, has_bias);
        cut_heads(&edit, 2, 0, has_bias);
        edit_write(&edit);
        CHECK(edit.notes.n_odd_ff == 1 && edit.notes.first_odd_ff == 2);
        double worst = compare_logits(path, made, TEST_FLOAT);
        printf("%s cut: largest difference %g of the largest logit\n", rest, worst);
        CHECK(worst <= FLOAT_NOISE);
        edit_end(&edit);
    }
}

static void test_cut(void) {
    check_cut("--arch llama --type f16", false);
    check_cut("--arch qwen2 --type f16", true);
    check_cut("--arch qwen3 --type f16 --tied", false);
}

// A layer without attention is one whose attention adds zeros; so is one with a matrix of zeros.
static void check_no_attention(const char *rest, double limit) {
    struct made m;
    struct edit edit;
    char path[OS_PATH_BYTES];
    struct wl_err err = {0};
    if (!synth_varied(&m, rest, MADE_F32)) {
        return;
    }
    zero_columns(&m, 1, "attn_output.weight", 0, 1, EMBD);
    zero_columns(&m, 2, "attn_output.weight", 0, 1, EMBD);
    CHECK(made_write(&m, test_path(path, folder, "zeroed.gguf")));
    if (edit_begin(&edit, path)) {
        float *zeros = keep(&edit, EMBD * EMBD, sizeof *zeros);
        edit.layers[1].n_head = edit.layers[1].n_head_kv = 0;
        edit.layers[2].n_head_kv = 0;
        CHECK_OK(compress_target_put(edit.change.target, "blk.2.attn_output.weight", GGML_TYPE_F32,
                                     EMBD, EMBD, zeros, &err),
                 err);
        edit_write(&edit);
        double worst = compare_logits(path, made, TEST_FLOAT);
        printf("%s without attention: largest difference %g of the largest logit\n", rest, worst);
        CHECK(worst <= limit);
        edit_end(&edit);
    }
}

static void test_no_attention(void) {
    check_no_attention("--arch llama --type f16", 0);
    check_no_attention("--arch qwen2 --type f16", FLOAT_NOISE); // its first layer has one, permuted
}

// Layer 1 is left out: the same as leaving it out of the model under its own name.
static void drop_layer(struct compress_target *target, const struct gguf_file *file) {
    struct wl_err err = {0};
    for (uint64_t i = 0; i < file->n_tensors; i++) {
        const char *name = file->tensors[i].name;
        char new_name[64];
        if (strncmp(name, "blk.1.", 6) == 0) {
            CHECK_OK(compress_target_drop(target, name, &err), err);
        } else if (strncmp(name, "blk.2.", 6) == 0) {
            snprintf(new_name, sizeof new_name, "blk.1.%s", name + 6);
            CHECK_OK(compress_target_rename(target, name, new_name, &err), err);
        }
    }
}

static void test_fewer_layers(void) {
    struct change plain;
    struct edit edit;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    synth("--arch llama --type q8_0");
    test_path(path, folder, "fewer.gguf");
    if (change_begin(&plain, base) && edit_begin(&edit, base)) {
        drop_layer(plain.target, &plain.source);
        CHECK_OK(compress_target_set_u32(plain.target, "llama.block_count", 2, &err), err);
        change_write(&plain, path);
        drop_layer(edit.change.target, &edit.change.source);
        edit.n_layers = 2;
        edit_write(&edit);
        CHECK(compare_logits(path, made, TEST_DEFAULT) == 0);
        CHECK(compare_logits(base, made, TEST_DEFAULT) > 0.01);
        change_end(&plain);
        edit_end(&edit);
    }
}

// One width for all stays under the model's own name.
static void test_same_width_for_all(void) {
    struct made m;
    struct edit edit;
    char path[OS_PATH_BYTES];
    struct wl_err err = {0};
    if (!synth_varied(&m, "--arch llama --type f16", MADE_F32)) {
        return;
    }
    for (size_t i = 0; i < LAYERS; i++) {
        zero_columns(&m, i, "ffn_down.weight", 1, 2, FF);
    }
    CHECK(made_write(&m, test_path(path, folder, "zeroed.gguf")));
    if (edit_begin(&edit, path)) {
        uint32_t *even = keep(&edit, FF, sizeof *even);
        for (uint32_t i = 0; i < FF; i++) {
            even[i] = 2 * i;
        }
        for (size_t i = 0; i < LAYERS; i++) {
            cut_ff(&edit, i, even, FF / 2);
        }
        CHECK_OK(
            compress_target_set_u32(edit.change.target, "llama.feed_forward_length", FF / 2, &err),
            err);
        change_write(&edit.change, made);
        CHECK(compare_logits(path, made, TEST_FLOAT) <= FLOAT_NOISE);
        edit_end(&edit);
    }
}

// ---- what is written ----

static void test_keys(void) {
    struct edit edit;
    struct gguf_file file;
    struct wl_err err = {0};
    char text[64] = "";
    synth("--arch qwen2 --type q8_0");
    if (!edit_begin(&edit, base)) {
        return;
    }
    edit_write(&edit);
    edit_end(&edit);
    CHECK_OK(gguf_file_open(&file, made, &err), err);
    CHECK(gguf_file_string(&file, "general.architecture", text, sizeof text));
    CHECK(strcmp(text, "deci") == 0);
    CHECK(gguf_file_string(&file, "wattlaw.relabelled_from", text, sizeof text));
    CHECK(strcmp(text, "qwen2") == 0);
    CHECK(!gguf_file_find(&file, "qwen2.block_count"));
    CHECK(gguf_file_find(&file, "deci.rope.freq_base") != NULL);
    CHECK(gguf_file_uint(&file, "deci.attention.key_length", 0, 0) == HEAD);
    const struct gguf_kv *kv = gguf_file_find(&file, "deci.attention.head_count_kv");
    CHECK(kv && kv->is_array && kv->n == LAYERS);
    CHECK(gguf_file_uint(&file, "deci.attention.head_count_kv", LAYERS - 1, 0) == KV_HEADS);
    CHECK(gguf_file_uint(&file, "deci.attention.head_count", 0, 0) == HEADS);
    CHECK(gguf_file_uint(&file, "deci.feed_forward_length", 1, 0) == FF);
    gguf_file_close(&file);
}

// Nothing is added and nothing lost: an output matrix that is the embedding stays it, and the
// factors of the rotation stay, without which long texts go wrong.
static void check_tables(const char *rest, bool has_factors, uint64_t n_joined) {
    struct made m;
    struct edit edit;
    struct gguf_file file;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    if (!synth_varied(&m, rest, MADE_AS_IS)) {
        return;
    }
    if (has_factors) {
        *made_add(&m, "rope_freqs.weight", HEAD / 2, 1, 4, 0) = 1; // 4 for all would be a scale
    }
    CHECK(made_write(&m, test_path(path, folder, "tables.gguf")));
    if (!edit_begin(&edit, path)) {
        return;
    }
    edit_write(&edit);
    CHECK_OK(gguf_file_open(&file, made, &err), err);
    const struct gguf_tensor *a = tensor_of(&edit.change.source, "rope_freqs.weight");
    const struct gguf_tensor *b = tensor_of(&file, "rope_freqs.weight");
    CHECK(!a == !has_factors && !b == !has_factors);
    CHECK(!a || !b ||
          (a->n_bytes == b->n_bytes &&
           memcmp(bytes_of(&edit.change.source, a), bytes_of(&file, b), a->n_bytes) == 0));
    CHECK(!tensor_of(&edit.change.source, "output.weight") && !tensor_of(&file, "output.weight"));
    CHECK(file.n_tensors + n_joined == edit.change.source.n_tensors);
    gguf_file_close(&file);
    CHECK(compare_logits(path, made, TEST_DEFAULT) == 0);
    edit_end(&edit);
}

static void test_tables(void) {
    check_tables("--arch llama --type f16 --tied", true, 0);
    check_tables("--arch qwen3 --type f16 --tied", false, UINT64_C(2) * LAYERS);
}

// New row 2i is old row i, 2i + 1 is old row i + half, in every head.
static void test_interleaved_rows(void) {
    struct edit edit;
    struct gguf_file file;
    struct wl_err err = {0};
    synth("--arch qwen2 --type q8_0");
    if (!edit_begin(&edit, base)) {
        return;
    }
    edit_write(&edit);
    CHECK_OK(gguf_file_open(&file, made, &err), err);
    const struct gguf_tensor *a = tensor_of(&edit.change.source, "blk.2.attn_k.weight");
    const struct gguf_tensor *b = tensor_of(&file, "blk.2.attn_k.weight");
    const char *old = (const char *)edit.change.source.map + edit.change.source.data_offset;
    const char *data = (const char *)file.map + file.data_offset;
    size_t row_bytes = (size_t)(a->n_bytes / a->ne[1]);
    CHECK(a->type == b->type && a->ne[1] == b->ne[1]);
    size_t n_right = 0;
    for (size_t i = 0; i < KV_HEADS * HEAD; i++) {
        size_t inside = i % HEAD;
        size_t from = i - inside + inside / 2 + (inside % 2 ? HEAD / 2 : 0);
        n_right += memcmp(data + b->offset + i * row_bytes, old + a->offset + from * row_bytes,
                          row_bytes) == 0;
    }
    CHECK(n_right == KV_HEADS * HEAD);
    gguf_file_close(&file);
    edit_end(&edit);
}

// ---- refusals ----

static void check_no_other(const char *rest, const char *word) {
    struct change change;
    const char *arch = NULL;
    struct wl_err err = {0};
    synth(rest);
    if (change_begin(&change, base)) {
        CHECK(relabel_find(&change.source, &arch, &err) == WL_UNSUPPORTED);
        CHECK(message_has(&err, word));
        CHECK(message_has(&err, "give all layers the same sizes"));
        change_end(&change);
    }
}

static void test_no_other_name(void) {
    check_no_other("--arch qwen2vl --type f16", "qwen2vl");
    check_no_other("--arch gemma3 --type f16 --tied", "gemma3");
    check_no_other("--arch qwen3 --type f16", "output.weight");
    check_no_other("--arch qwen3 --tied --type q4_k_m", "one matrix");
}

// Files with something that the other name would lose.
static void check_lost(const char *what, void (*change_made)(struct made *), const char *word) {
    struct made m;
    struct change change;
    const char *arch = NULL;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    if (!synth_varied(&m, what, MADE_AS_IS)) {
        return;
    }
    change_made(&m);
    CHECK(made_write(&m, test_path(path, folder, "lost.gguf")));
    if (change_begin(&change, path)) {
        CHECK(relabel_find(&change.source, &arch, &err) == WL_UNSUPPORTED);
        CHECK(message_has(&err, word));
        change_end(&change);
    }
}

static void add_experts(struct made *m) {
    gguf_set_val_u32(m->keys, "llama.expert_count", 8);
}

static void add_pooling(struct made *m) {
    gguf_set_val_u32(m->keys, "qwen3.pooling_type", 3);
}

static void guess_ahead(struct made *m) {
    gguf_set_val_u32(m->keys, "llama.nextn_predict_layers", 1);
}

static void see_what_follows(struct made *m) {
    gguf_set_val_bool(m->keys, "llama.attention.causal", false);
}

static void add_tensor(struct made *m) {
    made_add(m, "blk.1.attn_gate.weight", EMBD, HEADS, 0, 1);
}

static void add_bias(struct made *m) {
    made_add(m, "blk.0.attn_q.bias", EMBD, 1, 0, 1);
}

static void other_rotation(struct made *m) {
    gguf_set_val_u32(m->keys, "llama.rope.dimension_count", HEAD / 2);
}

static void test_lost(void) {
    check_lost("--arch llama --type q8_0", add_experts, "llama.expert_count");
    check_lost("--arch llama --type q8_0", guess_ahead, "llama.nextn_predict_layers");
    check_lost("--arch llama --type q8_0", see_what_follows, "llama.attention.causal");
    check_lost("--arch llama --type q8_0", other_rotation, "llama.rope.dimension_count");
    check_lost("--arch llama --type q8_0", add_tensor, "blk.1.attn_gate.weight");
    check_lost("--arch qwen3 --tied --type q8_0", add_pooling, "qwen3.pooling_type");
    check_lost("--arch qwen3 --tied --type q8_0", add_bias, "blk.0.attn_q.bias");
}

struct wrong {
    size_t layer;
    struct relabel_layer size;
    const char *word;
};

static void check_wrong(const struct wrong *wrong) {
    struct edit edit;
    struct wl_err err = {0};
    if (edit_begin(&edit, base)) {
        edit.layers[wrong->layer] = wrong->size;
        CHECK(relabel_apply(edit.change.target, edit.layers, edit.n_layers, &edit.notes, &err) ==
              WL_INPUT);
        CHECK(message_has(&err, wrong->word));
        edit_end(&edit);
    }
}

static void test_traps(void) {
    static const struct wrong DECI[] = {
        {0, {0, 0, FF}, "first layer"},
        {0, {HEADS, 0, FF}, "first layer"},
        {1, {HEADS, KV_HEADS, 0}, "leaves out its attention"},
        {1, {0, 0, 0}, "nothing of it is left"},
        {1, {0, KV_HEADS, FF}, "no query heads"},
        {1, {3, 2, FF}, "share 2 KV heads equally"},
        {1, {HEADS, KV_HEADS, UINT32_MAX}, "size is above"},
        {1, {HEADS, KV_HEADS, 256}, "'blk.1.ffn_gate.weight' has 256 columns and 512 rows"},
        {2, {HEADS, 1, FF}, "'blk.2.attn_k.weight'"},
    };
    static const struct wrong OPENELM[] = {
        {1, {0, 0, FF}, "attention in every layer"},
        {1, {HEADS, 0, FF}, "attention in every layer"},
    };
    synth("--arch llama --type q8_0");
    for (size_t i = 0; i < sizeof DECI / sizeof *DECI; i++) {
        check_wrong(&DECI[i]);
    }
    synth("--arch qwen3 --type q8_0 --tied");
    for (size_t i = 0; i < sizeof OPENELM / sizeof *OPENELM; i++) {
        check_wrong(&OPENELM[i]);
    }
}

static void check_apply_fails(struct edit *edit, const char *word) {
    struct wl_err err = {0};
    CHECK(relabel_apply(edit->change.target, edit->layers, edit->n_layers, &edit->notes, &err) ==
          WL_INPUT);
    CHECK(message_has(&err, word));
    edit_end(edit);
}

static void test_tensors_that_do_not_fit(void) {
    struct edit edit;
    struct wl_err err = {0};
    static const float VALUES[EMBD];
    synth("--arch llama --type q8_0");
    if (edit_begin(&edit, base)) {
        CHECK_OK(compress_target_drop(edit.change.target, "blk.1.ffn_up.weight", &err), err);
        check_apply_fails(&edit, "'blk.1.ffn_up.weight' is missing");
    }
    if (edit_begin(&edit, base)) {
        edit.n_layers = 2;
        check_apply_fails(&edit, "2 layers with a tensor 'blk.2.");
    }
    if (edit_begin(&edit, base)) {
        edit.n_layers = 0;
        check_apply_fails(&edit, "0 layers");
    }
    if (edit_begin(&edit, base)) {
        CHECK_OK(compress_target_put_vector(edit.change.target, "blk.1.extra.weight", VALUES, EMBD,
                                            &err),
                 err);
        check_apply_fails(&edit, "'blk.1.extra.weight'");
    }
    if (edit_begin(&edit, base)) {
        CHECK_OK(compress_target_put_vector(edit.change.target, "blk.1.ffn_down.bias", VALUES,
                                            EMBD - 1, &err),
                 err);
        check_apply_fails(&edit, "255 columns");
    }
}

// A list of the old number of layers would not load.
static void test_stale_list(void) {
    struct made m;
    struct edit edit;
    char path[OS_PATH_BYTES];
    static const uint32_t VALUES[LAYERS];
    if (!synth_varied(&m, "--arch llama --type q8_0", MADE_AS_IS)) {
        return;
    }
    gguf_set_arr_data(m.keys, "llama.swiglu_clamp", GGUF_TYPE_UINT32, VALUES, LAYERS);
    CHECK(made_write(&m, test_path(path, folder, "listed.gguf")));
    if (edit_begin(&edit, path)) {
        drop_layer(edit.change.target, &edit.change.source);
        edit.n_layers = 2;
        check_apply_fails(&edit, "'deci.swiglu_clamp' still has a value for each of 3 layers");
    }
}

int main(void) {
    const char *program = getenv("WATTLAW");
    if (!program || access(program, X_OK) != 0) {
        printf("skipped: $WATTLAW, which makes the models, is no program\n");
        return TEST_SKIPPED;
    }
    need_backends();
    test_folder(folder);
    test_path(base, folder, "base.gguf");
    test_path(made, folder, "made.gguf");
    test_same();
    test_trained_same();
    test_cut();
    test_no_attention();
    test_fewer_layers();
    test_same_width_for_all();
    test_keys();
    test_tables();
    test_interleaved_rows();
    test_no_other_name();
    test_lost();
    test_traps();
    test_tensors_that_do_not_fit();
    test_stale_list();
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
