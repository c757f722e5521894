#include "compressor/states.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/file.h"

enum wl_status states_open(struct states *states, const char *dir, size_t n_tokens, size_t n_embd,
                           struct wl_err *err) {
    *states = (struct states){.fd = -1, .n_tokens = n_tokens, .n_embd = n_embd};
    char path[OS_PATH_BYTES];
    enum wl_status status = os_path_join(path, dir, "wattlaw-states-XXXXXX", err);
    if (status != WL_OK) {
        return status;
    }
    states->fd = mkstemp(path);
    if (states->fd < 0) {
        return wl_err_errno(err, errno, "cannot make a scratch file in '%s'", dir);
    }
    unlink(path);
    off_t bytes = (off_t)(n_tokens * n_embd * sizeof(float));
    int failure = posix_fallocate(states->fd, 0, bytes > 0 ? bytes : 1);
    if (failure != 0) {
        states_close(states);
        return wl_err_errno(err, failure, "no room for %lld MiB of scratch in '%s'",
                            (long long)(bytes >> 20), dir);
    }
    return WL_OK;
}

void states_close(struct states *states) {
    if (states->fd > 0) {
        close(states->fd);
    }
    states->fd = -1;
}

enum wl_status states_read(const struct states *states, size_t first, size_t n, float *out,
                           struct wl_err *err) {
    size_t row = states->n_embd * sizeof(float), left = n * row;
    off_t at = (off_t)(first * row);
    char *to = (char *)out;
    while (left > 0) {
        ssize_t got = pread(states->fd, to, left, at);
        if (got <= 0) {
            return wl_err_errno(err, got < 0 ? errno : EIO, "cannot read the scratch file");
        }
        left -= (size_t)got;
        to += got;
        at += got;
    }
    return WL_OK;
}

enum wl_status states_write(const struct states *states, size_t first, size_t n, const float *in,
                            struct wl_err *err) {
    size_t row = states->n_embd * sizeof(float), left = n * row;
    off_t at = (off_t)(first * row);
    const char *from = (const char *)in;
    while (left > 0) {
        ssize_t put = pwrite(states->fd, from, left, at);
        if (put <= 0) {
            return wl_err_errno(err, put < 0 ? errno : EIO, "cannot write the scratch file");
        }
        left -= (size_t)put;
        from += put;
        at += put;
    }
    return WL_OK;
}
