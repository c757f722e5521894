// A changed GGUF file holds what was asked for and nothing else changes; a wrong request gives one
// clear error.
#include "compressor/target.h"

#include "target_test.h"

enum { EMBD = 64, FF = 256 };

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES], made[OS_PATH_BYTES];
static const char MODEL[] = "--arch qwen2 --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                            "--vocab 512 --type q8_0";

// ---- reading back ----

// ggml's own reader takes less than ours: it wants tensors one behind the other.
static bool read_back(struct gguf_file *file) {
    struct wl_err err = {0};
    struct gguf_init_params params = {.no_alloc = true};
    struct gguf_context *stock = gguf_init_from_file(made, params);
    CHECK(stock != NULL);
    gguf_free(stock);
    CHECK_OK(gguf_file_open(file, made, &err), err);
    return stock && file->map;
}

static bool write_and_read(struct change *change, struct gguf_file *file) {
    change_write(change, made);
    return read_back(file);
}

static void check_kv_same(const struct gguf_kv *a, const struct gguf_kv *b) {
    CHECK(a->key_len == b->key_len && memcmp(a->key, b->key, a->key_len) == 0);
    CHECK(a->type == b->type && a->is_array == b->is_array && a->n == b->n);
}

static void check_tensor_same(const struct gguf_file *a, const struct gguf_file *b,
                              const char *name) {
    const struct gguf_tensor *x = tensor_of(a, name);
    const struct gguf_tensor *y = tensor_of(b, name);
    CHECK(x && y && x->type == y->type && x->n_dims == y->n_dims);
    CHECK(x && y && memcmp(x->ne, y->ne, sizeof x->ne) == 0 && x->n_bytes == y->n_bytes &&
          memcmp(bytes_of(a, x), bytes_of(b, y), x->n_bytes) == 0);
}

// ---- copies ----

static void check_copy(const char *path) {
    struct change change;
    struct gguf_file file;
    if (!change_begin(&change, path)) {
        return;
    }
    if (write_and_read(&change, &file)) {
        CHECK(file.n_kv == change.source.n_kv && file.n_tensors == change.source.n_tensors);
        for (uint64_t i = 0; i < file.n_kv; i++) {
            check_kv_same(&change.source.kvs[i], &file.kvs[i]);
        }
        for (uint64_t i = 0; i < file.n_tensors; i++) {
            check_tensor_same(&change.source, &file, file.tensors[i].name);
        }
        // The same tables in the same order have the same bytes: the values of the keys, too.
        CHECK(file.data_offset == change.source.data_offset);
        CHECK(memcmp((const char *)file.map + 8, (const char *)change.source.map + 8,
                     file.data_offset - 8) == 0);
    }
    gguf_file_close(&file);
    change_end(&change);
}

static void test_copies(void) {
    char path[OS_PATH_BYTES];
    const char *dir = getenv("WATTLAW_TEST_MODELS");
    check_copy(base);
    if (os_exists(test_path(path, source_dir(), "models/builtin/builtin.gguf"))) {
        check_copy(path);
    } else {
        printf("no models/builtin/builtin.gguf: left out\n");
    }
    if (dir && os_exists(test_path(path, dir, "stories260k-f32.gguf"))) {
        check_copy(path);
    } else {
        printf("no stories260k-f32.gguf in $WATTLAW_TEST_MODELS: left out\n");
    }
}

static void test_onto_itself(void) {
    struct change change;
    struct wl_err err = {0};
    struct gguf_file file;
    if (change_begin(&change, base)) {
        change_write(&change, made);
        change_end(&change);
    }
    if (change_begin(&change, made)) {
        CHECK_OK(compress_target_drop(change.target, "blk.1.ffn_up.weight", &err), err);
        if (write_and_read(&change, &file)) {
            CHECK(!tensor_of(&file, "blk.1.ffn_up.weight"));
            check_tensor_same(&change.source, &file, "blk.1.ffn_down.weight");
        }
        gguf_file_close(&file);
        change_end(&change);
    }
}

// ---- keys ----

