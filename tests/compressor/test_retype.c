// A model in other types: which tensor gets which, that another order of the neurons changes
// nothing but the rounding, that a budget is kept, and that nothing is written when it goes wrong.
#include "compressor/retype.h"

#include "compressor/retype_types.h"
#include "target_test.h"

enum { EMBD = 256, FF = 512, N_TEXT = 96 };

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES], made[OS_PATH_BYTES], other[OS_PATH_BYTES];
static const char MODEL[] = "--arch qwen2 --layers 2 --embd 256 --heads 4 --kv-heads 2 --ff 512 "
                            "--vocab 512 --type f32";

static int32_t tokens[N_TEXT];
static const uint32_t LENGTHS[] = {50, 40, 6};
static const struct compress_text TEXT = {
    .tokens = tokens, .lengths = LENGTHS, .n_sequences = 3, .n_tokens = N_TEXT};

static struct retype_options plain(enum ggml_type type) {
    return (struct retype_options){.type = type, .keeps_order = true, .scratch_dir = folder};
}

static enum wl_status run(const struct retype_options *options, const char *out,
                          struct retype_result *result, struct wl_err *err) {
    unlink(out);
    return retype_run(base, out, options, result, err);
}

static enum ggml_type type_in(const struct gguf_file *file, const char *name) {
    const struct gguf_tensor *tensor = tensor_of(file, name);
    CHECK(tensor != NULL);
    return tensor ? tensor->type : GGML_TYPE_COUNT;
}

// Neurons of very different size, as trained models have them.
static bool make_uneven(const char *path) {
    struct made m;
    if (!made_synth(MODEL, path) || !made_open(&m, path, MADE_F32)) {
        return false;
    }
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.ffn_up.weight", layer);
        float *up = ggml_get_tensor(m.tensors, name)->data;
        for (int i = 0; i < FF; i++) {
            float scale = (float)exp(1.5 * rng_normal(&m.rng));
            for (int j = 0; j < EMBD; j++) {
                up[i * EMBD + j] *= scale;
            }
        }
    }
    return made_write(&m, path);
}

// ---- one type ----

static void check_types(const struct gguf_file *file, enum ggml_type matrices,
                        enum ggml_type embedding) {
    static const char *const MATRICES[] = {"blk.0.attn_q.weight",      "blk.1.attn_v.weight",
                                           "blk.0.attn_output.weight", "blk.1.ffn_gate.weight",
                                           "blk.1.ffn_up.weight",      "blk.0.ffn_down.weight"};
    for (size_t i = 0; i < sizeof MATRICES / sizeof MATRICES[0]; i++) {
        CHECK(type_in(file, MATRICES[i]) == matrices);
    }
    CHECK(type_in(file, "token_embd.weight") == embedding);
    CHECK(type_in(file, "output_norm.weight") == GGML_TYPE_F32);
    CHECK(type_in(file, "blk.0.attn_q.bias") == GGML_TYPE_F32);
}

static void check_one_type(enum ggml_type type, enum ggml_type embedding, uint64_t file_type,
                           double max_off) {
    struct retype_options options = plain(type);
    struct retype_result result;
    struct gguf_file file;
    struct wl_err err = {0};
    uint64_t n_bytes = 0;
    CHECK_OK(run(&options, made, &result, &err), err);
    CHECK_OK(gguf_file_open(&file, made, &err), err);
    check_types(&file, type, embedding);
    CHECK(gguf_file_uint(&file, "general.file_type", 0, 99) == file_type);
    CHECK(gguf_file_uint(&file, "general.quantization_version", 0, 0) == GGML_QNT_VERSION ||
          !ggml_is_quantized(type));
    CHECK_OK(os_file_size(made, &n_bytes, &err), err);
    CHECK(n_bytes == result.out_bytes && result.in_bytes > result.out_bytes);
    CHECK(result.error > 0 && result.error < max_off && isnan(result.error_in_order));
    CHECK(result.n_tensors >= 15 && result.tensors[0].error > 0);
    gguf_file_close(&file);
    CHECK(compare_logits(base, made, TEST_FLOAT) < sqrt(max_off) * 4);
    retype_result_release(&result);
}

