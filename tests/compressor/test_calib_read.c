// Text and task files become documents, bounded and checked; what is wrong is one clear sentence.
#include <fcntl.h>
#include <sys/stat.h>

#include "compressor/calib_part.h"
#include "compressor/calib_read.h"
#include "compressor/calib_units.h"
#include "text_model_test.h"

static char folder[OS_PATH_BYTES];

static const char *put(const char *name, const void *data, size_t n) {
    static char path[OS_PATH_BYTES];
    test_write(test_path(path, folder, name), data, n);
    return path;
}

static const char *put_text(const char *name, const char *text) {
    return put(name, text, strlen(text));
}

static void empty_folder(void) {
    test_folder_remove(folder);
    CHECK(mkdir(folder, 0700) == 0);
}

static void refuses_text(const char *path, enum wl_status status, const char *word) {
    struct calib_documents documents;
    struct wl_err err = {0};
    calib_documents_init(&documents);
    CHECK(calib_read_text(&documents, path, &err) == status);
    CHECK(message_has(&err, word) && message_has(&err, path));
    calib_documents_release(&documents);
}

static void files_that_are_no_text(void) {
    refuses_text(put("a.txt", "", 0), WL_INPUT, "is empty");
    refuses_text(put_text("a.txt", " \n\t\r\n"), WL_INPUT, "is empty");
    refuses_text(put("a.txt", "abc\0def", 7), WL_INPUT, "0x00 at 3");
    refuses_text(put_text("a.txt", "caf\xc3\xa9 caf\xe9"), WL_INPUT, "0xe9 at 9");
    refuses_text(put_text("a.txt", "cut \xe2\x82"), WL_INPUT, "0xe2 at 4");
    refuses_text("/nowhere/a.txt", WL_NOT_FOUND, "/nowhere");
    char pipe[OS_PATH_BYTES];
    CHECK(mkfifo(test_path(pipe, folder, "pipe.txt"), 0600) == 0);
    refuses_text(pipe, WL_INPUT, "is not a file");
    empty_folder();
    refuses_text(folder, WL_INPUT, "no .txt or .md");
    put_text("a.jpeg", "not for us");
    refuses_text(folder, WL_INPUT, "no .txt or .md");
    put_text("a.md", "\n");
    refuses_text(folder, WL_INPUT, "is empty");
    put_text("b.txt", "text");
    put("c.txt", "\xff\xfe", 2);
    struct calib_documents documents;
    struct wl_err err = {0};
    calib_documents_init(&documents);
    CHECK(calib_read_text(&documents, folder, &err) == WL_INPUT && message_has(&err, "c.txt"));
    calib_documents_release(&documents);
    empty_folder();
}

static void too_much_text(void) {
    const char *path = put_text("big.txt", "x");
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)CALIB_MAX_TEXT_BYTES + 1) == 0);
    close(fd);
    refuses_text(path, WL_LIMIT, "64 MiB");
    empty_folder();
}

static bool is_text(const struct calib_documents *documents, size_t i, const char *text) {
    const struct calib_document *document = &documents->items[i];
    return i < documents->n && document->len == strlen(text) &&
           memcmp(buf_text(&documents->text) + document->at, text, document->len) == 0;
}

static void many_files_are_documents(void) {
    struct calib_documents documents;
    struct wl_err err;
    char name[32], text[64];
    for (int i = 11; i >= 0; i--) {
        snprintf(name, sizeof name, "n%02d.%s", i, i % 2 ? "txt" : "md");
        snprintf(text, sizeof text, "This is number %d.", i == 7 ? 3 : i);
        put_text(name, text);
    }
    put_text("n99.c", "code");
    put_text("n98.txt", "");
    calib_documents_init(&documents);
    CHECK_OK(calib_read_text(&documents, folder, &err), err);
    CHECK(documents.n == 12);
    CHECK(is_text(&documents, 0, "This is number 0.") &&
          is_text(&documents, 7, "This is number 3."));
    CHECK(is_text(&documents, 11, "This is number 11."));
    CHECK_OK(calib_documents_drop_twins(&documents, &err), err);
    CHECK(documents.n == 11 && is_text(&documents, 3, "This is number 3."));
    CHECK(is_text(&documents, 7, "This is number 8."));
    calib_documents_release(&documents);
    empty_folder();
}

