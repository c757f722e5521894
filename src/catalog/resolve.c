// From what a user typed to one file.
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/str.h"
#include "catalog/catalog.h"
#include "catalog/found.h"

enum { MAX_LISTED = 8 }; // candidates in a message

enum match {
    MATCH_EXACT,
    MATCH_CASE,
    MATCH_STEM, // several files may be called so: then all are candidates
    MATCH_PREFIX,
    MATCH_SUFFIX,
    MATCH_PART,
    N_MATCHES
};

static bool contains_case(const char *text, const char *part) {
    size_t len = strlen(part);
    for (; *text; text++) {
        if (strncasecmp(text, part, len) == 0) {
            return true;
        }
    }
    return len == 0;
}

static bool is_match(const char *name, const char *typed, enum match match) {
    size_t name_len = strlen(name), len = strlen(typed);
    switch (match) {
    case MATCH_EXACT: return strcmp(name, typed) == 0;
    case MATCH_CASE:
    case MATCH_STEM: return strcasecmp(name, typed) == 0;
    case MATCH_PREFIX: return strncasecmp(name, typed, len) == 0;
    case MATCH_SUFFIX: return name_len >= len && strcasecmp(name + name_len - len, typed) == 0;
    case MATCH_PART: return contains_case(name, typed);
    case N_MATCHES: break;
    }
    return false;
}

// Whether the entry or one of its other names matches.
static bool entry_matches(const struct catalog *catalog, size_t entry, const char *typed,
                          enum match match) {
    const struct catalog_entry *e = &catalog->entries[entry];
    if (is_match(match == MATCH_STEM ? e->stem : e->name, typed, match)) {
        return true;
    }
    for (size_t i = 0; i < catalog->n_aliases; i++) {
        if (catalog->aliases[i].entry == entry &&
            is_match(catalog->aliases[i].name, typed, match)) {
            return true;
        }
    }
    return false;
}

static void lower(char *out, size_t size, const char *text) {
    str_copy(out, size, text);
    for (char *p = out; *p; p++) {
        *p = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
    }
}

// FNM_CASEFOLD is not POSIX.
static bool fits(const char *pattern, const char *text) {
    char low_pattern[512], low_text[1024];
    lower(low_pattern, sizeof low_pattern, pattern);
    lower(low_text, sizeof low_text, text);
    return fnmatch(low_pattern, low_text, 0) == 0;
}

bool catalog_matches(const struct catalog *catalog, size_t entry, const char *pattern) {
    const struct catalog_entry *e = &catalog->entries[entry];
    if (!strpbrk(pattern, "*?[")) {
        return entry_matches(catalog, entry, pattern, MATCH_PART) ||
               contains_case(e->group, pattern);
    }
    bool is_fit = fits(pattern, e->name) || fits(pattern, e->group);
    for (size_t i = 0; i < catalog->n_aliases && !is_fit; i++) {
        is_fit = catalog->aliases[i].entry == entry && fits(pattern, catalog->aliases[i].name);
    }
    return is_fit;
}

// Number of entries that match at this level; *first is the first of them. Image encoders count
// only when asked for by their exact name: they answer nothing.
static size_t count_matches(const struct catalog *catalog, const char *typed, enum match match,
                            size_t *first) {
    size_t n = 0;
    for (size_t i = 0; i < catalog->n_entries; i++) {
        if ((match <= MATCH_STEM || !catalog->entries[i].is_mmproj) &&
            entry_matches(catalog, i, typed, match)) {
            *first = n == 0 ? i : *first;
            n++;
        }
    }
    return n;
}

static enum wl_status ambiguous(const struct catalog *catalog, const char *typed, enum match match,
                                size_t n, struct wl_err *err) {
    struct buf list;
    buf_init(&list, 512);
    size_t listed = 0;
    for (size_t i = 0; i < catalog->n_entries && listed < MAX_LISTED; i++) {
        const struct catalog_entry *entry = &catalog->entries[i];
        if ((match <= MATCH_STEM || !entry->is_mmproj) && entry_matches(catalog, i, typed, match)) {
            if (!buf_printf(&list, "%s%s", listed ? ", " : "", entry->name)) {
                break;
            }
            listed++;
        }
    }
    enum wl_status status =
        wl_err_set(err, WL_USAGE, "'%s' fits %zu models: %s%s; type more of the name", typed, n,
                   buf_text(&list), listed < n ? ", ..." : "");
    buf_release(&list);
    return status;
}

