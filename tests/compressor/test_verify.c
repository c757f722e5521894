// The divergence of two models is what a plain computation finds, the perplexity what llama.cpp's
// own tool finds; a model does not differ from itself; what is wrong is said.
#include <llama.h>
#include <math.h>
#include <stdint.h>

#include "base/rng.h"
#include "compressor/verify.h"
#include "text_model_test.h"

static char original[OS_PATH_BYTES], coarse[OS_PATH_BYTES];
static char folder[OS_PATH_BYTES]; // for files
static char scratch[OS_PATH_BYTES];

static double log_sum(const float *logits, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)logits[i]);
    }
    return log(sum);
}

// ---- models

enum { MAX_TEXT = 16384 };

// Text as the built-in model knows it, from a seed.
static void make_text(char *out, size_t size, uint64_t seed) {
    static const char *const WHO[] = {"The key", "A short note", "The report", "The new part"};
    static const char *const DID[] = {"was left", "was seen", "was moved", "came from"};
    static const char *const AT[] = {"the office", "the hall", "the yard", "the store"};
    struct rng rng;
    rng_seed(&rng, seed);
    size_t len = 0;
    while (len + 100 < size) {
        len += (size_t)snprintf(out + len, size - len, "%s %s in %s after %u days.\n",
                                WHO[rng_below(&rng, 4)], DID[rng_below(&rng, 4)],
                                AT[rng_below(&rng, 4)], rng_below(&rng, 100));
    }
}

struct plain { // a model, loaded without any of the code under test
    struct llama_model *model;
    struct llama_context *ctx;
    int32_t n_vocab;
};

static struct plain plain_open(const char *path) {
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = 1024;
    params.n_threads = params.n_threads_batch = 1;
    struct plain p = {.model = llama_model_load_from_file(path, llama_model_default_params())};
    if (!p.model || !(p.ctx = llama_init_from_model(p.model, params))) {
        printf("cannot load '%s'\n", path);
        exit(TEST_WRONG);
    }
    p.n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(p.model));
    return p;
}

static void plain_close(struct plain *p) {
    llama_free(p->ctx);
    llama_model_free(p->model);
}

// log p of every token, [n][n_vocab].
static double *plain_log_p(struct plain *p, const int32_t *tokens, size_t n) {
    double *out = calloc(n * (size_t)p->n_vocab, sizeof *out);
    struct llama_batch batch = llama_batch_init((int32_t)n, 0, 1);
    batch.n_tokens = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        batch.token[i] = tokens[i];
        batch.pos[i] = (int32_t)i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = true;
    }
    llama_memory_clear(llama_get_memory(p->ctx), true);
    CHECK(llama_decode(p->ctx, batch) == 0);
    for (size_t i = 0; i < n; i++) {
        const float *logits = llama_get_logits_ith(p->ctx, (int32_t)i);
        double log_total = log_sum(logits, (size_t)p->n_vocab);
        for (int32_t id = 0; id < p->n_vocab; id++) {
            out[i * (size_t)p->n_vocab + (size_t)id] = (double)logits[id] - log_total;
        }
    }
    llama_batch_free(batch);
    return out;
}

static size_t plain_tokens(const char *model_path, const char *text, int32_t *out, size_t max) {
    struct plain p = plain_open(model_path);
    int32_t n = llama_tokenize(llama_model_get_vocab(p.model), text, (int32_t)strlen(text), out,
                               (int32_t)max, true, false);
    plain_close(&p);
    CHECK(n > 0);
    return n > 0 ? (size_t)n : 0;
}

static uint32_t first_judged = 1; // what is asked for as `skip`
static size_t n_answers;

struct sample {
    int32_t tokens[MAX_TEXT];
    uint32_t lengths[MAX_TEXT];
    struct compress_text text;
};

// Sequences of `length` tokens of which the first `skip` are not judged.
static void make_sample(struct sample *s, const char *model, uint32_t length, uint32_t n,
                        uint32_t skip) {
    static char text[MAX_TEXT];
    make_text(text, sizeof text, 5);
    size_t n_tokens = plain_tokens(model, text, s->tokens, MAX_TEXT);
    CHECK(n_tokens >= (size_t)length * n);
    for (uint32_t i = 0; i < n; i++) {
        s->lengths[i] = length;
    }
    s->text = (struct compress_text){.tokens = s->tokens,
                                     .lengths = s->lengths,
                                     .n_sequences = n,
                                     .n_tokens = (size_t)length * n};
    first_judged = skip;
}

