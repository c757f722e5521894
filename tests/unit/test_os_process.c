// Children: what they inherit and what not, how their end is told, that they die with us, and that
// their CPU clock can be believed.
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"
#include "os/clock.h"
#include "os/machine.h"
#include "os/process.h"

static const int64_t LONG_NS = 10 * UNITS_NS_PER_S;

// Runs a shell script with its output in `out`; returns the wait status.
static int run_shell(const char *script, const char *const *extra_env, int socket_fd, char *out,
                     size_t size) {
    int fds[2], wait_status;
    pid_t pid;
    struct wl_err err;
    size_t used = 0;
    ssize_t n;
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    assert_int_equal(os_pipe(fds, &err), WL_OK);
    struct os_spawn spawn = {
        .argv = argv, .extra_env = extra_env, .socket_fd = socket_fd, .output_fd = fds[1]};
    assert_int_equal(os_spawn(&spawn, &pid, &err), WL_OK);
    close(fds[1]);
    while (used < size - 1 && (n = read(fds[0], out + used, size - 1 - used)) > 0) {
        used += (size_t)n;
    }
    out[used] = '\0';
    close(fds[0]);
    assert_int_equal(os_wait(pid, LONG_NS, &wait_status, &err), WL_OK);
    return wait_status;
}

static void expect_exit(const char *script, const char *expected) {
    char out[64], text[128];
    int wait_status = run_shell(script, NULL, -1, out, sizeof out);
    assert_string_equal(os_describe_exit(text, sizeof text, wait_status), expected);
}

static void describes_ends(void **state) {
    (void)state;
    expect_exit("exit 0", "exited with code 0");
    expect_exit("exit 3", "exited with code 3");
    expect_exit("kill -9 $$", "killed by signal 9 (Killed)");
    expect_exit("kill -11 $$", "killed by signal 11 (Segmentation fault)");
}

static void replaces_and_adds_environment(void **state) {
    (void)state;
    char out[256];
    static const char *const EXTRA[] = {"WL_OLD=new", "WL_ADDED=a=b", NULL};
    setenv("WL_OLD", "old", 1);
    setenv("WL_OLDER", "kept", 1);
    run_shell("echo $WL_OLD $WL_ADDED $WL_OLDER; env | grep -c ^WL_OLD=", EXTRA, -1, out,
              sizeof out);
    assert_string_equal(out, "new a=b kept\n1\n");
    assert_string_equal(getenv("WL_OLD"), "old"); // ours is as before
    run_shell("echo $WL_OLD", NULL, -1, out, sizeof out);
    assert_string_equal(out, "old\n");
}

static void catches_both_outputs(void **state) {
    (void)state;
    char out[256];
    run_shell("echo one; echo two >&2; cat; echo three", NULL, -1, out, sizeof out);
    assert_string_equal(out, "one\ntwo\nthree\n"); // stdin is empty, not ours
}

// A pattern would open the folder, and list that descriptor too.
#define LIST_FDS                                                                                   \
    "i=0; while [ $i -lt 64 ]; do [ -e /proc/$$/fd/$i ] && printf \"$i \"; i=$((i+1)); done; "

static void hands_over_socket_3_and_nothing_else(void **state) {
    (void)state;
    char out[256], answer[8] = "";
    int fds[2], pipe_fds[2];
    struct wl_err err;
    assert_int_equal(os_socket_pair(fds, &err), WL_OK);
    assert_int_equal(os_pipe(pipe_fds, &err), WL_OK);
    run_shell(LIST_FDS "echo hi >&3", NULL, fds[1], out, sizeof out);
    assert_string_equal(out, "0 1 2 3 ");
    assert_int_equal(recv(fds[0], answer, sizeof answer, 0), 3);
    assert_string_equal(answer, "hi\n");
    run_shell(LIST_FDS, NULL, -1, out, sizeof out);
    assert_string_equal(out, "0 1 2 ");
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(pipe_fds[i]);
    }
}

// Runs `f` in a forked process and expects exit code 0.
static void in_child(void (*f)(void)) {
    int wait_status;
    struct wl_err err;
    pid_t pid = fork();
    if (pid == 0) {
        f();
        _exit(0);
    }
    assert_int_equal(os_wait(pid, LONG_NS, &wait_status, &err), WL_OK);
    if (wait_status != 0) {
        char text[128];
        fail_msg("the child %s", os_describe_exit(text, sizeof text, wait_status));
    }
}

