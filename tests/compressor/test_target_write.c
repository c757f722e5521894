// Whatever goes wrong while a changed GGUF file is written, a full disk or a stop: one clear error
// (or none), no file, and what was at its place before stays.
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "compressor/target.h"
#include "os/clock.h"
#include "target_test.h"

static char folder[OS_PATH_BYTES], base[OS_PATH_BYTES];
static const char MODEL[] = "--arch qwen2 --layers 2 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                            "--vocab 512 --type q8_0";

static bool see_entry(void *context, const char *name) {
    (void)name;
    ++*(size_t *)context;
    return true;
}

static size_t count_entries(const char *dir) {
    size_t n = 0;
    os_list_dir(dir, 1000, see_entry, &n, NULL);
    return n;
}

static void check_not_written(struct compress_target *target, const char *path,
                              enum wl_status expected, const char *word) {
    struct wl_err err = {0};
    bool is_done = true;
    size_t before = count_entries(folder);
    CHECK(compress_target_write(target, path, NULL, NULL, &is_done, &err) == expected);
    CHECK(message_has(&err, word) && !is_done);
    CHECK(count_entries(folder) == before);
}

static void test_not_written(void) {
    struct change change;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    if (!change_begin(&change, base)) {
        return;
    }
    test_path(path, folder, "absent/x.gguf");
    check_not_written(change.target, path, WL_NOT_FOUND, "absent");
    check_not_written(change.target, folder, WL_IO, folder); // a folder is in its place
    CHECK_OK(compress_target_rename(change.target, "output_norm.weight", "output.weight", &err),
             err);
    check_not_written(change.target, test_path(path, folder, "x.gguf"), WL_INPUT,
                      "two tensors would have the name 'output.weight'");
    change_end(&change);
}

struct seen {
    uint64_t last, total;
    size_t n, stop_at;
};

static bool see_progress(void *context, uint64_t written, uint64_t total) {
    struct seen *seen = context;
    CHECK(written >= seen->last && written <= total);
    seen->last = written;
    seen->total = total;
    return ++seen->n != seen->stop_at;
}

static void test_progress(void) {
    struct change change;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    bool is_done = false;
    struct seen seen = {0};
    if (!change_begin(&change, base)) {
        return;
    }
    test_path(path, folder, "progress.gguf");
    int64_t begin_ns = os_now_ns();
    CHECK_OK(compress_target_write(change.target, path, see_progress, &seen, &is_done, &err), err);
    double seconds = (double)(os_now_ns() - begin_ns) / 1e9;
    CHECK(is_done && seen.n >= 1 && (double)seen.n <= 1 + 10 * seconds);
    CHECK(seen.total == compress_target_bytes(change.target));
    unlink(path);
    size_t before = count_entries(folder);
    seen = (struct seen){.stop_at = 1};
    CHECK_OK(compress_target_write(change.target, path, see_progress, &seen, &is_done, &err), err);
    CHECK(!is_done && seen.n == 1 && count_entries(folder) == before);
    change_end(&change);
}

// The operating system refuses in the middle: what was there before stays.
static int write_limited(void) {
    struct change change;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    bool is_done = true;
    const struct rlimit limit = {100000, 100000};
    test_path(path, folder, "limited.gguf");
    test_write(path, "before", 6);
    size_t n_entries = count_entries(folder);
    signal(SIGXFSZ, SIG_IGN);
    if (!change_begin(&change, base) || setrlimit(RLIMIT_FSIZE, &limit) != 0) {
        return TEST_WRONG;
    }
    uint64_t n_bytes = 0;
    CHECK(compress_target_write(change.target, path, NULL, NULL, &is_done, &err) == WL_LIMIT);
    CHECK(message_has(&err, "(100000 of ") && message_has(&err, "bytes were written"));
    CHECK(!is_done && count_entries(folder) == n_entries);
    CHECK(os_file_size(path, &n_bytes, &err) == WL_OK && n_bytes == 6);
    change_end(&change);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}

// ---- a full disk ----

static char disk[OS_PATH_BYTES];

static bool fill_disk(void *context, uint64_t written, uint64_t total) {
    (void)context, (void)written, (void)total;
    static const char ZEROS[4096];
    char path[OS_PATH_BYTES];
    FILE *file = fopen(test_path(path, disk, "filler"), "wb");
    while (file && fwrite(ZEROS, 1, sizeof ZEROS, file) == sizeof ZEROS) {
    }
    return file && (fclose(file), true);
}

static bool mount_disk(void) {
    return unshare(CLONE_NEWNS) == 0 && // only root may
           mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", disk, "tmpfs", 0, "size=1m") == 0;
}

static int write_to_full_disk(void) {
    struct change change;
    struct wl_err err = {0};
    char path[OS_PATH_BYTES];
    bool is_done = true;
    if (!mount_disk()) {
        return TEST_SKIPPED;
    }
    test_path(path, disk, "x.gguf");
    if (!change_begin(&change, base)) {
        return TEST_WRONG;
    }
    CHECK(compress_target_write(change.target, path, fill_disk, NULL, &is_done, &err) == WL_IO);
    CHECK(message_has(&err, "bytes were written): No space left"));
    CHECK(!is_done && count_entries(disk) == 1); // the filler
    CHECK(compress_target_write(change.target, path, NULL, NULL, &is_done, &err) == WL_IO);
    CHECK(message_has(&err, "but the file system has 0 B free"));
    CHECK(!is_done && count_entries(disk) == 1);
    change_end(&change);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}

// In a process of its own: limits and mounts stay there.
static int in_child(int (*run)(void)) {
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        n_wrong = 0;
        int code = run();
        fflush(stdout);
        _exit(code);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_refused_by_the_system(void) {
    CHECK(in_child(write_limited) == TEST_RIGHT);
    CHECK(os_make_dirs(test_path(disk, folder, "disk"), NULL) == WL_OK);
    int code = in_child(write_to_full_disk);
    CHECK(code == TEST_RIGHT || code == TEST_SKIPPED);
    if (code == TEST_SKIPPED) {
        printf("only root can mount a small disk: left out\n");
    }
    rmdir(disk);
}

int main(void) {
    const char *program = getenv("WATTLAW");
    if (!program || access(program, X_OK) != 0) {
        printf("skipped: $WATTLAW, which makes the models, is no program\n");
        return TEST_SKIPPED;
    }
    test_folder(folder);
    CHECK(made_synth(MODEL, test_path(base, folder, "base.gguf")));
    test_not_written();
    test_progress();
    test_refused_by_the_system();
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
