// A certificate is filled into a file in place: the file still loads, nothing else of it changes,
// and one that is too long leaves it as it was.
#include "compressor/certificate.h"

#include "target_test.h"

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES], made[OS_PATH_BYTES], kept[OS_PATH_BYTES];
static const char MODEL[] = "--arch llama --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                            "--vocab 512";

static void make_reserved(const char *path) {
    struct change change;
    struct wl_err err = {0};
    if (change_begin(&change, base)) {
        CHECK_OK(certificate_reserve(change.target, &err), err);
        CHECK_OK(certificate_reserve(change.target, &err), err); // once
        change_write(&change, path);
        change_end(&change);
    }
}

// Where in the file the text begins; 0 when there is none.
static uint64_t read_text(const char *path, char out[CERTIFICATE_BYTES + 1]) {
    struct gguf_file file;
    struct wl_err err = {0};
    uint64_t offset = 0;
    CHECK_OK(gguf_file_open(&file, path, &err), err);
    const struct gguf_kv *kv = gguf_file_find(&file, CERTIFICATE_KEY);
    if (kv && gguf_file_string(&file, CERTIFICATE_KEY, out, CERTIFICATE_BYTES + 1)) {
        offset = (uint64_t)(kv->data + 8 - (const unsigned char *)file.map);
    }
    gguf_file_close(&file);
    return offset;
}

static json_t *certificate_of(size_t len) {
    char *text = malloc(len + 1);
    memset(text, 'x', len);
    text[len] = '\0';
    json_t *json = json_pack("{s:s}", "a", text); // {"a":"xxx"}: 8 bytes more
    free(text);
    return json;
}

// All bytes but those of the certificate.
static bool is_same_else(const char *a, const char *b, uint64_t at) {
    struct gguf_file x = {0}, y = {0};
    struct wl_err err = {0};
    CHECK_OK(gguf_file_open(&x, a, &err), err);
    CHECK_OK(gguf_file_open(&y, b, &err), err);
    uint64_t end = at + CERTIFICATE_BYTES;
    bool is_same = x.file_bytes == y.file_bytes && end <= x.file_bytes &&
                   memcmp(x.map, y.map, at) == 0 &&
                   memcmp((char *)x.map + end, (char *)y.map + end, x.file_bytes - end) == 0;
    gguf_file_close(&x);
    gguf_file_close(&y);
    return is_same;
}

static void check_filled(size_t len) {
    char text[CERTIFICATE_BYTES + 1];
    struct wl_err err = {0};
    json_t *json = certificate_of(len), *read = NULL;
    CHECK_OK(certificate_fill(made, json, &err), err);
    uint64_t at = read_text(made, text);
    CHECK(at > 0 && strlen(text) == CERTIFICATE_BYTES);
    CHECK((read = json_loads(text, 0, NULL)) != NULL && json_equal(read, json));
    CHECK(is_same_else(made, kept, at));
    CHECK(compare_logits(base, made, TEST_DEFAULT) == 0);
    json_decref(read);
    json_decref(json);
}

static void test_filled(void) {
    char text[CERTIFICATE_BYTES + 1];
    make_reserved(made);
    make_reserved(kept);
    CHECK(read_text(made, text) > 0 && strspn(text, " ") == CERTIFICATE_BYTES);
    check_filled(100);
    check_filled(CERTIFICATE_BYTES - 8); // all of the room
    check_filled(3);                     // nothing of the one before is left
}

static void test_too_long(void) {
    char before[CERTIFICATE_BYTES + 1], after[CERTIFICATE_BYTES + 1];
    struct wl_err err = {0};
    json_t *json = certificate_of(CERTIFICATE_BYTES - 7);
    read_text(made, before);
    CHECK(certificate_fill(made, json, &err) == WL_LIMIT);
    CHECK(message_has(&err, "longer than the 8192 bytes"));
    read_text(made, after);
    CHECK(strcmp(before, after) == 0);
    json_decref(json);
}

static void set_text(const char *text) {
    struct change change;
    struct wl_err err = {0};
    if (change_begin(&change, base)) {
        CHECK_OK(compress_target_set_string(change.target, CERTIFICATE_KEY, text, &err), err);
        change_write(&change, made);
        change_end(&change);
    }
}

static void test_no_room(void) {
    struct wl_err err = {0};
    json_t *json = certificate_of(30);
    CHECK(certificate_fill(base, json, &err) == WL_INPUT);
    CHECK(message_has(&err, "no room") && message_has(&err, CERTIFICATE_KEY));
    CHECK(certificate_fill("/absent/file.gguf", json, &err) == WL_NOT_FOUND);
    set_text("little room");
    CHECK(certificate_fill(made, json, &err) == WL_LIMIT);
    CHECK(message_has(&err, "the 11 bytes"));
    set_text("");
    CHECK(certificate_fill(made, json, &err) == WL_LIMIT);
    struct change change;
    if (change_begin(&change, base)) {
        CHECK_OK(compress_target_set_u32(change.target, CERTIFICATE_KEY, 1, &err), err);
        change_write(&change, made);
        change_end(&change);
    }
    CHECK(certificate_fill(made, json, &err) == WL_INPUT);
    json_decref(json);
}

int main(void) {
    need_backends();
    test_folder(folder);
    test_path(base, folder, "base.gguf");
    test_path(made, folder, "made.gguf");
    test_path(kept, folder, "kept.gguf");
    need_made(made_synth(MODEL, base), folder);
    test_filled();
    test_too_long();
    test_no_room();
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
