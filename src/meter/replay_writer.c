#include "meter/replay_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/str.h"
#include "base/units.h"
#include "meter/replay_trace.h"
#include "os/file.h"

enum { FLUSH_BYTES = 1 << 14 };
static const int64_t FLUSH_NS = 5 * UNITS_NS_PER_S; // at most this much is lost in a crash

struct replay_writer {
    char path[OS_PATH_BYTES];
    int fd;
    struct meter_info info;
    struct buf text;
    bool has_row;
    int64_t t0_ns, flushed_ns;
};

static enum wl_status flush(struct replay_writer *writer, struct wl_err *err) {
    const char *at = buf_text(&writer->text);
    size_t left = writer->text.len;
    if (writer->text.is_failed) {
        return wl_err_set(err, WL_MEMORY, "no memory to write '%s'", writer->path);
    }
    while (left > 0) {
        ssize_t n = write(writer->fd, at, left);
        if (n < 0 && errno != EINTR) {
            return wl_err_errno(err, errno, "cannot write '%s'", writer->path);
        }
        at += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    buf_clear(&writer->text);
    return WL_OK;
}

static void release(struct replay_writer *writer) {
    if (writer->fd >= 0) {
        close(writer->fd);
    }
    buf_release(&writer->text);
    free(writer);
}

enum wl_status replay_writer_open(const char *path, const struct meter_info *info,
                                  struct replay_writer **out, struct wl_err *err) {
    struct replay_writer *writer = calloc(1, sizeof *writer);
    if (!writer) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    buf_init(&writer->text, FLUSH_BYTES + REPLAY_HEADER_BYTES);
    writer->info = *info;
    str_copy(writer->path, sizeof writer->path, path);
    writer->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    enum wl_status status = writer->fd < 0 ? wl_err_errno(err, errno, "cannot write '%s'", path)
                                           : replay_header_write(info, &writer->text, err);
    if (status == WL_OK) {
        status = flush(writer, err);
    }
    if (status != WL_OK) {
        release(writer);
        return status;
    }
    *out = writer;
    return WL_OK;
}

enum wl_status replay_writer_add(struct replay_writer *writer, const struct meter_reading *reading,
                                 struct wl_err *err) {
    if (reading->is_empty) {
        return WL_OK;
    }
    if (!writer->has_row) {
        writer->has_row = true;
        writer->t0_ns = writer->flushed_ns = reading->t_before_ns;
    }
    struct replay_row row = {.t_before_ns = reading->t_before_ns - writer->t0_ns,
                             .t_after_ns = reading->t_after_ns - writer->t0_ns};
    memcpy(row.channel, reading->channel, sizeof row.channel);
    replay_row_write(&writer->info, &row, &writer->text);
    bool is_due = reading->t_after_ns - writer->flushed_ns >= FLUSH_NS ||
                  writer->text.len >= FLUSH_BYTES || writer->text.is_failed;
    if (!is_due) {
        return WL_OK;
    }
    writer->flushed_ns = reading->t_after_ns;
    return flush(writer, err);
}

enum wl_status replay_writer_close(struct replay_writer *writer, struct wl_err *err) {
    if (!writer) {
        return WL_OK;
    }
    enum wl_status status = flush(writer, err);
    if (status == WL_OK && fsync(writer->fd) != 0 && errno != EINVAL && errno != EROFS) {
        status = wl_err_errno(err, errno, "cannot write '%s'", writer->path);
    }
    release(writer);
    return status;
}
