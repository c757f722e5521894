// Questions about pictures as calibration text: the tokens, rows and positions that the engine
// would compute, each picture on one side only, half of the tasks; and what is left out, and what
// is wrong.
#include <sys/stat.h>

#include "compressor/calib.h"
#include "image_text_test.h"

static char model_path[OS_PATH_BYTES], mmproj_path[OS_PATH_BYTES];
static char text_tasks[OS_PATH_BYTES], panel_tasks[OS_PATH_BYTES];
static char folder[OS_PATH_BYTES];

static struct calib_options options_of(const char *const *paths, size_t n) {
    struct calib_options options;
    compress_calib_defaults(&options);
    options.task_paths = paths;
    options.n_task_paths = n;
    options.mmproj_path = mmproj_path;
    options.shares[CALIB_TASKS] = 1;
    options.n_tokens = 8000;
    options.threads = 1;
    return options;
}

static struct calib make(const char *model, const struct calib_options *options) {
    struct calib calib;
    struct wl_err err = {0};
    bool is_done = false;
    CHECK_OK(compress_calib_make(model, options, &calib, &is_done, &err), err);
    CHECK(is_done);
    return calib;
}

// ---- the whole of it

struct item { // of a task file
    const char *prompt, *reference, *picture;
};

static size_t read_items(const char *path, json_t **lines, struct item *items, size_t max) {
    struct buf text;
    struct wl_err err;
    size_t n = 0;
    buf_init(&text, 1 << 24);
    CHECK_OK(os_slurp(path, &text, &err), err);
    *lines = json_array();
    char *rest = text.data, *line;
    while ((line = strtok_r(NULL, "\n", &rest)) && n < max) {
        json_t *object = line[0] == '{' ? json_loads(line, 0, NULL) : NULL;
        if (object) {
            json_array_append_new(*lines, object);
            items[n++] = (struct item){
                json_string_value(json_object_get(object, "prompt")),
                json_string_value(json_object_get(object, "reference")),
                json_string_value(json_array_get(json_object_get(object, "images"), 0))};
        }
    }
    buf_release(&text);
    return n;
}

// The sequence is this question with this answer; *answer_at: where that begins in it.
static bool is_item(const struct plain *p, const struct item *item, const int32_t *tokens,
                    uint32_t length, uint32_t *answer_at) {
    static const char BEFORE[] = "<|im_start|>user\n<|vision_start|>";
    char behind[4096];
    int32_t expected[2048];
    int32_t n_before =
        llama_tokenize(p->vocab, BEFORE, (int32_t)strlen(BEFORE), expected, 2048, true, true);
    uint32_t at = (uint32_t)n_before;
    if (length < at || memcmp(tokens, expected, at * sizeof *tokens) != 0) {
        return false;
    }
    while (at < length && is_image_token(tokens[at])) {
        at++;
    }
    snprintf(behind, sizeof behind,
             "<|vision_end|>%s<|im_end|>\n<|im_start|>assistant\n%s<|im_end|>", item->prompt,
             item->reference);
    int32_t n =
        llama_tokenize(p->vocab, behind, (int32_t)strlen(behind), expected, 2048, false, true);
    bool is_same = n > 0 && (uint32_t)n == length - at &&
                   memcmp(tokens + at, expected, (uint32_t)n * sizeof *tokens) == 0;
    char *answer = strstr(behind, "assistant\n") + strlen("assistant\n");
    *answer = '\0';
    n = llama_tokenize(p->vocab, behind, (int32_t)strlen(behind), expected, 2048, false, true);
    *answer_at = at + (uint32_t)n;
    return is_same;
}

