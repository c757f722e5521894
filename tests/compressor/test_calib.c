// Calibration text for the built-in model: exact amounts, documents on one side only, chats as the
// model knows them, text that it writes itself; the same again from the same seed.
#include <llama.h>
#include <stdint.h>

#include "base/buf.h"
#include "compressor/calib.h"
#include "compressor/calib_write.h"
#include "text_model_test.h"

enum { N_FILES = 24, N_TASKS = 60, MAX_LENGTH = 96, MIN_LENGTH = 48 };

static char model_path[OS_PATH_BYTES], folder[OS_PATH_BYTES], task_path[OS_PATH_BYTES];
static const char *task_paths[] = {task_path};
static struct llama_model *model; // to look at tokens, without the code under test
static const struct llama_vocab *vocab;

// Every sentence names its document: "D017." in text, "Q017." in questions.
static void make_files(void) {
    struct buf text;
    char path[OS_PATH_BYTES], name[32];
    buf_init(&text, 1 << 20);
    for (int i = 0; i < N_FILES; i++) {
        buf_clear(&text);
        for (int k = 0; k < 40; k++) {
            buf_printf(&text, "D%03d. The key was left in the hall after day %d.\n", i, k);
        }
        snprintf(name, sizeof name, "note-%02d.txt", i);
        test_write(test_path(path, folder, name), buf_text(&text), text.len);
    }
    buf_clear(&text);
    for (int i = 0; i < N_TASKS; i++) {
        buf_printf(&text, "{\"prompt\": \"Q%03d. How many?\", \"reference\": \"%d\"}\n", i, i);
    }
    test_write(task_path, buf_text(&text), text.len);
    buf_release(&text);
}

static struct calib_options small_options(void) {
    struct calib_options options;
    compress_calib_defaults(&options);
    options.text_path = folder;
    options.task_paths = task_paths;
    options.n_task_paths = 1;
    options.n_tokens = 5000;
    options.min_length = MIN_LENGTH;
    options.max_length = MAX_LENGTH;
    options.threads = 1;
    return options;
}

static struct calib make(const struct calib_options *options) {
    struct calib calib;
    struct wl_err err = {0};
    bool is_done = false;
    CHECK_OK(compress_calib_make(model_path, options, &calib, &is_done, &err), err);
    CHECK(is_done);
    return calib;
}

static int32_t tokens_of(const char *text, int32_t *out, int32_t max) {
    int32_t n = llama_tokenize(vocab, text, (int32_t)strlen(text), out, max, true, true);
    CHECK(n >= 0);
    return n;
}

static void text_of(const int32_t *tokens, uint32_t n, char *out, int32_t size) {
    int32_t len = llama_detokenize(vocab, tokens, (int32_t)n, out, size - 1, false, true);
    CHECK(len >= 0);
    out[len > 0 ? len : 0] = '\0';
}

// ---- a part is what it says

static void check_part(const struct calib_part *part, size_t n_tokens, uint32_t max_length) {
    size_t n = 0, from[CALIB_SOURCES] = {0};
    CHECK(part->n_tokens == n_tokens);
    for (size_t s = 0; s < part->n_sequences; s++) {
        CHECK(part->lengths[s] >= 2 && part->lengths[s] <= max_length);
        CHECK(part->sources[s] < CALIB_SOURCES);
        for (uint32_t i = 0; i < part->lengths[s]; i++) {
            CHECK(part->is_first[n + i] == (i == 0));
            CHECK(part->tokens[n + i] >= 0 && part->tokens[n + i] < llama_vocab_n_tokens(vocab));
        }
        n += part->lengths[s];
        from[part->sources[s]] += part->lengths[s];
    }
    CHECK(n == part->n_tokens && memcmp(from, part->n_from, sizeof from) == 0);
}

static bool has_number(const struct calib_part *part, uint32_t document) {
    for (size_t s = 0; s < part->n_sequences; s++) {
        if (part->documents[s] == document) {
            return true;
        }
    }
    return false;
}

// Marks which documents are named in a part's text.
static void find_names(const struct calib_part *part, char kind, bool *is_named, int n) {
    char text[8192], name[32];
    const int32_t *tokens = part->tokens;
    for (size_t s = 0; s < part->n_sequences; s++) {
        text_of(tokens, part->lengths[s], text, sizeof text);
        tokens += part->lengths[s];
        if (part->sources[s] == CALIB_SELF) {
            continue; // the model may name what it likes
        }
        for (int i = 0; i < n; i++) {
            snprintf(name, sizeof name, "%c%03d.", kind, i);
            is_named[i] = is_named[i] || strstr(text, name);
        }
    }
}

