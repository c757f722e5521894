// Tensors that are made while the file is written lie in it as if they had been there before, in
// pieces of about a megabyte; what fails in the middle leaves no file.
#include "compressor/target.h"

#include "target_test.h"

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES], plain[OS_PATH_BYTES], lazy[OS_PATH_BYTES];
static const char MODEL[] = "--arch qwen2 --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                            "--vocab 512 --type q8_0";

struct maker {
    const float *values;
    size_t n_columns;
    size_t n_calls;
    uint64_t most_rows;
    uint64_t fails_at; // this row cannot be made
    enum wl_status status;
};

static enum wl_status make_rows(void *context, uint64_t first_row, uint64_t n_rows, void *out,
                                struct wl_err *err) {
    struct maker *m = context;
    m->n_calls++;
    m->most_rows = n_rows > m->most_rows ? n_rows : m->most_rows;
    if (first_row + n_rows > m->fails_at) {
        return wl_err_set(err, m->status, "row %d is not there", (int)m->fails_at);
    }
    memcpy(out, m->values + first_row * m->n_columns, n_rows * m->n_columns * sizeof(float));
    return WL_OK;
}

static float *make_values(size_t n) {
    float *values = malloc(n * sizeof *values);
    for (size_t i = 0; i < n && values; i++) {
        values[i] = (float)i;
    }
    return values;
}

static bool is_same_file(const char *a, const char *b) {
    struct gguf_file x = {0}, y = {0};
    struct wl_err err = {0};
    bool is_same = gguf_file_open(&x, a, &err) == WL_OK && gguf_file_open(&y, b, &err) == WL_OK &&
                   x.file_bytes == y.file_bytes && memcmp(x.map, y.map, x.file_bytes) == 0;
    gguf_file_close(&x);
    gguf_file_close(&y);
    return is_same;
}

enum how { HOW_WHOLE, HOW_ROWS, HOW_INTERLEAVED };

// The same tensor, once with its bytes at hand and once made.
static void check_same(const char *name, size_t n_columns, size_t n_rows, enum how how) {
    static const uint32_t ROWS[] = {5, 6, 7, 3, 3, 0};
    float *values = make_values(n_columns * n_rows);
    struct maker maker = {.values = values, .n_columns = n_columns, .fails_at = UINT64_MAX};
    struct change change;
    struct wl_err err = {0};
    for (int is_lazy = 0; is_lazy < 2 && change_begin(&change, base); is_lazy++) {
        struct compress_target *t = change.target;
        CHECK_OK(is_lazy
                     ? compress_target_put_lazy(t, name, GGML_TYPE_F32, n_columns, n_rows,
                                                make_rows, &maker, &err)
                     : compress_target_put(t, name, GGML_TYPE_F32, n_columns, n_rows, values, &err),
                 err);
        if (how == HOW_ROWS) {
            CHECK_OK(compress_target_rows(t, name, ROWS, 6, &err), err);
        } else if (how == HOW_INTERLEAVED) {
            CHECK_OK(compress_target_interleave(t, name, 4, &err), err);
        }
        change_write(&change, is_lazy ? lazy : plain);
        change_end(&change);
    }
    CHECK(is_same_file(plain, lazy));
    size_t in_a_megabyte = (1 << 20) / (n_columns * sizeof(float));
    CHECK(maker.most_rows <= (in_a_megabyte ? in_a_megabyte : 1));
    CHECK(how != HOW_WHOLE || maker.n_calls <= 2 + n_columns * n_rows * sizeof(float) / 500000);
    CHECK(how != HOW_ROWS || maker.n_calls == 4); // 5 6 7, 3, 3, 0
    free(values);
}

static void test_same_as_put(void) {
    check_same("blk.0.ffn_up.weight", 64, 256, HOW_WHOLE);
    check_same("blk.0.ffn_up.weight", 64, 8, HOW_ROWS);
    check_same("blk.0.ffn_up.weight", 64, 8, HOW_INTERLEAVED);
    check_same("added.weight", 3000, 400, HOW_WHOLE); // some megabytes
    check_same("added.weight", 300000, 3, HOW_WHOLE); // rows longer than one
    check_same("added.weight", 262144, 2, HOW_WHOLE); // exactly one
}

