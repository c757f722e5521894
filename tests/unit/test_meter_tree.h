// A throw-away /proc and /sys for tests of sources that must change, vanish or refuse.
#ifndef WATTLAW_TESTS_TEST_METER_TREE_H
#define WATTLAW_TESTS_TEST_METER_TREE_H

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/file.h"

#ifndef TEST_ROOTS_DIR
#define TEST_ROOTS_DIR "tests/roots"
#endif

static inline const char *test_root(const char *device) {
    static char path[4096];
    const char *roots = getenv("WATTLAW_TEST_ROOTS");
    snprintf(path, sizeof path, "%s/%s", roots && roots[0] ? roots : TEST_ROOTS_DIR, device);
    return path;
}

struct test_tree {
    char root[256];
};

static inline void test_tree_make(struct test_tree *tree) {
    const char *tmp = getenv("TMPDIR");
    snprintf(tree->root, sizeof tree->root, "%s/wattlaw-test-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    assert_non_null(mkdtemp(tree->root));
}

static inline int test_tree_unlink(const char *path, const struct stat *st, int type,
                                   struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void test_tree_remove(struct test_tree *tree) {
    nftw(tree->root, test_tree_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static inline char *test_tree_path(const struct test_tree *tree, const char *inner) {
    static _Thread_local char path[1024];
    snprintf(path, sizeof path, "%s%s", tree->root, inner);
    return path;
}

// Writes in place (as the kernel's own files change: same inode), making folders as needed.
static inline void test_tree_write(const struct test_tree *tree, const char *inner,
                                   const char *format, ...) __attribute__((format(printf, 3, 4)));
static inline void test_tree_write(const struct test_tree *tree, const char *inner,
                                   const char *format, ...) {
    char text[4096], folder[1024];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *path = test_tree_path(tree, inner);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    assert_int_equal(os_make_dirs(folder, NULL), WL_OK);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, text, (size_t)len, 0), len);
    assert_int_equal(ftruncate(fd, len), 0);
    close(fd);
}

static inline void test_tree_zone(const struct test_tree *tree, const char *dir, const char *name,
                                  unsigned long long energy_uj, unsigned long long range_uj) {
    char inner[256];
    snprintf(inner, sizeof inner, "/sys/class/powercap/%s/name", dir);
    test_tree_write(tree, inner, "%s\n", name);
    snprintf(inner, sizeof inner, "/sys/class/powercap/%s/max_energy_range_uj", dir);
    test_tree_write(tree, inner, "%llu\n", range_uj);
    snprintf(inner, sizeof inner, "/sys/class/powercap/%s/energy_uj", dir);
    test_tree_write(tree, inner, "%llu\n", energy_uj);
}

static inline void test_tree_energy(const struct test_tree *tree, const char *dir,
                                    unsigned long long energy_uj) {
    char inner[256];
    snprintf(inner, sizeof inner, "/sys/class/powercap/%s/energy_uj", dir);
    test_tree_write(tree, inner, "%llu\n", energy_uj);
}

#endif