// Stretches of one file: about ten, none lost, cut behind lines.
static void one_file_is_cut(void) {
    static char text[20000];
    struct calib_documents documents;
    struct wl_err err;
    size_t len = 0;
    for (int i = 0; len + 100 < sizeof text; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "Line %d of the text.\n%s", i,
                                i % 5 == 4 ? "\n" : "");
    }
    calib_documents_init(&documents);
    CHECK_OK(calib_read_text(&documents, put_text("one.txt", text), &err), err);
    CHECK(documents.n == CALIB_FEW_FILES);
    size_t at = 0;
    for (size_t i = 0; i < documents.n; i++) {
        const struct calib_document *document = &documents.items[i];
        CHECK(document->at == at && document->len > len / 20 && document->len < len / 5);
        at += document->len;
        CHECK(at == len || (text[at - 1] == '\n' && text[at - 2] == '\n'));
    }
    CHECK(at == len && memcmp(text, buf_text(&documents.text), len) == 0);
    calib_documents_release(&documents);
    calib_documents_init(&documents);
    text[700] = '\0';
    CHECK_OK(calib_read_text(&documents, put_text("one.txt", text), &err), err);
    CHECK(documents.n == 1);
    calib_documents_release(&documents);
    empty_folder();
}

static void borders(void) {
    const char *text = "one two\nthree\n\nfour f\xc3\xbcnf";
    size_t n = strlen(text);
    CHECK(calib_border(text, n, 1) == 15);  // the blank line
    CHECK(calib_border(text, 14, 1) == 8);  // the line
    CHECK(calib_border(text, n, 16) == 20); // the word
    CHECK(calib_border(text, n, 22) == 23); // between two characters
    CHECK(calib_border(text, n, n) == n);
}

// ---- tasks

static void refuses_tasks(const char *text, enum wl_status status, const char *word) {
    struct calib_documents documents;
    struct wl_err err = {0};
    calib_documents_init(&documents);
    CHECK(calib_read_tasks(&documents, put_text("t.jsonl", text), &err) == status);
    CHECK(message_has(&err, word) && message_has(&err, "t.jsonl"));
    calib_documents_release(&documents);
}

static void tasks(void) {
    struct calib_documents documents;
    struct wl_err err;
    calib_documents_init(&documents);
    CHECK_OK(calib_read_tasks(
                 &documents,
                 put_text("t.jsonl",
                          "# a comment\n\n{\"prompt\": \"How many?\", \"reference\": \"7\"}\r\n"
                          "{\"prompt\": \"See?\", \"reference\": \"1\", \"images\": [\"a.png\"]}\n"
                          "{\"prompt\": \"Who?\", \"reference\": [\"Ann\", \"Bob\"], \"x-a\": 1}"),
                 &err),
             err);
    CHECK(documents.n == 2 && is_text(&documents, 0, "How many?") &&
          is_text(&documents, 1, "Who?"));
    const char *text = buf_text(&documents.text);
    CHECK(strcmp(text + documents.items[0].reference_at, "7") == 0);
    CHECK(strcmp(text + documents.items[1].reference_at, "Ann") == 0);
    calib_documents_release(&documents);
    calib_documents_init(&documents);
    CHECK(calib_read_tasks(&documents, "/dev/zero", &err) == WL_INPUT);
    CHECK(message_has(&err, "is not a file"));
    calib_documents_release(&documents);
    refuses_tasks("", WL_INPUT, "no questions");
    refuses_tasks("# nothing\n", WL_INPUT, "no questions");
    refuses_tasks("{\"prompt\": \"a\", \"reference\": \"b\"}\n{\"prompt\": \"a\"}\n", WL_INPUT,
                  "line 2");
    refuses_tasks("{\"reference\": \"b\"}\n", WL_INPUT, "prompt");
    refuses_tasks("{\"prompt\": \"a\", \"reference\": []}\n", WL_INPUT, "reference");
    refuses_tasks("[1]\n", WL_INPUT, "line 1");
    refuses_tasks("{\"prompt\": \n", WL_INPUT, "line 1");
    refuses_tasks("\x7f\x45\x4c\x46\x01\xff", WL_INPUT, "line 1");
    empty_folder();
}

// ---- sides

static void make_documents(struct calib_documents *documents, size_t n, size_t bytes) {
    struct wl_err err;
    calib_documents_init(documents);
    for (size_t i = 0; i < n; i++) {
        size_t at = documents->text.len;
        buf_printf(&documents->text, "%-*zu", (int)bytes, i);
        CHECK_OK(calib_documents_add(documents, CALIB_TEXT, at, bytes, CALIB_NO_REFERENCE, &err),
                 err);
    }
}