static void test_keys(void) {
    struct change change;
    struct gguf_file file;
    struct wl_err err = {0};
    char text[64];
    static const uint32_t SIZES[] = {7, 8, 9};
    if (!change_begin(&change, base)) {
        return;
    }
    struct compress_target *t = change.target;
    CHECK_OK(compress_target_set_u32(t, "new.number", 3, &err), err);
    CHECK_OK(compress_target_set_u32(t, "new.number", 4, &err), err);
    CHECK_OK(compress_target_set_u32s(t, "qwen2.feed_forward_length", SIZES, 3, &err), err);
    CHECK_OK(compress_target_set_f32(t, "new.float", 0.25F, &err), err);
    CHECK_OK(compress_target_set_string(t, "general.name", "another", &err), err);
    CHECK_OK(compress_target_set_string(t, "new.empty", "", &err), err);
    CHECK_OK(compress_target_remove(t, "wattlaw.synth.seed", &err), err);
    CHECK_OK(compress_target_remove(t, "absent", &err), err);
    if (write_and_read(&change, &file)) {
        const struct gguf_kv *f = gguf_file_find(&file, "new.float");
        CHECK(gguf_file_uint(&file, "new.number", 0, 0) == 4);
        CHECK(gguf_file_uint(&file, "qwen2.feed_forward_length", 2, 0) == 9);
        CHECK(f && f->type == GGUF_TYPE_FLOAT32 && memcmp(f->data, &(float){0.25F}, 4) == 0);
        CHECK(gguf_file_string(&file, "general.name", text, sizeof text) &&
              strcmp(text, "another") == 0);
        CHECK(gguf_file_string(&file, "new.empty", text, sizeof text) && !*text);
        CHECK(!gguf_file_find(&file, "wattlaw.synth.seed"));
        CHECK(file.n_kv == change.source.n_kv + 2);
    }
    gguf_file_close(&file);
    change_end(&change);
}

static void test_other_architecture(void) {
    struct change change;
    struct gguf_file file;
    struct wl_err err = {0};
    char text[64];
    if (!change_begin(&change, base)) {
        return;
    }
    CHECK_OK(compress_target_set_arch(change.target, "other", &err), err);
    CHECK_OK(compress_target_set_u32(change.target, "other.block_count", 77, &err), err);
    if (write_and_read(&change, &file)) {
        CHECK(gguf_file_string(&file, "general.architecture", text, sizeof text) &&
              strcmp(text, "other") == 0);
        CHECK(gguf_file_uint(&file, "other.block_count", 0, 0) == 77);
        CHECK(gguf_file_uint(&file, "other.embedding_length", 0, 0) == EMBD);
        CHECK(!gguf_file_find(&file, "qwen2.embedding_length"));
        CHECK(file.n_kv == change.source.n_kv);
    }
    gguf_file_close(&file);
    change_end(&change);
    if (change_begin(&change, base)) {
        CHECK_OK(compress_target_set_u32(change.target, "other.block_count", 1, &err), err);
        CHECK(compress_target_set_arch(change.target, "other", &err) == WL_INPUT);
        CHECK(message_has(&err, "'other.block_count' already"));
        CHECK(compress_target_set_arch(change.target, "a.b", &err) == WL_INPUT);
        CHECK(compress_target_set_arch(change.target, "", &err) == WL_INPUT);
        CHECK_OK(compress_target_set_arch(change.target, "qwen2", &err), err); // its own
        CHECK_OK(compress_target_remove(change.target, "general.architecture", &err), err);
        CHECK(compress_target_set_arch(change.target, "other", &err) == WL_INPUT);
        CHECK(message_has(&err, "does not say its architecture"));
        change_end(&change);
    }
}

// The text of element `i` of an array of strings.
static size_t string_at(const struct gguf_kv *kv, uint64_t i, const char **text) {
    const unsigned char *data = kv->data;
    for (;;) {
        size_t len = (size_t)data[0] | (size_t)data[1] << 8;
        if (i-- == 0) {
            *text = (const char *)data + 8;
            return len;
        }
        data += 8 + len;
    }
}

static void test_picked(void) {
    struct change change;
    struct gguf_file file;
    struct wl_err err = {0};
    static const uint32_t KEPT[] = {300, 0, 1, 511, 0};
    static const uint32_t AGAIN[] = {3, 1};
    static const char TOKENS[] = "tokenizer.ggml.tokens";
    static const char TYPES[] = "tokenizer.ggml.token_type";
    if (!change_begin(&change, base)) {
        return;
    }
    CHECK_OK(compress_target_pick(change.target, TOKENS, KEPT, 5, &err), err);
    CHECK_OK(compress_target_pick(change.target, TYPES, KEPT, 5, &err), err);
    CHECK_OK(compress_target_pick(change.target, TYPES, AGAIN, 2, &err), err);
    CHECK_OK(compress_target_pick(change.target, "tokenizer.ggml.merges", NULL, 0, &err), err);
    if (write_and_read(&change, &file)) {
        const struct gguf_kv *a = gguf_file_find(&change.source, TOKENS);
        const struct gguf_kv *b = gguf_file_find(&file, TOKENS);
        CHECK(b && b->n == 5);
        for (uint64_t i = 0; i < 5; i++) {
            const char *x;
            const char *y;
            size_t len = string_at(a, KEPT[i], &x);
            CHECK(string_at(b, i, &y) == len && memcmp(x, y, len) == 0);
        }
        CHECK(gguf_file_find(&file, TYPES)->n == 2);
        CHECK(gguf_file_uint(&file, TYPES, 0, 99) == gguf_file_uint(&change.source, TYPES, 511, 1));
        CHECK(gguf_file_find(&file, "tokenizer.ggml.merges")->n == 0);
    }
    gguf_file_close(&file);
    change_end(&change);
}

