// "fifo:PATH": lines of watts from a named pipe or a character device, whose writers may come and
// go.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/watt_source.h"
#include "os/file.h"

struct fifo {
    struct watt_source source;
    char path[OS_PATH_BYTES];
    int fd; // -1: the device is away; the next read tries again
    bool has_writer;
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    watt_source_verdict(out, "PATH",
                        "mkfifo /tmp/watts; your-logger > /tmp/watts & wattlaw watch --meters "
                        "fifo:/tmp/watts -- PROGRAM");
}

// Never waits for a writer, and never becomes the terminal's owner.
static int open_path(const struct fifo *fifo) {
    return open(fifo->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static enum watt_input_event lose_writer(struct fifo *fifo) {
    bool had_writer = fifo->has_writer;
    fifo->has_writer = false;
    return had_writer ? WATT_INPUT_BREAK : WATT_INPUT_EMPTY;
}

static enum watt_input_event read_bytes(void *context, char *out, size_t size, size_t *len) {
    struct fifo *fifo = context;
    if (fifo->fd < 0 && (fifo->fd = open_path(fifo)) < 0) {
        return WATT_INPUT_EMPTY;
    }
    ssize_t n = read(fifo->fd, out, size);
    if (n > 0) {
        fifo->has_writer = true;
        *len = (size_t)n;
        return WATT_INPUT_DATA;
    }
    if (n == 0) {
        return lose_writer(fifo);
    }
    if (errno != EAGAIN && errno != EINTR) { // a device was unplugged
        close(fifo->fd);
        fifo->fd = -1;
        return lose_writer(fifo);
    }
    return WATT_INPUT_EMPTY;
}

static int wake_fd(void *context) {
    return ((struct fifo *)context)->fd;
}

static void close_source(void *state) {
    struct fifo *fifo = state;
    if (fifo && fifo->fd >= 0) {
        close(fifo->fd);
    }
    free(fifo);
}

static enum wl_status open_input(struct fifo *fifo, struct wl_err *err) {
    struct stat st;
    fifo->fd = open_path(fifo);
    if (fifo->fd < 0 || fstat(fifo->fd, &st) != 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", fifo->path);
    }
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode)) {
        return wl_err_set(err, WL_INPUT, "'%s' is neither a named pipe nor a character device%s",
                          fifo->path, S_ISREG(st.st_mode) ? "; for a file use 'csv:'" : "");
    }
    return WL_OK;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    struct fifo *fifo = calloc(1, sizeof *fifo);
    const char *path;
    if (!fifo) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    fifo->fd = -1;
    fifo->source.input =
        (struct watt_input){.context = fifo, .read = read_bytes, .wake_fd = wake_fd};
    enum wl_status status = watt_options_parse(argument, &fifo->source.options, &path, err);
    if (status == WL_OK && !str_copy(fifo->path, sizeof fifo->path, path)) {
        status = wl_err_set(err, WL_USAGE, "path too long: '%.40s...'", path);
    }
    if (status == WL_OK) {
        snprintf(fifo->source.what, sizeof fifo->source.what, "'%.60s'", path);
        snprintf(info->title, sizeof info->title, "lines of watts from '%.60s'", path);
        status = open_input(fifo, err);
    }
    if (status == WL_OK) {
        status = watt_source_start(&fifo->source, env, info, err);
    }
    if (status != WL_OK) {
        close_source(fifo);
        return status;
    }
    *out = fifo;
    return WL_OK;
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    return watt_source_read(&((struct fifo *)state)->source, out, err);
}

const struct meter_source meter_source_fifo = {.name = "fifo",
                                               .title = "lines of watts from a named pipe",
                                               .probe = probe,
                                               .open = open_source,
                                               .read = read_source,
                                               .close = close_source};
