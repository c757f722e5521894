#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/units.h"
#include "os/clock.h"

extern char **environ;

enum { MAX_ENV = 4096 };

static bool has_same_name(const char *a, const char *b) {
    size_t len = strcspn(a, "=");
    return strncmp(a, b, len) == 0 && b[len] == '=';
}

static bool is_replaced(const char *entry, const char *const *extra) {
    for (; extra && *extra; extra++) {
        if (has_same_name(*extra, entry)) {
            return true;
        }
    }
    return false;
}

// The parent's environment with `extra` added; the strings are borrowed.
static const char **merge_env(const char *const *extra) {
    const char **merged = calloc(MAX_ENV + 1, sizeof *merged);
    size_t n = 0;
    for (char **entry = environ; merged && *entry && n < MAX_ENV; entry++) {
        if (!is_replaced(*entry, extra)) {
            merged[n++] = *entry;
        }
    }
    for (; merged && extra && *extra && n < MAX_ENV; extra++) {
        merged[n++] = *extra;
    }
    return merged;
}

enum { SAFE_FD = 10 }; // above every number that the child's descriptors get

// A copy out of the way of 0 to 3, closed by exec; -1 stays -1.
static int copy_away(int fd) {
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, SAFE_FD);
}

// Gives the child its descriptors 0 to 3. All are copied away first: any of them may lie on a
// number that another one must get.
static void place_descriptors(const struct os_spawn *spawn) {
    int socket_fd = copy_away(spawn->socket_fd);
    int output_fd = copy_away(spawn->output_fd);
    if (output_fd >= 0) {
        int opened_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        int null_fd = copy_away(opened_fd);
        dup2(null_fd, 0);
        dup2(output_fd, 1);
        dup2(output_fd, 2);
    }
    if (socket_fd >= 0) {
        dup2(socket_fd, 3);
    }
}

// Between fork and exec only async-signal-safe calls are allowed.
static void run_child(const struct os_spawn *spawn, const char **env, pid_t parent, int report_fd) {
    if (spawn->dies_with_parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) { // it died before the line above
            _exit(127);
        }
    }
    if (!spawn->stays_in_group) {
        // A terminal's Ctrl-C goes to the whole foreground group; the parent decides for the child.
        setpgid(0, 0);
    }
    signal(SIGPIPE, SIG_DFL);
    sigset_t none; // the calling thread may block signals for reasons of its own
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int report_copy = copy_away(report_fd);
    place_descriptors(spawn);
    char *const *argv = (char *const *)(void *)spawn->argv;
    char *const *envp = (char *const *)(void *)env;
    if (spawn->searches_path) {
        execvpe(argv[0], argv, envp);
    } else {
        execve(argv[0], argv, envp);
    }
    int error = errno;
    ssize_t ignored = write(report_copy, &error, sizeof error);
    (void)ignored;
    _exit(127);
}

enum wl_status os_spawn(const struct os_spawn *spawn, pid_t *pid, struct wl_err *err) {
    int report[2];
    enum wl_status status = os_pipe(report, err);
    if (status != WL_OK) {
        return status;
    }
    const char **env = merge_env(spawn->extra_env);
    if (!env) {
        close(report[0]);
        close(report[1]);
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        run_child(spawn, env, parent, report[1]);
    }
    int fork_error = errno;
    free(env);
    close(report[1]);
    if (child < 0) {
        close(report[0]);
        return wl_err_errno(err, fork_error, "cannot start '%s'", spawn->argv[0]);
    }
    int exec_error = 0;
    ssize_t n;
    do {
        n = read(report[0], &exec_error, sizeof exec_error);
    } while (n < 0 && errno == EINTR);
    close(report[0]);
    if (n == (ssize_t)sizeof exec_error) {
        waitpid(child, NULL, 0);
        return wl_err_errno(err, exec_error, "cannot start '%s'", spawn->argv[0]);
    }
    *pid = child;
    return WL_OK;
}

enum wl_status os_wait(pid_t pid, int64_t timeout_ns, int *wait_status, struct wl_err *err) {
    int64_t start = os_now_ns();
    int64_t deadline = timeout_ns < INT64_MAX - start ? start + timeout_ns : INT64_MAX;
    for (;;) {
        pid_t done = waitpid(pid, wait_status, WNOHANG);
        if (done == pid) {
            return WL_OK;
        }
        if (done < 0 && errno != EINTR) {
            return wl_err_errno(err, errno, "cannot wait for process %d", (int)pid);
        }
        int64_t now = os_now_ns();
        if (now >= deadline) {
            return wl_err_set(err, WL_TIMEOUT, "process %d still runs", (int)pid);
        }
        int64_t step = 5000000;
        os_sleep_until_ns(deadline - now < step ? deadline : now + step);
    }
}

void os_kill(pid_t pid) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

char *os_describe_exit(char *out, size_t size, int wait_status) {
    if (WIFSIGNALED(wait_status)) {
        int number = WTERMSIG(wait_status);
        snprintf(out, size, "killed by signal %d (%s)", number, strsignal(number));
    } else {
        snprintf(out, size, "exited with code %d", WEXITSTATUS(wait_status));
    }
    return out;
}

enum wl_status os_socket_pair(int fds[2], struct wl_err *err) {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
        return wl_err_errno(err, errno, "cannot make a socket pair");
    }
    return WL_OK;
}

enum wl_status os_pipe(int fds[2], struct wl_err *err) {
    if (pipe2(fds, O_CLOEXEC) != 0) {
        return wl_err_errno(err, errno, "cannot make a pipe");
    }
    return WL_OK;
}

static const int64_t SECOND_WISH_NS = 500000000;
static volatile sig_atomic_t has_interrupt;
static int64_t first_interrupt_ns; // read and written in the handler only

static void note_interrupt(int number) {
    int64_t now_ns = os_now_ns();
    if (!has_interrupt) {
        first_interrupt_ns = now_ns;
        has_interrupt = 1;
    } else if (number == SIGINT && now_ns - first_interrupt_ns >= SECOND_WISH_NS) {
        _exit(130);
    }
}

void os_catch_interrupts(void) {
    struct sigaction action = {.sa_handler = note_interrupt}; // no SA_RESTART: sleeps must end
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool os_is_interrupted(void) {
    return has_interrupt;
}