static void check_positions(const struct compress_text *text, size_t first, uint32_t length,
                            uint32_t n_columns) {
    const int32_t *p = text->positions;
    size_t n = text->n_tokens, n_rows = 0;
    int32_t next = 0;
    for (size_t i = first, k = 0; i < first + length; i++) {
        if (!is_image_token(text->tokens[i])) {
            CHECK(p[i] == next && p[n + i] == next && p[2 * n + i] == next && p[3 * n + i] == 0);
            next++;
            continue;
        }
        CHECK(p[i] == next && p[n + i] == next + (int32_t)(k / n_columns));
        CHECK(p[2 * n + i] == next + (int32_t)(k % n_columns) && p[3 * n + i] == 0);
        k++;
        if (!is_image_token(text->tokens[i + 1])) {
            n_rows = k / n_columns;
            next += (int32_t)(n_rows > n_columns ? n_rows : n_columns);
        }
    }
}

// From the positions themselves: the greatest column of the picture.
static uint32_t columns_of(const struct compress_text *text, size_t first, uint32_t length) {
    int32_t most = 0;
    for (size_t i = first; i < first + length; i++) {
        int32_t column = text->positions[2 * text->n_tokens + i] - text->positions[i];
        most = is_image_token(text->tokens[i]) && column > most ? column : most;
    }
    return (uint32_t)most + 1;
}

struct seen { // a picture by its first value
    float value;
    uint32_t document;
    int side;
};

static void see(struct seen *all, size_t *n, struct seen one) {
    for (size_t i = 0; i < *n; i++) {
        if (all[i].value == one.value || all[i].document == one.document) {
            CHECK(all[i].value == one.value && all[i].document == one.document);
            CHECK(all[i].side == one.side);
            return;
        }
    }
    all[(*n)++] = one;
}

// The model is right about nearly all of these: that shows rows, positions and order at once.
static void check_answer(struct plain *p, const struct compress_text *text, size_t first,
                         uint32_t length, const float *rows, uint32_t answer_at, size_t *n,
                         size_t *n_right) {
    float *logits = plain_logits(p, text, first, length, rows);
    for (uint32_t i = answer_at; i < length; i++) {
        const float *behind = logits + (size_t)(i - 1) * p->n_vocab;
        size_t best = 0;
        for (size_t id = 0; id < p->n_vocab; id++) {
            best = behind[id] > behind[best] ? id : best;
        }
        *n_right += (int32_t)best == text->tokens[first + i];
        ++*n;
    }
    free(logits);
}

static void is_what_the_model_would_see(void) {
    static struct item items[512];
    static struct seen seen[512];
    const char *const paths[] = {text_tasks, panel_tasks};
    struct calib_options options = options_of(paths, 2);
    struct calib calib = make(model_path, &options);
    struct plain p = plain_open(model_path, NULL);
    json_t *lines;
    size_t n_items = read_items(panel_tasks, &lines, items, 512), n_seen = 0, n = 0, n_right = 0;
    const struct calib_part *parts[] = {&calib.calibration, &calib.held_out};
    for (int side = 0; side < 2; side++) {
        struct compress_text text = calib_part_text(parts[side]);
        size_t first = 0, row = 0, n_in_pictures = 0;
        CHECK(text.n_tokens == (side ? 1600u : 6400u) && text.positions && text.embeddings);
        for (size_t s = 0; s < text.n_sequences; s++) {
            uint32_t length = text.lengths[s], answer_at = 0;
            size_t n_rows = image_tokens(&text, first, length), i = 0;
            check_positions(&text, first, length, n_rows ? columns_of(&text, first, length) : 1);
            if (n_rows > 0) {
                const float *rows = text.embeddings + row * p.n_embd;
                while (i < n_items &&
                       !is_item(&p, &items[i], text.tokens + first, length, &answer_at)) {
                    i++;
                }
                CHECK(i < n_items && parts[side]->sources[s] == CALIB_TASKS);
                see(seen, &n_seen, (struct seen){rows[0], parts[side]->documents[s], side});
                check_answer(&p, &text, first, length, rows, answer_at, &n, &n_right);
                n_in_pictures += length;
            }
            row += n_rows;
            first += length;
        }
        CHECK(row == text.n_image_tokens && row == parts[side]->n_image_tokens);
        double share = (double)n_in_pictures / (double)text.n_tokens;
        CHECK(share > 0.35 && share <= 0.5);
    }
    printf("%zu pictures; of %zu tokens of answers the model foretells %zu\n", n_seen, n, n_right);
    CHECK(n_seen == calib.n_pictures && calib.n_pictures_left_out == 0);
    CHECK(n > 20 && n_right * 100 >= n * 98);
    json_decref(lines);
    plain_close(&p);
    compress_calib_release(&calib);
}

