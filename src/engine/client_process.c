#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/client_link.h"
#include "os/clock.h"
#include "os/process.h"

enum {
    MAX_FRAME_BYTES = ENGINE_HEADER_BYTES + 67108868, // the largest row of ENGINE_FRAME_LIST
    MAX_DRAINS = 16, // reads per call, so that a flooding engine cannot keep us from the deadlines
};
static const int64_t EXIT_WAIT_NS = 2000000000; // between the broken connection and the kill
static const int64_t STEP_NS = 5000000;

static void close_fd(int *fd) {
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void link_init(struct link *link) {
    link->pid = -1;
    link->socket_fd = link->log_fd = -1;
    link->last_id = 0;
    link->n_sent = 0;
    engine_log_clear(&link->log);
    buf_init(&link->in, MAX_FRAME_BYTES);
    buf_init(&link->out, MAX_FRAME_BYTES);
}

static bool set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

static enum wl_status spawn(struct link *link, const char *path, const char *omp_wait_policy,
                            int socket_fd, int output_fd, struct wl_err *err) {
    char policy[64];
    // Without this ggml starts a debugger on itself when it aborts, which takes seconds.
    const char *env[4] = {"GGML_NO_BACKTRACE=1"};
    size_t n = 1;
    if (!getenv("OPENBLAS_THREAD_TIMEOUT")) {
        // Its threads would spin for 2^26 cycles when they have nothing to do: beside other work
        // that multiplied the time of a compression.
        env[n++] = "OPENBLAS_THREAD_TIMEOUT=16";
    }
    if (omp_wait_policy) {
        snprintf(policy, sizeof policy, "OMP_WAIT_POLICY=%s", omp_wait_policy);
        env[n++] = policy;
    }
    const char *const argv[] = {path, NULL};
    const struct os_spawn spawn = {.argv = argv,
                                   .extra_env = env,
                                   .socket_fd = socket_fd,
                                   .output_fd = output_fd,
                                   .dies_with_parent = true};
    return os_spawn(&spawn, &link->pid, err);
}

enum wl_status link_open(struct link *link, const char *path, const char *omp_wait_policy,
                         struct wl_err *err) {
    int sockets[2] = {-1, -1}, output[2] = {-1, -1};
    buf_clear(&link->in);
    buf_clear(&link->out);
    link->n_sent = 0;
    engine_log_clear(&link->log);
    enum wl_status status = os_socket_pair(sockets, err);
    if (status == WL_OK) {
        status = os_pipe(output, err);
    }
    if (status == WL_OK && !(set_nonblocking(sockets[0]) && set_nonblocking(output[0]))) {
        status = wl_err_errno(err, errno, "cannot prepare the engine's socket");
    }
    if (status == WL_OK) {
        status = spawn(link, path, omp_wait_policy, sockets[1], output[1], err);
    }
    close_fd(&sockets[1]);
    close_fd(&output[1]);
    if (status != WL_OK) {
        close_fd(&sockets[0]);
        close_fd(&output[0]);
        link->pid = -1;
        return status;
    }
    link->socket_fd = sockets[0];
    link->log_fd = output[0];
    return WL_OK;
}

void link_drain_log(struct link *link) {
    for (int i = 0; i < MAX_DRAINS && link->log_fd >= 0; i++) {
        char chunk[16384];
        ssize_t n = read(link->log_fd, chunk, sizeof chunk);
        if (n > 0) {
            engine_log_append(&link->log, chunk, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            close_fd(&link->log_fd);
        } else {
            return;
        }
    }
}

// True when the process ended in time; it is reaped then.
static bool wait_for_exit(struct link *link, int64_t timeout_ns, int *wait_status) {
    int64_t deadline = os_now_ns() + timeout_ns;
    while (link->pid > 0) {
        link_drain_log(link);
        *wait_status = 0;
        enum wl_status status = os_wait(link->pid, 0, wait_status, NULL);
        if (status != WL_TIMEOUT) { // ended, or somebody else reaped it
            link_drain_log(link);
            link->pid = -1;
            return true;
        }
        int64_t now = os_now_ns();
        if (now >= deadline) {
            return false;
        }
        os_sleep_until_ns(now + STEP_NS < deadline ? now + STEP_NS : deadline);
    }
    return true;
}

void link_close(struct link *link, int64_t grace_ns) {
    int wait_status;
    close_fd(&link->socket_fd);
    if (link->pid > 0 && !(grace_ns > 0 && wait_for_exit(link, grace_ns, &wait_status))) {
        os_kill(link->pid);
        link->pid = -1;
        link_drain_log(link);
    }
    close_fd(&link->log_fd);
    buf_clear(&link->in);
    buf_clear(&link->out);
}

void link_release(struct link *link) {
    link_close(link, 0);
    buf_release(&link->in);
    buf_release(&link->out);
}

static const char *advice_for(const struct link_request *request, int wait_status) {
    if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL) {
        return "the system may have run out of memory: try a smaller model, context or batch";
    }
    return request->advice;
}

enum wl_status link_post_mortem(struct link *link, const struct link_request *request,
                                struct wl_err *err) {
    int wait_status = 0;
    char how[128], words[ENGINE_LAST_WORDS_BYTES];
    bool is_cut = link->in.len > 0;
    close_fd(&link->socket_fd); // tells a living one to end
    if (wait_for_exit(link, EXIT_WAIT_NS, &wait_status)) {
        os_describe_exit(how, sizeof how, wait_status);
    } else {
        snprintf(how, sizeof how, "closed the connection, kept running and had to be killed");
    }
    link_close(link, 0);
    engine_last_words(words, engine_log_unroll(&link->log));
    const char *advice = advice_for(request, wait_status);
    return wl_err_set(err, WL_CRASHED, "the engine %s%s while %.220s%s%s%s%s%s",
                      WIFSIGNALED(wait_status) ? "was " : "", how, request->doing,
                      is_cut ? ", in the middle of an answer" : "",
                      words[0] ? "; its last words: " : "", words, advice[0] ? "; " : "", advice);
}