static void check_apart(const struct calib *calib, char kind, int n) {
    bool here[N_TASKS] = {false}, there[N_TASKS] = {false};
    int n_here = 0, n_there = 0;
    find_names(&calib->calibration, kind, here, n);
    find_names(&calib->held_out, kind, there, n);
    for (int i = 0; i < n; i++) {
        CHECK(!(here[i] && there[i]));
        n_here += here[i];
        n_there += there[i];
    }
    CHECK(n_here > 0 && n_there > 0);
}

static void the_usual_mixture(void) {
    struct calib_options options = small_options();
    struct calib calib = make(&options);
    check_part(&calib.calibration, 4000, MAX_LENGTH);
    check_part(&calib.held_out, 1000, MAX_LENGTH);
    CHECK(calib.has_template);
    CHECK(calib.calibration.n_from[CALIB_SELF] == 1200 && calib.held_out.n_from[CALIB_SELF] == 300);
    // 60 short questions run out; text makes that up.
    size_t n_tasks = calib.calibration.n_from[CALIB_TASKS];
    CHECK(n_tasks > 0 && n_tasks <= 800);
    CHECK(calib.calibration.n_from[CALIB_TEXT] == 2800 - n_tasks);
    for (size_t s = 0; s < calib.calibration.n_sequences; s++) {
        CHECK(!has_number(&calib.held_out, calib.calibration.documents[s]));
    }
    check_apart(&calib, 'D', N_FILES);
    check_apart(&calib, 'Q', N_TASKS);
    compress_calib_release(&calib);
}

static bool are_same(const struct calib_part *a, const struct calib_part *b) {
    return a->n_tokens == b->n_tokens && a->n_sequences == b->n_sequences &&
           memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) == 0 &&
           memcmp(a->lengths, b->lengths, a->n_sequences * sizeof *a->lengths) == 0 &&
           memcmp(a->documents, b->documents, a->n_sequences * sizeof *a->documents) == 0 &&
           memcmp(a->sources, b->sources, a->n_sequences) == 0;
}

static void repeats_from_its_seed(void) {
    struct calib_options options = small_options();
    options.n_tokens = 2000;
    struct calib a = make(&options), b = make(&options);
    CHECK(are_same(&a.calibration, &b.calibration) && are_same(&a.held_out, &b.held_out));
    compress_calib_release(&b);
    options.seed++;
    b = make(&options);
    CHECK(!are_same(&a.calibration, &b.calibration) && !are_same(&a.held_out, &b.held_out));
    compress_calib_release(&a);
    compress_calib_release(&b);
}

// ---- chats

static void chats_are_as_the_model_knows_them(void) {
    struct calib_options options = small_options();
    options.text_path = NULL;
    options.shares[CALIB_TASKS] = 1;
    options.n_tokens = 100000; // all there is
    struct calib calib = make(&options);
    CHECK(calib.calibration.n_sequences + calib.held_out.n_sequences == N_TASKS);
    CHECK(calib.held_out.n_sequences == N_TASKS / 5);
    const struct calib_part *parts[] = {&calib.calibration, &calib.held_out};
    for (int side = 0; side < 2; side++) {
        const int32_t *tokens = parts[side]->tokens;
        for (size_t s = 0; s < parts[side]->n_sequences; s++) {
            char expected[256];
            int32_t ids[256];
            uint32_t number = parts[side]->documents[s];
            snprintf(expected, sizeof expected,
                     "<|im_start|>user\nQ%03u. How many?<|im_end|>\n"
                     "<|im_start|>assistant\n%u<|im_end|>",
                     number, number);
            int32_t n = tokens_of(expected, ids, 256);
            CHECK((uint32_t)n == parts[side]->lengths[s]);
            CHECK(memcmp(ids, tokens, (size_t)n * sizeof *ids) == 0);
            CHECK(llama_vocab_is_eog(vocab, tokens[n - 1]));
            tokens += parts[side]->lengths[s];
        }
    }
    compress_calib_release(&calib);
}

