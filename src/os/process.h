// Child processes and signals.
#ifndef WATTLAW_OS_PROCESS_H
#define WATTLAW_OS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct os_spawn {
    const char *const *argv;      // NULL-terminated; argv[0] is the path to execute
    const char *const *extra_env; // "NAME=value" added to (or replacing in) the parent's, or NULL
    int socket_fd;                // becomes fd 3 of the child; -1 for none
    int output_fd;                // becomes fds 1 and 2 of the child; -1 keeps the parent's
    bool dies_with_parent;        // SIGKILL when the parent dies, even by kill -9 (Linux)
    bool stays_in_group; // keeps the terminal, so Ctrl-C reaches it too; else its own group
    bool searches_path;  // argv[0] without a slash is looked for in PATH
};

// Starts a program. All other descriptors must be close-on-exec (ours are).
enum wl_status os_spawn(const struct os_spawn *spawn, pid_t *pid, struct wl_err *err);
// Waits up to timeout_ns (0 = just look). TIMEOUT while it runs. Else *wait_status as waitpid has
// it.
enum wl_status os_wait(pid_t pid, int64_t timeout_ns, int *wait_status, struct wl_err *err);
void os_kill(pid_t pid); // SIGKILL, then reap; for children only
// "exited with code 3", "killed by signal 11 (Segmentation fault)".
char *os_describe_exit(char *out, size_t size, int wait_status);

// A connected pair of stream sockets, close-on-exec.
enum wl_status os_socket_pair(int fds[2], struct wl_err *err);
enum wl_status os_pipe(int fds[2], struct wl_err *err);

// After this, SIGINT and SIGTERM only set a flag that os_is_interrupted() reads; a SIGINT half a
// second or more after the first ends the process at once (sooner it is the same wish twice:
// timeout(1) and some terminals signal both the process and its group). SIGPIPE is ignored.
void os_catch_interrupts(void);
bool os_is_interrupted(void);

#endif
