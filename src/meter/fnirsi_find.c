#include "meter/fnirsi_find.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/platform.h"
#include "os/file.h"

enum { MAX_NODES = 256, MAX_NAME_BYTES = 64, UEVENT_BYTES = 4096 };

// `name` is the last part of a path ("hidraw3").
static const struct fnirsi_model *model_of_node(const char *root, const char *name) {
    char inner[FNIRSI_PATH_BYTES], path[OS_PATH_BYTES];
    snprintf(inner, sizeof inner, "/sys/class/hidraw/%s/device/uevent", name);
    struct buf text;
    buf_init(&text, UEVENT_BYTES);
    const struct fnirsi_model *model = NULL;
    if (platform_path(path, root, inner, NULL) == WL_OK && os_slurp(path, &text, NULL) == WL_OK) {
        model = fnirsi_model_of_uevent(buf_text(&text));
    }
    buf_release(&text);
    return model;
}

struct search {
    const char *root;
    struct fnirsi_found *found;
};

static bool visit(void *context, const char *name) {
    struct search *search = context;
    const struct fnirsi_model *model =
        str_starts_with(name, "hidraw") && strlen(name) < MAX_NAME_BYTES
            ? model_of_node(search->root, name)
            : NULL;
    if (model && search->found->n++ == 0) {
        search->found->model = model;
        snprintf(search->found->path, sizeof search->found->path, "/dev/%s", name);
    }
    return true;
}

void fnirsi_find(const char *root, struct fnirsi_found *out) {
    *out = (struct fnirsi_found){0};
    struct search search = {root, out};
    char path[OS_PATH_BYTES];
    if (platform_path(path, root, "/sys/class/hidraw", NULL) == WL_OK) {
        os_list_dir(path, MAX_NODES, visit, &search, NULL); // no such folder: no HID device
    }
}

const struct fnirsi_model *fnirsi_model_at(const char *root, const char *path) {
    char whole[OS_PATH_BYTES];
    if (platform_path(whole, root, path, NULL) != WL_OK) {
        return NULL;
    }
    char target[FNIRSI_PATH_BYTES];
    ssize_t len = readlink(whole, target, sizeof target - 1); // a link that a udev rule made
    if (len > 0) {
        target[len] = '\0';
    } else {
        str_copy(target, sizeof target, path);
    }
    const char *slash = strrchr(target, '/');
    const char *name = slash ? slash + 1 : target;
    return strlen(name) < MAX_NAME_BYTES ? model_of_node(root, name) : NULL;
}