// Text is the message of a user, and its pieces are as long as they may be.
static void text_is_a_message(void) {
    static const char BEFORE[] = "<|im_start|>user\n";
    static const char AFTER[] = "<|im_end|>\n<|im_start|>assistant\n";
    struct calib_options options = small_options();
    options.n_task_paths = 0;
    options.shares[CALIB_TEXT] = 1;
    for (int round = 0; round < 2; round++) {
        size_t n_short = 0;
        options.is_plain = round == 1;
        struct calib calib = make(&options);
        const struct calib_part *part = &calib.calibration;
        const int32_t *tokens = part->tokens;
        check_part(part, 4000, MAX_LENGTH);
        for (size_t s = 0; s < part->n_sequences; s++) {
            char text[8192];
            text_of(tokens, part->lengths[s], text, sizeof text);
            tokens += part->lengths[s];
            size_t len = strlen(text);
            bool is_framed = strncmp(text, BEFORE, strlen(BEFORE)) == 0;
            bool has_end = len > strlen(AFTER) && strcmp(text + len - strlen(AFTER), AFTER) == 0;
            CHECK(options.is_plain ? !strstr(text, "<|im_") : is_framed);
            n_short += options.is_plain ? part->lengths[s] < MIN_LENGTH : !has_end;
        }
        CHECK(n_short <= (options.is_plain ? part->n_sequences / 10 + 1 : 1)); // the last is cut
        compress_calib_release(&calib);
    }
}

// ---- text of the model's own

static void writes_itself(void) {
    struct calib_options options = small_options();
    options.text_path = NULL;
    options.n_task_paths = 0;
    options.n_tokens = 2500;
    struct calib a = make(&options);
    check_part(&a.calibration, 2000, MAX_LENGTH);
    check_part(&a.held_out, 500, MAX_LENGTH);
    CHECK(a.calibration.n_from[CALIB_SELF] == 2000);
    const int32_t *tokens = a.calibration.tokens;
    size_t n_open = 0, n_ended = 0;
    for (size_t s = 0; s < a.calibration.n_sequences; s++) {
        uint32_t n = a.calibration.lengths[s];
        bool has_end = llama_vocab_is_eog(vocab, tokens[n - 1]);
        CHECK(tokens[0] == llama_vocab_bos(vocab));
        for (uint32_t i = 1; i + 1 < n; i++) {
            CHECK(!llama_vocab_is_eog(vocab, tokens[i]));
        }
        n_open += !has_end && n < MAX_LENGTH;
        n_ended += has_end;
        tokens += n;
    }
    CHECK(n_open <= 1); // the last one was cut
    printf("%zu of %zu texts that the model wrote have an end\n", n_ended,
           a.calibration.n_sequences);
    options.seed = 77;
    struct calib b = make(&options);
    CHECK(!are_same(&a.calibration, &b.calibration));
    compress_calib_release(&a);
    compress_calib_release(&b);
}

// Answers to the questions of its own side, with what ends them.
static void answers_questions(void) {
    struct calib_options options = small_options();
    options.shares[CALIB_TASKS] = 0.2;
    options.shares[CALIB_TEXT] = 0.2;
    options.shares[CALIB_SELF] = 0.6;
    struct calib calib = make(&options);
    size_t n_answers = 0, n_ended = 0, n_open = 0;
    const int32_t *tokens = calib.held_out.tokens;
    for (size_t s = 0; s < calib.held_out.n_sequences; s++) {
        char text[8192], name[32];
        uint32_t n = calib.held_out.lengths[s], number = calib.held_out.documents[s];
        text_of(tokens, n, text, sizeof text);
        bool is_of_task = number >= N_FILES && number < N_FILES + N_TASKS;
        if (calib.held_out.sources[s] == CALIB_SELF && is_of_task && strstr(text, "assistant\n")) {
            snprintf(name, sizeof name, "Q%03u.", number - N_FILES);
            CHECK(strstr(text, name) != NULL);
            n_answers++;
            n_ended += llama_vocab_is_eog(vocab, tokens[n - 1]);
            n_open += !llama_vocab_is_eog(vocab, tokens[n - 1]) && n < MAX_LENGTH;
        }
        tokens += n;
    }
    CHECK(n_answers > 0 && n_ended > 0 && n_open <= 1);
    compress_calib_release(&calib);
}

// ---- borders of what can be asked

static void nothing_held_out(void) {
    struct calib_options options = small_options();
    options.held_out = 0;
    options.n_tokens = 1000;
    struct calib calib = make(&options);
    check_part(&calib.calibration, 1000, MAX_LENGTH);
    CHECK(calib.held_out.n_tokens == 0 && calib.held_out.n_sequences == 0);
    compress_calib_release(&calib);
}