struct look {
    int n_asked;
    double stop_at; // share
    bool has_seen_file;
};

static bool see_file(void *context, const char *name) {
    (void)name;
    *(bool *)context = true;
    return true;
}

static bool look(void *context, double share_done) {
    struct look *l = context;
    l->n_asked++;
    os_list_dir(scratch, 100, see_file, &l->has_seen_file, NULL);
    return share_done < l->stop_at;
}

static enum wl_status verify(const char *a, const char *b, const struct compress_text *text,
                             const int32_t *new_ids, struct verify_result *out,
                             struct wl_err *err) {
    bool is_done = false;
    struct look l = {.stop_at = 2};
    struct verify_options options = {.skip = first_judged,
                                     .threads = 1,
                                     .scratch_dir = scratch,
                                     .new_ids = new_ids,
                                     .n_answers = n_answers,
                                     .go_on = look,
                                     .context = &l};
    enum wl_status status = compress_verify(a, b, text, &options, out, &is_done, err);
    CHECK(is_done == (status == WL_OK));
    CHECK(!l.has_seen_file);
    return status;
}

static void no_difference_to_itself(const char *path) {
    static struct sample s;
    struct verify_result r;
    struct wl_err err = {0};
    make_sample(&s, path, 100, 6, 1);
    CHECK_OK(verify(path, path, &s.text, NULL, &r, &err), err);
    CHECK(r.n == 6 * 99 && r.n_left_out == 0);
    CHECK(r.kl_mean == 0 && r.kl_max == 0 && r.kl_p99 == 0 && r.kl_sem == 0 && r.top1_share == 1);
    CHECK(r.original.nll_mean == r.changed.nll_mean && r.log_ppl_ratio == 0);
    CHECK(r.original.nll_mean > 0 && r.original.nll_sem > 0 && r.lost_mass == 0);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Everything against plain double sums of two models.
static void is_what_plain_sums_find(void) {
    enum { LENGTH = 80, N = 3, SKIP = 10, JUDGED = LENGTH - SKIP };
    static struct sample s;
    struct verify_result r;
    struct wl_err err = {0};
    double kl[N * JUDGED], nll[2] = {0}, sums[N] = {0}, total = 0, squares = 0;
    size_t n = 0, n_same = 0;
    make_sample(&s, original, LENGTH, N, SKIP);
    struct plain a = plain_open(original), b = plain_open(coarse);
    for (int i = 0; i < N; i++) {
        int32_t *tokens = s.tokens + (size_t)i * LENGTH;
        double *p = plain_log_p(&a, tokens, LENGTH), *q = plain_log_p(&b, tokens, LENGTH);
        for (size_t at = SKIP - 1; at < LENGTH - 1; at++) {
            const double *lp = p + at * (size_t)a.n_vocab, *lq = q + at * (size_t)a.n_vocab;
            int32_t top_p = 0, top_q = 0;
            kl[n] = 0;
            for (int32_t id = 0; id < a.n_vocab; id++) {
                kl[n] += exp(lp[id]) * (lp[id] - lq[id]);
                top_p = lp[id] > lp[top_p] ? id : top_p;
                top_q = lq[id] > lq[top_q] ? id : top_q;
            }
            sums[i] += kl[n++];
            n_same += top_p == top_q;
            nll[0] -= lp[tokens[at + 1]];
            nll[1] -= lq[tokens[at + 1]];
        }
        total += sums[i];
        free(p);
        free(q);
    }
    plain_close(&a);
    plain_close(&b);
    for (int i = 0; i < N; i++) {
        double off = sums[i] - total / N;
        squares += off * off;
    }
    double sem = sqrt(squares / (N - 1) / N) / JUDGED; // sequences are equally long here
    CHECK_OK(verify(original, coarse, &s.text, NULL, &r, &err), err);
    qsort(kl, n, sizeof *kl, by_value);
    CHECK(r.n == n && n == N * JUDGED);
    CHECK(fabs(r.kl_mean - total / (double)n) < 1e-5);
    CHECK(fabs(r.kl_sem - sem) < 1e-5);
    CHECK(fabs(r.kl_max - kl[n - 1]) < 1e-5);
    CHECK(fabs(r.kl_median - (kl[n / 2] + kl[n / 2 - 1]) / 2) < 1e-5);
    CHECK(r.kl_median <= r.kl_p99 && r.kl_p99 <= r.kl_max);
    CHECK(fabs(r.top1_share - (double)n_same / (double)n) < 1e-9);
    CHECK(fabs(r.original.nll_mean - nll[0] / (double)n) < 1e-5);
    CHECK(fabs(r.changed.nll_mean - nll[1] / (double)n) < 1e-5);
    CHECK(fabs(r.log_ppl_ratio - (r.changed.nll_mean - r.original.nll_mean)) < 1e-9);
    CHECK(r.log_ppl_ratio_sem < r.original.nll_sem); // paired
    printf("built-in against Q8_0: KL %.3g +- %.1g (plain sums %.3g), top-1 %.1f %%\n", r.kl_mean,
           r.kl_sem, total / (double)n, 100 * r.top1_share);
}

// ---- what both write

// The likeliest tokens behind tokens [n], which get longer; each step computes all of them anew.
static size_t plain_write(struct plain *p, int32_t *tokens, size_t n, size_t n_more) {
    const struct llama_vocab *vocab = llama_model_get_vocab(p->model);
    for (size_t i = 0; i < n_more; i++) {
        double *log_p = plain_log_p(p, tokens, n + i);
        const double *last = log_p + (n + i - 1) * (size_t)p->n_vocab;
        int32_t top = 0;
        for (int32_t id = 1; id < p->n_vocab; id++) {
            top = last[id] > last[top] ? id : top;
        }
        tokens[n + i] = top;
        free(log_p);
        if (llama_vocab_is_eog(vocab, top)) {
            return i + 1;
        }
    }
    return n_more;
}

static void answers_are_those_that_both_write(void) {
    enum { LENGTH = 60, N = 5 };
    static struct sample s;
    struct verify_result r;
    struct wl_err err = {0};
    size_t n_exact = 0, n_same = 0, n_written = 0;
    make_sample(&s, original, LENGTH, N, 1);
    struct plain a = plain_open(original), b = plain_open(coarse);
    for (size_t i = 0; i < N; i++) {
        int32_t x[LENGTH], y[LENGTH];
        memcpy(x, s.tokens + i * LENGTH, sizeof x);
        memcpy(y, x, sizeof y);
        size_t n = plain_write(&a, x, LENGTH / 2, VERIFY_ANSWER_TOKENS), same = 0;
        plain_write(&b, y, LENGTH / 2, n);
        while (same < n && x[LENGTH / 2 + same] == y[LENGTH / 2 + same]) {
            same++;
        }
        n_exact += same == n;
        n_same += same;
        n_written += n;
    }
    plain_close(&a);
    plain_close(&b);
    n_answers = VERIFY_MAX_ANSWERS; // more than there are
    CHECK_OK(verify(original, coarse, &s.text, NULL, &r, &err), err);
    printf("%zu of %d answers are the same, %zu of %zu tokens\n", n_exact, N, n_same, n_written);
    CHECK(r.n_answers == N && fabs(r.exact_share - (double)n_exact / N) < 1e-9);
    CHECK(fabs(r.same_share - (double)n_same / (double)n_written) < 1e-9);
    n_answers = 2;
    CHECK_OK(verify(original, original, &s.text, NULL, &r, &err), err);
    CHECK(r.n_answers == 2 && r.exact_share == 1 && r.same_share == 1);
    n_answers = 0;
    CHECK_OK(verify(original, original, &s.text, NULL, &r, &err), err);
    CHECK(r.n_answers == 0 && isnan(r.exact_share) && isnan(r.same_share));
}

// ---- llama.cpp's own tool, where it is there

// Reads "[1]12.3456,[2]11.2345,..." as far as it comes: the tool may lose its last words when it
// ends. The perplexity of the first *n_chunks; those are 0 when nothing came.
static double tool_perplexity(const char *tool, const char *text_path, int n_ctx,
                              size_t *n_chunks) {
    char command[4 * OS_PATH_BYTES];
    static char said[1 << 20];
    double perplexity = NAN;
    snprintf(command, sizeof command,
             "'%s' -m '%s' -f '%s' -c %d -b %d -t 1 --no-warmup 2>&1 </dev/null", tool, original,
             text_path, n_ctx, n_ctx);
    FILE *out = popen(command, "r");
    said[out ? fread(said, 1, sizeof said - 1, out) : 0] = '\0';
    if (out) {
        pclose(out);
    }
    *n_chunks = 0;
    for (const char *at = strchr(said, '['); at; at = strchr(at + 1, '[')) {
        char *end;
        size_t number = strtoul(at + 1, &end, 10);
        if (number == *n_chunks + 1 && *end == ']') {
            double value = strtod(end + 1, &end);
            if (*end == ',') {
                perplexity = value;
                *n_chunks = number;
            }
        }
    }
    return perplexity;
}

static void is_what_llama_perplexity_finds(void) {
    enum { N_CTX = 128 };
    char tool[OS_PATH_BYTES], text_path[OS_PATH_BYTES];
    static char text[MAX_TEXT / 2];
    static struct sample s;
    struct verify_result r;
    struct wl_err err = {0};
    size_t n = 0;
    test_path(tool, source_dir(), ".deps/bin/llama-perplexity");
    make_text(text, sizeof text, 6);
    test_write(test_path(text_path, folder, "text.txt"), text, strlen(text));
    double perplexity = os_exists(tool) ? tool_perplexity(tool, text_path, N_CTX, &n) : NAN;
    unlink(text_path);
    if (n == 0) {
        printf("not compared with llama-perplexity: there is none, or it says nothing\n");
        return;
    }
    CHECK(plain_tokens(original, text, s.tokens, MAX_TEXT) >= n * N_CTX);
    for (size_t i = 0; i < n; i++) {
        s.lengths[i] = N_CTX; // the tool judges the second half, and its first token not
    }
    s.text = (struct compress_text){
        .tokens = s.tokens, .lengths = s.lengths, .n_sequences = n, .n_tokens = n * N_CTX};
    first_judged = N_CTX / 2 + 1;
    CHECK_OK(verify(original, original, &s.text, NULL, &r, &err), err);
    printf("perplexity of %zu tokens: %.4f, llama-perplexity: %.4f\n", r.n,
           exp(r.original.nll_mean), perplexity);
    CHECK(fabs(exp(r.original.nll_mean) / perplexity - 1) < 1e-3);
}

// ---- vocabularies

static void tokens_that_are_gone(void) {
    static struct sample s;
    static int32_t same[4096], fewer[4096];
    struct verify_result r, plain;
    struct wl_err err = {0};
    make_sample(&s, original, 60, 4, 1);
    for (int32_t i = 0; i < 4096; i++) {
        same[i] = fewer[i] = i;
    }
    CHECK_OK(verify(original, coarse, &s.text, NULL, &plain, &err), err);
    CHECK_OK(verify(original, coarse, &s.text, same, &r, &err), err);
    CHECK(r.kl_mean == plain.kl_mean && r.n == plain.n && r.lost_mass == 0);
    bool is_in[4] = {false}; // which sequences have the last token of the first one
    for (size_t i = 0; i < s.text.n_tokens; i++) {
        is_in[i / 60] = is_in[i / 60] || s.tokens[i] == s.tokens[59];
    }
    size_t n_in = (size_t)is_in[0] + is_in[1] + is_in[2] + is_in[3];
    fewer[s.tokens[59]] = -1;
    enum wl_status status = verify(original, original, &s.text, fewer, &r, &err);
    if (n_in == 4) {
        CHECK(status == WL_INPUT && message_has(&err, "nothing to judge"));
    } else {
        CHECK_OK(status, err);
        CHECK(r.n_left_out == n_in && r.n == (4 - n_in) * 59);
        CHECK(r.lost_mass > 0 && r.lost_mass < 1 && r.kl_mean > 0 && r.top1_share > 0.9);
    }
}

static void one_sequence_has_no_error(void) {
    static struct sample s;
    struct verify_result r;
    struct wl_err err = {0};
    make_sample(&s, original, 40, 1, 0);
    CHECK_OK(verify(original, coarse, &s.text, NULL, &r, &err), err);
    CHECK(r.n == 39 && isnan(r.kl_sem) && isnan(r.original.nll_sem) && r.kl_mean > 0);
}

// A vocabulary of more than VERIFY_WHOLE_VOCABULARY tokens, made by wattlaw itself.
static void big_vocabulary(void) {
    const char *wattlaw = getenv("WATTLAW");
    char path[OS_PATH_BYTES], command[3 * OS_PATH_BYTES];
    static struct sample s;
    struct verify_result r;
    struct wl_err err = {0};
    test_path(path, folder, "big.gguf");
    snprintf(command, sizeof command,
             "'%s' synth --arch llama --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 128 "
             "--vocab 6000 -o '%s' >/dev/null 2>&1",
             wattlaw ? wattlaw : "", path);
    if (!wattlaw || !os_exists(wattlaw) || system(command) != 0) {
        printf("no big vocabulary: there is no working wattlaw synth\n");
        return;
    }
    for (int32_t i = 0; i < 200; i++) {
        s.tokens[i] = 300 + 7 * i;
    }
    s.lengths[0] = s.lengths[1] = 100;
    s.text = (struct compress_text){
        .tokens = s.tokens, .lengths = s.lengths, .n_sequences = 2, .n_tokens = 200};
    first_judged = 1;
    CHECK_OK(verify(path, path, &s.text, NULL, &r, &err), err);
    CHECK(r.n == 198 && r.kl_max == 0 && r.top1_share == 1 && r.rest_mass > 0);
    s.tokens[3] = 6000;
    CHECK(verify(path, path, &s.text, NULL, &r, &err) == WL_INPUT && message_has(&err, "6000"));
    unlink(path);
}

// ---- what is wrong

static void cancels(void) {
    static struct sample s;
    struct verify_result r;
    struct wl_err err = {0};
    make_sample(&s, original, 200, 8, 1);
    for (int i = 0; i < 2; i++) { // at once, and after the original
        bool is_done = true;
        struct look l = {.stop_at = i == 0 ? 0 : 0.01};
        struct verify_options options = {
            .threads = 1, .scratch_dir = scratch, .go_on = look, .context = &l};
        CHECK_OK(compress_verify(original, coarse, &s.text, &options, &r, &is_done, &err), err);
        CHECK(l.n_asked > 0);
        CHECK(is_done == (i == 1 && l.n_asked < 2)); // a fast machine is done before it is asked
    }
}

static void refuses(const char *a, const char *b, const struct compress_text *text,
                    enum wl_status status, const char *word) {
    struct verify_result r;
    struct wl_err err = {0};
    CHECK(verify(a, b, text, NULL, &r, &err) == status);
    CHECK(message_has(&err, word));
}

static void says_what_is_wrong(void) {
    static struct sample s;
    char bad[OS_PATH_BYTES], kept[OS_PATH_BYTES];
    make_sample(&s, original, 50, 2, 1);
    refuses("/nowhere/a.gguf", original, &s.text, WL_NOT_FOUND, "/nowhere/a.gguf");
    refuses(original, "/nowhere/b.gguf", &s.text, WL_NOT_FOUND, "/nowhere/b.gguf");
    static char garbage[100000] = "GGUF";
    test_path(bad, folder, "bad.gguf");
    test_write(bad, garbage, sizeof garbage);
    refuses(original, bad, &s.text, WL_INPUT, bad);
    unlink(bad);
    int32_t token = s.tokens[7];
    s.tokens[7] = -1;
    refuses(original, original, &s.text, WL_INPUT, "token 7");
    s.tokens[7] = 1 << 24;
    refuses(original, original, &s.text, WL_INPUT, "token 7");
    s.tokens[7] = token;
    first_judged = 50;
    refuses(original, original, &s.text, WL_INPUT, "nothing to judge");
    first_judged = 1;
    s.text.n_tokens--;
    refuses(original, original, &s.text, WL_INPUT, "expected 99");
    s.lengths[0] = 8000;
    s.text.n_sequences = 1;
    s.text.n_tokens = 8000;
    refuses(original, original, &s.text, WL_LIMIT, "shorter sequences");
    s.lengths[0] = 100;
    s.text.n_tokens = 100;
    snprintf(kept, sizeof kept, "%s", scratch);
    snprintf(scratch, sizeof scratch, "/nowhere/at/all");
    refuses(original, original, &s.text, WL_NOT_FOUND, "/nowhere/at/all");
    snprintf(scratch, sizeof scratch, "%s", kept);
}

static void other_vocabulary(const char *stories) {
    static struct sample s;
    make_sample(&s, stories, 50, 2, 1);
    refuses(stories, original, &s.text, WL_INPUT, "does not come from the original");
}

int main(void) {
    char stories[OS_PATH_BYTES];
    const char *models = getenv("WATTLAW_TEST_MODELS");
    test_path(original, source_dir(), "models/builtin/builtin.gguf");
    test_path(coarse, source_dir(), "models/builtin/builtin-q8_0.gguf");
    need_model(original);
    need_model(coarse);
    test_folder(folder);
    test_folder(scratch);
    no_difference_to_itself(original);
    is_what_plain_sums_find();
    answers_are_those_that_both_write();
    is_what_llama_perplexity_finds();
    tokens_that_are_gone();
    one_sequence_has_no_error();
    big_vocabulary();
    cancels();
    says_what_is_wrong();
    if (models && os_exists(test_path(stories, models, "stories260k-f32.gguf"))) {
        no_difference_to_itself(stories);
        other_vocabulary(stories);
    } else {
        printf("without the story model: it is not there\n");
    }
    test_folder_remove(folder);
    test_folder_remove(scratch);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
