#include "gateway/upstream_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/process.h"

enum {
    TERM_MS = 3000,      // between SIGTERM and SIGKILL
    OUTPUT_BYTES = 16384 // kept of what it prints
};

// The reading end of what one process prints.
struct output {
    uv_poll_t poll;
    int fd;
    struct upstream_process *process;
};

struct upstream_process {
    uv_loop_t *loop;
    void (*on_death)(void *context, int wait_status);
    void *context;
    pid_t pid;
    uv_signal_t child_signal;
    uv_timer_t kill_timer;
    struct output *output;
    char kept[OUTPUT_BYTES + 1];
    size_t n_kept;
    int n_handles;
    bool is_closing;
    void (*on_closed)(void *context);
    void *close_context;
};

static void on_handle_closed(struct upstream_process *process) {
    if (--process->n_handles == 0) {
        void (*on_closed)(void *context) = process->on_closed;
        void *context = process->close_context;
        free(process);
        on_closed(context);
    }
}

// ---- output ----

// The oldest half goes when there is no room, cut at the end of a line.
static void make_room(struct upstream_process *process) {
    size_t cut = OUTPUT_BYTES / 2;
    const char *line_end = memchr(process->kept + cut, '\n', process->n_kept - cut);
    cut = line_end ? (size_t)(line_end - process->kept) + 1 : cut;
    process->n_kept -= cut;
    memmove(process->kept, process->kept + cut, process->n_kept);
}

// False when nothing more comes now.
static bool read_some(struct upstream_process *process) {
    if (process->n_kept > OUTPUT_BYTES - 1024) {
        make_room(process);
    }
    ssize_t n;
    do {
        n = read(process->output->fd, process->kept + process->n_kept,
                 OUTPUT_BYTES - process->n_kept);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        for (size_t i = 0; i < (size_t)n; i++) { // what follows reads it as text
            char *c = &process->kept[process->n_kept + i];
            *c = *c ? *c : '?';
        }
        process->n_kept += (size_t)n;
        process->kept[process->n_kept] = '\0';
    } else if (n == 0 || errno != EAGAIN) {
        uv_poll_stop(&process->output->poll);
    }
    return n > 0;
}

static void on_output(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    read_some(((struct output *)poll->data)->process);
}

static void on_output_closed(uv_handle_t *handle) {
    struct output *output = handle->data;
    struct upstream_process *process = output->process;
    free(output);
    on_handle_closed(process);
}

static void drop_output(struct upstream_process *process) {
    struct output *output = process->output;
    for (int i = 0; i < 64 && read_some(process); i++) { // its last words, but not without end
    }
    process->output = NULL;
    uv_poll_stop(&output->poll);
    close(output->fd);
    uv_close((uv_handle_t *)&output->poll, on_output_closed);
}

// *fd is the end that the process writes to.
static enum wl_status open_output(struct upstream_process *process, int *fd, struct wl_err *err) {
    int fds[2];
    struct output *output = calloc(1, sizeof *output);
    if (!output) {
        return wl_err_set(err, WL_MEMORY, "no memory for the model server's output");
    }
    enum wl_status status = os_pipe(fds, err);
    if (status == WL_OK && (fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0 ||
                            uv_poll_init(process->loop, &output->poll, fds[0]) != 0)) {
        status = wl_err_set(err, WL_IO, "cannot listen to the model server's output");
        close(fds[0]);
        close(fds[1]);
    }
    if (status != WL_OK) {
        free(output);
        return status;
    }
    output->poll.data = output;
    output->fd = fds[0];
    output->process = process;
    process->output = output;
    process->n_handles++;
    process->n_kept = 0;
    process->kept[0] = '\0';
    uv_poll_start(&output->poll, UV_READABLE, on_output);
    *fd = fds[1];
    return WL_OK;
}

const char *upstream_process_output(const struct upstream_process *process) {
    return process->kept;
}

// ---- death ----

static void on_fixed_closed(uv_handle_t *handle) {
    on_handle_closed(handle->data);
}

static void close_handles(struct upstream_process *process) {
    uv_close((uv_handle_t *)&process->child_signal, on_fixed_closed);
    uv_close((uv_handle_t *)&process->kill_timer, on_fixed_closed);
}

// A wrapper that did not exec may leave its child behind: the group goes with its leader, whose
// number nobody else can have before it is reaped.
static void end_group_of_dead(pid_t pid) {
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid) {
        kill(-pid, SIGKILL);
    }
}

void upstream_process_look(struct upstream_process *process) {
    int wait_status = 0;
    if (process->pid == 0) {
        return;
    }
    end_group_of_dead(process->pid);
    if (os_wait(process->pid, 0, &wait_status, NULL) == WL_TIMEOUT) {
        return;
    }
    process->pid = 0;
    uv_timer_stop(&process->kill_timer);
    drop_output(process);
    if (process->is_closing) {
        close_handles(process);
    } else {
        process->on_death(process->context, wait_status);
    }
}

static void on_child_signal(uv_signal_t *child_signal, int number) {
    (void)number;
    upstream_process_look(child_signal->data);
}

// ---- life ----

enum wl_status upstream_process_start(struct upstream_process *process, const char *const *argv,
                                      const char *const *env, struct wl_err *err) {
    int fd = -1;
    enum wl_status status = open_output(process, &fd, err);
    if (status != WL_OK) {
        return status;
    }
    struct os_spawn spawn = {.argv = argv,
                             .extra_env = env,
                             .socket_fd = -1,
                             .output_fd = fd,
                             .dies_with_parent = true,
                             .searches_path = true};
    status = os_spawn(&spawn, &process->pid, err);
    close(fd);
    if (status != WL_OK) {
        process->pid = 0;
        drop_output(process);
    }
    return status;
}

static void send_signal(struct upstream_process *process, int number) {
    if (process->pid > 0 && kill(-process->pid, number) != 0) {
        kill(process->pid, number); // its own group is not there yet
    }
}

static void on_kill_timer(uv_timer_t *timer) {
    send_signal(timer->data, SIGKILL);
}

void upstream_process_stop(struct upstream_process *process) {
    if (process->pid > 0 && !uv_is_active((uv_handle_t *)&process->kill_timer)) {
        send_signal(process, SIGTERM);
        uv_timer_start(&process->kill_timer, on_kill_timer, TERM_MS, 0);
    }
}

void upstream_process_kill(struct upstream_process *process) {
    send_signal(process, SIGKILL);
}

pid_t upstream_process_pid(const struct upstream_process *process) {
    return process->pid;
}

enum wl_status upstream_process_open(uv_loop_t *loop,
                                     void (*on_death)(void *context, int wait_status),
                                     void *context, struct upstream_process **out,
                                     struct wl_err *err) {
    struct upstream_process *process = calloc(1, sizeof *process);
    *out = NULL;
    if (!process || uv_signal_init(loop, &process->child_signal) != 0) {
        free(process);
        return wl_err_set(err, WL_MEMORY, "no memory for a model server");
    }
    process->loop = loop;
    process->on_death = on_death;
    process->context = context;
    process->n_handles = 2;
    process->child_signal.data = process->kill_timer.data = process;
    uv_timer_init(loop, &process->kill_timer);
    uv_signal_start(&process->child_signal, on_child_signal, SIGCHLD);
    *out = process;
    return WL_OK;
}

void upstream_process_close(struct upstream_process *process, void (*on_closed)(void *context),
                            void *context) {
    process->is_closing = true;
    process->on_closed = on_closed;
    process->close_context = context;
    if (process->pid > 0) {
        upstream_process_stop(process);
    } else {
        close_handles(process);
    }
}
