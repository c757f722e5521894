#include "meter/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

static enum wl_status find_path(const char *dir, const char *host, char out[OS_PATH_BYTES],
                                struct wl_err *err) {
    char data_dir[OS_PATH_BYTES], token_dir[OS_PATH_BYTES];
    if (dir) {
        return os_path_join(out, dir, host, err);
    }
    enum wl_status status = os_data_dir(data_dir, err);
    if (status == WL_OK) {
        status = os_path_join(token_dir, data_dir, "tokens", err);
    }
    return status == WL_OK ? os_path_join(out, token_dir, host, err) : status;
}

static enum wl_status check_file(int fd, const char *path, struct wl_err *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return wl_err_errno(err, errno, "cannot look at '%s'", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return wl_err_set(err, WL_INPUT, "'%s' is not a regular file; expected one line of text",
                          path);
    }
    if (st.st_uid != geteuid()) {
        return wl_err_set(err, WL_PERMISSION,
                          "'%s' belongs to user %u; it must be your own: sudo chown \"$USER\" '%s'",
                          path, (unsigned)st.st_uid, path);
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        return wl_err_set(err, WL_PERMISSION,
                          "others may read '%s' (mode %04o); run: chmod 600 '%s'", path,
                          (unsigned)(st.st_mode & 07777), path);
    }
    return WL_OK;
}

static bool is_printable(const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum wl_status read_line(int fd, struct token *out, struct wl_err *err) {
    ssize_t n = pread(fd, out->text, sizeof out->text, 0);
    if (n < 0) {
        return wl_err_errno(err, errno, "cannot read '%s'", out->path);
    }
    size_t len = (size_t)n;
    const char *end = memchr(out->text, '\n', len);
    len = end ? (size_t)(end - out->text) : len;
    bool is_long = len == sizeof out->text;
    bool has_nul = memchr(out->text, '\0', len) != NULL;
    out->text[is_long ? 0 : len] = '\0';
    char *text = str_trim(out->text);
    memmove(out->text, text, strlen(text) + 1);
    if (is_long || has_nul || !out->text[0] || !is_printable(out->text)) {
        out->text[0] = '\0';
        return wl_err_set(err, WL_INPUT,
                          "'%s' has no token; expected its first line to be a password, "
                          "user:password or token of 1 to %d printable characters",
                          out->path, TOKEN_BYTES - 1);
    }
    out->is_present = true;
    return WL_OK;
}

enum wl_status token_file_read(const char *dir, const char *host, struct token *out,
                               struct wl_err *err) {
    *out = (struct token){0};
    enum wl_status status = find_path(dir, host, out->path, err);
    if (status != WL_OK) {
        return status;
    }
    // O_NONBLOCK: a pipe of that name must not stop us.
    int fd = open(out->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR
                   ? WL_OK
                   : wl_err_errno(err, errno, "cannot open '%s'", out->path);
    }
    status = check_file(fd, out->path, err);
    if (status == WL_OK) {
        status = read_line(fd, out, err);
    }
    close(fd);
    return status;
}