static void long_sequences_of_the_shipped_tasks(void) {
    struct calib_options options;
    char path[OS_PATH_BYTES];
    const char *paths[] = {path};
    compress_calib_defaults(&options);
    test_path(path, source_dir(), "models/tasks/calib-text.jsonl");
    options.task_paths = paths;
    options.n_task_paths = 1;
    if (!os_exists(path)) {
        printf("without the shipped tasks: there is no '%s'\n", path);
        return;
    }
    options.threads = 1;
    options.n_tokens = 6000;
    struct calib calib = make(&options);
    check_part(&calib.calibration, 4800, 512);
    check_part(&calib.held_out, 1200, 512);
    CHECK(calib.calibration.n_from[CALIB_TEXT] == 0);
    CHECK(calib.calibration.n_from[CALIB_SELF] == 1440);
    printf("of 6000 tokens %zu are of tasks, %zu written by the model\n",
           calib.calibration.n_from[CALIB_TASKS] + calib.held_out.n_from[CALIB_TASKS],
           calib.calibration.n_from[CALIB_SELF] + calib.held_out.n_from[CALIB_SELF]);
    compress_calib_release(&calib);
}

// More than the limit is made up by text, where there is some.
static void the_model_writes_no_more_than_it_may(void) {
    struct calib_options options = small_options();
    options.max_self_tokens = 200;
    struct calib calib = make(&options);
    check_part(&calib.calibration, 4000, MAX_LENGTH);
    check_part(&calib.held_out, 1000, MAX_LENGTH);
    CHECK(calib.calibration.n_from[CALIB_SELF] == 160 && calib.held_out.n_from[CALIB_SELF] == 40);
    compress_calib_release(&calib);
    options.text_path = NULL;
    options.n_task_paths = 0;
    options.n_tokens = 1000;
    calib = make(&options);
    CHECK(calib.calibration.n_from[CALIB_SELF] == 800);
    compress_calib_release(&calib);
}

// Of two files, questions that are in both count once.
static void several_task_files(void) {
    char path[OS_PATH_BYTES];
    const char *paths[] = {task_path, path};
    struct buf text;
    buf_init(&text, 1 << 20);
    for (int i = N_TASKS - 5; i < N_TASKS + 5; i++) {
        buf_printf(&text, "{\"prompt\": \"Q%03d. How many?\", \"reference\": \"%d\"}\n", i, i);
    }
    snprintf(path, sizeof path, "%.4000s-more.jsonl", folder);
    test_write(path, buf_text(&text), text.len);
    struct calib_options options = small_options();
    options.text_path = NULL;
    options.task_paths = paths;
    options.n_task_paths = 2;
    options.shares[CALIB_TASKS] = 1;
    options.n_tokens = 100000;
    struct calib calib = make(&options);
    CHECK(calib.calibration.n_sequences + calib.held_out.n_sequences == N_TASKS + 5);
    compress_calib_release(&calib);
    buf_release(&text);
    unlink(path);
}

struct told {
    double share;
    int n, n_back;
};

static bool hear(void *context, double share_done) {
    struct told *told = context;
    told->n++;
    told->n_back += share_done < told->share;
    told->share = share_done;
    return share_done >= 0 && share_done <= 1;
}

static void tells_how_far_it_is(void) {
    struct calib_options options = small_options();
    struct told told = {0};
    options.shares[CALIB_TEXT] = options.shares[CALIB_SELF] = 0.5;
    options.go_on = hear;
    options.context = &told;
    struct calib calib = make(&options);
    CHECK(told.n > 0 && told.n_back == 0 && told.share > 0.5);
    compress_calib_release(&calib);
}

static bool stop_later(void *context, double share_done) {
    int *n_asked = context;
    CHECK(share_done >= 0 && share_done <= 1);
    return ++*n_asked < 3;
}

static void cancels(void) {
    struct calib_options options = small_options();
    struct calib calib;
    struct wl_err err = {0};
    bool is_done = true;
    int n_asked = 0;
    options.text_path = NULL; // all of it must be computed
    options.n_task_paths = 0;
    options.n_tokens = 1000000;
    options.go_on = stop_later;
    options.context = &n_asked;
    CHECK_OK(compress_calib_make(model_path, &options, &calib, &is_done, &err), err);
    CHECK(!is_done && n_asked == 3 && !calib.calibration.tokens);
    compress_calib_release(&calib);
}

