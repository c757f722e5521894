// A smaller vocabulary: texts read and written as before, the model computes the same for the
// tokens that stay, and a vocabulary that would make text longer is not written.
#include "compressor/trim.h"

#include "compressor/certificate.h"
#include "compressor/trim_vocab.h"
#include "compressor/verify.h"
#include "target_test.h"

enum { MAX_TEXT = 4096, N_SEQUENCES = 4, PROBE = 30 };

static char folder[OS_PATH_BYTES], made[OS_PATH_BYTES], synth[OS_PATH_BYTES];

// ---- text ----

struct tokens {
    int32_t ids[MAX_TEXT];
    uint32_t lengths[N_SEQUENCES];
    struct compress_text text;
};
static struct tokens used;

static const char STORY[] =
    "Once upon a time there was a little girl called Lily. She liked to play in the park with her "
    "red ball. One day she saw a big dog. \"Hello, dog!\" she said. The dog was happy, and they "
    "played until the sun went down. Then Lily went home and told her mum about her new friend. ";

// The text, some times; the last time it is another one.
static bool tokenize(const char *path, const char *text, const char *last) {
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(path, params);
    used.text = (struct compress_text){.tokens = used.ids, .lengths = used.lengths};
    for (int i = 0; i < N_SEQUENCES && model; i++) {
        size_t at = used.text.n_tokens;
        const char *this = i + 1 < N_SEQUENCES ? text : last;
        int32_t n = llama_tokenize(llama_model_get_vocab(model), this, (int32_t)strlen(this),
                                   used.ids + at, (int32_t)(MAX_TEXT - at), false, true);
        CHECK(n > 0);
        used.lengths[used.text.n_sequences++] = (uint32_t)n;
        used.text.n_tokens += n > 0 ? (size_t)n : 0;
    }
    CHECK(model != NULL);
    if (model) {
        llama_model_free(model);
    }
    return model != NULL;
}

// ---- what a trimmed model computes ----

static float *last_logits(const char *path, const int32_t *tokens, int32_t n, int32_t *n_vocab) {
    struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = 256;
    params.n_threads = params.n_threads_batch = 1;
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    float *out = NULL;
    *n_vocab = 0;
    int32_t copy[PROBE];
    memcpy(copy, tokens, (size_t)n * sizeof *copy);
    if (context && llama_decode(context, llama_batch_get_one(copy, n)) == 0) {
        *n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
        out = malloc((size_t)*n_vocab * sizeof *out);
        memcpy(out, llama_get_logits_ith(context, -1), (size_t)*n_vocab * sizeof *out);
    }
    if (context) {
        llama_free(context);
    }
    if (model) {
        llama_model_free(model);
    }
    return out;
}

// The logits of the tokens that stay, after a text of such tokens.
static void check_computes_same(const char *path, const struct trim_result *result) {
    int32_t old[PROBE], renumbered[PROBE], n = 0, n_old, n_new;
    for (size_t i = 0; i < used.text.n_tokens && n < PROBE; i++) {
        if (result->new_ids[used.ids[i]] >= 0) {
            old[n] = used.ids[i];
            renumbered[n++] = result->new_ids[used.ids[i]];
        }
    }
    float *a = last_logits(path, old, n, &n_old), *b = last_logits(made, renumbered, n, &n_new);
    CHECK(a && b && n_old == (int32_t)result->n_before && n_new == (int32_t)result->n_after);
    for (int32_t i = 0; i < n_old && a && b; i++) {
        int32_t new_id = result->new_ids[i];
        if (new_id >= 0 && !(fabsf(a[i] - b[new_id]) <= 1e-4F * fmaxf(1, fabsf(a[i])))) {
            printf("token %d: logit %g, expected %g\n", i, (double)b[new_id], (double)a[i]);
            n_wrong++;
            break;
        }
    }
    free(a);
    free(b);
}

// The same by the judge of compressed models, which knows new numbers.
static void check_verdict(const char *path, const struct trim_result *result) {
    struct verify_options judge = {
        .skip = 1, .threads = 1, .scratch_dir = folder, .new_ids = result->new_ids};
    struct verify_result v;
    struct wl_err err = {0};
    bool is_done = false;
    CHECK_OK(compress_verify(path, made, &used.text, &judge, &v, &is_done, &err), err);
    CHECK(is_done && v.n > 0 && v.kl_mean < 1e-4 && v.top1_share > 0.99);
}

// ---- merges ----

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_among(const char **sorted, size_t n, const char *text) {
    return bsearch(&text, sorted, n, sizeof *sorted, by_text) != NULL;
}