static bool are_same(const struct calib_part *a, const struct calib_part *b, size_t n_embd) {
    return a->n_tokens == b->n_tokens && a->n_image_tokens == b->n_image_tokens &&
           memcmp(a->tokens, b->tokens, a->n_tokens * sizeof *a->tokens) == 0 &&
           memcmp(a->positions, b->positions, 4 * a->n_tokens * sizeof *a->positions) == 0 &&
           memcmp(a->embeddings, b->embeddings,
                  a->n_image_tokens * n_embd * sizeof *a->embeddings) == 0;
}

static void repeats_from_its_seed(void) {
    const char *const paths[] = {panel_tasks};
    struct calib_options options = options_of(paths, 1);
    options.n_tokens = 1500;
    struct calib a = make(model_path, &options), b = make(model_path, &options);
    CHECK(are_same(&a.calibration, &b.calibration, 256) && are_same(&a.held_out, &b.held_out, 256));
    compress_calib_release(&b);
    options.seed++;
    b = make(model_path, &options);
    CHECK(a.calibration.n_tokens != b.calibration.n_tokens ||
          !are_same(&a.calibration, &b.calibration, 256));
    compress_calib_release(&a);
    compress_calib_release(&b);
}

static void the_clamp(void) {
    const char *const paths[] = {panel_tasks};
    struct calib_options options = options_of(paths, 1);
    options.n_tokens = 1500;
    options.image_max_tokens = 36;
    struct calib calib = make(model_path, &options);
    struct compress_text text = calib_part_text(&calib.calibration);
    size_t first = 0;
    for (size_t s = 0; s < text.n_sequences; s++) {
        size_t n = image_tokens(&text, first, text.lengths[s]);
        CHECK(n >= 20 && n <= 36);
        first += text.lengths[s];
    }
    // No picture is cut, so the last tokens may be missing.
    CHECK(text.n_tokens <= 1200 && text.n_tokens > 1100);
    compress_calib_release(&calib);
}

// ---- other families

