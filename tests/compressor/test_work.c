// The work folder of a job: gone on with by the same job, begun anew by another, never somebody
// else's; and calibration text that comes back as it was.
#include <stdlib.h>
#include <unistd.h>

#include "compressor/calib_file.h"
#include "compressor/work.h"
#include "text_model_test.h"

static char folder[OS_PATH_BYTES], path[OS_PATH_BYTES], file[OS_PATH_BYTES];

static enum wl_status open_for(struct work *work, const char *who, struct wl_err *err) {
    json_t *identity = json_pack("{s:s}", "who", who);
    enum wl_status status = work_open(work, path, identity, err);
    json_decref(identity);
    return status;
}

static void goes_on(void) {
    struct work work;
    struct wl_err err = {0};
    CHECK_OK(open_for(&work, "a", &err), err);
    CHECK(!work_result(&work, "walk"));
    CHECK_OK(work_finish(&work, "walk", json_pack("{s:i}", "n", 3), &err), err);
    CHECK_OK(work_file(&work, "walk.gguf", file, &err), err);
    test_write(file, "x", 1);
    char inner[OS_PATH_BYTES], deep[OS_PATH_BYTES];
    CHECK_OK(work_folder(&work, "blocks", inner, &err), err);
    test_write(test_path(deep, inner, "0"), "x", 1);
    work_close(&work);
    CHECK_OK(open_for(&work, "a", &err), err);
    CHECK(json_integer_value(json_object_get(work_result(&work, "walk"), "n")) == 3);
    CHECK(os_exists(file) && os_exists(deep));
    work_drop(&work, "walk.gguf");
    CHECK(!os_exists(file));
    work_close(&work);
    CHECK_OK(open_for(&work, "b", &err), err); // another job
    CHECK(!work_result(&work, "walk") && !os_exists(deep));
    work_remove(&work);
    CHECK(!os_exists(path));
}

static void keeps_what_is_not_its_own(void) {
    struct work work;
    struct wl_err err = {0};
    CHECK_OK(os_make_dirs(path, &err), err);
    CHECK_OK(open_for(&work, "a", &err), err); // an empty folder is nobody's
    work_remove(&work);
    CHECK_OK(os_make_dirs(path, &err), err);
    test_write(test_path(file, path, "thesis.txt"), "x", 1);
    CHECK(open_for(&work, "a", &err) == WL_USAGE && message_has(&err, path));
    CHECK(os_exists(file) && !work_find(&work, path));
    char state[OS_PATH_BYTES];
    test_write(test_path(state, path, "job.json"), "{\"mine\": 1}", 11); // of another program
    CHECK(open_for(&work, "a", &err) == WL_USAGE && os_exists(file));
    unlink(state);
    unlink(file);
    rmdir(path);
}

// A state that is too deep, has too many values or is too large is none; it is not read to its end.
static void state_is_bounded(void) {
    enum { DEPTH = 5000, N_VALUES = 2000000 };
    static const char BEGIN[] = "{\"stages\": {}, \"identity\": ";
    struct work work;
    struct wl_err err = {0};
    char state[OS_PATH_BYTES];
    size_t begin = sizeof BEGIN - 1, n_bytes = begin + 2 * (size_t)N_VALUES + 2;
    char *text = malloc(n_bytes);
    CHECK_OK(os_make_dirs(path, &err), err);
    test_path(state, path, "job.json");
    memcpy(text, BEGIN, begin);
    memset(text + begin, '[', DEPTH);
    memset(text + begin + DEPTH, ']', DEPTH);
    text[begin + 2 * DEPTH] = '}';
    test_write(state, text, begin + 2 * DEPTH + 1);
    CHECK(!work_find(&work, path) && open_for(&work, "a", &err) == WL_USAGE);
    text[begin] = '[';
    for (size_t i = 0; i < N_VALUES; i++) {
        memcpy(text + begin + 2 * i + 1, "0,", 2);
    }
    memcpy(text + begin + 2 * (size_t)N_VALUES, "]}", 2);
    test_write(state, text, n_bytes);
    CHECK(!work_find(&work, path) && open_for(&work, "a", &err) == WL_USAGE);
    memcpy(text + begin, "1}", 2);
    memset(text + begin + 2, ' ', n_bytes - begin - 2);
    test_write(state, text, n_bytes); // that much is fine
    CHECK(work_find(&work, path));
    work_close(&work);
    CHECK(truncate(state, INT64_C(1) << 40) == 0); // a hole; zeros end no JSON
    CHECK(!work_find(&work, path) && open_for(&work, "a", &err) == WL_USAGE && os_exists(state));
    unlink(state);
    rmdir(path);
    free(text);
}