// What each merge joins and what it makes are tokens of the file; or text would be lost.
static void check_closed(const char *path) {
    struct gguf_file file;
    struct trim_vocab v = {0};
    struct wl_err err = {0};
    CHECK_OK(gguf_file_open(&file, path, &err), err);
    CHECK_OK(trim_vocab_open(&v, &file, &err), err);
    size_t n = v.vocab.n_tokens, n_open = 0;
    const char **sorted = calloc(n + 1, sizeof *sorted);
    memcpy(sorted, v.tokens, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_text);
    CHECK(n > 0 && v.vocab.n_merges > 0);
    for (size_t i = 0; i < v.vocab.n_merges; i++) {
        char left[512], whole[512];
        const char *merge = v.vocab.merges[i], *space = strchr(merge, ' ');
        snprintf(left, sizeof left, "%.*s", space ? (int)(space - merge) : 0, merge);
        snprintf(whole, sizeof whole, "%s%s", left, space ? space + 1 : "");
        n_open += !space || !is_among(sorted, n, left) || !is_among(sorted, n, space + 1) ||
                  !is_among(sorted, n, whole);
    }
    CHECK(n_open == 0);
    free(sorted);
    trim_vocab_close(&v);
    gguf_file_close(&file);
}

// ---- there and back ----

static int32_t split_text(const char *path, const char *text, int32_t *ids, char *again) {
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(path, params);
    int32_t n = -1, len = -1;
    if (model) {
        const struct llama_vocab *vocab = llama_model_get_vocab(model);
        n = llama_tokenize(vocab, text, (int32_t)strlen(text), ids, MAX_TEXT, false, true);
        len = n < 0 ? n : llama_detokenize(vocab, ids, n, again, MAX_TEXT - 1, false, true);
        llama_model_free(model);
    }
    again[len > 0 ? len : 0] = '\0';
    return n;
}

// llama.cpp splits the text into the same tokens under their new numbers, and joins them again.
static void check_round_trip(const char *path, const char *text, const int32_t *new_ids) {
    static int32_t old[MAX_TEXT], new[MAX_TEXT];
    static char text_before[MAX_TEXT], text_after[MAX_TEXT];
    int32_t n_old = split_text(path, text, old, text_before);
    int32_t n_new = split_text(made, text, new, text_after);
    CHECK(n_old > 0 && n_new == n_old && strcmp(text_before, text_after) == 0);
    CHECK(strcmp(text_after + (text_after[0] == ' ' && text[0] != ' '), text) == 0);
    for (int32_t i = 0; i < n_old && n_new == n_old; i++) {
        CHECK(new_ids[old[i]] == new[i]);
    }
}

// ---- models ----

static struct trim_options usual(void) {
    return (struct trim_options){.max_growth = 0.02, .n_held_out = 1};
}

static void check_result(const struct trim_result *result) {
    uint64_t n_bytes = 0;
    uint32_t n_kept = 0;
    struct wl_err err = {0};
    CHECK_OK(os_file_size(made, &n_bytes, &err), err);
    CHECK(n_bytes == result->out_bytes && result->out_bytes < result->in_bytes);
    for (uint32_t i = 0; i < result->n_before; i++) {
        CHECK(result->new_ids[i] == -1 || result->new_ids[i] == (int32_t)n_kept);
        n_kept += result->new_ids[i] >= 0;
    }
    CHECK(n_kept == result->n_after && n_kept % 32 == 0 && n_kept < result->n_before);
}

static void check_model(const char *path, const char *text) {
    struct trim_options options = usual();
    struct trim_result all = {0}, few = {0};
    struct wl_err err = {0};
    char copy[OS_PATH_BYTES];
    if (!os_exists(path)) {
        printf("no '%s': left out\n", path);
        return;
    }
    if (!tokenize(path, text, text)) {
        return;
    }
    CHECK_OK(trim_run(path, made, &used.text, &options, &all, &err), err);
    if (!all.new_ids) {
        return;
    }
    check_result(&all);
    for (size_t i = 0; i < used.text.n_tokens; i++) {
        CHECK(all.new_ids[used.ids[i]] >= 0);
    }
    CHECK(all.growth == 0 && all.coverage == 1);
    check_round_trip(path, text, all.new_ids);
    check_closed(made);
    check_computes_same(path, &all);
    check_verdict(path, &all);
    printf("%u of %u tokens, growth %.4f, coverage %.4f, %llu of %llu bytes\n", all.n_after,
           all.n_before, all.growth, all.coverage, (unsigned long long)all.out_bytes,
           (unsigned long long)all.in_bytes);
    // A trimmed one is a model like any other; fewer tokens make the text longer.
    CHECK(rename(made, test_path(copy, folder, "again.gguf")) == 0);
    options.n_wanted = all.n_after - 32;
    options.max_growth = 10;
    CHECK_OK(trim_run(path, made, &used.text, &options, &few, &err), err);
    if (few.new_ids) {
        check_result(&few);
        CHECK(few.n_after == all.n_after - 32 && few.growth >= all.growth);
        check_closed(made);
        check_computes_same(path, &few);
    }
    trim_result_release(&few);
    trim_result_release(&all);
    unlink(copy);
}

