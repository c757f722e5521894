// Smaller vocabularies: what stays computes what it did, texts come back, and what cannot be
// trimmed is refused.
#include <stdint.h>

#include "compressor/trim.h"
#include "compressor/verify.h"
#include "target_test.h"

enum { MAX_TOKENS = 4096, MAX_SEQUENCES = 64, LENGTH = 48 };

static char folder[OS_PATH_BYTES], builtin[OS_PATH_BYTES], out[OS_PATH_BYTES];

struct sample {
    int32_t tokens[MAX_TOKENS];
    uint32_t lengths[MAX_SEQUENCES];
    struct compress_text text;
};

static void make_sample(struct sample *s, const char *path, const char *words) {
    struct llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    struct llama_model *model = llama_model_load_from_file(path, params);
    CHECK(model != NULL);
    int32_t n = llama_tokenize(llama_model_get_vocab(model), words, (int32_t)strlen(words),
                               s->tokens, MAX_TOKENS, false, false);
    llama_model_free(model);
    CHECK(n > 2 * LENGTH);
    s->text = (struct compress_text){.tokens = s->tokens, .lengths = s->lengths};
    for (int32_t at = 0; at + LENGTH <= n && s->text.n_sequences < MAX_SEQUENCES; at += LENGTH) {
        s->lengths[s->text.n_sequences++] = LENGTH;
        s->text.n_tokens += LENGTH;
    }
}

static const char *some_words(void) {
    static char words[8192];
    size_t n = 0;
    for (int i = 0; i < 60; i++) {
        n += (size_t)snprintf(words + n, sizeof words - n,
                              "The valve %d was open in the hall at %d:00.\n", i % 7, i % 5);
    }
    return words;
}

static void what_stays_computes_what_it_did(void) {
    static struct sample s;
    struct trim_result r;
    struct wl_err err = {0};
    make_sample(&s, builtin, some_words());
    struct trim_options options = {.max_growth = 0.02, .n_held_out = 4};
    CHECK_OK(trim_run(builtin, out, &s.text, &options, &r, &err), err);
    CHECK(r.n_after < r.n_before && r.n_after % 32 == 0 && r.out_bytes < r.in_bytes);
    CHECK(r.coverage > 0.9 && r.growth <= 0.02);
    for (size_t i = 0; r.new_ids && i < s.text.n_tokens - 4 * LENGTH; i++) {
        CHECK(r.new_ids[s.tokens[i]] >= 0); // all that was seen
    }
    struct verify_result v;
    bool is_done = false;
    struct verify_options judge = {
        .skip = 1, .threads = 1, .scratch_dir = folder, .new_ids = r.new_ids};
    CHECK_OK(compress_verify(builtin, out, &s.text, &judge, &v, &is_done, &err), err);
    CHECK(is_done && v.n > 0 && v.kl_mean < 1e-4 && v.top1_share > 0.99);
    trim_result_release(&r);
    unlink(out);
}

static void keeps_to_a_number(void) {
    static struct sample s;
    struct trim_result r;
    struct wl_err err = {0};
    make_sample(&s, builtin, some_words());
    struct trim_options options = {.max_growth = 10, .n_held_out = 4, .n_wanted = 480};
    CHECK_OK(trim_run(builtin, out, &s.text, &options, &r, &err), err);
    CHECK(r.n_after <= 480 && r.n_after >= 256);
    trim_result_release(&r);
    unlink(out);
    options.n_wanted = 10; // fewer than there are bytes
    CHECK(trim_run(builtin, out, &s.text, &options, &r, &err) == WL_LIMIT);
    CHECK(message_has(&err, "wanted are 10") && !os_exists(out));
}

// Held-out text of other words gets longer.
static void longer_texts_are_refused(void) {
    static struct sample s;
    char words[4096] = "";
    struct trim_result r;
    struct wl_err err = {0};
    size_t n = 0;
    for (int i = 0; i < 200; i++) {
        n += (size_t)snprintf(words + n, sizeof words - n, "%s",
                              i < 150 ? "a b " : "temperature warning ");
    }
    make_sample(&s, builtin, words);
    struct trim_options options = {
        .max_growth = 0.02, .n_held_out = s.text.n_sequences - 2, .n_wanted = 288};
    CHECK(trim_run(builtin, out, &s.text, &options, &r, &err) == WL_GATE);
    CHECK(message_has(&err, "gets") && !os_exists(out));
}

static void says_what_is_wrong(void) {
    static struct sample s;
    char bad[OS_PATH_BYTES];
    struct trim_result r;
    struct wl_err err = {0};
    struct trim_options options = {.max_growth = 0.02, .n_held_out = 1};
    make_sample(&s, builtin, some_words());
    s.tokens[3] = 100000;
    CHECK(trim_run(builtin, out, &s.text, &options, &r, &err) == WL_INPUT);
    CHECK(message_has(&err, "token 3"));
    test_write(test_path(bad, folder, "bad.gguf"), "GGUF", 4);
    CHECK(trim_run(bad, out, &s.text, &options, &r, &err) != WL_OK && message_has(&err, bad));
    CHECK(!os_exists(out));
}

static void sentence_pieces_are_refused(const char *stories) {
    static struct sample s;
    struct trim_result r;
    struct wl_err err = {0};
    struct trim_options options = {.max_growth = 0.02, .n_held_out = 1};
    make_sample(&s, builtin, some_words());
    CHECK(trim_run(stories, out, &s.text, &options, &r, &err) == WL_UNSUPPORTED);
    CHECK(message_has(&err, "'llama'"));
}

int main(void) {
    char stories[OS_PATH_BYTES];
    const char *models = getenv("WATTLAW_TEST_MODELS");
    test_path(builtin, source_dir(), "models/builtin/builtin.gguf");
    need_model(builtin);
    test_folder(folder);
    test_path(out, folder, "out.gguf");
    what_stays_computes_what_it_did();
    keeps_to_a_number();
    longer_texts_are_refused();
    says_what_is_wrong();
    if (models && os_exists(test_path(stories, models, "stories260k-f32.gguf"))) {
        sentence_pieces_are_refused(stories);
    } else {
        printf("without the story model: it is not there\n");
    }
    test_folder_remove(folder);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