static void test_wrong_keys(void) {
    struct change change;
    struct wl_err err = {0};
    static const uint32_t OUTSIDE[] = {0, 512};
    if (!change_begin(&change, base)) {
        return;
    }
    struct compress_target *t = change.target;
    char *name = malloc(70000);
    memset(name, 'k', 69999);
    name[69999] = '\0';
    CHECK(compress_target_set_u32(t, name, 1, &err) == WL_INPUT);
    CHECK(message_has(&err, "1 to 65535 bytes"));
    CHECK(compress_target_set_u32(t, "", 1, &err) == WL_INPUT);
    free(name);
    CHECK(compress_target_pick(t, "tokenizer.ggml.tokens", OUTSIDE, 2, &err) == WL_INPUT);
    CHECK(message_has(&err, "element 512 of the key 'tokenizer.ggml.tokens': it has 512"));
    CHECK(compress_target_pick(t, "absent", OUTSIDE, 1, &err) == WL_INPUT);
    CHECK(message_has(&err, "'absent': the file has none"));
    CHECK(compress_target_pick(t, "qwen2.block_count", OUTSIDE, 1, &err) == WL_INPUT);
    CHECK(message_has(&err, "not an array"));
    change_end(&change);
}

// ---- tensors ----

static void test_rows(void) {
    struct change change;
    struct gguf_file file;
    struct wl_err err = {0};
    static const uint32_t ROWS[] = {255, 3, 3, 0};
    static const uint32_t ELEMENTS[] = {63, 1};
    if (!change_begin(&change, base)) {
        return;
    }
    CHECK_OK(compress_target_rows(change.target, "blk.0.ffn_up.weight", ROWS, 4, &err), err);
    CHECK_OK(compress_target_rows(change.target, "blk.0.attn_q.bias", ELEMENTS, 2, &err), err);
    if (write_and_read(&change, &file)) {
        const struct gguf_tensor *a = tensor_of(&change.source, "blk.0.ffn_up.weight");
        const struct gguf_tensor *b = tensor_of(&file, "blk.0.ffn_up.weight");
        size_t row_bytes = a->n_bytes / a->ne[1];
        CHECK(b->type == GGML_TYPE_Q8_0 && b->ne[0] == EMBD && b->ne[1] == 4);
        for (size_t i = 0; i < 4; i++) {
            CHECK(memcmp(bytes_of(&file, b) + i * row_bytes,
                         bytes_of(&change.source, a) + ROWS[i] * row_bytes, row_bytes) == 0);
        }
        a = tensor_of(&change.source, "blk.0.attn_q.bias");
        b = tensor_of(&file, "blk.0.attn_q.bias");
        CHECK(b->n_dims == 1 && b->ne[0] == 2);
        CHECK(memcmp(bytes_of(&file, b), bytes_of(&change.source, a) + 4 * 63, 4) == 0);
        check_tensor_same(&change.source, &file, "blk.1.ffn_up.weight");
        check_tensor_same(&change.source, &file, "output_norm.weight");
    }
    gguf_file_close(&file);
    change_end(&change);
}