static void test_joined(void) {
    static const char *const NAMES[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight"};
    float *values = make_values((size_t)64 * 96);
    struct maker q = {.values = values, .n_columns = 64, .fails_at = UINT64_MAX}, k = q;
    k.values = values + (size_t)64 * 64;
    struct change change;
    struct wl_err err = {0};
    struct gguf_file file = {0};
    if (change_begin(&change, base)) {
        CHECK_OK(compress_target_put_lazy(change.target, NAMES[0], GGML_TYPE_F32, 64, 64, make_rows,
                                          &q, &err),
                 err);
        CHECK_OK(compress_target_put_lazy(change.target, NAMES[1], GGML_TYPE_F32, 64, 32, make_rows,
                                          &k, &err),
                 err);
        CHECK_OK(compress_target_join(change.target, NAMES, 2, "joined.weight", &err), err);
        change_write(&change, lazy);
        change_end(&change);
        CHECK_OK(gguf_file_open(&file, lazy, &err), err);
        const struct gguf_tensor *joined = tensor_of(&file, "joined.weight");
        CHECK(joined && joined->ne[1] == 96 &&
              memcmp(bytes_of(&file, joined), values, 64 * 96 * sizeof *values) == 0);
        gguf_file_close(&file);
    }
    free(values);
}

// Put again with bytes, or left out, it is not made.
static void test_taken_back(void) {
    float *values = make_values((size_t)64 * 256);
    struct maker maker = {.values = values, .n_columns = 64, .status = WL_FAILED};
    struct change change;
    struct wl_err err = {0};
    if (change_begin(&change, base)) {
        struct compress_target *t = change.target;
        CHECK_OK(compress_target_put_lazy(t, "blk.0.ffn_up.weight", GGML_TYPE_F32, 64, 256,
                                          make_rows, &maker, &err),
                 err);
        CHECK_OK(
            compress_target_put(t, "blk.0.ffn_up.weight", GGML_TYPE_F32, 64, 256, values, &err),
            err);
        CHECK_OK(compress_target_put_lazy(t, "added.weight", GGML_TYPE_F32, 64, 256, make_rows,
                                          &maker, &err),
                 err);
        CHECK_OK(compress_target_drop(t, "added.weight", &err), err);
        CHECK(compress_target_put_lazy(t, "blk.0.ffn_up.weight", GGML_TYPE_Q4_K, 64, 256, make_rows,
                                       &maker, &err) == WL_INPUT);
        CHECK(message_has(&err, "multiple of 256"));
        change_write(&change, lazy);
        CHECK(maker.n_calls == 0);
        change_end(&change);
    }
    free(values);
}

static void check_failure(enum wl_status status, const char *word) {
    float *values = make_values((size_t)3000 * 400);
    struct maker maker = {.values = values, .n_columns = 3000, .fails_at = 200, .status = status};
    struct change change;
    struct wl_err err = {0};
    bool is_done = true;
    unlink(lazy);
    if (change_begin(&change, base)) {
        CHECK_OK(compress_target_put_lazy(change.target, "added.weight", GGML_TYPE_F32, 3000, 400,
                                          make_rows, &maker, &err),
                 err);
        CHECK(compress_target_write(change.target, lazy, NULL, NULL, &is_done, &err) == status);
        CHECK(!is_done && !os_exists(lazy) && message_has(&err, word));
        CHECK(message_has(&err, "row 200 is not there"));
        change_end(&change);
    }
    free(values);
}

int main(void) {
    log_capture();
    test_folder(folder);
    test_path(base, folder, "base.gguf");
    test_path(plain, folder, "plain.gguf");
    test_path(lazy, folder, "lazy.gguf");
    if (!made_synth(MODEL, base)) {
        printf("skipped: no `wattlaw synth` to make a model with\n");
        test_folder_remove(folder);
        return TEST_SKIPPED;
    }
    test_same_as_put();
    test_joined();
    test_taken_back();
    check_failure(WL_FAILED, "cannot write");
    check_failure(WL_INTERRUPTED, "row 200");
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
