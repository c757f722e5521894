#include "cli/task_file.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "catalog/catalog.h"

enum { MAX_TASK_FILE_BYTES = 256 << 20 };

static void folder_of(const char *path, char out[OS_PATH_BYTES]) {
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    snprintf(out, OS_PATH_BYTES, "%.*s", (int)(slash == path ? 1 : len), slash ? path : "");
}

static bool find_builtin(const char *name, char path[OS_PATH_BYTES]) {
    char dir[OS_PATH_BYTES], file[128];
    catalog_data_dir("tasks", dir);
    int n = snprintf(file, sizeof file, "%s.jsonl", name);
    return dir[0] && n > 0 && (size_t)n < sizeof file && !strchr(name, '/') &&
           os_path_join(path, dir, file, NULL) == WL_OK && os_exists(path);
}

enum wl_status task_file_find(const char *name, char path[OS_PATH_BYTES], struct wl_err *err) {
    if ((os_exists(name) || !find_builtin(name, path)) && !str_copy(path, OS_PATH_BYTES, name)) {
        return wl_err_set(err, WL_LIMIT, "tasks: path too long");
    }
    return WL_OK;
}

enum wl_status task_file_read(const char *name, struct task_set *out, char folder[OS_PATH_BYTES],
                              struct wl_err *err) {
    char path[OS_PATH_BYTES];
    *out = (struct task_set){0};
    enum wl_status status = task_file_find(name, path, err);
    if (status != WL_OK) {
        return status;
    }
    struct buf text;
    buf_init(&text, MAX_TASK_FILE_BYTES);
    status = os_slurp(path, &text, err);
    if (status == WL_OK) {
        status = task_set_parse(buf_text(&text), text.len, out, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "tasks '%.300s'", path);
        }
    }
    buf_release(&text);
    folder_of(path, folder);
    return status;
}