static void test_replaced(void) {
    struct change change;
    struct gguf_file file;
    struct wl_err err = {0};
    static float values[2 * EMBD];
    if (!change_begin(&change, base)) {
        return;
    }
    struct compress_target *t = change.target;
    for (int i = 0; i < 2 * EMBD; i++) {
        values[i] = (float)i;
    }
    CHECK_OK(compress_target_drop(t, "blk.0.ffn_up.weight", &err), err);
    CHECK_OK(compress_target_drop(t, "blk.0.ffn_gate.weight", &err), err);
    CHECK_OK(compress_target_put(t, "blk.0.ffn_gate.weight", GGML_TYPE_F32, EMBD, 2, values, &err),
             err);
    CHECK_OK(compress_target_put_vector(t, "added.bias", values, 5, &err), err);
    CHECK_OK(compress_target_put_vector(t, "added.bias", values, 6, &err), err);
    CHECK_OK(compress_target_rename(t, "output_norm.weight", "renamed.weight", &err), err);
    // Names may be exchanged.
    CHECK_OK(compress_target_rename(t, "blk.0.attn_q.bias", "blk.1.attn_q.bias", &err), err);
    CHECK_OK(compress_target_rename(t, "blk.1.attn_q.bias", "blk.0.attn_q.bias", &err), err);
    if (write_and_read(&change, &file)) {
        const struct gguf_tensor *gate = tensor_of(&file, "blk.0.ffn_gate.weight");
        const struct gguf_tensor *added = tensor_of(&file, "added.bias");
        CHECK(!tensor_of(&file, "blk.0.ffn_up.weight") && !tensor_of(&file, "output_norm.weight"));
        CHECK(gate && gate->type == GGML_TYPE_F32 && gate->ne[1] == 2 &&
              memcmp(bytes_of(&file, gate), values, sizeof values) == 0);
        CHECK(added == &file.tensors[file.n_tensors - 1] && added->n_dims == 1 &&
              added->ne[0] == 6 && memcmp(bytes_of(&file, added), values, 6 * 4) == 0);
        CHECK(memcmp(bytes_of(&file, tensor_of(&file, "blk.1.attn_q.bias")),
                     bytes_of(&change.source, tensor_of(&change.source, "blk.0.attn_q.bias")),
                     4 * EMBD) == 0);
        CHECK(tensor_of(&file, "renamed.weight") != NULL);
        CHECK(file.n_tensors == change.source.n_tensors);
    }
    gguf_file_close(&file);
    change_end(&change);
}

static void test_joined(void) {
    static const char *const NAMES[] = {"blk.0.attn_k.weight", "blk.0.attn_v.weight",
                                        "blk.0.attn_q.weight"};
    static const char *const UNLIKE[] = {"blk.1.ffn_up.weight", "blk.1.ffn_down.weight"};
    static const char *const TWICE[] = {"blk.1.ffn_up.weight", "blk.1.ffn_up.weight"};
    static const uint32_t ROWS[] = {5};
    struct change change;
    struct gguf_file file;
    struct wl_err err = {0};
    if (!change_begin(&change, base)) {
        return;
    }
    CHECK_OK(compress_target_rows(change.target, NAMES[1], ROWS, 1, &err), err);
    CHECK_OK(compress_target_join(change.target, NAMES, 3, "joined.weight", &err), err);
    CHECK(compress_target_put_vector(change.target, NAMES[1], NULL, 3, &err) == WL_INPUT);
    CHECK(compress_target_drop(change.target, NAMES[1], &err) == WL_INPUT);
    CHECK(message_has(&err, "joined to another"));
    if (write_and_read(&change, &file)) {
        const struct gguf_tensor *joined = tensor_of(&file, "joined.weight");
        const struct gguf_tensor *q = tensor_of(&change.source, NAMES[2]);
        const struct gguf_tensor *v = tensor_of(&change.source, NAMES[1]);
        size_t row = q->n_bytes / q->ne[1];
        CHECK(joined && joined->ne[1] == EMBD / 2 + 1 + EMBD);
        const char *data = bytes_of(&file, joined);
        CHECK(memcmp(data + EMBD / 2 * row, bytes_of(&change.source, v) + 5 * row, row) == 0);
        CHECK(memcmp(data + (EMBD / 2 + 1) * row, bytes_of(&change.source, q), q->n_bytes) == 0);
        CHECK(file.n_tensors == change.source.n_tensors - 2);
    }
    gguf_file_close(&file);
    CHECK(compress_target_join(change.target, UNLIKE, 2, "x", &err) == WL_INPUT);
    CHECK(message_has(&err, "must be alike"));
    CHECK(compress_target_join(change.target, TWICE, 2, "x", &err) == WL_INPUT);
    CHECK(message_has(&err, "twice"));
    change_end(&change);
}

