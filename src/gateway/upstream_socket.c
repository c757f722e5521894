// The private folder of our own server's socket: who can reach the socket can use the server.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/upstream_settings.h"
#include "os/file.h"

static enum wl_status prepare_folder(const char *folder, struct wl_err *err) {
    struct stat info;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
        return wl_err_errno(err, errno, "cannot make the folder '%s' for the model server's socket",
                            folder);
    }
    if (lstat(folder, &info) != 0 || !S_ISDIR(info.st_mode)) {
        return wl_err_set(err, WL_INPUT, "'%s' should be a folder for the model server's socket",
                          folder);
    }
    if (info.st_uid != geteuid() || (info.st_mode & 077) != 0) {
        return wl_err_set(err, WL_PERMISSION,
                          "the folder '%s' of the model server's socket must be yours alone (mode "
                          "0700), found mode %04o",
                          folder, (unsigned)info.st_mode & 07777);
    }
    return WL_OK;
}

enum wl_status upstream_socket_prepare(const char *path, struct wl_err *err) {
    char folder[OS_PATH_BYTES];
    struct stat info;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    enum wl_status status = prepare_folder(*folder ? folder : "/", err);
    if (status != WL_OK || lstat(path, &info) != 0) {
        return status;
    }
    if (!S_ISSOCK(info.st_mode)) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' should be the model server's socket, but is no socket", path);
    }
    return unlink(path) == 0 ? WL_OK
                             : wl_err_errno(err, errno, "cannot remove the old socket '%s'", path);
}

void upstream_socket_remove(const char *path) {
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISSOCK(info.st_mode)) {
        unlink(path);
    }
}
