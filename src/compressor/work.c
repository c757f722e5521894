#include "compressor/work.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/str.h"

static const char STATE_NAME[] = "job.json";
enum { MAX_STATE_BYTES = 64 << 20, MAX_ENTRIES = 100000, MAX_DEPTH = 2 };

static json_t *read_state(const char *path) {
    struct wl_err ignored;
    json_t *state = NULL;
    struct buf buf;
    buf_init(&buf, MAX_STATE_BYTES);
    if (os_slurp(path, &buf, &ignored) == WL_OK) {
        wl_json_parse(buf_text(&buf), buf.len, &state, &ignored);
    }
    buf_release(&buf);
    return state;
}

static enum wl_status write_state(const struct work *work, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    struct buf buf;
    enum wl_status status = os_path_join(path, work->path, STATE_NAME, err);
    buf_init(&buf, MAX_STATE_BYTES);
    if (status == WL_OK && !wl_json_write(&buf, work->state)) {
        status = wl_err_set(err, WL_MEMORY, "no memory for '%s'", path);
    }
    if (status == WL_OK) {
        status = os_write_atomic(path, buf.data, buf.len, err);
    }
    buf_release(&buf);
    return status;
}

// ---- emptying ----

struct emptying {
    const char *path;
    int depth;
};

static bool remove_entry(void *context, const char *name) {
    const struct emptying *outer = context;
    char path[OS_PATH_BYTES];
    struct wl_err ignored;
    if (os_path_join(path, outer->path, name, &ignored) != WL_OK) {
        return true;
    }
    if (unlink(path) != 0 && os_is_dir(path) && outer->depth < MAX_DEPTH) {
        struct emptying inner = {path, outer->depth + 1};
        os_list_dir(path, MAX_ENTRIES, remove_entry, &inner, &ignored);
        rmdir(path);
    }
    return true;
}

static void empty(const char *path) {
    struct emptying all = {path, 0};
    struct wl_err ignored;
    os_list_dir(path, MAX_ENTRIES, remove_entry, &all, &ignored);
}

// ---- opening ----

static bool see_any(void *context, const char *name) {
    (void)name;
    *(bool *)context = true;
    return false;
}

static bool is_empty(const char *path) {
    bool has_any = false;
    struct wl_err ignored;
    os_list_dir(path, MAX_ENTRIES, see_any, &has_any, &ignored);
    return !has_any;
}

static enum wl_status begin(struct work *work, const json_t *identity, struct wl_err *err) {
    json_decref(work->state);
    work->state = json_pack("{s:O, s:{}}", "identity", (json_t *)identity, "stages");
    return work->state ? write_state(work, err)
                       : wl_err_set(err, WL_MEMORY, "no memory for '%s'", work->path);
}

enum wl_status work_open(struct work *work, const char *path, const json_t *identity,
                         struct wl_err *err) {
    char state_path[OS_PATH_BYTES];
    *work = (struct work){0};
    if (!str_copy(work->path, sizeof work->path, path)) {
        return wl_err_set(err, WL_LIMIT, "work folder: path too long: '%.80s...'", path);
    }
    enum wl_status status = os_path_join(state_path, path, STATE_NAME, err);
    if (status != WL_OK) {
        return status;
    }
    work->state = read_state(state_path);
    bool is_work = json_is_object(json_object_get(work->state, "stages"));
    if (!is_work && os_exists(path) && !(os_is_dir(path) && is_empty(path))) {
        return wl_err_set(
            err, WL_USAGE,
            "'%s' is in the way: it is not the work folder of an earlier run; move it "
            "or choose another name for the result",
            path);
    }
    if (is_work && json_equal(json_object_get(work->state, "identity"), identity)) {
        return WL_OK;
    }
    status = os_make_dirs(path, err);
    if (status != WL_OK) {
        return status;
    }
    empty(path);
    return begin(work, identity, err);
}

bool work_find(struct work *work, const char *path) {
    char state_path[OS_PATH_BYTES];
    struct wl_err ignored;
    *work = (struct work){0};
    if (!str_copy(work->path, sizeof work->path, path) ||
        os_path_join(state_path, path, STATE_NAME, &ignored) != WL_OK) {
        return false;
    }
    work->state = read_state(state_path);
    if (!json_is_object(json_object_get(work->state, "stages"))) {
        work_close(work);
        return false;
    }
    return true;
}

void work_close(struct work *work) {
    json_decref(work->state);
    *work = (struct work){0};
}

void work_remove(struct work *work) {
    if (work->path[0]) {
        empty(work->path);
        rmdir(work->path);
    }
    work_close(work);
}

// ---- stages ----

const json_t *work_result(const struct work *work, const char *stage) {
    return json_object_get(json_object_get(work->state, "stages"), stage);
}

enum wl_status work_finish(struct work *work, const char *stage, json_t *result,
                           struct wl_err *err) {
    if (json_object_set_new(json_object_get(work->state, "stages"), stage, result) != 0) {
        return wl_err_set(err, WL_MEMORY, "no memory for the result of '%s'", stage);
    }
    return write_state(work, err);
}

enum wl_status work_file(const struct work *work, const char *name, char out[OS_PATH_BYTES],
                         struct wl_err *err) {
    return os_path_join(out, work->path, name, err);
}

enum wl_status work_folder(const struct work *work, const char *name, char out[OS_PATH_BYTES],
                           struct wl_err *err) {
    enum wl_status status = work_file(work, name, out, err);
    return status == WL_OK ? os_make_dirs(out, err) : status;
}

void work_drop(const struct work *work, const char *name) {
    char path[OS_PATH_BYTES];
    struct wl_err ignored;
    if (work_file(work, name, path, &ignored) == WL_OK) {
        unlink(path);
    }
}
