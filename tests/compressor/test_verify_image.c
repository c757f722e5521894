// The verdict on text with pictures: what plain sums over libllama's own logits find, with the same
// embeddings or the changed model's own; only text is judged; what does not fit is said.
#include "compressor/calib.h"
#include "compressor/calib_read.h"
#include "compressor/eye_renew.h"
#include "compressor/verify.h"
#include "image_text_test.h"

enum { SKIP = 8 };

static char original[OS_PATH_BYTES], coarse[OS_PATH_BYTES];
static char mmproj[OS_PATH_BYTES], coarse_mmproj[OS_PATH_BYTES];
static char text_tasks[OS_PATH_BYTES], panel_tasks[OS_PATH_BYTES];
static char scratch[OS_PATH_BYTES];

static struct calib make(const char *eye, bool has_text) {
    const char *paths[] = {panel_tasks, text_tasks};
    struct calib_options options;
    struct calib calib;
    struct wl_err err = {0};
    bool is_done = false;
    compress_calib_defaults(&options);
    options.task_paths = paths;
    options.n_task_paths = has_text ? 2 : 1;
    options.mmproj_path = eye;
    options.image_max_tokens = 72;
    options.shares[CALIB_TASKS] = 1;
    options.held_out = 0;
    options.n_tokens = 1200;
    options.threads = 1;
    CHECK_OK(compress_calib_make(original, &options, &calib, &is_done, &err), err);
    CHECK(is_done && calib.calibration.n_image_tokens > 0);
    return calib;
}

static enum wl_status verify(const char *a, const char *b, const struct compress_text *text,
                             const float *changed, struct verify_result *out, struct wl_err *err) {
    struct verify_options options = {
        .skip = SKIP, .threads = 1, .scratch_dir = scratch, .changed_embeddings = changed};
    bool is_done = false;
    enum wl_status status = compress_verify(a, b, text, &options, out, &is_done, err);
    CHECK(is_done == (status == WL_OK));
    return status;
}

static void no_difference_to_itself(const struct compress_text *text) {
    struct verify_result r;
    struct wl_err err = {0};
    CHECK_OK(verify(original, original, text, NULL, &r, &err), err);
    CHECK(r.kl_mean == 0 && r.kl_max == 0 && r.kl_image == 0 && r.top1_share == 1);
    CHECK(r.n_image > 0 && r.n_image < r.n && r.n < text->n_tokens - text->n_image_tokens);
    CHECK_OK(verify(original, original, text, text->embeddings, &r, &err), err);
    CHECK(r.kl_max == 0);
}

static double log_sum(const float *logits, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)logits[i]);
    }
    return log(sum);
}

static double divergence(const float *p, const float *q, size_t n) {
    double log_p = log_sum(p, n), log_q = log_sum(q, n), kl = 0;
    for (size_t id = 0; id < n; id++) {
        kl += exp((double)p[id] - log_p) * ((double)p[id] - log_p - ((double)q[id] - log_q));
    }
    return kl;
}

struct sums {
    double kl, kl_image, nll;
    size_t n, n_image;
};

static struct sums plain_sums(const struct compress_text *text, const char *changed_path,
                              const float *changed) {
    struct plain a = plain_open(original, NULL), b = plain_open(changed_path, NULL);
    struct sums sums = {0};
    size_t first = 0, row = 0;
    for (size_t s = 0; s < text->n_sequences; s++) {
        uint32_t length = text->lengths[s];
        size_t n_rows = image_tokens(text, first, length);
        float *p = plain_logits(&a, text, first, length, text->embeddings + row * a.n_embd);
        float *q = plain_logits(&b, text, first, length, changed + row * b.n_embd);
        for (uint32_t i = SKIP; i < length; i++) {
            int32_t token = text->tokens[first + i];
            const float *lp = p + (i - 1) * a.n_vocab, *lq = q + (i - 1) * a.n_vocab;
            if (!is_image_token(token)) {
                double kl = divergence(lp, lq, a.n_vocab);
                sums.kl += kl;
                sums.n++;
                sums.kl_image += n_rows > 0 ? kl : 0;
                sums.n_image += n_rows > 0;
                sums.nll += log_sum(lp, a.n_vocab) - (double)lp[token];
            }
        }
        free(p);
        free(q);
        row += n_rows;
        first += length;
    }
    plain_close(&a);
    plain_close(&b);
    return sums;
}

static void is_what_plain_sums_find(const struct compress_text *text, const char *changed_path,
                                    const float *changed) {
    struct verify_result r;
    struct wl_err err = {0};
    struct sums sums = plain_sums(text, changed_path, changed);
    CHECK_OK(verify(original, changed_path, text, changed, &r, &err), err);
    CHECK(r.n == sums.n && r.n_image == sums.n_image);
    CHECK(fabs(r.kl_mean - sums.kl / (double)sums.n) < 1e-5 + 1e-3 * r.kl_mean);
    CHECK(fabs(r.kl_image - sums.kl_image / (double)sums.n_image) < 1e-5 + 1e-3 * r.kl_image);
    CHECK(fabs(r.original.nll_mean - sums.nll / (double)sums.n) < 1e-4);
    printf("KL %.3g of %zu tokens, %.3g of %zu in sequences with pictures\n", r.kl_mean, r.n,
           r.kl_image, r.n_image);
}

