// Files and folders: limits, atomic replacement, order, and errors that say the true reason.
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/draft.h"
#include "os/file.h"

static char dir[64];
static char path[128];

static const char *in_dir(const char *name) {
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int make_dir(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/wattlaw-os-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static void write_file(const char *name, const char *text) {
    struct wl_err err;
    assert_int_equal(os_write_atomic(in_dir(name), text, strlen(text), &err), WL_OK);
}

static void slurps_within_the_limit(void **state) {
    (void)state;
    struct buf buf;
    struct wl_err err;
    write_file("ten", "0123456789");
    buf_init(&buf, 10);
    assert_int_equal(os_slurp(in_dir("ten"), &buf, &err), WL_OK);
    assert_string_equal(buf_text(&buf), "0123456789");
    assert_int_equal(os_slurp(path, &buf, &err), WL_LIMIT); // appends
    assert_non_null(strstr(err.message, "10 bytes"));
    buf_release(&buf);
    buf_init(&buf, 9);
    assert_int_equal(os_slurp(path, &buf, &err), WL_LIMIT);
    buf_release(&buf);
    buf_init(&buf, 1 << 20);
    assert_int_equal(os_slurp("/proc/self/status", &buf, &err), WL_OK); // its size reads 0
    assert_non_null(strstr(buf_text(&buf), "VmRSS"));
    assert_int_equal(os_slurp("/dev/zero", &buf, &err), WL_LIMIT); // endless
    buf_release(&buf);
}

static void says_why_it_cannot_read(void **state) {
    (void)state;
    struct buf buf;
    struct wl_err err;
    char line[8];
    buf_init(&buf, 100);
    assert_int_equal(os_slurp(in_dir("none"), &buf, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(os_slurp(dir, &buf, &err), WL_IO);
    assert_int_equal(os_slurp_line(in_dir("none"), line, sizeof line, &err), WL_NOT_FOUND);
    assert_int_equal(os_pread_line(-1, line, sizeof line, &err), WL_IO);
    buf_release(&buf);
}

static void reads_lines(void **state) {
    (void)state;
    char line[8];
    struct wl_err err;
    write_file("line", "12345\n");
    assert_int_equal(os_slurp_line(in_dir("line"), line, sizeof line, &err), WL_OK);
    assert_string_equal(line, "12345");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(os_pread_line(fd, line, sizeof line, &err), WL_OK);
    assert_string_equal(line, "12345");
    assert_int_equal(os_pread_line(fd, line, 3, &err), WL_OK); // from the start, cut
    assert_string_equal(line, "12");
    close(fd);
    write_file("line", "");
    assert_int_equal(os_slurp_line(path, line, sizeof line, &err), WL_OK);
    assert_string_equal(line, "");
}

static bool collect(void *context, const char *name) {
    struct buf *names = context;
    buf_printf(names, "%s ", name);
    return strcmp(name, "stop") != 0;
}

static void expect_names(const char *expected) {
    struct buf names;
    struct wl_err err;
    buf_init(&names, 1000);
    assert_int_equal(os_list_dir(dir, 10, collect, &names, &err), WL_OK);
    assert_string_equal(buf_text(&names), expected);
    buf_release(&names);
}

static void lists_in_order(void **state) {
    (void)state;
    struct wl_err err;
    struct buf names;
    expect_names("");
    write_file("b", "");
    write_file("a10", "");
    write_file("a2", "");
    write_file(".hidden", "");
    expect_names(".hidden a10 a2 b ");
    write_file("stop", "");
    write_file("unseen", "");
    expect_names(".hidden a10 a2 b stop ");
    buf_init(&names, 1000);
    assert_int_equal(os_list_dir(dir, 5, collect, &names, &err), WL_LIMIT);
    assert_non_null(strstr(err.message, dir));
    assert_int_equal(os_list_dir(dir, 6, collect, &names, &err), WL_OK);
    assert_int_equal(os_list_dir(in_dir("none"), 6, collect, &names, &err), WL_NOT_FOUND);
    assert_int_equal(os_list_dir(in_dir("b"), 6, collect, &names, &err), WL_NOT_FOUND);
    buf_release(&names);
}

static void replaces_whole_files(void **state) {
    (void)state;
    struct stat st;
    struct wl_err err;
    mode_t mask = umask(027);
    write_file("f", "old");
    write_file("f", "new and longer");
    umask(mask);
    assert_int_equal(stat(in_dir("f"), &st), 0);
    assert_int_equal(st.st_size, 14);
    assert_int_equal(st.st_mode & 0777, 0640);
    expect_names("f "); // no temporary file is left
    assert_int_equal(os_write_atomic(in_dir("none/f"), "x", 1, &err), WL_NOT_FOUND);
    assert_int_equal(mkdir(in_dir("folder"), 0777), 0);
    assert_int_equal(os_write_atomic(path, "x", 1, &err), WL_IO);
    assert_non_null(strstr(err.message, "folder'"));
    expect_names("f folder ");
}

// A full disk, as far as a process can bring it about: the old file survives whole.
static void survives_a_failed_write(void **state) {
    (void)state;
    struct rlimit old, small;
    struct wl_err err;
    struct buf buf;
    size_t size = 1 << 20;
    char *data = calloc(1, size);
    write_file("f", "precious");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum wl_status status = os_write_atomic(in_dir("f"), data, size, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, WL_LIMIT); // EFBIG
    free(data);
    expect_names("f ");
    buf_init(&buf, 100);
    assert_int_equal(os_slurp(in_dir("f"), &buf, &err), WL_OK);
    assert_string_equal(buf_text(&buf), "precious");
    buf_release(&buf);
}

static void makes_folders(void **state) {
    (void)state;
    struct wl_err err;
    assert_int_equal(os_make_dirs(in_dir("a/b//c/"), &err), WL_OK);
    assert_true(os_is_dir(path));
    assert_int_equal(os_make_dirs(path, &err), WL_OK); // again
    write_file("file", "");
    assert_int_equal(os_make_dirs(in_dir("file"), &err), WL_NOT_FOUND); // ENOTDIR
    assert_int_equal(os_make_dirs(in_dir("file/x"), &err), WL_NOT_FOUND);
    assert_int_equal(os_make_dirs("", &err), WL_LIMIT);
}

// The reason must be mkdir's, not that of the look afterwards.
static void says_why_it_cannot_make_folders(void **state) {
    (void)state;
    struct wl_err err;
    if (mkdir("/sys/wattlaw-test", 0777) == 0) {
        rmdir("/sys/wattlaw-test");
        skip();
    }
    enum wl_status status = os_make_dirs("/sys/wattlaw-test", &err);
    assert_true(status == WL_PERMISSION || status == WL_IO);
    assert_null(strstr(err.message, "No such file"));
}

static void expect_join(const char *a, const char *b, const char *expected) {
    char out[OS_PATH_BYTES];
    struct wl_err err;
    assert_int_equal(os_path_join(out, a, b, &err), WL_OK);
    assert_string_equal(out, expected);
}

static void joins_paths(void **state) {
    (void)state;
    expect_join("/a", "b", "/a/b");
    expect_join("/a//", "//b", "/a/b");
    expect_join("/", "b", "/b");
    expect_join("/", "/sys", "/sys");
    expect_join("", "b", "b");
    expect_join("a", "", "a/");
    char out[OS_PATH_BYTES], longest[OS_PATH_BYTES];
    struct wl_err err;
    memset(longest, 'x', sizeof longest);
    longest[OS_PATH_BYTES - 2] = '\0';
    assert_int_equal(os_path_join(out, "a", longest, &err), WL_LIMIT);
    assert_int_equal(os_path_join(out, "", longest, &err), WL_OK);
}

static void knows_files(void **state) {
    (void)state;
    uint64_t size;
    struct wl_err err;
    write_file("f", "12345");
    assert_true(os_exists(in_dir("f")));
    assert_false(os_is_dir(path));
    assert_int_equal(os_file_size(path, &size, &err), WL_OK);
    assert_int_equal(size, 5);
    assert_true(os_is_dir(dir));
    assert_int_equal(os_file_size(dir, &size, &err), WL_INPUT);
    assert_non_null(strstr(err.message, "is a folder"));
    assert_int_equal(os_file_size(in_dir("none"), &size, &err), WL_NOT_FOUND);
    assert_false(os_exists(path));
}

static void finds_the_users_folders(void **state) {
    (void)state;
    char out[OS_PATH_BYTES];
    struct wl_err err;
    setenv("HOME", "/home/x", 1);
    setenv("XDG_DATA_HOME", "/data", 1);
    unsetenv("XDG_CACHE_HOME");
    assert_int_equal(os_data_dir(out, &err), WL_OK);
    assert_string_equal(out, "/data/wattlaw");
    assert_int_equal(os_cache_dir(out, &err), WL_OK);
    assert_string_equal(out, "/home/x/.cache/wattlaw");
    setenv("XDG_DATA_HOME", "relative", 1); // the standard says: ignore it
    assert_int_equal(os_data_dir(out, &err), WL_OK);
    assert_string_equal(out, "/home/x/.local/share/wattlaw");
    unsetenv("HOME");
    assert_int_equal(os_data_dir(out, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "HOME"));
    assert_int_equal(os_executable_dir(out, &err), WL_OK);
    assert_true(os_is_dir(out));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

// Whoever is killed while writing leaves the old file and nothing else.
static void a_killed_writer_leaves_nothing(void **state) {
    (void)state;
    write_file("draft", "old");
    int fds[2];
    char byte;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct os_draft draft;
        struct wl_err err;
        bool is_open = os_draft_open(&draft, in_dir("draft"), &err) == WL_OK;
        bool is_written = is_open && write(draft.fd, "new", 3) == 3;
        (void)!write(fds[1], is_written ? "y" : "n", 1);
        pause();
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(fds[0]);
    close(fds[1]);
    char line[16];
    assert_int_equal(os_slurp_line(in_dir("draft"), line, sizeof line, NULL), WL_OK);
    assert_string_equal(line, "old");
    expect_names("draft ");
}

static void a_discarded_draft_leaves_nothing(void **state) {
    (void)state;
    struct os_draft draft;
    struct wl_err err;
    assert_int_equal(os_draft_open(&draft, in_dir("draft"), &err), WL_OK);
    assert_int_equal(write(draft.fd, "new", 3), 3);
    os_draft_discard(&draft);
    os_draft_discard(&draft);
    expect_names("");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(slurps_within_the_limit),
        CASE(says_why_it_cannot_read),
        CASE(reads_lines),
        CASE(lists_in_order),
        CASE(replaces_whole_files),
        CASE(a_killed_writer_leaves_nothing),
        CASE(a_discarded_draft_leaves_nothing),
        CASE(survives_a_failed_write),
        CASE(makes_folders),
        CASE(says_why_it_cannot_make_folders),
        CASE(joins_paths),
        CASE(knows_files),
        CASE(finds_the_users_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