static void test_one_type(void) {
    check_one_type(GGML_TYPE_F16, GGML_TYPE_F16, 1, 1e-6);
    check_one_type(GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, 7, 1e-4);
    check_one_type(GGML_TYPE_Q6_K, GGML_TYPE_Q6_K, 18, 1e-3);
    check_one_type(GGML_TYPE_Q4_K, GGML_TYPE_Q6_K, 14, 1e-2);
    check_one_type(GGML_TYPE_Q4_0, GGML_TYPE_Q6_K, 2, 2e-2);
}

// Without moments the bytes are ggml's own.
static void test_bytes(void) {
    struct retype_options options = plain(GGML_TYPE_Q4_K);
    struct retype_result result;
    struct gguf_file a, b;
    struct wl_err err = {0};
    CHECK_OK(run(&options, made, &result, &err), err);
    CHECK_OK(gguf_file_open(&a, base, &err), err);
    CHECK_OK(gguf_file_open(&b, made, &err), err);
    const struct gguf_tensor *from = tensor_of(&a, "blk.1.ffn_down.weight");
    const struct gguf_tensor *to = tensor_of(&b, "blk.1.ffn_down.weight");
    void *expected = malloc(to->n_bytes);
    ggml_quantize_chunk(GGML_TYPE_Q4_K, (const float *)(const void *)bytes_of(&a, from), expected,
                        0, EMBD, FF, NULL);
    CHECK(memcmp(expected, bytes_of(&b, to), to->n_bytes) == 0);
    free(expected);
    gguf_file_close(&a);
    gguf_file_close(&b);
    retype_result_release(&result);
}

// What has fewer bits already stays as it is, byte by byte.
static void test_kept(void) {
    struct retype_options down = plain(GGML_TYPE_Q6_K), up = plain(GGML_TYPE_Q8_0);
    struct retype_result result;
    struct gguf_file a, b;
    struct wl_err err = {0};
    CHECK_OK(run(&down, made, &result, &err), err);
    retype_result_release(&result);
    CHECK_OK(retype_run(made, other, &up, &result, &err), err);
    CHECK(result.n_tensors == 0 && result.error == 0);
    retype_result_release(&result);
    CHECK_OK(gguf_file_open(&a, made, &err), err);
    CHECK_OK(gguf_file_open(&b, other, &err), err);
    CHECK(a.n_tensors == b.n_tensors);
    for (uint64_t i = 0; i < a.n_tensors; i++) {
        CHECK(a.tensors[i].type == b.tensors[i].type &&
              memcmp(bytes_of(&a, &a.tensors[i]), bytes_of(&b, &b.tensors[i]),
                     a.tensors[i].n_bytes) == 0);
    }
    gguf_file_close(&a);
    gguf_file_close(&b);
}

// An output matrix that is the embedding stays it; the factors of the rotation are no weights.
static void test_tables(void) {
    struct retype_options options = plain(GGML_TYPE_Q4_K);
    struct retype_result result = {0};
    struct gguf_file a = {0}, b = {0};
    struct made m;
    struct wl_err err = {0};
    CHECK(made_synth("--arch llama --layers 2 --embd 256 --heads 4 --kv-heads 2 --ff 512 "
                     "--vocab 512 --type f16 --tied",
                     other));
    if (!made_open(&m, other, MADE_AS_IS)) {
        CHECK(false);
        return;
    }
    *made_add(&m, "rope_freqs.weight", 32, 1, 4, 0) = 1;
    gguf_set_val_str(m.keys, "quantize.imatrix.file", "of other weights.gguf");
    gguf_set_val_u32(m.keys, "quantize.imatrix.chunks_count", 7);
    CHECK(made_write(&m, other));
    options.text = &TEXT;
    options.keeps_order = false;
    CHECK_OK(retype_run(other, made, &options, &result, &err), err);
    CHECK_OK(gguf_file_open(&a, other, &err), err);
    CHECK_OK(gguf_file_open(&b, made, &err), err);
    const struct gguf_tensor *x = tensor_of(&a, "rope_freqs.weight");
    const struct gguf_tensor *y = tensor_of(&b, "rope_freqs.weight");
    CHECK(a.n_tensors == b.n_tensors && !tensor_of(&b, "output.weight"));
    CHECK(gguf_file_find(&a, "quantize.imatrix.file"));
    CHECK(!gguf_file_find(&b, "quantize.imatrix.file"));
    CHECK(!gguf_file_find(&b, "quantize.imatrix.chunks_count"));
    CHECK(x && y && y->type == GGML_TYPE_F32 &&
          memcmp(bytes_of(&a, x), bytes_of(&b, y), x->n_bytes) == 0);
    CHECK(compare_logits(other, made, TEST_FLOAT) < 0.5);
    gguf_file_close(&a);
    gguf_file_close(&b);
    retype_result_release(&result);
}