static void test_models(void) {
    char path[OS_PATH_BYTES];
    const char *dir = getenv("WATTLAW_TEST_MODELS");
    check_model(test_path(path, source_dir(), "models/builtin/builtin.gguf"),
                "How many Wh does a request of 120 tokens take at 5 W for 3 s? It takes 15 J. "
                "How many Wh does a request of 240 tokens take at 7 W for 2 s? It takes 14 J.");
    if (dir) {
        check_model(test_path(path, dir, "stories260k-f32.gguf"), STORY);
    }
}

static uint64_t id_key(const struct gguf_file *file, const char *key) {
    return gguf_file_uint(file, key, 0, UINT64_MAX);
}

static void test_keys(void) {
    struct trim_options options = usual();
    struct trim_result result;
    struct gguf_file before, after;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    if (!tokenize(synth, STORY, STORY)) {
        return;
    }
    struct change change;
    test_path(path, folder, "keys.gguf");
    if (!change_begin(&change, synth)) {
        return;
    }
    static const uint32_t LIST[] = {500, 501};
    CHECK_OK(compress_target_set_u32(change.target, "qwen2.vocab_size", 512, &err), err);
    CHECK_OK(compress_target_set_u32(change.target, "tokenizer.ggml.padding_token_id", 505, &err),
             err);
    CHECK_OK(
        compress_target_set_u32(change.target, "tokenizer.ggml.unknown_token_id", UINT32_MAX, &err),
        err);
    CHECK_OK(
        compress_target_set_u32s(change.target, "tokenizer.ggml.some_token_ids", LIST, 2, &err),
        err);
    CHECK_OK(compress_target_set_string(change.target, "tokenizer.huggingface.json", "{}", &err),
             err);
    change_write(&change, path);
    change_end(&change);
    CHECK_OK(trim_run(path, made, &used.text, &options, &result, &err), err);
    CHECK_OK(gguf_file_open(&before, path, &err), err);
    CHECK_OK(gguf_file_open(&after, made, &err), err);
    if (result.new_ids) {
        CHECK(result.new_ids[505] >= 0 && result.new_ids[500] >= 0 && result.new_ids[501] >= 0);
        CHECK(id_key(&after, "tokenizer.ggml.padding_token_id") == (uint64_t)result.new_ids[505]);
        CHECK(id_key(&after, "tokenizer.ggml.unknown_token_id") == UINT32_MAX);
        CHECK(id_key(&after, "qwen2.vocab_size") == result.n_after);
        CHECK(gguf_file_uint(&after, "tokenizer.ggml.some_token_ids", 1, 0) ==
              (uint64_t)result.new_ids[501]);
        uint64_t eos = id_key(&before, "tokenizer.ggml.eos_token_id");
        CHECK(eos < 512 &&
              id_key(&after, "tokenizer.ggml.eos_token_id") == (uint64_t)result.new_ids[eos]);
        CHECK(!gguf_file_find(&after, "tokenizer.huggingface.json"));
        CHECK(gguf_file_find(&after, CERTIFICATE_KEY) != NULL);
        CHECK(gguf_file_find(&after, "tokenizer.ggml.tokens")->n == result.n_after);
        CHECK(gguf_file_find(&after, "tokenizer.ggml.token_type")->n == result.n_after);
        CHECK(gguf_file_find(&after, "tokenizer.ggml.merges")->n <=
              gguf_file_find(&before, "tokenizer.ggml.merges")->n);
        check_computes_same(path, &result);
    }
    gguf_file_close(&before);
    gguf_file_close(&after);
    trim_result_release(&result);
}

