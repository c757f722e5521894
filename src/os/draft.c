#include "os/draft.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const mode_t MODE = 0666; // less the umask, like fopen

static void folder_of(const char *path, char dir[OS_PATH_BYTES]) {
    snprintf(dir, OS_PATH_BYTES, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash) {
        snprintf(dir, OS_PATH_BYTES, ".");
    } else {
        slash[slash == dir] = '\0'; // "/" stays
    }
}

static int open_nameless(const char *path) {
#ifdef O_TMPFILE
    char dir[OS_PATH_BYTES];
    folder_of(path, dir);
    return open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, MODE);
#else
    (void)path, (void)folder_of;
    errno = EOPNOTSUPP;
    return -1;
#endif
}

enum wl_status os_draft_open(struct os_draft *draft, const char *path, struct wl_err *err) {
    *draft = (struct os_draft){.fd = -1};
    int n = snprintf(draft->temp_path, sizeof draft->temp_path, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof draft->temp_path) {
        return wl_err_set(err, WL_LIMIT, "path too long: '%s'", path);
    }
    snprintf(draft->path, sizeof draft->path, "%s", path);
    draft->fd = open_nameless(path);
    if (draft->fd < 0) {
        draft->fd = open(draft->temp_path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, MODE);
        draft->is_named = draft->fd >= 0;
    }
    return draft->fd >= 0 ? WL_OK : wl_err_errno(err, errno, "cannot create '%s'", path);
}

// A link cannot replace a file, only a rename can: so it gets a passing name first.
static bool give_name(struct os_draft *draft) {
    if (draft->is_named) {
        return true;
    }
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", draft->fd);
    unlink(draft->temp_path); // of a process long dead that had our number
    draft->is_named = linkat(AT_FDCWD, self, AT_FDCWD, draft->temp_path, AT_SYMLINK_FOLLOW) == 0;
    return draft->is_named;
}

static bool close_draft(struct os_draft *draft) {
    int fd = draft->fd;
    draft->fd = -1;
    return close(fd) == 0;
}

enum wl_status os_draft_publish(struct os_draft *draft, struct wl_err *err) {
    bool is_ok = fdatasync(draft->fd) == 0 && give_name(draft);
    int error = errno;
    if (!close_draft(draft) && is_ok) {
        error = errno;
        is_ok = false;
    }
    if (is_ok && rename(draft->temp_path, draft->path) == 0) {
        return WL_OK;
    }
    error = is_ok ? errno : error;
    if (draft->is_named) {
        unlink(draft->temp_path);
    }
    return wl_err_errno(err, error, "cannot write '%s'", draft->path);
}

void os_draft_discard(struct os_draft *draft) {
    if (draft->fd < 0) {
        return;
    }
    close_draft(draft);
    if (draft->is_named) {
        unlink(draft->temp_path);
    }
}
