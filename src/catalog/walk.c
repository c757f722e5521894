#include "catalog/walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

// One folder on the way down.
struct step {
    struct walk *walk;
    struct catalog_place *place;
    const char *path;
    const char *group; // of the files in it
    int depth;
    bool is_flat;
    bool is_repository; // inside models--ORG--NAME: the group stays
};

static void visit_folder(const struct step *step);

void walk_release(struct walk *walk) {
    free(walk->visited);
    walk->visited = NULL;
}

void walk_note(struct catalog_place *place, const struct wl_err *err) {
    if (!place->note[0]) {
        str_copy(place->note, sizeof place->note, err->message);
    }
}

// Marks the folder; false when it was there already or the search must end.
static bool enter(struct walk *walk, const struct stat *st) {
    for (size_t i = 0; i < walk->n_visited; i++) {
        if (walk->visited[i].inode == st->st_ino && walk->visited[i].device == st->st_dev) {
            return false;
        }
    }
    if (walk->n_visited >= CATALOG_MAX_FOLDERS) {
        walk->found->is_cut = true;
        return false;
    }
    if (walk->n_visited == walk->visited_capacity) {
        size_t capacity = walk->visited_capacity ? walk->visited_capacity * 2 : 64;
        struct walk_folder *more = realloc(walk->visited, capacity * sizeof *more);
        if (!more) {
            walk->status = wl_err_set(walk->err, WL_MEMORY, "out of memory");
            return false;
        }
        walk->visited = more;
        walk->visited_capacity = capacity;
    }
    walk->visited[walk->n_visited++] =
        (struct walk_folder){.device = st->st_dev, .inode = st->st_ino};
    return true;
}

static bool is_gguf(const char *name) {
    size_t len = strlen(name);
    return len > 5 && strcasecmp(name + len - 5, ".gguf") == 0;
}

static void visit_file(const struct step *step, const char *path, const struct stat *st) {
    struct found_new file = {.path = path,
                             .group = step->group,
                             .source = step->place->source,
                             .is_flat = step->is_flat};
    bool is_new = false;
    step->walk->status = found_add(step->walk->found, &file, st, &is_new, step->walk->err);
    step->place->n_found += is_new;
}

// "models--ORG--NAME" -> "ORG/NAME".
static void repository_name(char *out, size_t size, const char *folder) {
    size_t used = 0;
    for (const char *p = folder + strlen("models--"); *p && used + 1 < size; p++) {
        bool is_border = p[0] == '-' && p[1] == '-';
        out[used++] = is_border ? '/' : *p;
        p += is_border;
    }
    out[used] = '\0';
}

static void visit_subfolder(const struct step *step, const char *name, const char *path) {
    char group[OS_PATH_BYTES];
    struct step below = *step;
    below.path = path;
    below.depth = step->depth + 1;
    below.is_flat = false;
    if (!step->is_repository && str_starts_with(name, "models--")) {
        char snapshots[OS_PATH_BYTES];
        repository_name(group, sizeof group, name);
        below.group = group;
        below.is_repository = true;
        if (os_path_join(snapshots, path, "snapshots", NULL) == WL_OK) {
            below.path = snapshots;
            visit_folder(&below);
        }
        return;
    }
    if (!step->is_repository) {
        bool is_top = step->depth == 0;
        int n = snprintf(group, sizeof group, "%s%s%s", is_top ? "" : step->group,
                         is_top ? "" : "/", name);
        if (n < 0 || (size_t)n >= sizeof group) {
            return;
        }
        below.group = group;
    }
    visit_folder(&below);
}

static bool visit_entry(void *context, const char *name) {
    const struct step *step = context;
    char path[OS_PATH_BYTES];
    struct stat st;
    if (name[0] == '.' || os_path_join(path, step->path, name, NULL) != WL_OK ||
        stat(path, &st) != 0) { // a dangling link: nothing there
        return true;
    }
    if (S_ISDIR(st.st_mode)) {
        visit_subfolder(step, name, path);
    } else if (S_ISREG(st.st_mode) && is_gguf(name)) {
        visit_file(step, path, &st);
    }
    return step->walk->status == WL_OK;
}

static void visit_folder(const struct step *step) {
    struct stat st;
    if (step->depth > CATALOG_MAX_DEPTH || stat(step->path, &st) != 0 || !enter(step->walk, &st)) {
        return;
    }
    struct wl_err err = {0};
    struct step own = *step;
    if (os_list_dir(step->path, CATALOG_MAX_DIR_ENTRIES, visit_entry, &own, &err) != WL_OK) {
        walk_note(step->place, &err);
    }
}

void walk_place(struct walk *walk, struct catalog_place *place) {
    const char *slash = strrchr(place->path, '/');
    struct step top = {.walk = walk,
                       .place = place,
                       .path = place->path,
                       .group = slash ? slash + 1 : place->path,
                       .is_flat = true};
    visit_folder(&top);
}