static void check_for(uint64_t n_columns, enum retype_part part, enum ggml_type own,
                      enum ggml_type wanted, enum ggml_type expected) {
    struct gguf_tensor tensor = {.type = own, .n_dims = 2, .ne = {n_columns, 8, 1, 1}};
    enum ggml_type type = retype_for(&tensor, part, wanted);
    if (type != expected) {
        printf("%d columns of %s as %s: %s, expected %s\n", (int)n_columns, ggml_type_name(own),
               ggml_type_name(wanted), ggml_type_name(type), ggml_type_name(expected));
        n_wrong++;
    }
}

static void test_rows_that_do_not_divide(void) {
    check_for(896, RETYPE_UP, GGML_TYPE_F16, GGML_TYPE_Q4_K, GGML_TYPE_IQ4_NL);
    check_for(896, RETYPE_UP, GGML_TYPE_F16, GGML_TYPE_Q5_K, GGML_TYPE_Q8_0);
    check_for(896, RETYPE_UP, GGML_TYPE_F16, GGML_TYPE_Q6_K, GGML_TYPE_Q8_0);
    check_for(896, RETYPE_OUTPUT, GGML_TYPE_F16, GGML_TYPE_Q4_0, GGML_TYPE_Q8_0);
    check_for(896, RETYPE_UP, GGML_TYPE_F32, GGML_TYPE_Q4_0, GGML_TYPE_Q4_0);
    check_for(40, RETYPE_UP, GGML_TYPE_F32, GGML_TYPE_Q4_0, GGML_TYPE_F16);
    check_for(40, RETYPE_UP, GGML_TYPE_F32, GGML_TYPE_Q4_K, GGML_TYPE_F16);
    check_for(40, RETYPE_UP, GGML_TYPE_F16, GGML_TYPE_Q8_0, GGML_TYPE_F16);
    check_for(256, RETYPE_UP, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K, GGML_TYPE_Q5_K);
    check_for(256, RETYPE_EMBEDDING, GGML_TYPE_Q5_K, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K);
    check_for(256, RETYPE_EMBEDDING, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K);
}

static void test_names(void) {
    enum ggml_type type;
    struct wl_err err = {0};
    CHECK(retype_parse("q4_k", &type, &err) == WL_OK && type == GGML_TYPE_Q4_K);
    CHECK(retype_parse("Q8_0", &type, &err) == WL_OK && type == GGML_TYPE_Q8_0);
    CHECK(retype_parse("Q5_0", &type, &err) == WL_USAGE && message_has(&err, "Q8_0, Q6_K, Q5_K"));
    CHECK(retype_parse("", &type, &err) == WL_USAGE);
}

// ---- moments and order ----

static size_t count_moved_rows(const char *name) {
    struct gguf_file a, b;
    struct wl_err err = {0};
    size_t n = 0;
    CHECK_OK(gguf_file_open(&a, made, &err), err);
    CHECK_OK(gguf_file_open(&b, other, &err), err);
    const struct gguf_tensor *x = tensor_of(&a, name), *y = tensor_of(&b, name);
    size_t row = x->n_bytes / x->ne[1];
    for (size_t i = 0; i < x->ne[1]; i++) {
        n += memcmp(bytes_of(&a, x) + i * row, bytes_of(&b, y) + i * row, row) != 0;
    }
    gguf_file_close(&a);
    gguf_file_close(&b);
    return n;
}

