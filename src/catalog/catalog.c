#include "catalog/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "catalog/gguf_file.h"
#include "catalog/names.h"
#include "catalog/ollama.h"
#include "catalog/pair.h"
#include "catalog/places.h"
#include "catalog/walk.h"

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "out of memory");
}

static enum wl_status search(struct catalog *catalog, struct found *found, struct wl_err *err) {
    struct walk walk = {.found = found, .err = err, .status = WL_OK};
    for (size_t i = 0; i < catalog->n_places && walk.status == WL_OK; i++) {
        struct catalog_place *place = &catalog->places[i];
        if (!place->exists) {
            continue;
        }
        if (places_is_ollama(place)) {
            ollama_walk(&walk, place);
        } else {
            walk_place(&walk, place);
        }
    }
    walk_release(&walk);
    catalog->is_cut = found->is_cut;
    return walk.status;
}

// The path of another part of a split model, from that of any part.
static bool part_path(char out[OS_PATH_BYTES], const char *path, uint32_t part) {
    size_t base_len;
    uint32_t no, n_parts;
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (!found_parse_part(name, &base_len, &no, &n_parts)) {
        return false;
    }
    const char *rest = name + base_len + 15; // as found_parse_part took it: "-00001-of-00003"
    int n = snprintf(out, OS_PATH_BYTES, "%.*s-%05u-of-%05u%s", (int)(name - path + (long)base_len),
                     path, part, n_parts, rest);
    return n > 0 && n < OS_PATH_BYTES;
}

static void set_problem(struct catalog_entry *entry, const char *text) {
    if (!entry->problem[0]) {
        str_copy(entry->problem, sizeof entry->problem, text);
    }
}

// The message without "cannot read '<path>': ", which the list shows already.
static const char *reason_of(const struct wl_err *err) {
    const char *reason = strstr(err->message, "': ");
    return reason && str_starts_with(err->message, "cannot ") ? reason + 3 : err->message;
}

static void add_counts(struct gguf_facts *sum, const struct gguf_facts *part) {
    sum->n_tensors += part->n_tensors;
    sum->n_params += part->n_params;
    sum->tensor_bytes += part->tensor_bytes;
    sum->n_unknown_types += part->n_unknown_types;
    sum->has_output = sum->has_output || part->has_output;
    for (size_t i = 0; i < GGUF_MAX_TYPES; i++) {
        sum->type_tensors[i] += part->type_tensors[i];
        sum->type_params[i] += part->type_params[i];
    }
}

// `own_part` is the part that entry->path is; the others only add to the counts.
static void read_facts(struct catalog_entry *entry, uint32_t own_part) {
    struct wl_err err = {0};
    entry->has_facts = gguf_peek_file(entry->path, &entry->facts, &err) == WL_OK;
    if (!entry->has_facts) {
        set_problem(entry, reason_of(&err));
        return;
    }
    for (uint32_t part = 1; entry->n_parts > 1 && part <= entry->n_parts; part++) {
        char path[OS_PATH_BYTES];
        struct gguf_facts more;
        if (part == own_part || !part_path(path, entry->path, part) || !os_exists(path)) {
            continue; // check_parts says so
        }
        if (gguf_peek_file(path, &more, &err) != WL_OK) {
            set_problem(entry, reason_of(&err));
        } else {
            add_counts(&entry->facts, &more);
        }
    }
    entry->is_mmproj = entry->is_mmproj || entry->facts.is_mmproj;
    if (entry->facts.n_tensors == 0) {
        set_problem(entry, "no tensors: a vocabulary only");
    }
}

static void check_parts(struct catalog_entry *entry, const struct found_file *file) {
    if (file->n_parts > 1 && file->n_parts_here < file->n_parts) {
        char text[CATALOG_PROBLEM_BYTES];
        snprintf(text, sizeof text, "%u of %u parts are missing",
                 file->n_parts - file->n_parts_here, file->n_parts);
        set_problem(entry, text);
    }
}

// Takes path and group over from the file.
static void make_entry(struct catalog_entry *entry, struct found_file *file, bool wants_facts) {
    entry->path = strdup(file->path);
    entry->stem = strdup(file->stem);
    entry->group = strdup(file->group);
    entry->source = file->source;
    entry->bytes = file->bytes;
    entry->n_parts = file->n_parts > 1 ? file->n_parts : 1;
    entry->is_mmproj = file->is_mmproj;
    check_parts(entry, file);
    if (wants_facts && entry->path) {
        read_facts(entry, file->part_no);
    }
}

