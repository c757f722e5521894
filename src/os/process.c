// The half of process.h that every POSIX system shares.
#include "os/process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __APPLE__
#include <crt_externs.h>
#endif

#include "os/clock.h"
#include "os/process_env.h"

// --- environment --------------------------------------------------------------------------------

#ifdef __APPLE__
static char **parent_env(void) {
    return *_NSGetEnviron(); // a shared library has no `environ` there
}
#else
extern char **environ;

static char **parent_env(void) {
    return environ;
}
#endif

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

const char **os_merge_env(const char *const *extra) {
    const char **merged = calloc(MAX_ENV + 1, sizeof *merged);
    size_t n = 0;
    for (char **entry = parent_env(); merged && *entry && n < MAX_ENV; entry++) {
        if (!is_replaced(*entry, extra)) {
            merged[n++] = *entry;
        }
    }
    for (; merged && extra && *extra && n < MAX_ENV; extra++) {
        merged[n++] = *extra;
    }
    return merged;
}

// --- end ----------------------------------------------------------------------------------------

enum wl_status os_wait(pid_t pid, int64_t timeout_ns, int *wait_status, struct wl_err *err) {
    static const int64_t STEP_NS = 5000000;
    int64_t start_ns = os_now_ns();
    int64_t deadline_ns = timeout_ns < INT64_MAX - start_ns ? start_ns + timeout_ns : INT64_MAX;
    for (;;) {
        pid_t done = waitpid(pid, wait_status, WNOHANG);
        if (done == pid) {
            return WL_OK;
        }
        if (done < 0 && errno != EINTR) {
            return wl_err_errno(err, errno, "cannot wait for process %d", (int)pid);
        }
        int64_t now_ns = os_now_ns();
        if (now_ns >= deadline_ns) {
            return wl_err_set(err, WL_TIMEOUT, "process %d still runs", (int)pid);
        }
        os_sleep_until_ns(deadline_ns - now_ns < STEP_NS ? deadline_ns : now_ns + STEP_NS);
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

// --- interrupts ---------------------------------------------------------------------------------

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
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool os_is_interrupted(void) {
    return has_interrupt;
}
