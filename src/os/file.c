#include "os/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/str.h"
#include "os/draft.h"

static ssize_t read_retry(int fd, void *data, size_t size) {
    ssize_t n;
    do {
        n = read(fd, data, size);
    } while (n < 0 && errno == EINTR);
    return n;
}

enum wl_status os_slurp(const char *path, struct buf *buf, struct wl_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    enum wl_status status = WL_OK;
    for (;;) {
        char chunk[16384];
        ssize_t n = read_retry(fd, chunk, sizeof chunk);
        if (n < 0) {
            status = wl_err_errno(err, errno, "cannot read '%s'", path);
            break;
        }
        if (n == 0) {
            break;
        }
        if (!buf_append(buf, chunk, (size_t)n)) {
            status = wl_err_set(err, WL_LIMIT, "'%s' is larger than the %zu bytes allowed here",
                                path, buf->max_bytes);
            break;
        }
    }
    close(fd);
    return status;
}

static void terminate_line(char *out, size_t len) {
    if (len && out[len - 1] == '\n') {
        len--;
    }
    out[len] = '\0';
}

enum wl_status os_slurp_line(const char *path, char *out, size_t size, struct wl_err *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    ssize_t n = read_retry(fd, out, size - 1);
    int error = errno;
    close(fd);
    if (n < 0) {
        return wl_err_errno(err, error, "cannot read '%s'", path);
    }
    terminate_line(out, (size_t)n);
    return WL_OK;
}

