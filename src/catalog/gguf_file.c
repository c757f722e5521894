#include "catalog/gguf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

static enum wl_status read_at(const void *context, uint64_t offset, void *out, size_t len,
                              struct wl_err *err) {
    int fd = *(const int *)context;
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(fd, (char *)out + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return wl_err_errno(err, errno, "byte %" PRIu64, offset + done);
        }
        if (n == 0) {
            return wl_err_set(err, WL_INPUT, "the file shrank to %" PRIu64 " bytes meanwhile",
                              offset + done);
        }
        done += (size_t)n;
    }
    return WL_OK;
}

enum wl_status gguf_peek_file(const char *path, struct gguf_facts *out, struct wl_err *err) {
    return gguf_peek_texts(path, NULL, 0, out, err);
}

enum wl_status gguf_peek_texts(const char *path, const struct gguf_text *texts, size_t n_texts,
                               struct gguf_facts *out, struct wl_err *err) {
    struct wl_err own;
    err = err ? err : &own;
    *out = (struct gguf_facts){0};
    for (size_t i = 0; i < n_texts; i++) {
        texts[i].out[0] = '\0';
    }
    // O_NONBLOCK: opening a pipe that was put there must not wait for its writer.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    struct stat st;
    enum wl_status status = WL_OK;
    if (fstat(fd, &st) != 0) {
        status = wl_err_errno(err, errno, "cannot read '%s'", path);
    } else if (!S_ISREG(st.st_mode)) {
        status = wl_err_set(err, WL_INPUT, "cannot read '%s': expected a plain file", path);
    } else {
        struct gguf_bytes bytes = {.read = read_at,
                                   .context = &fd,
                                   .file_bytes = (uint64_t)st.st_size,
                                   .texts = texts,
                                   .n_texts = n_texts};
        status = gguf_peek(&bytes, out, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "cannot read '%s'", path);
        }
    }
    close(fd);
    return status;
}