static void refuses(const struct calib_options *options, enum wl_status status, const char *word) {
    struct calib calib;
    struct wl_err err = {0};
    bool is_done = true;
    CHECK(compress_calib_make(model_path, options, &calib, &is_done, &err) == status);
    CHECK(message_has(&err, word) && !is_done && !calib.calibration.tokens);
    compress_calib_release(&calib);
}

static void says_what_is_wrong(void) {
    struct calib_options good = small_options(), o = good;
    char path[OS_PATH_BYTES];
    o.n_tokens = 10;
    refuses(&o, WL_USAGE, "found 10");
    o = good;
    o.held_out = 1;
    refuses(&o, WL_USAGE, "hold");
    o = good;
    o.min_length = 600;
    refuses(&o, WL_USAGE, "600");
    o = good;
    o.shares[CALIB_TEXT] = -1;
    refuses(&o, WL_USAGE, "share of text");
    o = good;
    o.n_task_paths = 0;
    o.shares[CALIB_TASKS] = 1;
    refuses(&o, WL_USAGE, "tasks has a share");
    o = good;
    o.text_path = "/nowhere/at/all";
    refuses(&o, WL_NOT_FOUND, "/nowhere/at/all");
    test_path(path, folder, "note-bad.txt");
    test_write(path, "\x01\x02\xff", 3);
    refuses(&good, WL_INPUT, "note-bad.txt");
    o = good;
    o.text_path = path;
    o.n_task_paths = 0;
    o.shares[CALIB_TEXT] = 1;
    test_write(path, "One short note.", 15);
    refuses(&o, WL_INPUT, "hold some out");
    unlink(path);
    model_path[0] = '?';
    refuses(&good, WL_NOT_FOUND, "?");
    model_path[0] = '/';
}

// A model without a template, whose every sequence begins with a token of its own.
static void stories(const char *path) {
    char kept[OS_PATH_BYTES];
    struct calib_options options = small_options();
    snprintf(kept, sizeof kept, "%s", model_path);
    snprintf(model_path, sizeof model_path, "%s", path);
    llama_model_free(model);
    model = llama_model_load_from_file(path, llama_model_default_params());
    vocab = model ? llama_model_get_vocab(model) : NULL;
    CHECK(vocab != NULL);
    options.max_length = 8192; // more than the model knows
    struct calib calib = make(&options);
    check_part(&calib.calibration, 4000, 2048);
    CHECK(!calib.has_template);
    for (size_t i = 0; i < calib.calibration.n_tokens; i++) {
        CHECK(!calib.calibration.is_first[i] ||
              calib.calibration.tokens[i] == llama_vocab_bos(vocab));
    }
    for (size_t s = 0; s < calib.calibration.n_sequences; s++) {
        CHECK((int32_t)calib.calibration.lengths[s] <= llama_model_n_ctx_train(model));
    }
    compress_calib_release(&calib);
    snprintf(model_path, sizeof model_path, "%s", kept);
}

// The built-in model's keys and values are small; those of long texts are not.
static void few_at_once_where_they_need_memory(void) {
    struct text_model text = {.model = model};
    CHECK(calib_at_once(&text, 512) == CALIB_MAX_AT_ONCE);
    CHECK(calib_at_once(&text, 1 << 14) < CALIB_MAX_AT_ONCE);
    CHECK(calib_at_once(&text, 1 << 20) == 2);
    CHECK(calib_self_length(96) == 96 && calib_self_length(8192) == CALIB_SELF_LENGTH);
}

int main(void) {
    char path[OS_PATH_BYTES];
    const char *models = getenv("WATTLAW_TEST_MODELS");
    test_path(model_path, source_dir(), "models/builtin/builtin.gguf");
    need_model(model_path);
    model = llama_model_load_from_file(model_path, llama_model_default_params());
    vocab = llama_model_get_vocab(model);
    test_folder(folder);
    snprintf(task_path, sizeof task_path, "%.4000s.jsonl", folder);
    make_files();
    few_at_once_where_they_need_memory();
    the_usual_mixture();
    repeats_from_its_seed();
    chats_are_as_the_model_knows_them();
    text_is_a_message();
    writes_itself();
    answers_questions();
    nothing_held_out();
    the_model_writes_no_more_than_it_may();
    several_task_files();
    tells_how_far_it_is();
    long_sequences_of_the_shipped_tasks();
    cancels();
    says_what_is_wrong();
    if (models && os_exists(test_path(path, models, "stories260k-f32.gguf"))) {
        stories(path);
    } else {
        printf("without the story model: it is not there\n");
    }
    llama_model_free(model);
    unlink(task_path);
    test_folder_remove(folder);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