enum wl_status os_pread_line(int fd, char *out, size_t size, struct wl_err *err) {
    ssize_t n;
    do {
        n = pread(fd, out, size - 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return wl_err_errno(err, errno, "cannot read descriptor %d", fd);
    }
    terminate_line(out, (size_t)n);
    return WL_OK;
}

static bool write_all(int fd, const char *data, size_t len) {
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

enum wl_status os_write_atomic(const char *path, const void *data, size_t len, struct wl_err *err) {
    struct os_draft draft;
    enum wl_status status = os_draft_open(&draft, path, err);
    if (status != WL_OK) {
        return status;
    }
    if (!write_all(draft.fd, data, len)) {
        status = wl_err_errno(err, errno, "cannot write '%s'", path);
        os_draft_discard(&draft);
        return status;
    }
    return os_draft_publish(&draft, err);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct name_list {
    char **names;
    size_t n;
    size_t capacity;
};

static enum wl_status read_names(DIR *dir, size_t max_entries, struct name_list *list,
                                 struct wl_err *err) {
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (list->n == max_entries) {
            return wl_err_set(err, WL_LIMIT, "more than %zu entries", max_entries);
        }
        if (list->n == list->capacity) {
            size_t capacity = list->capacity ? list->capacity * 2 : 32;
            char **names = realloc(list->names, capacity * sizeof *names);
            if (!names) {
                return wl_err_set(err, WL_MEMORY, "out of memory");
            }
            list->names = names;
            list->capacity = capacity;
        }
        char *name = strdup(entry->d_name);
        if (!name) {
            return wl_err_set(err, WL_MEMORY, "out of memory");
        }
        list->names[list->n++] = name;
    }
    return WL_OK;
}

enum wl_status os_list_dir(const char *path, size_t max_entries,
                           bool (*visit)(void *context, const char *name), void *context,
                           struct wl_err *err) {
    DIR *dir = opendir(path);
    if (!dir) {
        return wl_err_errno(err, errno, "cannot list '%s'", path);
    }
    struct name_list list = {0};
    enum wl_status status = read_names(dir, max_entries, &list, err);
    closedir(dir);
    if (status == WL_OK) {
        if (list.n) { // qsort takes no NULL
            qsort(list.names, list.n, sizeof *list.names, compare_names);
        }
        for (size_t i = 0; i < list.n && visit(context, list.names[i]); i++) {
        }
    } else {
        wl_err_prefix(err, "cannot list '%s'", path);
    }
    for (size_t i = 0; i < list.n; i++) {
        free(list.names[i]);
    }
    free(list.names);
    return status;
}

enum wl_status os_make_dirs(const char *path, struct wl_err *err) {
    char partial[OS_PATH_BYTES];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof partial) {
        return wl_err_set(err, WL_LIMIT, "path empty or too long: '%s'", path);
    }
    memcpy(partial, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (partial[i] != '/' && partial[i] != '\0') {
            continue;
        }
        char kept = partial[i];
        partial[i] = '\0';
        int error = mkdir(partial, 0777) == 0 ? 0 : errno;
        if (error && !os_is_dir(partial)) {
            return wl_err_errno(err, error == EEXIST ? ENOTDIR : error, "cannot make folder '%s'",
                                partial);
        }
        partial[i] = kept;
    }
    return WL_OK;
}

bool os_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool os_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum wl_status os_file_size(const char *path, uint64_t *out, struct wl_err *err) {
    struct stat st;
    if (stat(path, &st) != 0) {
        return wl_err_errno(err, errno, "cannot open '%s'", path);
    }
    if (S_ISDIR(st.st_mode)) {
        return wl_err_set(err, WL_INPUT, "'%s' is a folder, expected a file", path);
    }
    *out = (uint64_t)st.st_size;
    return WL_OK;
}

enum wl_status os_free_bytes(const char *path, uint64_t *out, struct wl_err *err) {
    struct statvfs vfs;
    if (statvfs(path, &vfs) != 0) {
        return wl_err_errno(err, errno, "cannot ask for the free space at '%s'", path);
    }
    uint64_t blocks = vfs.f_bavail, block_bytes = vfs.f_frsize;
    *out = block_bytes && blocks > UINT64_MAX / block_bytes ? UINT64_MAX : blocks * block_bytes;
    return WL_OK;
}

enum wl_status os_path_join(char out[OS_PATH_BYTES], const char *a, const char *b,
                            struct wl_err *err) {
    size_t a_len = strlen(a);
    while (a_len > 1 && a[a_len - 1] == '/') {
        a_len--;
    }
    while (*b == '/') {
        b++;
    }
    bool is_root = a_len == 1 && a[0] == '/';
    int n =
        snprintf(out, OS_PATH_BYTES, "%.*s%s%s", (int)a_len, a, is_root || !a_len ? "" : "/", b);
    if (n < 0 || n >= OS_PATH_BYTES) {
        return wl_err_set(err, WL_LIMIT, "path too long: '%.80s/%.80s'", a, b);
    }
    return WL_OK;
}

static enum wl_status xdg_dir(char out[OS_PATH_BYTES], const char *variable, const char *fallback,
                              struct wl_err *err) {
    const char *base = getenv(variable);
    if (base && base[0] == '/') {
        return os_path_join(out, base, "wattlaw", err);
    }
    const char *home = getenv("HOME");
    if (!home || home[0] != '/') {
        return wl_err_set(err, WL_NOT_FOUND, "neither %s nor HOME is set to a folder", variable);
    }
    char under[OS_PATH_BYTES];
    enum wl_status status = os_path_join(under, home, fallback, err);
    return status == WL_OK ? os_path_join(out, under, "wattlaw", err) : status;
}

enum wl_status os_data_dir(char out[OS_PATH_BYTES], struct wl_err *err) {
    return xdg_dir(out, "XDG_DATA_HOME", ".local/share", err);
}

enum wl_status os_cache_dir(char out[OS_PATH_BYTES], struct wl_err *err) {
    return xdg_dir(out, "XDG_CACHE_HOME", ".cache", err);
}

bool os_real_path(const char *path, char out[OS_PATH_BYTES]) {
    char *real = realpath(path, NULL);
    bool fits = real && str_copy(out, OS_PATH_BYTES, real);
    free(real);
    return fits;
}
