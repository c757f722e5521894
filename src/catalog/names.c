#include "catalog/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// How much a name says: only as much as it needs to be the only one.
enum level {
    LEVEL_STEM,   // qwen2.5-0.5b-q4_0
    LEVEL_GROUP,  // Qwen/Qwen2.5-0.5B-GGUF/qwen2.5-0.5b-q4_0
    LEVEL_SOURCE, // ...@lm-studio
    LEVEL_NUMBER, // ...#2
};

struct naming {
    const struct found_file *file;
    size_t index; // of the entry
    char *name;
    enum level level;
    unsigned number;
};

// Stems that say nothing about the model.
static bool is_generic(const char *stem) {
    static const char *const STARTS[] = {"ggml-model", "mmproj", "consolidated"};
    for (size_t i = 0; i < sizeof STARTS / sizeof STARTS[0]; i++) {
        if (strncasecmp(stem, STARTS[i], strlen(STARTS[i])) == 0) {
            return true;
        }
    }
    return strcasecmp(stem, "model") == 0;
}

static bool write_name(struct naming *naming) {
    char text[2 * OS_PATH_BYTES + 64], number[16] = "";
    const struct found_file *file = naming->file;
    bool has_group = naming->level >= LEVEL_GROUP && file->group[0];
    bool has_source = naming->level >= LEVEL_SOURCE;
    if (naming->level == LEVEL_NUMBER && naming->number > 1) {
        snprintf(number, sizeof number, "#%u", naming->number);
    }
    snprintf(text, sizeof text, "%s%s%s%s%s%s", has_group ? file->group : "", has_group ? "/" : "",
             file->stem, has_source ? "@" : "", has_source ? file->source : "", number);
    free(naming->name);
    naming->name = strdup(text);
    return naming->name != NULL;
}

static int compare(const void *a, const void *b) {
    const struct naming *x = a, *y = b;
    int order = strcasecmp(x->name, y->name);
    return order ? order : strcmp(x->file->path, y->file->path);
}

// Makes each name of a run of equal ones say more; false without memory.
static bool extend_run(struct naming *run, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (run[i].level < LEVEL_NUMBER) {
            run[i].level++;
        }
        run[i].number = (unsigned)i + 1;
        if (!write_name(&run[i])) {
            return false;
        }
    }
    return true;
}

// Sorts the names and makes one pass over them; *has_changed when some were extended.
static bool extend_equal(struct naming *namings, size_t n, bool *has_changed) {
    qsort(namings, n, sizeof *namings, compare);
    *has_changed = false;
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        while (end < n && strcasecmp(namings[i].name, namings[end].name) == 0) {
            end++;
        }
        if (end - i > 1) {
            *has_changed = true;
            if (!extend_run(namings + i, end - i)) {
                return false;
            }
        }
        i = end;
    }
    return true;
}

static bool assign(struct naming *namings, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool is_bare = is_generic(namings[i].file->stem) && namings[i].file->group[0];
        namings[i].level = is_bare ? LEVEL_GROUP : LEVEL_STEM;
        if (!write_name(&namings[i])) {
            return false;
        }
    }
    bool has_changed = true;
    // Each pass raises levels; a few are enough, and odd file names must not make it endless.
    for (int pass = 0; pass < 8 && has_changed; pass++) {
        if (!extend_equal(namings, n, &has_changed)) {
            return false;
        }
    }
    return true;
}

enum wl_status names_assign(const struct found_file *files, struct catalog_entry *entries, size_t n,
                            struct wl_err *err) {
    struct naming *namings = calloc(n + 1, sizeof *namings);
    for (size_t i = 0; namings && i < n; i++) {
        namings[i].file = &files[i];
        namings[i].index = i;
    }
    bool is_done = namings && assign(namings, n);
    for (size_t i = 0; namings && i < n; i++) {
        if (is_done) {
            entries[namings[i].index].name = namings[i].name;
        } else {
            free(namings[i].name);
        }
    }
    free(namings);
    return is_done ? WL_OK : wl_err_set(err, WL_MEMORY, "out of memory");
}