static void test_order(void) {
    struct retype_options options = plain(GGML_TYPE_Q4_K);
    struct retype_result kept, dealt;
    struct wl_err err = {0};
    options.text = &TEXT;
    CHECK_OK(run(&options, made, &kept, &err), err);
    options.keeps_order = false;
    CHECK_OK(run(&options, other, &dealt, &err), err);
    CHECK(count_moved_rows("blk.0.ffn_gate.weight") > FF / 2);
    CHECK(count_moved_rows("blk.1.ffn_up.weight") > FF / 2);
    CHECK(count_moved_rows("blk.1.attn_q.weight") == 0);
    CHECK(dealt.error < kept.error && dealt.error < dealt.error_in_order);
    CHECK(fabs(dealt.error_in_order / kept.error - 1) < 0.1);
    // A neuron in the wrong place would change everything.
    double off = compare_logits(base, made, TEST_FLOAT);
    double off_dealt = compare_logits(base, other, TEST_FLOAT);
    if (!(off_dealt < 2 * off && off < 0.5)) {
        printf("logits are off by %g in order, by %g in the other\n", off, off_dealt);
        n_wrong++;
    }
    retype_result_release(&kept);
    retype_result_release(&dealt);
}

// In F16 there are no scales to share: nothing moves.
static void test_idle_order(void) {
    struct retype_options options = plain(GGML_TYPE_F16);
    struct retype_result result;
    struct wl_err err = {0};
    CHECK_OK(run(&options, made, &result, &err), err);
    retype_result_release(&result);
    options.keeps_order = false;
    options.text = &TEXT;
    CHECK_OK(run(&options, other, &result, &err), err);
    CHECK(count_moved_rows("blk.0.ffn_gate.weight") == 0);
    CHECK(result.error_in_order == result.error);
    retype_result_release(&result);
}

static void test_wrong_text(void) {
    static const uint32_t SHORT[] = {50, 40}, LONG[] = {50, 40, 7};
    static int32_t outside[N_TEXT];
    struct retype_options options = plain(GGML_TYPE_Q4_K);
    struct compress_text text = TEXT;
    struct retype_result result;
    struct wl_err err = {0};
    options.text = &text;
    text.lengths = LONG;
    CHECK(run(&options, made, &result, &err) == WL_INPUT && !os_exists(made));
    text.lengths = SHORT;
    text.n_sequences = 2;
    CHECK(run(&options, made, &result, &err) == WL_INPUT);
    text = TEXT;
    text.tokens = outside;
    outside[7] = 512;
    CHECK(run(&options, made, &result, &err) == WL_INPUT && message_has(&err, "token"));
    outside[7] = COMPRESS_IMAGE_TOKEN; // without an image
    CHECK(run(&options, made, &result, &err) == WL_INPUT);
    CHECK(!os_exists(made));
}

static void test_images(void) {
    static const char SEES[] = "--arch qwen2vl --layers 2 --embd 256 --heads 4 --kv-heads 2 "
                               "--ff 512 --vocab 512";
    static int32_t mixed[N_TEXT], positions[4 * N_TEXT];
    static float embeddings[3 * EMBD];
    struct retype_options options = plain(GGML_TYPE_Q8_0);
    struct compress_text text = TEXT;
    struct retype_result result;
    struct wl_err err = {0};
    memcpy(mixed, tokens, sizeof mixed);
    mixed[3] = mixed[60] = mixed[61] = COMPRESS_IMAGE_TOKEN;
    for (int i = 0; i < 3 * EMBD; i++) {
        embeddings[i] = (float)(i % 7) - 3;
    }
    text.tokens = mixed;
    text.positions = positions;
    text.embeddings = embeddings;
    text.n_image_tokens = 3;
    options.text = &text;
    options.keeps_order = false;
    CHECK(made_synth(SEES, other));
    CHECK_OK(retype_run(other, made, &options, &result, &err), err);
    CHECK(compare_logits(other, made, TEST_FLOAT) < 0.05);
    retype_result_release(&result);
}

// ---- a budget ----

static double check_budget(uint64_t budget, bool has_text) {
    struct retype_options options = plain(GGML_TYPE_COUNT);
    struct retype_result result;
    struct wl_err err = {0};
    options.budget_bytes = budget;
    options.keeps_order = false;
    options.text = has_text ? &TEXT : NULL;
    CHECK_OK(run(&options, made, &result, &err), err);
    CHECK(result.out_bytes <= budget && result.out_bytes > budget * 95 / 100);
    CHECK(compare_logits(base, made, TEST_FLOAT) < 0.5);
    double error = result.error;
    retype_result_release(&result);
    return error;
}