static enum wl_status not_found(const struct catalog *catalog, const char *typed,
                                struct wl_err *err) {
    const char **names = calloc(catalog->n_entries + 1, sizeof *names);
    for (size_t i = 0; names && i < catalog->n_entries; i++) {
        names[i] = catalog->entries[i].name;
    }
    const char *nearest = names ? str_nearest(typed, names) : NULL;
    enum wl_status status =
        nearest ? wl_err_set(err, WL_NOT_FOUND,
                             "no model '%s': neither a file nor a name; did you mean '%s'? "
                             "('wattlaw models' lists them)",
                             typed, nearest)
                : wl_err_set(err, WL_NOT_FOUND,
                             "no model '%s': neither a file nor a name; 'wattlaw models' lists "
                             "them",
                             typed);
    free(names);
    return status;
}

static enum wl_status take(char path[OS_PATH_BYTES], const char *text, struct wl_err *err) {
    return str_copy(path, OS_PATH_BYTES, text)
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "path too long: '%.80s...'", text);
}

// Names have neither extension nor part number, but people copy file names.
static void name_of_typed(char *out, size_t size, const char *name_or_path) {
    size_t base_len, len;
    uint32_t part_no, n_parts;
    str_copy(out, size, name_or_path);
    len = strlen(out);
    if (found_parse_part(out, &base_len, &part_no, &n_parts)) {
        out[base_len] = '\0';
    } else if (len > 5 && strcasecmp(out + len - 5, ".gguf") == 0) {
        out[len - 5] = '\0';
    }
}

enum wl_status catalog_resolve_in(const struct catalog *catalog, const char *name_or_path,
                                  char path[OS_PATH_BYTES], struct wl_err *err) {
    char typed[OS_PATH_BYTES];
    name_of_typed(typed, sizeof typed, name_or_path);
    for (int match = 0; typed[0] && match < N_MATCHES; match++) {
        size_t first = 0;
        size_t n = count_matches(catalog, typed, (enum match)match, &first);
        if (n == 1) {
            return take(path, catalog->entries[first].path, err);
        }
        if (n > 1) {
            return ambiguous(catalog, name_or_path, (enum match)match, n, err);
        }
    }
    return not_found(catalog, name_or_path, err);
}

enum wl_status catalog_resolve(const struct catalog_env *env, const char *name_or_path,
                               char path[OS_PATH_BYTES], struct wl_err *err) {
    bool is_file = os_exists(name_or_path) && !os_is_dir(name_or_path);
    if (is_file) {
        return take(path, name_or_path, err);
    }
    bool is_path = name_or_path[0] == '/' || str_starts_with(name_or_path, "./") ||
                   str_starts_with(name_or_path, "../");
    if (is_path && !os_exists(name_or_path)) {
        return wl_err_set(err, WL_NOT_FOUND, "cannot open '%s': no such file", name_or_path);
    }
    if (is_path) {
        return wl_err_set(err, WL_INPUT, "'%s' is a folder, expected a GGUF file", name_or_path);
    }
    struct catalog catalog;
    enum wl_status status = catalog_find(env, false, &catalog, err);
    if (status == WL_OK) {
        status = catalog_resolve_in(&catalog, name_or_path, path, err);
    }
    catalog_release(&catalog);
    return status;
}

static bool find_in(const struct catalog_env *env, const char *model_path,
                    char path[OS_PATH_BYTES]) {
    struct catalog catalog;
    bool is_found = false;
    if (catalog_find(env, true, &catalog, NULL) == WL_OK) {
        for (size_t i = 0; i < catalog.n_entries && !is_found; i++) {
            const struct catalog_entry *entry = &catalog.entries[i];
            is_found = entry->mmproj && strcmp(entry->path, model_path) == 0 &&
                       str_copy(path, OS_PATH_BYTES, entry->mmproj);
        }
    }
    catalog_release(&catalog);
    return is_found;
}

enum wl_status catalog_find_mmproj(const char *model_path, char path[OS_PATH_BYTES],
                                   struct wl_err *err) {
    char absolute[OS_PATH_BYTES], folder[OS_PATH_BYTES];
    if (!os_real_path(model_path, absolute) || !str_copy(folder, sizeof folder, absolute)) {
        return wl_err_set(err, WL_NOT_FOUND, "no such model '%.300s'", model_path);
    }
    *strrchr(folder, '/') = '\0';
    const struct catalog_env beside = {.models_path = folder};
    if (find_in(NULL, model_path, path) || find_in(&beside, absolute, path)) {
        return WL_OK;
    }
    return wl_err_set(err, WL_NOT_FOUND,
                      "no image encoder (mmproj file) found for '%.300s': give it with --mmproj",
                      model_path);
}
