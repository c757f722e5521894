// What the tests of the compressor that compute with real models share.
#ifndef TEXT_MODEL_TEST_H
#define TEXT_MODEL_TEST_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "os/file.h"
#include "worker/backends.h"
#include "worker/log.h"

enum { TEST_RIGHT = 0, TEST_WRONG = 1, TEST_SKIPPED = 77 };

static int n_wrong;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);           \
            n_wrong++;                                                                             \
        }                                                                                          \
    } while (0)

// Of a call that must succeed; the message says why it did not.
#define CHECK_OK(call, err)                                                                        \
    do {                                                                                           \
        if ((call) != WL_OK) {                                                                     \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, __func__, (err).message);                \
            n_wrong++;                                                                             \
        }                                                                                          \
    } while (0)

static inline bool message_has(const struct wl_err *err, const char *word) {
    bool has = strstr(err->message, word) != NULL;
    if (!has) {
        printf("'%s' is not in the message '%s'\n", word, err->message);
    }
    return has;
}

static inline const char *test_path(char out[OS_PATH_BYTES], const char *folder, const char *name) {
    CHECK(os_path_join(out, folder, name, NULL) == WL_OK);
    return out;
}

static inline const char *source_dir(void) {
    const char *dir = getenv("WATTLAW_SOURCE_DIR");
    return dir ? dir : ".";
}

// A folder of its own, which test_folder_remove removes with what is in it (no folders in it).
static inline const char *test_folder(char out[OS_PATH_BYTES]) {
    const char *tmp = getenv("TMPDIR");
    test_path(out, tmp && *tmp ? tmp : "/tmp", "wattlaw-test-XXXXXX");
    if (!mkdtemp(out)) {
        printf("cannot make a folder '%s'\n", out);
        exit(TEST_WRONG);
    }
    return out;
}

static inline bool remove_entry(void *context, const char *name) {
    char path[OS_PATH_BYTES];
    unlink(test_path(path, context, name));
    return true;
}

static inline void test_folder_remove(char folder[OS_PATH_BYTES]) {
    os_list_dir(folder, 100000, remove_entry, folder, NULL);
    rmdir(folder);
}

static inline void test_write(const char *path, const void *data, size_t n) {
    struct wl_err err;
    CHECK_OK(os_write_atomic(path, data, n, &err), err);
}

// Leaves with 77 when they are absent.
static inline void need_backends(void) {
    struct wl_err err;
    log_capture();
    if (backends_load(&err) != WL_OK) {
        printf("skipped: %s\n", err.message);
        exit(TEST_SKIPPED);
    }
}

// The back ends, and a model that is part of the checkout.
static inline void need_model(const char *path) {
    need_backends();
    if (!os_exists(path)) {
        printf("skipped: there is no model '%s'\n", path);
        exit(TEST_SKIPPED);
    }
}

// A model that `wattlaw synth` was to make in the folder, which goes when it did not.
static inline void need_made(bool is_made, char folder[OS_PATH_BYTES]) {
    if (!is_made) {
        printf("skipped: no `wattlaw synth` to make a model with\n");
        test_folder_remove(folder);
        exit(TEST_SKIPPED);
    }
}

#endif
