// Children through posix_spawn, which here can also close every descriptor that is not meant for
// the child (pipe and socketpair cannot make theirs close-on-exec at once). A child cannot be tied
// to its parent's life: ours end when their socket does.
// Never run on hardware so far: checked against declarations only (tests/darwin_stubs).
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/process_env.h"

// --- start --------------------------------------------------------------------------------------

enum { SAFE_FD = 10 }; // above every number that the child's descriptors get

// What posix_spawn is told; released as a whole.
struct launch {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int socket_fd, output_fd; // copies out of the way of 0 to 3; -1 none
};

static int copy_away(int fd) {
    return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, SAFE_FD);
}

// The child's descriptors 0 to 3; 0, or an errno.
static int place_descriptors(struct launch *launch) {
    int error = 0;
    if (launch->output_fd >= 0) {
        error = posix_spawn_file_actions_addopen(&launch->actions, 0, "/dev/null", O_RDONLY, 0);
    }
    for (int fd = 0; fd <= 2 && !error; fd++) {
        if (launch->output_fd >= 0 && fd > 0) {
            error = posix_spawn_file_actions_adddup2(&launch->actions, launch->output_fd, fd);
        } else if (launch->output_fd < 0 && fcntl(fd, F_GETFD) >= 0) {
            error = posix_spawn_file_actions_addinherit_np(&launch->actions, fd);
        }
    }
    if (launch->socket_fd >= 0 && !error) {
        error = posix_spawn_file_actions_adddup2(&launch->actions, launch->socket_fd, 3);
    }
    return error;
}

static int set_attributes(struct launch *launch, bool stays_in_group) {
    sigset_t none, broken_pipe;
    sigemptyset(&none); // the calling thread may block signals for reasons of its own
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    int flags = POSIX_SPAWN_CLOEXEC_DEFAULT | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    // A terminal's Ctrl-C goes to the whole foreground group; the parent decides for the child.
    flags |= stays_in_group ? 0 : POSIX_SPAWN_SETPGROUP;
    int error = posix_spawnattr_setflags(&launch->attributes, (short)flags);
    error = error ? error : posix_spawnattr_setsigmask(&launch->attributes, &none);
    error = error ? error : posix_spawnattr_setsigdefault(&launch->attributes, &broken_pipe);
    return error ? error : posix_spawnattr_setpgroup(&launch->attributes, 0);
}

static int start(const struct os_spawn *spawn, struct launch *launch, const char **env,
                 pid_t *pid) {
    int error = place_descriptors(launch);
    error = error ? error : set_attributes(launch, spawn->stays_in_group);
    if (error) {
        return error;
    }
    char *const *argv = (char *const *)(void *)spawn->argv;
    char *const *envp = (char *const *)(void *)env;
    return spawn->searches_path
               ? posix_spawnp(pid, argv[0], &launch->actions, &launch->attributes, argv, envp)
               : posix_spawn(pid, argv[0], &launch->actions, &launch->attributes, argv, envp);
}

static int launch_child(const struct os_spawn *spawn, const char **env, pid_t *pid) {
    struct launch launch = {.socket_fd = -1, .output_fd = -1};
    int error = posix_spawn_file_actions_init(&launch.actions);
    if (error) {
        return error;
    }
    error = posix_spawnattr_init(&launch.attributes);
    if (error) {
        posix_spawn_file_actions_destroy(&launch.actions);
        return error;
    }
    launch.socket_fd = copy_away(spawn->socket_fd);
    launch.output_fd = copy_away(spawn->output_fd);
    bool is_copied = (spawn->socket_fd < 0 || launch.socket_fd >= 0) &&
                     (spawn->output_fd < 0 || launch.output_fd >= 0);
    error = is_copied ? start(spawn, &launch, env, pid) : EMFILE;
    if (launch.socket_fd >= 0) {
        close(launch.socket_fd);
    }
    if (launch.output_fd >= 0) {
        close(launch.output_fd);
    }
    posix_spawnattr_destroy(&launch.attributes);
    posix_spawn_file_actions_destroy(&launch.actions);
    return error;
}

enum wl_status os_spawn(const struct os_spawn *spawn, pid_t *pid, struct wl_err *err) {
    const char **env = os_merge_env(spawn->extra_env);
    if (!env) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    int error = launch_child(spawn, env, pid);
    free(env);
    return error ? wl_err_errno(err, error, "cannot start '%s'", spawn->argv[0]) : WL_OK;
}

// --- pipes --------------------------------------------------------------------------------------

static enum wl_status close_on_exec(int fds[2], struct wl_err *err) {
    for (int i = 0; i < 2; i++) {
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) != 0) {
            int error = errno;
            close(fds[0]);
            close(fds[1]);
            return wl_err_errno(err, error, "cannot set up a pipe");
        }
    }
    return WL_OK;
}

enum wl_status os_socket_pair(int fds[2], struct wl_err *err) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) {
        return wl_err_errno(err, errno, "cannot make a socket pair");
    }
    return close_on_exec(fds, err);
}

enum wl_status os_pipe(int fds[2], struct wl_err *err) {
    if (pipe(fds) != 0) {
        return wl_err_errno(err, errno, "cannot make a pipe");
    }
    return close_on_exec(fds, err);
}