// As libmtmd's own helper has it, of the one question that there is (with its twin on another
// picture, so that one side has one each).
static void is_what_libmtmd_computes(const char *arch, const char *projector, const char *keys) {
    char path[OS_PATH_BYTES], eye[OS_PATH_BYTES], tasks[OS_PATH_BYTES], names[2][OS_PATH_BYTES];
    static const char TASKS[] =
        "{\"prompt\": \"what is it\", \"images\": [\"0.png\"], \"reference\": \"a b c\"}\n"
        "{\"prompt\": \"what is it\", \"images\": [\"1.png\"], \"reference\": \"a b c\"}\n";
    const char *const paths[] = {tasks};
    make_pair(arch, projector, keys, test_path(path, folder, "t.gguf"),
              test_path(eye, folder, "e.gguf"));
    write_image(test_path(names[0], folder, "0.png"), 150, 90, 0);
    write_image(test_path(names[1], folder, "1.png"), 150, 90, 1);
    test_write(test_path(tasks, folder, "tasks.jsonl"), TASKS, strlen(TASKS));
    struct calib_options options = options_of(paths, 1);
    options.mmproj_path = eye;
    options.max_length = 1024;
    options.held_out = 0.5;
    struct calib calib = make(path, &options);
    struct plain p = plain_open(path, eye);
    const struct calib_part *parts[] = {&calib.calibration, &calib.held_out};
    float *asked[2];
    bool is_found[2] = {false, false};
    for (int i = 0; i < 2; i++) {
        struct image image = read_image(names[i]);
        asked[i] = plain_ask(&p,
                             "<|im_start|>user\n<__media__>what is it<|im_end|>\n"
                             "<|im_start|>assistant\n",
                             &image);
        image_release(&image);
    }
    CHECK(calib.n_pictures == 2);
    for (int side = 0; side < 2; side++) {
        struct compress_text text = calib_part_text(parts[side]);
        CHECK(text.n_sequences == 1 && text.n_image_tokens > 0);
        if (text.n_sequences != 1 || text.n_image_tokens == 0) {
            continue;
        }
        float *logits = plain_logits(&p, &text, 0, text.lengths[0], text.embeddings);
        for (uint32_t at = 0; at < text.lengths[0]; at++) {
            for (int i = 0; i < 2; i++) {
                double off = 0;
                for (size_t id = 0; id < p.n_vocab; id++) {
                    off = fmax(off, fabs((double)(logits[at * p.n_vocab + id] - asked[i][id])));
                }
                is_found[i] = is_found[i] || off < 1e-3;
            }
        }
        free(logits);
    }
    printf("%s: %zu image tokens, %s\n", projector, calib.calibration.n_image_tokens,
           is_found[0] && is_found[1] ? "as libmtmd has it" : "otherwise");
    CHECK(is_found[0] && is_found[1]);
    free(asked[0]);
    free(asked[1]);
    plain_close(&p);
    compress_calib_release(&calib);
    test_folder_remove(folder);
    CHECK(mkdir(folder, 0700) == 0);
}

// ---- left out

static void without_an_encoder(void) {
    const char *const both[] = {text_tasks, panel_tasks}, *const pictures[] = {panel_tasks};
    struct calib_options options = options_of(both, 2);
    options.mmproj_path = NULL;
    struct calib calib = make(model_path, &options);
    CHECK(calib.n_pictures == 0 && calib.n_pictures_left_out == 48);
    CHECK(calib.calibration.n_tokens == 6400 && !calib.calibration.positions);
    CHECK(!calib.calibration.embeddings && calib.calibration.n_image_tokens == 0);
    compress_calib_release(&calib);
    struct wl_err err = {0};
    bool is_done;
    options.task_paths = pictures;
    options.n_task_paths = 1;
    CHECK(compress_calib_make(model_path, &options, &calib, &is_done, &err) == WL_INPUT);
    CHECK(message_has(&err, "image encoder"));
}

// gemma3 sees a picture in one piece, which blocks that are computed here do not.
static void models_that_see_in_one_piece(void) {
    char path[OS_PATH_BYTES], eye[OS_PATH_BYTES];
    const char *const both[] = {text_tasks, panel_tasks};
    make_pair("gemma3", "gemma3", "{\"patch_size\": 14, \"image_size\": 224}",
              test_path(path, folder, "t.gguf"), test_path(eye, folder, "e.gguf"));
    struct calib_options options = options_of(both, 2);
    options.mmproj_path = eye;
    struct calib calib = make(path, &options);
    CHECK(calib.n_pictures == 0 && calib.n_pictures_left_out == 48);
    CHECK(calib.calibration.n_tokens == 6400 && calib.calibration.n_image_tokens == 0);
    compress_calib_release(&calib);
    test_folder_remove(folder);
    CHECK(mkdir(folder, 0700) == 0);
}

static void pictures_that_are_too_long(void) {
    const char *const both[] = {text_tasks, panel_tasks};
    struct calib_options options = options_of(both, 2);
    struct calib calib;
    struct wl_err err = {0};
    bool is_done;
    options.min_length = 32;
    options.max_length = 64;
    CHECK(compress_calib_make(model_path, &options, &calib, &is_done, &err) == WL_LIMIT);
    CHECK(message_has(&err, "than a sequence may have (64)"));
    options.max_length = 160; // 364 x 280 pixels fit, 130 tokens; 144 do not
    calib = make(model_path, &options);
    CHECK(calib.n_pictures > 0 && calib.n_pictures_left_out > 0);
    CHECK(calib.n_pictures + calib.n_pictures_left_out <= 48);
    compress_calib_release(&calib);
}

