// A walk that was interrupted, or killed at any moment, goes on from its folder and comes to the
// same file, byte for byte; whatever else lies in that folder is begun anew.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#include "narrow_test.h"

static const char LLAMA[] = "--arch llama --layers 6 --embd 64 --heads 4 --kv-heads 2 --ff 256 "
                            "--vocab 512 --type f16";

static char place[OS_PATH_BYTES], whole[OS_PATH_BYTES]; // the folder; what an unbroken run wrote

static bool plan_walk(struct walk *w, const char *model) {
    if (!walk_begin(w, model)) {
        return false;
    }
    for (uint32_t i = 0; i < w->plan.n_layer; i++) {
        w->plan.layers[i] = (struct plan_layer){.n_head_kv = 1, .n_ff = 128};
    }
    w->plan.layers[2].is_removed = w->plan.layers[5].is_removed = true;
    w->options.may_add_bias = true;
    w->options.on_output_norm = take_norm;
    w->options.checkpoint_dir = place;
    return true;
}

static size_t n_left; // files in the folder

static bool count_entry(void *context, const char *name) {
    (void)context;
    (void)name;
    n_left++;
    return true;
}

static size_t count_files(void) {
    n_left = 0;
    os_list_dir(place, 100000, count_entry, NULL, NULL);
    return n_left;
}

static bool is_same(const char *a, const char *b) {
    struct buf x, y;
    struct wl_err err;
    buf_init(&x, 1 << 26);
    buf_init(&y, 1 << 26);
    CHECK_OK(os_slurp(a, &x, &err), err);
    CHECK_OK(os_slurp(b, &y, &err), err);
    bool is_equal = x.len == y.len && x.len > 0 && memcmp(x.data, y.data, x.len) == 0;
    buf_release(&x);
    buf_release(&y);
    return is_equal;
}

static void empty_place(void) {
    os_list_dir(place, 100000, remove_entry, place, NULL);
}

// Goes on with what there is in the folder.
static void check_goes_on(size_t n_told_at_least) {
    struct walk w;
    if (!plan_walk(&w, made)) {
        return;
    }
    CHECK_OK(walk_run(&w), w.err);
    CHECK(w.n_told == 6 && n_told_at_least <= 6);
    walk_write(&w, out);
    CHECK(is_same(out, whole));
    walk_end(&w);
}

static void test_unbroken(void) {
    struct walk w;
    if (!plan_walk(&w, made)) {
        return;
    }
    w.options.checkpoint_dir = NULL;
    CHECK_OK(walk_run(&w), w.err);
    walk_write(&w, whole);
    walk_end(&w);
    check_goes_on(0);              // with a folder it is the same
    CHECK(count_files() == 4 + 2); // blocks that stay, and the last two streams
    check_goes_on(6);              // of which nothing is left to do
}

static void test_interrupted(void) {
    for (double stop_at = 0; stop_at < 1; stop_at += 0.11) {
        struct walk w;
        if (plan_walk(&w, made)) {
            w.stop_at = stop_at;
            CHECK(walk_run(&w) == WL_INTERRUPTED);
            walk_end(&w);
        }
        if ((int)(stop_at * 100) % 2 == 0) {
            check_goes_on(0);
            empty_place();
        }
    }
    check_goes_on(0);
}

// ---- damage ----

static void damage(const char *name, off_t at, off_t length) {
    char path[OS_PATH_BYTES];
    int fd = open(test_path(path, place, name), O_RDWR);
    CHECK(fd >= 0);
    char byte = 0;
    if (length >= 0) {
        CHECK(ftruncate(fd, length) == 0);
    } else if (pread(fd, &byte, 1, at) == 1) {
        byte ^= 1;
        CHECK(pwrite(fd, &byte, 1, at) == 1);
    }
    close(fd);
}