// ---- calibration text ----

enum { N_EMBD = 3 };

static struct calib make_calib(void) {
    static int32_t tokens[] = {1, 2, COMPRESS_IMAGE_TOKEN, 4, 5}, positions[20], other[] = {7, 8};
    static float embeddings[] = {0.5F, -1, 2};
    static uint8_t is_first[] = {1, 0, 0, 1, 0}, sources[] = {CALIB_TASKS, CALIB_SELF};
    static uint32_t lengths[] = {3, 2}, documents[] = {4, 9};
    for (int i = 0; i < 20; i++) {
        positions[i] = i * i;
    }
    return (struct calib){.calibration = {.tokens = tokens,
                                          .positions = positions,
                                          .embeddings = embeddings,
                                          .n_image_tokens = 1,
                                          .is_first = is_first,
                                          .n_tokens = 5,
                                          .lengths = lengths,
                                          .documents = documents,
                                          .sources = sources,
                                          .n_sequences = 2,
                                          .n_from = {[CALIB_TASKS] = 3, [CALIB_SELF] = 2}},
                          .held_out = {.tokens = other,
                                       .is_first = is_first,
                                       .n_tokens = 2,
                                       .lengths = lengths + 1,
                                       .documents = documents,
                                       .sources = sources,
                                       .n_sequences = 1,
                                       .n_from = {[CALIB_TASKS] = 2}},
                          .has_template = true,
                          .n_pictures = 1};
}

static void text_comes_back(void) {
    struct calib calib = make_calib(), back;
    struct wl_err err = {0};
    const struct calib_part *a = &calib.calibration, *b = &back.calibration;
    test_path(file, folder, "text.bin");
    CHECK_OK(calib_save(&calib, N_EMBD, file, &err), err);
    CHECK_OK(calib_load(file, N_EMBD, &back, &err), err);
    CHECK(b->n_tokens == 5 && b->n_sequences == 2 && b->n_image_tokens == 1);
    CHECK(memcmp(a->tokens, b->tokens, 5 * sizeof *a->tokens) == 0);
    CHECK(memcmp(a->positions, b->positions, 20 * sizeof *a->positions) == 0);
    CHECK(memcmp(a->embeddings, b->embeddings, N_EMBD * sizeof *a->embeddings) == 0);
    CHECK(memcmp(a->documents, b->documents, 2 * sizeof *a->documents) == 0);
    CHECK(b->n_from[CALIB_SELF] == 2 && back.has_template && back.n_pictures == 1);
    CHECK(back.held_out.n_tokens == 2 && back.held_out.tokens[1] == 8 && !back.held_out.positions);
    compress_calib_release(&back);
}

// Cut off or changed at any byte: text that fits, or an error.
static void damage_is_noticed(void) {
    struct calib back;
    struct wl_err err = {0};
    struct buf whole;
    buf_init(&whole, 1 << 20);
    CHECK_OK(os_slurp(file, &whole, &err), err);
    for (size_t n = 0; n < whole.len; n++) {
        test_write(file, whole.data, n);
        CHECK(calib_load(file, N_EMBD, &back, &err) == WL_INPUT);
    }
    for (size_t i = 0; i < whole.len; i++) {
        whole.data[i] = (char)(whole.data[i] ^ 0x55);
        test_write(file, whole.data, whole.len);
        enum wl_status status = calib_load(file, N_EMBD, &back, &err);
        CHECK(status == WL_OK || status == WL_INPUT || status == WL_MEMORY);
        compress_calib_release(&back);
        whole.data[i] = (char)(whole.data[i] ^ 0x55);
    }
    buf_release(&whole);
    CHECK(calib_load("/nowhere/text.bin", N_EMBD, &back, &err) == WL_NOT_FOUND);
}

int main(void) {
    test_folder(folder);
    test_path(path, folder, "out.gguf.work");
    goes_on();
    keeps_what_is_not_its_own();
    state_is_bounded();
    text_comes_back();
    damage_is_noticed();
    test_folder_remove(folder);
    return n_wrong > 0 ? TEST_WRONG : TEST_RIGHT;
}