// ---- what belongs together

// Three questions about two pictures, one of which has two names; and a fourth about another.
static void one_document_for_a_picture(void) {
    static const char *const LINES =
        "{\"prompt\": \"One?\", \"images\": [\"a.png\"], \"reference\": \"1\"}\n"
        "{\"prompt\": \"Two?\", \"images\": [\"again.png\", \"b.png\"], \"reference\": \"2\"}\n"
        "{\"prompt\": \"Three <__media__>?\", \"images\": [\"b.png\"], \"reference\": \"3\"}\n"
        "{\"prompt\": \"One?\", \"images\": [\"again.png\"], \"reference\": \"1\"}\n"
        "{\"prompt\": \"One?\", \"images\": [\"c.png\"], \"reference\": \"1\"}\n";
    char path[OS_PATH_BYTES], tasks[OS_PATH_BYTES];
    const char *const paths[] = {tasks};
    write_image(test_path(path, folder, "a.png"), 100, 60, 0);
    write_image(test_path(path, folder, "again.png"), 100, 60, 0);
    write_image(test_path(path, folder, "b.png"), 60, 100, 1);
    write_image(test_path(path, folder, "c.png"), 64, 64, 2);
    test_write(test_path(tasks, folder, "tasks.jsonl"), LINES, strlen(LINES));
    struct calib_options options = options_of(paths, 1);
    for (options.seed = 1; options.seed < 5; options.seed++) {
        struct calib calib = make(model_path, &options);
        const struct calib_part *parts[] = {&calib.calibration, &calib.held_out};
        CHECK(calib.n_pictures == 3);
        CHECK(parts[0]->n_sequences + parts[1]->n_sequences == 4); // one was there twice
        for (int side = 0; side < 2; side++) {
            for (size_t s = 0; s < parts[side]->n_sequences; s++) {
                CHECK(parts[side]->documents[s] == (parts[side]->n_sequences == 3 ? 0u : 3u));
            }
        }
        compress_calib_release(&calib);
    }
    test_folder_remove(folder);
    CHECK(mkdir(folder, 0700) == 0);
}

// ---- what is wrong

static void refuses(const char *line, enum wl_status status, const char *word) {
    char tasks[OS_PATH_BYTES];
    const char *const paths[] = {tasks};
    struct calib calib;
    struct wl_err err = {0};
    bool is_done = true;
    test_write(test_path(tasks, folder, "tasks.jsonl"), line, strlen(line));
    struct calib_options options = options_of(paths, 1);
    CHECK(compress_calib_make(model_path, &options, &calib, &is_done, &err) == status);
    CHECK(message_has(&err, word) && !is_done && !calib.calibration.tokens);
    unlink(tasks);
}

