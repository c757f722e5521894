// "exec:COMMAND ARGUMENT...": lines of watts from a program that runs as long as the source is
// open. Its words are split at blanks, '...' and "..." hold words together and a backslash takes
// the next character as it is; no shell is involved (use "exec:sh -c '...'" for one). What it says
// on stderr is read as well, so that its complaint is in the message when it fails.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/watt_source.h"
#include "os/process.h"

enum { MAX_WORDS = 64, MAX_COMMAND_BYTES = 4096 };
static const int64_t END_NS = 500000000; // for a program to end by itself

struct exec {
    struct watt_source source;
    int fd;
    pid_t pid; // 0: none
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    watt_source_verdict(out, "COMMAND",
                        "wattlaw watch --meters 'exec:scope=board:your-logger -i 1' -- PROGRAM");
}

// Cuts `text` in place. False for too many words or an open quote.
static bool split_words(char *text, char *words[MAX_WORDS + 1]) {
    size_t n = 0;
    char *from = text;
    while (from += strspn(from, " \t\n"), *from) {
        char *to = from, quote = '\0';
        if (n == MAX_WORDS) {
            return false;
        }
        words[n++] = to;
        for (; *from && (quote || !strchr(" \t\n", *from)); from++) {
            if (*from == '\\' && quote != '\'' && from[1]) {
                *to++ = *++from;
            } else if (quote ? *from == quote : *from == '\'' || *from == '"') {
                quote = quote ? '\0' : *from;
            } else {
                *to++ = *from;
            }
        }
        if (quote) {
            return false;
        }
        from += *from != '\0';
        *to = '\0';
    }
    words[n] = NULL;
    return n > 0;
}

static enum watt_input_event read_bytes(void *context, char *out, size_t size, size_t *len) {
    struct exec *exec = context;
    ssize_t n = read(exec->fd, out, size);
    if (n > 0) {
        *len = (size_t)n;
        return WATT_INPUT_DATA;
    }
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? WATT_INPUT_EMPTY : WATT_INPUT_END;
}

static int wake_fd(void *context) {
    return ((struct exec *)context)->fd;
}

// The whole group: what the program has started would otherwise go on.
static void stop_program(struct exec *exec) {
    int wait_status;
    if (exec->pid <= 0) {
        return;
    }
    kill(-exec->pid, SIGTERM);
    bool has_ended = os_wait(exec->pid, END_NS, &wait_status, NULL) == WL_OK;
    kill(-exec->pid, SIGKILL);
    if (!has_ended) {
        os_kill(exec->pid);
    }
    exec->pid = 0;
}

static void close_source(void *state) {
    struct exec *exec = state;
    if (exec) {
        stop_program(exec);
        if (exec->fd >= 0) {
            close(exec->fd);
        }
        free(exec);
    }
}

static enum wl_status start_program(struct exec *exec, char *words[], struct wl_err *err) {
    int fds[2];
    enum wl_status status = os_pipe(fds, err);
    if (status != WL_OK) {
        return status;
    }
    exec->fd = fds[0];
    fcntl(exec->fd, F_SETFL, fcntl(exec->fd, F_GETFL) | O_NONBLOCK);
    struct os_spawn spawn = {.argv = (const char *const *)words,
                             .socket_fd = -1,
                             .output_fd = fds[1],
                             .dies_with_parent = true,
                             .searches_path = true};
    pid_t pid = 0;
    status = os_spawn(&spawn, &pid, err);
    close(fds[1]);
    if (status != WL_OK) {
        wl_err_prefix(err, "no shell is involved (\"sh -c '...'\" is one)");
        return status;
    }
    exec->pid = pid;
    return WL_OK;
}

static enum wl_status start(struct exec *exec, const char *command, struct meter_info *info,
                            struct wl_err *err) {
    char text[MAX_COMMAND_BYTES], *words[MAX_WORDS + 1];
    if (!str_copy(text, sizeof text, command) || !split_words(text, words)) {
        return wl_err_set(err, WL_USAGE,
                          "cannot split the command into at most %d words: a quote is open, or it "
                          "is empty or longer than %d bytes",
                          MAX_WORDS, MAX_COMMAND_BYTES - 1);
    }
    // The first word alone: arguments may have passwords.
    const char *slash = strrchr(words[0], '/');
    const char *name = slash ? slash + 1 : words[0];
    snprintf(exec->source.what, sizeof exec->source.what, "the command '%.40s'", name);
    snprintf(info->title, sizeof info->title, "lines of watts from the command '%.40s'", name);
    return start_program(exec, words, err);
}

// Why it ended, once all that it wrote has been handed out.
static enum wl_status say_end(struct exec *exec, enum wl_status status, struct wl_err *err) {
    char text[64];
    int wait_status;
    if (exec->source.has_ended && exec->pid > 0 &&
        os_wait(exec->pid, END_NS, &wait_status, NULL) == WL_OK) {
        kill(-exec->pid, SIGKILL);
        exec->pid = 0;
        wl_err_prefix(err, "%s", os_describe_exit(text, sizeof text, wait_status));
    }
    return status;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    struct exec *exec = calloc(1, sizeof *exec);
    const char *command;
    if (!exec) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    exec->fd = -1;
    exec->source.input =
        (struct watt_input){.context = exec, .read = read_bytes, .wake_fd = wake_fd};
    enum wl_status status = watt_options_parse(argument, &exec->source.options, &command, err);
    if (status == WL_OK) {
        status = start(exec, command, info, err);
    }
    if (status == WL_OK) {
        status = watt_source_start(&exec->source, env, info, err);
    }
    if (status != WL_OK) {
        say_end(exec, status, err);
        close_source(exec);
        return status;
    }
    *out = exec;
    return WL_OK;
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    struct exec *exec = state;
    enum wl_status status = watt_source_read(&exec->source, out, err);
    return status == WL_OK ? WL_OK : say_end(exec, status, err);
}

const struct meter_source meter_source_exec = {.name = "exec",
                                               .title = "lines of watts from a command",
                                               .probe = probe,
                                               .open = open_source,
                                               .read = read_source,
                                               .close = close_source};