static size_t count_held(const struct calib_documents *documents) {
    size_t n = 0;
    for (size_t i = 0; i < documents->n; i++) {
        n += documents->items[i].is_held_out;
    }
    return n;
}

static void splits_are_exact(void) {
    static const struct {
        size_t n, n_held;
        double share;
    } CASES[] = {{10, 2, 0.2}, {100, 20, 0.2}, {50, 25, 0.5},  {7, 1, 0.2},
                 {2, 1, 0.2},  {1, 0, 0.2},    {1000, 0, 0.0}, {3, 1, 0.01}};
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct calib_documents documents;
        struct rng rng;
        struct wl_err err;
        make_documents(&documents, CASES[i].n, 40);
        rng_seed(&rng, 1);
        CHECK_OK(calib_split(&documents, CASES[i].share, &rng, &err), err);
        CHECK(count_held(&documents) == CASES[i].n_held);
        struct calib_units sides[2];
        for (int side = 0; side < 2; side++) { // every byte on one side, in sections
            size_t n_bytes = 0;
            CHECK_OK(
                calib_units_make(&sides[side], &documents, CALIB_SORT_TEXT, side, 16, &rng, &err),
                err);
            for (size_t k = 0; k < sides[side].n; k++) {
                const struct calib_unit *unit = &sides[side].items[k];
                CHECK(documents.items[unit->document].is_held_out == (side == 1));
                n_bytes += unit->len;
            }
            CHECK(n_bytes == 40 * (side ? CASES[i].n_held : CASES[i].n - CASES[i].n_held));
            calib_units_release(&sides[side]);
        }
        calib_documents_release(&documents);
    }
}

static void other_seeds_split_otherwise(void) {
    bool first[100];
    size_t n_same[2] = {0};
    for (uint64_t round = 0; round < 3; round++) {
        struct calib_documents documents;
        struct rng rng;
        struct wl_err err;
        make_documents(&documents, 100, 20);
        rng_seed(&rng, round == 2 ? 5 : 4);
        CHECK_OK(calib_split(&documents, 0.2, &rng, &err), err);
        for (size_t i = 0; i < 100; i++) {
            first[i] = round == 0 ? documents.items[i].is_held_out : first[i];
            n_same[round == 2] += round > 0 && documents.items[i].is_held_out == first[i];
        }
        calib_documents_release(&documents);
    }
    CHECK(n_same[0] == 100 && n_same[1] < 100);
}

static void parts_are_exact(void) {
    struct calib_part part;
    struct wl_err err;
    struct rng rng;
    int32_t tokens[40];
    size_t sum = 0;
    CHECK_OK(calib_part_init(&part, 100, &err), err);
    for (int i = 0; i < 40; i++) {
        tokens[i] = i;
    }
    calib_part_add(&part, (struct calib_origin){CALIB_TEXT, 0}, tokens, 1, 100);
    CHECK(part.n_sequences == 0); // foretells nothing
    calib_part_add(&part, (struct calib_origin){CALIB_TEXT, 0}, tokens, 40, 100);
    calib_part_add(&part, (struct calib_origin){CALIB_SELF, 1}, tokens, 39, 80);
    CHECK(part.n_tokens == 78); // not 79: no room would be left for a sequence
    calib_part_add(&part, (struct calib_origin){CALIB_TASKS, 2}, tokens, 40, 100);
    calib_part_add(&part, (struct calib_origin){CALIB_TASKS, 3}, tokens, 40, 100);
    CHECK(part.n_tokens == 100 && part.n_sequences == 3);
    rng_seed(&rng, 2);
    CHECK_OK(calib_part_shuffle(&part, &rng, &err), err);
    CHECK(part.n_tokens == 100 && part.n_sequences == 3 && part.n_from[CALIB_SELF] == 38);
    for (size_t s = 0; s < part.n_sequences; s++) {
        for (uint32_t i = 0; i < part.lengths[s]; i++) {
            CHECK(part.tokens[sum + i] == (int32_t)i && part.is_first[sum + i] == (i == 0));
        }
        CHECK(part.lengths[s] == (part.sources[s] == CALIB_TEXT   ? 40u
                                  : part.sources[s] == CALIB_SELF ? 38u
                                                                  : 22u));
        sum += part.lengths[s];
    }
    calib_part_release(&part);
}

int main(void) {
    test_folder(folder);
    files_that_are_no_text();
    too_much_text();
    many_files_are_documents();
    one_file_is_cut();
    borders();
    tasks();
    splits_are_exact();
    other_seeds_split_otherwise();
    parts_are_exact();
    test_folder_remove(folder);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