static void test_wrong_tensors(void) {
    static const uint32_t OUTSIDE[] = {0, FF};
    static const float VALUES[EMBD];
    static const char UP[] = "blk.0.ffn_up.weight";
    static const char LONG[] = "a.name.of.a.tensor.that.is.longer.than.the.63.bytes.ggml.allows.it";
    struct change change;
    struct wl_err err = {0};
    if (!change_begin(&change, base)) {
        return;
    }
    struct compress_target *t = change.target;
    CHECK(compress_target_drop(t, "absent", &err) == WL_INPUT);
    CHECK(message_has(&err, "no tensor 'absent'"));
    CHECK(compress_target_rename(t, "absent", "x", &err) == WL_INPUT);
    CHECK(compress_target_rename(t, UP, LONG, &err) == WL_LIMIT);
    CHECK(compress_target_rename(t, UP, "", &err) == WL_LIMIT);
    CHECK(compress_target_rows(t, "absent", OUTSIDE, 1, &err) == WL_INPUT);
    CHECK(compress_target_rows(t, UP, OUTSIDE, 2, &err) == WL_INPUT);
    CHECK(message_has(&err, "row 256 of 'blk.0.ffn_up.weight': it has 256 rows"));
    CHECK(compress_target_rows(t, UP, OUTSIDE, 0, &err) == WL_INPUT);
    CHECK(compress_target_put(t, UP, GGML_TYPE_Q8_0, 33, 1, VALUES, &err) == WL_INPUT);
    CHECK(message_has(&err, "multiple of 32"));
    CHECK(compress_target_put(t, UP, GGML_TYPE_F32, 0, 1, VALUES, &err) == WL_INPUT);
    CHECK(compress_target_put(t, UP, GGML_TYPE_F32, 1, 0, VALUES, &err) == WL_INPUT);
    CHECK(compress_target_put(t, UP, GGML_TYPE_COUNT, 1, 1, VALUES, &err) == WL_INPUT);
    CHECK(compress_target_put(t, UP, GGML_TYPE_F32, UINT64_MAX / 2, 1, VALUES, &err) == WL_LIMIT);
    CHECK(compress_target_put(t, UP, GGML_TYPE_F32, 1 << 20, UINT64_MAX >> 20, VALUES, &err) ==
          WL_LIMIT);
    CHECK(compress_target_put_vector(t, LONG, VALUES, EMBD, &err) == WL_LIMIT);
    CHECK(compress_target_interleave(t, UP, 3, &err) == WL_INPUT);
    CHECK(compress_target_interleave(t, UP, 0, &err) == WL_INPUT);
    CHECK(compress_target_interleave(t, UP, 1024, &err) == WL_INPUT);
    CHECK_OK(compress_target_drop(t, UP, &err), err);
    CHECK(compress_target_rows(t, UP, OUTSIDE, 1, &err) == WL_INPUT);
    CHECK(message_has(&err, "left out before"));
    change_end(&change);
}

static void test_three_dimensions(void) {
    struct made m;
    struct change change;
    struct wl_err err = {0};
    static const uint32_t ROW = 0;
    char path[OS_PATH_BYTES];
    if (!made_open(&m, base, MADE_AS_IS)) {
        CHECK(false);
        return;
    }
    ggml_set_name(ggml_new_tensor_3d(m.tensors, GGML_TYPE_F32, 4, 3, 2), "deep.weight");
    memset(ggml_get_tensor(m.tensors, "deep.weight")->data, 1, 4 * 3 * 2 * sizeof(float));
    CHECK(made_write(&m, test_path(path, folder, "deep.gguf")));
    check_copy(path);
    if (change_begin(&change, path)) {
        CHECK(compress_target_rows(change.target, "deep.weight", &ROW, 1, &err) == WL_INPUT);
        CHECK(message_has(&err, "3 dimensions"));
        change_end(&change);
    }
}

static void test_alignment(void) {
    struct change change;
    struct gguf_file file;
    struct wl_err err = {0};
    bool is_done = true;
    if (!change_begin(&change, base)) {
        return;
    }
    CHECK_OK(compress_target_set_u32(change.target, "general.alignment", 512, &err), err);
    if (write_and_read(&change, &file)) {
        CHECK(file.alignment == 512 && file.data_offset % 512 == 0);
        check_tensor_same(&change.source, &file, "blk.1.ffn_up.weight");
    }
    gguf_file_close(&file);
    CHECK_OK(compress_target_set_u32(change.target, "general.alignment", 48, &err), err);
    CHECK(compress_target_write(change.target, made, NULL, NULL, &is_done, &err) == WL_INPUT);
    CHECK(message_has(&err, "power of two") && !is_done);
    change_end(&change);
}

int main(void) {
    const char *program = getenv("WATTLAW");
    if (!program || access(program, X_OK) != 0) {
        printf("skipped: $WATTLAW, which makes the models, is no program\n");
        return TEST_SKIPPED;
    }
    test_folder(folder);
    test_path(made, folder, "made.gguf");
    CHECK(made_synth(MODEL, test_path(base, folder, "base.gguf")));
    test_copies();
    test_onto_itself();
    test_keys();
    test_other_architecture();
    test_picked();
    test_wrong_keys();
    test_rows();
    test_replaced();
    test_joined();
    test_wrong_tensors();
    test_three_dimensions();
    test_alignment();
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