static void test_budget(void) {
    struct retype_options options = plain(GGML_TYPE_Q4_K);
    struct retype_result result;
    struct wl_err err = {0};
    CHECK_OK(run(&options, made, &result, &err), err);
    uint64_t least = result.out_bytes;
    retype_result_release(&result);
    double none = check_budget(least, false), little = check_budget(least * 11 / 10, true);
    double more = check_budget(least * 13 / 10, true);
    CHECK(none > 0 && little < none && more < little && more > 0);
    options.type = GGML_TYPE_COUNT;
    options.budget_bytes = least - 1;
    CHECK(run(&options, other, &result, &err) == WL_LIMIT && !os_exists(other));
    CHECK(message_has(&err, "smallest types"));
    options.budget_bytes = UINT64_MAX / 2;
    CHECK_OK(run(&options, other, &result, &err), err);
    CHECK(result.n_tensors == 0 && result.error == 0);
    retype_result_release(&result);
}

// ---- what goes wrong ----

static bool stop_at(void *context, double share_done) {
    CHECK(share_done >= 0 && share_done <= 1);
    return share_done < *(double *)context;
}

static void test_interrupted(void) {
    static const double STOPS[] = {0, 0.3, 0.5, 0.6};
    struct retype_options options = plain(GGML_TYPE_COUNT);
    struct retype_result result;
    options.budget_bytes = 1 << 30;
    options.text = &TEXT;
    options.go_on = stop_at;
    for (size_t i = 0; i < sizeof STOPS / sizeof STOPS[0]; i++) {
        double stop = STOPS[i];
        struct wl_err err = {0};
        options.context = &stop;
        CHECK(run(&options, made, &result, &err) == WL_INTERRUPTED && !os_exists(made));
    }
}

static void test_other_files(void) {
    struct retype_options options = plain(GGML_TYPE_Q8_0);
    struct retype_result result;
    struct wl_err err = {0};
    struct change change;
    CHECK(retype_run("/absent.gguf", made, &options, &result, &err) == WL_NOT_FOUND);
    if (change_begin(&change, base)) {
        CHECK_OK(compress_target_set_arch(change.target, "unknown", &err), err);
        change_write(&change, other);
        change_end(&change);
    }
    options.keeps_order = false;
    CHECK_OK(retype_run(other, made, &options, &result, &err), err); // types are types
    CHECK(result.n_tensors > 10 && isnan(result.error_in_order));
    retype_result_release(&result);
    options.text = &TEXT;
    CHECK(retype_run(other, made, &options, &result, &err) == WL_UNSUPPORTED);
    CHECK(message_has(&err, "'unknown'"));
    options.text = NULL;
    static const char *const ARCHS[] = {"unknown", "qwen2"};
    for (size_t i = 0; i < 2; i++) {
        if (change_begin(&change, base)) {
            CHECK_OK(compress_target_set_u32(change.target, "split.count", 2, &err), err);
            CHECK_OK(compress_target_set_arch(change.target, ARCHS[i], &err), err);
            change_write(&change, other);
            change_end(&change);
        }
        unlink(made);
        CHECK(retype_run(other, made, &options, &result, &err) == WL_UNSUPPORTED);
        CHECK(message_has(&err, "parts; join them first") && !os_exists(made));
    }
}

int main(void) {
    struct rng rng;
    need_backends();
    test_folder(folder);
    test_path(base, folder, "base.gguf");
    test_path(made, folder, "made.gguf");
    test_path(other, folder, "other.gguf");
    need_made(make_uneven(base), folder);
    rng_seed(&rng, 3);
    for (int i = 0; i < N_TEXT; i++) {
        tokens[i] = (int32_t)rng_below(&rng, 512);
    }
    test_one_type();
    test_bytes();
    test_kept();
    test_tables();
    test_rows_that_do_not_divide();
    test_names();
    test_order();
    test_idle_order();
    test_wrong_text();
    test_images();
    test_budget();
    test_interrupted();
    test_other_files();
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
