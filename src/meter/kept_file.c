#include "meter/kept_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum wl_status kept_file_open(struct kept_file *file, const char *path, struct wl_err *err) {
    *file = (struct kept_file)KEPT_FILE_INIT;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    file->path = strdup(path);
    if (!file->path) {
        close(fd);
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    file->fd = fd;
    return WL_OK;
}

static void drop(struct kept_file *file) {
    if (file->fd >= 0) {
        close(file->fd);
    }
    file->fd = -1;
}

// A file that was replaced by another of the same name would show its last content for ever.
static bool is_unlinked(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

static int read_once(struct kept_file *file, char *out, size_t size, size_t *len) {
    if (file->fd < 0 && file->is_fixed) {
        return ENOENT;
    }
    if (file->fd < 0) {
        file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
        if (file->fd < 0) {
            return errno;
        }
    }
    ssize_t n;
    do {
        n = pread(file->fd, out, size - 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno;
    }
    out[n] = '\0';
    *len = (size_t)n;
    return 0;
}

int kept_file_read(struct kept_file *file, char *out, size_t size, size_t *len) {
    if (!file->path) {
        return ENOENT;
    }
    if (!file->is_fixed && file->fd >= 0 && is_unlinked(file->fd)) {
        drop(file);
    }
    int error = read_once(file, out, size, len);
    if (!file->is_fixed &&
        (error == ENODEV || error == ESTALE)) { // the driver was reloaded: same path, new device
        drop(file);
        error = read_once(file, out, size, len);
    }
    return error;
}

void kept_file_release(struct kept_file *file) {
    drop(file);
    free(file->path);
    file->path = NULL;
}