static enum wl_status make_entries(struct found *found, bool wants_facts, struct catalog *catalog,
                                   struct wl_err *err) {
    catalog->entries = calloc(found->n_files + 1, sizeof *catalog->entries);
    if (!catalog->entries) {
        return no_memory(err);
    }
    catalog->n_entries = found->n_files;
    bool is_complete = true;
    for (size_t i = 0; i < found->n_files; i++) {
        make_entry(&catalog->entries[i], &found->files[i], wants_facts);
        const struct catalog_entry *entry = &catalog->entries[i];
        is_complete = is_complete && entry->path && entry->stem && entry->group;
    }
    return is_complete ? names_assign(found->files, catalog->entries, found->n_files, err)
                       : no_memory(err);
}

static enum wl_status pair_all(const struct found *found, struct catalog *catalog,
                               struct wl_err *err) {
    for (size_t i = 0; i < catalog->n_entries; i++) {
        struct catalog_entry *entry = &catalog->entries[i];
        const char *encoder = found->files[i].projector;
        if (!encoder && !entry->is_mmproj) {
            int pair = pair_find(found->files, catalog->entries, catalog->n_entries, i);
            encoder = pair >= 0 ? catalog->entries[pair].path : NULL;
        }
        if (encoder && !(entry->mmproj = strdup(encoder))) {
            return no_memory(err);
        }
    }
    return WL_OK;
}

static enum wl_status make_aliases(const struct found *found, struct catalog *catalog,
                                   struct wl_err *err) {
    catalog->aliases = calloc(found->n_aliases + 1, sizeof *catalog->aliases);
    if (!catalog->aliases) {
        return no_memory(err);
    }
    for (size_t i = 0; i < found->n_aliases; i++) {
        char *name = strdup(found->aliases[i].stem);
        if (!name) {
            return no_memory(err);
        }
        catalog->aliases[catalog->n_aliases++] = (struct catalog_alias){
            .name = name, .source = found->aliases[i].source, .entry = found->aliases[i].file};
    }
    return WL_OK;
}

static int compare_entries(const struct catalog_entry *a, const struct catalog_entry *b) {
    if (a->is_mmproj != b->is_mmproj) {
        return a->is_mmproj ? 1 : -1;
    }
    int order = strcasecmp(a->name, b->name);
    return order ? order : strcmp(a->path, b->path);
}

// Where each entry was before sorting, so that the aliases can follow.
struct sortable {
    struct catalog_entry entry;
    size_t before;
};

static int compare_sortable(const void *a, const void *b) {
    return compare_entries(&((const struct sortable *)a)->entry,
                           &((const struct sortable *)b)->entry);
}

static enum wl_status sort_entries(struct catalog *catalog, struct wl_err *err) {
    size_t n = catalog->n_entries;
    struct sortable *items = calloc(n + 1, sizeof *items);
    size_t *after = calloc(n + 1, sizeof *after);
    if (items && after) {
        for (size_t i = 0; i < n; i++) {
            items[i] = (struct sortable){catalog->entries[i], i};
        }
        qsort(items, n, sizeof *items, compare_sortable);
        for (size_t i = 0; i < n; i++) {
            catalog->entries[i] = items[i].entry;
            after[items[i].before] = i;
        }
        for (size_t i = 0; i < catalog->n_aliases; i++) {
            catalog->aliases[i].entry = after[catalog->aliases[i].entry];
        }
    }
    bool is_done = items && after;
    free(items);
    free(after);
    return is_done ? WL_OK : no_memory(err);
}

enum wl_status catalog_find(const struct catalog_env *env, bool wants_facts, struct catalog *out,
                            struct wl_err *err) {
    *out = (struct catalog){0};
    struct catalog_env own;
    if (!env) {
        catalog_env_from_process(&own);
        env = &own;
    }
    struct found found = {0};
    enum wl_status status;
    if ((status = places_list(env, out, err)) == WL_OK &&
        (status = search(out, &found, err)) == WL_OK &&
        (status = make_entries(&found, wants_facts, out, err)) == WL_OK &&
        (status = pair_all(&found, out, err)) == WL_OK &&
        (status = make_aliases(&found, out, err)) == WL_OK) {
        status = sort_entries(out, err);
    }
    found_release(&found);
    return status;
}

void catalog_release(struct catalog *catalog) {
    for (size_t i = 0; i < catalog->n_entries; i++) {
        free(catalog->entries[i].name);
        free(catalog->entries[i].path);
        free(catalog->entries[i].stem);
        free(catalog->entries[i].group);
        free(catalog->entries[i].mmproj);
    }
    for (size_t i = 0; i < catalog->n_aliases; i++) {
        free(catalog->aliases[i].name);
    }
    for (size_t i = 0; i < catalog->n_places; i++) {
        free(catalog->places[i].path);
    }
    free(catalog->entries);
    free(catalog->aliases);
    free(catalog->places);
    *catalog = (struct catalog){0};
}
