#include "compressor/states.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"

enum { SUM_ROWS_BYTES = 1 << 20 }; // that are read at once

// Behind the rows of a published file. In the byte order of this machine: it is not for others.
struct trailer {
    uint64_t magic, n_tokens, n_embd, sum;
};
static const uint64_t MAGIC = 0x31736574617473ULL; // "states1"

static size_t bytes_of(const struct states *states) {
    return states->n_tokens * states->n_embd * sizeof(float);
}

static enum wl_status reserve(struct states *states, const char *where, struct wl_err *err) {
    size_t bytes = bytes_of(states);
    int failure = posix_fallocate(states->fd, 0, bytes > 0 ? (off_t)bytes : 1);
    if (failure != 0) {
        states_close(states);
        return wl_err_errno(err, failure, "no room for %zu MiB of scratch in '%s'", bytes >> 20,
                            where);
    }
    return WL_OK;
}

enum wl_status states_open(struct states *states, const char *dir, size_t n_tokens, size_t n_embd,
                           struct wl_err *err) {
    *states = (struct states){.fd = -1, .n_tokens = n_tokens, .n_embd = n_embd};
    char path[OS_PATH_BYTES];
    enum wl_status status = os_path_join(path, dir, "wattlaw-states-XXXXXX", err);
    if (status != WL_OK) {
        return status;
    }
    states->fd = mkostemp(path, O_CLOEXEC);
    if (states->fd < 0) {
        return wl_err_errno(err, errno, "cannot make a scratch file in '%s'", dir);
    }
    unlink(path);
    return reserve(states, dir, err);
}

void states_close(struct states *states) {
    if (states->fd > 0) {
        close(states->fd);
    }
    states->fd = -1;
}

// ---- rows ----

static enum wl_status read_at(int fd, size_t at, void *out, size_t n, struct wl_err *err) {
    char *to = out;
    while (n > 0) {
        ssize_t got = pread(fd, to, n, (off_t)at);
        if (got <= 0 && (got == 0 || errno != EINTR)) {
            return wl_err_errno(err, got < 0 ? errno : EIO, "cannot read the scratch file");
        }
        size_t step = got > 0 ? (size_t)got : 0;
        n -= step;
        to += step;
        at += step;
    }
    return WL_OK;
}

static enum wl_status write_at(int fd, size_t at, const void *in, size_t n, struct wl_err *err) {
    const char *from = in;
    while (n > 0) {
        ssize_t put = pwrite(fd, from, n, (off_t)at);
        if (put <= 0 && (put == 0 || errno != EINTR)) {
            return wl_err_errno(err, put < 0 ? errno : EIO, "cannot write the scratch file");
        }
        size_t step = put > 0 ? (size_t)put : 0;
        n -= step;
        from += step;
        at += step;
    }
    return WL_OK;
}

enum wl_status states_read(const struct states *states, size_t first, size_t n, float *out,
                           struct wl_err *err) {
    size_t row = states->n_embd * sizeof(float);
    return read_at(states->fd, first * row, out, n * row, err);
}

enum wl_status states_write(const struct states *states, size_t first, size_t n, const float *in,
                            struct wl_err *err) {
    size_t row = states->n_embd * sizeof(float);
    return write_at(states->fd, first * row, in, n * row, err);
}

enum wl_status states_map(struct states *states, float **out, struct wl_err *err) {
    void *map = mmap(NULL, bytes_of(states), PROT_READ | PROT_WRITE, MAP_SHARED, states->fd, 0);
    if (map == MAP_FAILED) {
        return wl_err_set(err, WL_MEMORY, "no memory to map %zu MiB of scratch",
                          bytes_of(states) >> 20);
    }
    *out = map;
    return WL_OK;
}

void states_unmap(const struct states *states, float *map) {
    if (map) {
        munmap(map, bytes_of(states));
    }
}

// ---- files that stay ----

uint64_t states_sum(uint64_t sum, const void *data, size_t n) {
    static const uint64_t PRIME = 0x9E3779B97F4A7C15ULL;
    const unsigned char *bytes = data;
    for (size_t i = 0; i + 4 <= n; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, sizeof word);
        sum = (sum ^ word) * PRIME;
        sum ^= sum >> 29;
    }
    return sum;
}

static enum wl_status sum_rows(const struct states *states, uint64_t *out, struct wl_err *err) {
    unsigned char *bytes = malloc(SUM_ROWS_BYTES);
    if (!bytes) {
        return wl_err_set(err, WL_MEMORY, "no memory for a sum");
    }
    enum wl_status status = WL_OK;
    uint64_t sum = 0;
    for (size_t at = 0, n; at < bytes_of(states) && status == WL_OK; at += n) {
        n = bytes_of(states) - at < SUM_ROWS_BYTES ? bytes_of(states) - at : SUM_ROWS_BYTES;
        status = read_at(states->fd, at, bytes, n, err);
        sum = status == WL_OK ? states_sum(sum, bytes, n) : 0;
    }
    free(bytes);
    *out = sum;
    return status;
}

enum wl_status states_create(struct states *states, const char *path, size_t n_tokens,
                             size_t n_embd, struct wl_err *err) {
    *states = (struct states){.fd = -1, .n_tokens = n_tokens, .n_embd = n_embd};
    states->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return states->fd < 0 ? wl_err_errno(err, errno, "cannot create '%s'", path)
                          : reserve(states, path, err);
}

enum wl_status states_publish(struct states *states, const char *path, const char *new_path,
                              struct wl_err *err) {
    struct trailer trailer = {
        .magic = MAGIC, .n_tokens = states->n_tokens, .n_embd = states->n_embd};
    enum wl_status status = sum_rows(states, &trailer.sum, err);
    if (status == WL_OK) {
        status = write_at(states->fd, bytes_of(states), &trailer, sizeof trailer, err);
    }
    if (status == WL_OK && (fdatasync(states->fd) != 0 || rename(path, new_path) != 0)) {
        status = wl_err_errno(err, errno, "cannot write '%s'", new_path);
    }
    return status;
}

static bool is_whole(const struct states *states) {
    struct trailer found;
    struct stat info;
    uint64_t sum = 0;
    return fstat(states->fd, &info) == 0 && S_ISREG(info.st_mode) &&
           (uint64_t)info.st_size == bytes_of(states) + sizeof found &&
           read_at(states->fd, bytes_of(states), &found, sizeof found, NULL) == WL_OK &&
           found.magic == MAGIC && found.n_tokens == states->n_tokens &&
           found.n_embd == states->n_embd && sum_rows(states, &sum, NULL) == WL_OK &&
           found.sum == sum;
}

bool states_take_up(struct states *states, const char *path, size_t n_tokens, size_t n_embd) {
    *states = (struct states){.fd = -1, .n_tokens = n_tokens, .n_embd = n_embd};
    states->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (states->fd > 0 && !is_whole(states)) {
        states_close(states);
    }
    return states->fd > 0;
}
