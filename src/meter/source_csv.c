// "csv:PATH": lines of watts from a file that a logger appends to. Followed like `tail -F`: a file
// cut short is read from its beginning, one that was replaced is read to its end first. Of what
// lay there before, the last MiB is read, and counts where its lines have dates.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/watt_source.h"
#include "os/file.h"

enum { MAX_HISTORY_BYTES = 1 << 20 };

struct csv {
    struct watt_source source;
    char path[OS_PATH_BYTES];
    int fd;
    off_t offset, history_end;
    bool starts_inside; // the history may begin inside a line
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    watt_source_verdict(out, "PATH",
                        "wattlaw watch --meters csv:scope=board:/var/log/meter.csv -- PROGRAM");
}

static int open_path(const char *path) {
    return open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

// Another file has the name now.
static bool is_replaced(const struct csv *csv, const struct stat *mine) {
    struct stat named;
    return stat(csv->path, &named) == 0 && S_ISREG(named.st_mode) &&
           (named.st_dev != mine->st_dev || named.st_ino != mine->st_ino);
}

static enum watt_input_event begin_anew(struct csv *csv) {
    csv->offset = csv->history_end = 0;
    return WATT_INPUT_BREAK;
}

static enum watt_input_event follow(struct csv *csv) {
    struct stat st;
    if (fstat(csv->fd, &st) == 0 && is_replaced(csv, &st)) {
        int fd = open_path(csv->path);
        if (fd >= 0) {
            close(csv->fd);
            csv->fd = fd;
            return begin_anew(csv);
        }
    }
    return WATT_INPUT_EMPTY;
}

static enum watt_input_event read_bytes(void *context, char *out, size_t size, size_t *len) {
    struct csv *csv = context;
    struct stat st;
    if (fstat(csv->fd, &st) == 0 && st.st_size < csv->offset) {
        return begin_anew(csv);
    }
    // What was there before and what came since do not mix: only the latter has an arrival.
    if (csv->offset < csv->history_end && (off_t)size > csv->history_end - csv->offset) {
        size = (size_t)(csv->history_end - csv->offset);
    }
    ssize_t n = pread(csv->fd, out, size, csv->offset);
    if (n <= 0) {
        return follow(csv);
    }
    csv->offset += n;
    *len = (size_t)n;
    if (csv->starts_inside) { // its first line becomes a comment: half a line is none
        out[0] = '#';
        csv->starts_inside = false;
    }
    return WATT_INPUT_DATA;
}

static int wake_fd(void *context) {
    (void)context;
    return -1; // a file is always readable
}

static bool is_history(void *context) {
    const struct csv *csv = context;
    return csv->offset < csv->history_end;
}

static void close_source(void *state) {
    struct csv *csv = state;
    if (csv && csv->fd >= 0) {
        close(csv->fd);
    }
    free(csv);
}

static enum wl_status open_input(struct csv *csv, struct wl_err *err) {
    struct stat st;
    csv->fd = open_path(csv->path);
    if (csv->fd < 0 || fstat(csv->fd, &st) != 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", csv->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return wl_err_set(err, WL_INPUT, "'%s' is not a file%s", csv->path,
                          S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode) ? "; use 'fifo:'" : "");
    }
    csv->history_end = st.st_size;
    csv->starts_inside = st.st_size > MAX_HISTORY_BYTES;
    csv->offset = csv->starts_inside ? st.st_size - MAX_HISTORY_BYTES : 0;
    return WL_OK;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    struct csv *csv = calloc(1, sizeof *csv);
    const char *path;
    if (!csv) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    csv->fd = -1;
    csv->source.input = (struct watt_input){
        .context = csv, .read = read_bytes, .wake_fd = wake_fd, .is_history = is_history};
    enum wl_status status = watt_options_parse(argument, &csv->source.options, &path, err);
    if (status == WL_OK && !str_copy(csv->path, sizeof csv->path, path)) {
        status = wl_err_set(err, WL_USAGE, "path too long: '%.40s...'", path);
    }
    if (status == WL_OK) {
        snprintf(csv->source.what, sizeof csv->source.what, "'%.60s'", path);
        snprintf(info->title, sizeof info->title, "lines of watts from '%.60s'", path);
        status = open_input(csv, err);
    }
    if (status == WL_OK) {
        status = watt_source_start(&csv->source, env, info, err);
    }
    if (status != WL_OK) {
        close_source(csv);
        return status;
    }
    *out = csv;
    return WL_OK;
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    return watt_source_read(&((struct csv *)state)->source, out, err);
}

const struct meter_source meter_source_csv = {.name = "csv",
                                              .title = "lines of watts from a growing file",
                                              .probe = probe,
                                              .open = open_source,
                                              .read = read_source,
                                              .close = close_source};