static void says_what_is_wrong(void) {
    char path[OS_PATH_BYTES];
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": [\"no.png\"]}", WL_NOT_FOUND,
            "no.png");
    refuses("\n{\"prompt\": \"?\", \"reference\": \"1\", \"images\": [\"no.png\"]}", WL_NOT_FOUND,
            "line 2");
    test_write(test_path(path, folder, "bad.png"), "no picture at all", 17);
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": [\"bad.png\"]}", WL_INPUT,
            "bad.png");
    write_image(path, 40, 40, 1);
    CHECK(truncate(path, 60) == 0); // its head is there
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": [\"bad.png\"]}", WL_INPUT,
            "bad.png': ");
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": [\".\"]}", WL_INPUT,
            "is not a file");
    write_image(path, 40, 40, 1);
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": \"bad.png\"}", WL_INPUT,
            "list of 1 to 16");
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": []}", WL_INPUT,
            "list of 1 to 16");
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": [7]}", WL_INPUT,
            "list of file names");
    refuses("{\"prompt\": \"<__media__> <__media__>\", \"reference\": \"1\", \"images\": "
            "[\"bad.png\"]}",
            WL_INPUT, "2 times");
    char kept[OS_PATH_BYTES];
    snprintf(kept, sizeof kept, "%s", mmproj_path);
    snprintf(mmproj_path, sizeof mmproj_path, "%s", model_path);
    refuses("{\"prompt\": \"?\", \"reference\": \"1\", \"images\": [\"bad.png\"]}", WL_INPUT,
            "builtin.gguf");
    snprintf(mmproj_path, sizeof mmproj_path, "%s", kept);
}

static void an_encoder_of_another_model(void) {
    char path[OS_PATH_BYTES], eye[OS_PATH_BYTES];
    const char *const paths[] = {panel_tasks};
    make_pair("qwen2vl", "qwen2vl_merger", "{\"patch_size\": 14, \"image_size\": 560}",
              test_path(path, folder, "t.gguf"), test_path(eye, folder, "e.gguf"));
    struct calib_options options = options_of(paths, 1);
    struct calib calib;
    struct wl_err err = {0};
    bool is_done;
    options.mmproj_path = eye;
    CHECK(compress_calib_make(model_path, &options, &calib, &is_done, &err) == WL_INPUT);
    CHECK(message_has(&err, "does not fit this text model"));
}

static bool stop_later(void *context, double share_done) {
    int *n_asked = context;
    CHECK(share_done >= 0 && share_done <= 1);
    return ++*n_asked < 2;
}

static void cancels(void) {
    const char *const paths[] = {panel_tasks};
    struct calib_options options = options_of(paths, 1);
    struct calib calib;
    struct wl_err err = {0};
    int n_asked = 0;
    bool is_done = true;
    options.go_on = stop_later;
    options.context = &n_asked;
    CHECK_OK(compress_calib_make(model_path, &options, &calib, &is_done, &err), err);
    CHECK(n_asked <= 2 && is_done == (n_asked < 2)); // a fast machine is done before
    CHECK(is_done || !calib.calibration.tokens);
    compress_calib_release(&calib);
}

int main(void) {
    test_path(model_path, source_dir(), "models/builtin/builtin.gguf");
    test_path(mmproj_path, source_dir(), "models/builtin/mmproj-builtin.gguf");
    test_path(text_tasks, source_dir(), "models/tasks/calib-text.jsonl");
    test_path(panel_tasks, source_dir(), "models/tasks/calib-panel.jsonl");
    need_model(model_path);
    need_model(mmproj_path);
    need_model(panel_tasks);
    test_folder(folder);
    is_what_the_model_would_see();
    repeats_from_its_seed();
    the_clamp();
    is_what_libmtmd_computes("qwen2vl", "qwen2.5vl_merger",
                             "{\"patch_size\": 14, \"image_size\": 560, \"window_pattern\": 2}");
    is_what_libmtmd_computes("llama", "idefics3",
                             "{\"patch_size\": 16, \"image_size\": 128, \"merge\": 2, "
                             "\"preproc_image_size\": 512}");
    is_what_libmtmd_computes("llama", "lfm2", "{\"patch_size\": 16, \"image_size\": 256}");
    is_what_libmtmd_computes("llama", "pixtral", "{\"patch_size\": 16, \"image_size\": 1024}");
    is_what_libmtmd_computes("qwen2", "internvl", "{\"patch_size\": 14, \"image_size\": 112}");
    without_an_encoder();
    models_that_see_in_one_piece();
    pictures_that_are_too_long();
    one_document_for_a_picture();
    says_what_is_wrong();
    an_encoder_of_another_model();
    cancels();
    test_folder_remove(folder);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
