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

#include "os/process_env.h"

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
    const char **env = os_merge_env(spawn->extra_env);
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