// An output matrix that is the embedding stays it, and nothing else of the model changes.
static void test_tables(void) {
    struct trim_options options = usual();
    struct trim_result result = {0};
    struct made m;
    struct gguf_file before = {0}, after = {0};
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    test_path(path, folder, "tables.gguf");
    CHECK(made_synth("--arch llama --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                     "--vocab 512 --tied",
                     path));
    if (!made_open(&m, path, MADE_AS_IS)) {
        CHECK(false);
        return;
    }
    *made_add(&m, "rope_freqs.weight", 8, 1, 4, 0) = 1;
    CHECK(made_write(&m, path));
    if (!tokenize(path, STORY, STORY)) {
        return;
    }
    CHECK_OK(trim_run(path, made, &used.text, &options, &result, &err), err);
    CHECK_OK(gguf_file_open(&before, path, &err), err);
    CHECK_OK(gguf_file_open(&after, made, &err), err);
    CHECK(before.n_tensors == after.n_tensors && !tensor_of(&after, "output.weight"));
    CHECK(tensor_of(&after, "rope_freqs.weight") != NULL);
    for (uint64_t i = 0; i < before.n_tensors; i++) {
        const struct gguf_tensor *a = &before.tensors[i], *b = tensor_of(&after, a->name);
        bool is_cut = strcmp(a->name, "token_embd.weight") == 0;
        CHECK(b && b->type == a->type && b->ne[1] == (is_cut ? result.n_after : a->ne[1]));
        CHECK(is_cut || (b && memcmp(bytes_of(&before, a), bytes_of(&after, b), a->n_bytes) == 0));
    }
    if (result.new_ids) {
        check_computes_same(path, &result);
    }
    gguf_file_close(&before);
    gguf_file_close(&after);
    trim_result_release(&result);
}

// ---- what is refused ----

static bool is_clean(void) { // neither the file nor the one that is tried
    char path[OS_PATH_BYTES];
    return !os_exists(made) && !os_exists(test_path(path, folder, "made.gguf.unproven"));
}

static enum wl_status try(const char *path, const struct trim_options *options,
                          struct wl_err *err) {
    struct trim_result result;
    unlink(made);
    enum wl_status status = trim_run(path, made, &used.text, options, &result, err);
    CHECK(status == WL_OK || (result.new_ids == NULL && is_clean()));
    trim_result_release(&result);
    return status;
}

// The counted text has none of the words of the held-out one.
static void test_growth(void) {
    static const char LAST[] = "Once upon a time there was a little request that took energy.";
    char path[OS_PATH_BYTES];
    struct trim_options options = usual();
    struct wl_err err = {0};
    if (!os_exists(test_path(path, source_dir(), "models/builtin/builtin.gguf"))) {
        printf("no '%s': left out\n", path);
        return;
    }
    if (tokenize(path, "7 7 7 7", LAST)) {
        CHECK(try(path, &options, &err) == WL_GATE && message_has(&err, "longer, at most 2 %"));
        options.max_growth = 100;
        CHECK_OK(try(path, &options, &err), err);
    }
}

static bool stop_at(void *context, double share_done) {
    CHECK(share_done >= 0 && share_done <= 1);
    return share_done < *(double *)context;
}

static void set_text_key(const char *key, const char *value, const char *path) {
    struct change change;
    struct wl_err err = {0};
    if (change_begin(&change, synth)) {
        CHECK_OK(compress_target_set_string(change.target, key, value, &err), err);
        change_write(&change, path);
        change_end(&change);
    }
}

static void test_refused(void) {
    static const double STOPS[] = {0, 0.2, 0.3, 0.6};
    struct trim_options options = usual();
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    test_path(path, folder, "wrong.gguf");
    if (!tokenize(synth, STORY, STORY)) {
        return;
    }
    options.n_wanted = 64; // fewer than there are bytes
    CHECK(try(synth, &options, &err) == WL_LIMIT && message_has(&err, "must stay at least"));
    options.n_wanted = 0;
    options.n_held_out = used.text.n_sequences;
    CHECK(try(synth, &options, &err) == WL_INPUT);
    options.n_held_out = 1;
    int32_t first = used.ids[0];
    used.ids[0] = 512;
    CHECK(try(synth, &options, &err) == WL_INPUT && message_has(&err, "expected 0 to 511"));
    used.ids[0] = first;
    CHECK(try("/absent.gguf", &options, &err) == WL_NOT_FOUND);
    set_text_key("tokenizer.ggml.model", "bert", path);
    CHECK(try(path, &options, &err) == WL_UNSUPPORTED && message_has(&err, "'bert'"));
    struct made part;
    if (made_open(&part, synth, MADE_AS_IS)) {
        gguf_set_val_u16(part.keys, "split.count", 2);
        gguf_set_val_u16(part.keys, "split.no", 0);
        CHECK(made_write(&part, path));
        CHECK(try(path, &options, &err) == WL_UNSUPPORTED && message_has(&err, "several parts"));
    }
    for (size_t i = 0; i < sizeof STOPS / sizeof STOPS[0]; i++) {
        double stop = STOPS[i];
        options.go_on = stop_at;
        options.context = &stop;
        CHECK(try(synth, &options, &err) == WL_INTERRUPTED);
    }
    unlink(path);
}

int main(void) {
    need_backends();
    test_folder(folder);
    test_path(made, folder, "made.gguf");
    test_path(synth, folder, "synth.gguf");
    need_made(
        made_synth("--arch qwen2 --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 --vocab 512",
                   synth),
        folder);
    test_models();
    test_keys();
    test_tables();
    test_growth();
    test_refused();
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