static void test_damaged(void) {
    static const struct {
        const char *name;
        off_t at, length;
    } DAMAGES[] = {
        {"narrow-4.made", 5000, -1},    {"narrow-4.made", 0, 5000},
        {"narrow-4.original", 0, 0},    {"narrow-4.original", 24 * 48 * 256 + 9, -1},
        {"narrow-0.block", 30, -1},     {"narrow-3.block", 20000, -1},
        {"narrow-1.block", 0, 7},       {"narrow-1.block", 0, 0},
        {"narrow-4.block", 0, 1 << 20},
    };
    for (size_t i = 0; i < sizeof DAMAGES / sizeof *DAMAGES; i++) {
        check_goes_on(0);
        damage(DAMAGES[i].name, DAMAGES[i].at, DAMAGES[i].length);
        check_goes_on(0);
    }
    char path[OS_PATH_BYTES];
    unlink(test_path(path, place, "narrow-4.made"));
    test_write(test_path(path, place, "narrow-77.block"), "x", 1);
    test_write(test_path(path, place, "other"), "x", 1);
    check_goes_on(0);
    CHECK(count_files() == 4 + 2 + 1); // what is not ours stays
    empty_place();
}

static void test_other_sizes(void) {
    struct walk w;
    check_goes_on(0);
    if (plan_walk(&w, made)) { // another text
        w.text.n_sequences--;
        w.text.n_tokens -= SEQUENCE;
        CHECK_OK(walk_run(&w), w.err);
        walk_end(&w);
    }
    check_goes_on(0);
    if (plan_walk(&w, made)) { // another plan
        for (uint32_t i = 0; i < 6; i++) {
            w.plan.layers[i].n_ff = 96;
        }
        CHECK_OK(walk_run(&w), w.err);
        CHECK(w.n_told == 6 && w.layers[0].n_ff == 96);
        walk_end(&w);
    }
    check_goes_on(0);
    empty_place();
}

// ---- kill -9 ----

// The test again, as a process that only walks.
static pid_t start_walk(void) {
    char self[OS_PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    const char *argv[] = {self, folder, NULL};
    struct os_spawn spawn = {
        .argv = argv, .socket_fd = -1, .output_fd = -1, .dies_with_parent = true};
    pid_t pid = -1;
    struct wl_err err = {0};
    CHECK_OK(os_spawn(&spawn, &pid, &err), err);
    return pid;
}

static void test_killed(void) {
    struct rng rng;
    rng_seed(&rng, 17);
    size_t n_kills = 0;
    for (useconds_t after_us = 20000; n_kills < 40; n_kills++) {
        pid_t pid = start_walk();
        int status = 0;
        usleep(after_us / 2 + (useconds_t)rng_below(&rng, after_us));
        kill(pid, SIGKILL);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WIFEXITED(status)) {
            CHECK(WEXITSTATUS(status) == 0);
            break;
        }
        after_us += after_us / 8; // a slow machine comes to the end, too
    }
    check_goes_on(0);
    empty_place();
}

static int walk_only(const char *dir) {
    struct walk w;
    test_path(folder, dir, "");
    test_path(made, dir, "made.gguf");
    test_path(place, dir, "place");
    if (!plan_walk(&w, made)) {
        return TEST_WRONG;
    }
    enum wl_status status = walk_run(&w);
    walk_end(&w);
    return status == WL_OK ? TEST_RIGHT : TEST_WRONG;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        return walk_only(argv[1]);
    }
    struct made m;
    need_model(getenv("WATTLAW") ? getenv("WATTLAW") : "wattlaw, named in $WATTLAW");
    folder_begin();
    test_path(place, folder, "place");
    test_path(whole, folder, "whole.gguf");
    if (synth(&m, LLAMA) && made_write(&m, made)) {
        test_unbroken();
        empty_place();
        test_interrupted();
        empty_place();
        test_damaged();
        test_other_sizes();
        test_killed();
    }
    rmdir(place);
    test_folder_remove(folder);
    return n_wrong ? TEST_WRONG : TEST_RIGHT;
}