// A daemon may start us with 0 to 2 closed, so that the socket and the pipe land there.
static void spawn_with_low_descriptors(void) {
    int sockets[2], output[2], wait_status;
    pid_t pid;
    char out[64] = "", answer[8] = "";
    const char *const argv[] = {"/bin/sh", "-c", "echo out; echo in >&3; cat", NULL};
    for (int fd = 0; fd < 16; fd++) {
        close(fd);
    }
    if (os_socket_pair(sockets, NULL) != WL_OK || os_pipe(output, NULL) != WL_OK) {
        _exit(1);
    }
    struct os_spawn spawn = {.argv = argv, .socket_fd = sockets[1], .output_fd = output[1]};
    if (os_spawn(&spawn, &pid, NULL) != WL_OK) {
        _exit(2);
    }
    close(sockets[1]);
    close(output[1]);
    if (read(output[0], out, sizeof out - 1) != 4 || strcmp(out, "out\n") != 0) {
        _exit(3);
    }
    if (recv(sockets[0], answer, sizeof answer, 0) != 3) {
        _exit(4);
    }
    if (os_wait(pid, LONG_NS, &wait_status, NULL) != WL_OK || wait_status != 0) {
        _exit(5);
    }
}

static void copes_with_low_descriptors(void **state) {
    (void)state;
    in_child(spawn_with_low_descriptors);
}

static void unblocks_signals(void **state) {
    (void)state;
    sigset_t blocked, old;
    char out[64];
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &old);
    int wait_status = run_shell("kill -TERM $$; echo still here", NULL, -1, out, sizeof out);
    sigprocmask(SIG_SETMASK, &old, NULL);
    assert_string_equal(out, "");
    assert_true(WIFSIGNALED(wait_status));
}