// Other embeddings are felt behind pictures, and nowhere else.
static void only_pictures_changed(const struct compress_text *text, size_t n_embd) {
    struct verify_result r;
    struct wl_err err = {0};
    size_t n = text->n_image_tokens * n_embd;
    float *changed = calloc(n, sizeof *changed);
    for (size_t i = 0; i < n; i++) {
        changed[i] = 0.9f * text->embeddings[n - 1 - i];
    }
    CHECK_OK(verify(original, original, text, changed, &r, &err), err);
    CHECK(r.kl_image > 0.01 && r.kl_median <= 1e-9 + r.kl_max);
    double in_pictures = r.kl_image * (double)r.n_image, all = r.kl_mean * (double)r.n;
    CHECK(fabs(in_pictures - all) < 1e-9 * all);
    free(changed);
}

static void without_pictures(void) {
    static int32_t tokens[64];
    static uint32_t lengths[] = {64};
    struct verify_result r;
    struct wl_err err = {0};
    for (int32_t i = 0; i < 64; i++) {
        tokens[i] = 300 + i;
    }
    struct compress_text text = {
        .tokens = tokens, .lengths = lengths, .n_sequences = 1, .n_tokens = 64};
    CHECK_OK(verify(original, coarse, &text, NULL, &r, &err), err);
    CHECK(r.n_image == 0 && isnan(r.kl_image) && r.kl_mean > 0);
}

static void refuses(const char *changed, struct compress_text text, const char *word) {
    struct verify_result r;
    struct wl_err err = {0};
    CHECK(verify(original, changed, &text, NULL, &r, &err) == WL_INPUT);
    CHECK(message_has(&err, word));
}

static void says_what_is_wrong(const struct compress_text *text) {
    char narrow[OS_PATH_BYTES];
    struct compress_text t = *text;
    t.n_image_tokens--;
    refuses(original, t, "parts of images");
    t = *text;
    t.embeddings = NULL;
    refuses(original, t, "parts of images");
    t = *text;
    t.positions = NULL;
    refuses(original, t, "parts of images");
    t = *text;
    t.embeddings = NULL;
    t.n_image_tokens = 0;
    refuses(original, t, "of the text is -1");
    struct plain p = plain_open(original, NULL);
    int n_vocab = (int)p.n_vocab;
    plain_close(&p);
    make_model(json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "path",
                         test_path(narrow, scratch, "narrow.gguf"), "arch", "qwen2vl", "name", "n",
                         "n_layer", 2, "n_embd", 128, "n_head", 4, "n_head_kv", 2, "head_dim", 32,
                         "n_ff", 160, "n_vocab", n_vocab, "n_ctx", 8192));
    refuses(narrow, *text, "128 values");
    unlink(narrow);
}

// The text as made with one encoder becomes, bit for bit, what the other one makes of it.
static void renews_embeddings(const struct compress_text *text, const float *changed,
                              size_t n_embd) {
    struct calib_documents documents;
    struct wl_err err = {0};
    calib_documents_init(&documents);
    documents.pictures.is_looked_into = true;
    CHECK_OK(calib_read_tasks(&documents, panel_tasks, &err), err);
    size_t n = documents.pictures.n;
    const char **paths = calloc(n + 1, sizeof *paths);
    for (size_t i = 0; i < n; i++) {
        paths[i] = documents.pictures.items[i].path;
    }
    struct text_watch watch = {0};
    struct eye_renew options = {.text_path = original,
                                .before = mmproj,
                                .after = coarse_mmproj,
                                .pictures = paths,
                                .n_pictures = n,
                                .image_max_tokens = 72,
                                .threads = 1,
                                .watch = &watch};
    float *renewed = NULL;
    CHECK_OK(eye_renew(&options, text, &renewed, &err), err);
    size_t n_bytes = text->n_image_tokens * n_embd * sizeof *renewed;
    CHECK(renewed && memcmp(renewed, changed, n_bytes) == 0);
    CHECK(renewed && memcmp(renewed, text->embeddings, n_bytes) != 0);
    free(renewed);
    options.n_pictures = 1; // most of the text's are not there
    CHECK(eye_renew(&options, text, &renewed, &err) == WL_FAILED && !renewed);
    CHECK(message_has(&err, "image tokens of the calibration text"));
    struct compress_text none = {0};
    CHECK_OK(eye_renew(&options, &none, &renewed, &err), err);
    CHECK(!renewed);
    free(paths);
    calib_documents_release(&documents);
}

int main(void) {
    test_path(original, source_dir(), "models/builtin/builtin.gguf");
    test_path(coarse, source_dir(), "models/builtin/builtin-q8_0.gguf");
    test_path(mmproj, source_dir(), "models/builtin/mmproj-builtin.gguf");
    test_path(coarse_mmproj, source_dir(), "models/builtin/mmproj-builtin-q8_0.gguf");
    test_path(text_tasks, source_dir(), "models/tasks/calib-text.jsonl");
    test_path(panel_tasks, source_dir(), "models/tasks/calib-panel.jsonl");
    need_model(original);
    need_model(coarse_mmproj);
    need_model(panel_tasks);
    test_folder(scratch);
    struct calib calib = make(mmproj, true), other = make(coarse_mmproj, true);
    struct compress_text text = calib_part_text(&calib.calibration);
    const float *changed = other.calibration.embeddings;
    CHECK(other.calibration.n_image_tokens == text.n_image_tokens);
    no_difference_to_itself(&text);
    is_what_plain_sums_find(&text, coarse, text.embeddings);
    is_what_plain_sums_find(&text, coarse, changed);
    only_pictures_changed(&text, 256);
    renews_embeddings(&text, changed, 256);
    without_pictures();
    says_what_is_wrong(&text);
    compress_calib_release(&calib);
    compress_calib_release(&other);
    test_folder_remove(scratch);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