static void says_what_cannot_start(void **state) {
    (void)state;
    pid_t pid = -7;
    struct wl_err err;
    const char *const none[] = {"/nonexistent/program", NULL};
    const char *const text[] = {"/etc/passwd", NULL};
    struct os_spawn spawn = {.argv = none, .socket_fd = -1, .output_fd = -1};
    assert_int_equal(os_spawn(&spawn, &pid, &err), WL_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nonexistent/program"));
    spawn.argv = text;
    assert_int_equal(os_spawn(&spawn, &pid, &err), WL_PERMISSION);
    assert_int_equal(pid, -7);
    assert_true(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static void waits_and_kills(void **state) {
    (void)state;
    pid_t pid;
    int wait_status;
    struct wl_err err;
    const char *const argv[] = {"/bin/sleep", "100", NULL};
    struct os_spawn spawn = {.argv = argv, .socket_fd = -1, .output_fd = -1};
    assert_int_equal(os_spawn(&spawn, &pid, &err), WL_OK);
    int64_t t0_ns = os_now_ns();
    assert_int_equal(os_wait(pid, 0, &wait_status, &err), WL_TIMEOUT);
    assert_true(os_now_ns() - t0_ns < 50000000);
    assert_int_equal(os_wait(pid, 60000000, &wait_status, &err), WL_TIMEOUT);
    assert_true(os_now_ns() - t0_ns >= 60000000);
    os_kill(pid);
    assert_int_equal(os_wait(pid, LONG_NS, &wait_status, &err), WL_IO); // reaped already: ECHILD
    assert_int_equal(kill(pid, 0), -1);
    os_kill(pid); // a second time does no harm
    assert_int_equal(os_spawn(&spawn, &pid, &err), WL_OK);
    kill(pid, SIGTERM);
    assert_int_equal(os_wait(pid, INT64_MAX, &wait_status, &err), WL_OK);
}

// parent (this) -> middle -> sleep; the middle one is killed as a crash would.
static void dies_with_its_parent(void **state) {
    (void)state;
#ifdef __APPLE__
    print_message("skipped: nothing ties a child to its parent's life on macOS\n");
    skip();
#endif
    int fds[2], wait_status;
    pid_t grandchild = 0;
    struct wl_err err;
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(os_pipe(fds, &err), WL_OK);
    pid_t middle = fork();
    if (middle == 0) {
        const char *const argv[] = {"/bin/sleep", "100", NULL};
        struct os_spawn spawn = {
            .argv = argv, .socket_fd = -1, .output_fd = -1, .dies_with_parent = true};
        pid_t pid;
        if (os_spawn(&spawn, &pid, NULL) != WL_OK || write(fds[1], &pid, sizeof pid) < 0) {
            _exit(1);
        }
        pause();
        _exit(0);
    }
    assert_int_equal(read(fds[0], &grandchild, sizeof grandchild), sizeof grandchild);
    assert_int_equal(kill(grandchild, 0), 0);
    os_kill(middle);
    assert_int_equal(os_wait(grandchild, LONG_NS, &wait_status, &err), WL_OK);
    assert_true(WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL);
    close(fds[0]);
    close(fds[1]);
}

// Burns, reports its own clock through the pipe, and stays.
static void burn(int fd, int64_t cpu_ns) {
    volatile unsigned sink = 0;
    while (os_own_cpu_ns() < cpu_ns) {
        for (int i = 0; i < 1000; i++) {
            sink = sink * 1664525u + 1;
        }
    }
    int64_t burnt_ns = os_own_cpu_ns();
    if (write(fd, &burnt_ns, sizeof burnt_ns) < 0) {
        _exit(1);
    }
    pause();
    _exit(0);
}

static void reads_anothers_cpu_clock(void **state) {
    (void)state;
    int fds[2];
    int64_t burnt_ns, seen_ns;
    struct wl_err err;
    assert_int_equal(os_pipe(fds, &err), WL_OK);
    pid_t pid = fork();
    if (pid == 0) {
        burn(fds[1], 500000000);
    }
    assert_int_equal(read(fds[0], &burnt_ns, sizeof burnt_ns), sizeof burnt_ns);
    os_sleep_until_ns(os_now_ns() + 5000000); // until it sleeps
    assert_int_equal(os_process_cpu_ns(pid, &seen_ns, &err), WL_OK);
    double error = (double)(seen_ns - burnt_ns) / (double)burnt_ns;
    if (!(fabs(error) < 0.005)) {
        fail_msg("burnt %.3f ms, seen %.3f ms", (double)burnt_ns / 1e6, (double)seen_ns / 1e6);
    }
    os_kill(pid);
    assert_int_equal(os_process_cpu_ns(pid, &seen_ns, &err), WL_NOT_FOUND);
    close(fds[0]);
    close(fds[1]);
}

static void keeps_time(void **state) {
    (void)state;
    int64_t t0_ns = os_now_ns(), cpu0_ns = os_own_cpu_ns();
    os_sleep_until_ns(t0_ns + 30000000);
    int64_t slept_ns = os_now_ns() - t0_ns;
    assert_true(slept_ns >= 30000000 && slept_ns < 5000000000);
    assert_true(os_own_cpu_ns() - cpu0_ns < 20000000);
    assert_true(os_thread_cpu_ns() <= os_own_cpu_ns());
    os_sleep_until_ns(t0_ns); // the past: returns at once
    assert_true(OS_CLOCK_REAL.now_ns(NULL) >= t0_ns);
    char text[32];
    assert_string_equal(os_format_utc(text, sizeof text, 1795356309LL * UNITS_NS_PER_S),
                        "2026-11-22T14:05:09Z");
    assert_string_equal(os_format_utc(text, sizeof text, 0), "1970-01-01T00:00:00Z");
    assert_true(os_wall_ns() > 1600000000LL * UNITS_NS_PER_S);
}

static void count_interrupts(void) {
    os_catch_interrupts();
    if (os_is_interrupted()) {
        _exit(1);
    }
    raise(SIGPIPE); // ignored
    raise(SIGTERM);
    if (!os_is_interrupted()) {
        _exit(2);
    }
    raise(SIGTERM); // a second TERM still leaves time to tidy up
}

// One Ctrl-C that arrives twice, as timeout(1) sends it, leaves time to tidy up; a second wish
// ends.
static void insist(void) {
    os_catch_interrupts();
    raise(SIGINT);
    raise(SIGINT);
    if (!os_is_interrupted()) {
        _exit(1);
    }
    os_sleep_until_ns(os_now_ns() + 600000000);
    raise(SIGINT);
    _exit(2);
}

static void notes_interrupts(void **state) {
    (void)state;
    in_child(count_interrupts);
    int wait_status;
    pid_t pid = fork();
    if (pid == 0) {
        insist();
    }
    assert_int_equal(os_wait(pid, LONG_NS, &wait_status, NULL), WL_OK);
    assert_true(WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 130);
}

static void knows_the_machine(void **state) {
    (void)state;
    assert_true(os_n_cores() >= 1);
    assert_in_range(os_n_usable_cores(), 1, os_n_cores());
    assert_true(os_ram_bytes() > 64 << 20);
    assert_true(os_ram_available_bytes() > 0 && os_ram_available_bytes() <= os_ram_bytes());
}

int main(void) {
    for (int fd = 3; fd < 1024; fd++) { // what whoever started this test left open
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(describes_ends),
        cmocka_unit_test(replaces_and_adds_environment),
        cmocka_unit_test(catches_both_outputs),
        cmocka_unit_test(hands_over_socket_3_and_nothing_else),
        cmocka_unit_test(copes_with_low_descriptors),
        cmocka_unit_test(unblocks_signals),
        cmocka_unit_test(says_what_cannot_start),
        cmocka_unit_test(waits_and_kills),
        cmocka_unit_test(dies_with_its_parent),
        cmocka_unit_test(reads_anothers_cpu_clock),
        cmocka_unit_test(keeps_time),
        cmocka_unit_test(notes_interrupts),
        cmocka_unit_test(knows_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
