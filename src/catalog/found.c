#include "catalog/found.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

static const char EXTENSION[] = ".gguf";

static bool digits5(const char *text, uint32_t *out) {
    char word[6];
    uint64_t value;
    memcpy(word, text, 5);
    word[5] = '\0';
    for (int i = 0; i < 5; i++) {
        if (word[i] < '0' || word[i] > '9') {
            return false;
        }
    }
    *out = str_parse_u64(word, &value) ? (uint32_t)value : 0;
    return *out > 0;
}

bool found_parse_part(const char *file_name, size_t *base_len, uint32_t *part_no,
                      uint32_t *n_parts) {
    enum { TAIL = 15 }; // "-00001-of-00003"
    size_t len = strlen(file_name), extension = sizeof EXTENSION - 1;
    if (len > extension && strcasecmp(file_name + len - extension, EXTENSION) == 0) {
        len -= extension;
    }
    if (len <= TAIL) {
        return false;
    }
    const char *tail = file_name + len - TAIL;
    if (tail[0] != '-' || memcmp(tail + 6, "-of-", 4) != 0 || !digits5(tail + 1, part_no) ||
        !digits5(tail + 10, n_parts) || *part_no > *n_parts || *n_parts > CATALOG_MAX_PARTS) {
        return false;
    }
    *base_len = len - TAIL;
    return true;
}

// Room for one more item; false without memory.
static bool grow(void **items, size_t n, size_t *capacity, size_t item_bytes) {
    if (n < *capacity) {
        return true;
    }
    size_t wanted = *capacity ? *capacity * 2 : 32;
    void *more = realloc(*items, wanted * item_bytes);
    if (!more) {
        return false;
    }
    *items = more;
    *capacity = wanted;
    return true;
}

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "out of memory");
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool contains_mmproj(const char *stem) {
    for (; *stem; stem++) {
        if (strncasecmp(stem, "mmproj", 6) == 0) {
            return true;
        }
    }
    return false;
}

// llama.cpp's own cache is flat: ORG_REPO-GGUF_file. Splits that into group and stem.
static bool split_flat_cache(char *stem, char *group, size_t group_size) {
    char *cut = strstr(stem, "-GGUF_");
    char *org_end = strchr(stem, '_');
    if (!cut || !org_end || org_end > cut || !cut[6]) {
        return false;
    }
    *org_end = '/';
    snprintf(group, group_size, "%.*s", (int)(cut + 5 - stem), stem);
    memmove(stem, cut + 6, strlen(cut + 6) + 1);
    return true;
}

// What the file name says: stem without extension and part number, group, whether it is flat.
static bool describe_name(struct found_file *file, const struct found_new *new_file) {
    char group[OS_PATH_BYTES], stem[OS_PATH_BYTES];
    str_copy(group, sizeof group, new_file->group);
    const char *name = new_file->stem ? new_file->stem : base_name(new_file->path);
    str_copy(stem, sizeof stem, name);
    file->is_flat = new_file->is_flat;
    if (!new_file->stem) {
        size_t base_len, len = strlen(stem);
        if (found_parse_part(stem, &base_len, &file->part_no, &file->n_parts)) {
            stem[base_len] = '\0';
        } else if (len > 5) {
            stem[len - 5] = '\0';
        }
        if (file->is_flat && split_flat_cache(stem, group, sizeof group)) {
            file->is_flat = false;
        }
    }
    file->is_mmproj = contains_mmproj(stem);
    file->stem = strdup(stem);
    file->group = strdup(group);
    return file->stem && file->group;
}

static void release_file(struct found_file *file) {
    free(file->path);
    free(file->stem);
    free(file->group);
    free(file->projector);
}

static bool is_same_folder(const char *a, const char *b) {
    size_t a_len = (size_t)(base_name(a) - a), b_len = (size_t)(base_name(b) - b);
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

// Folds another part into its model, *index; false when there is none yet.
static bool fold_part(struct found *found, const struct found_file *part, size_t *index) {
    for (size_t i = found->n_files; part->n_parts > 1 && i-- > 0;) {
        struct found_file *file = &found->files[i];
        if (file->n_parts == part->n_parts && strcmp(file->stem, part->stem) == 0 &&
            is_same_folder(file->path, part->path)) {
            file->bytes += part->bytes;
            file->n_parts_here++;
            *index = i;
            return true;
        }
    }
    return false;
}

static enum wl_status add_alias(struct found *found, size_t file, const struct found_file *other,
                                struct wl_err *err) {
    if (strcmp(found->files[file].stem, other->stem) == 0) {
        return WL_OK;
    }
    if (!grow((void **)&found->aliases, found->n_aliases, &found->aliases_capacity,
              sizeof *found->aliases)) {
        return no_memory(err);
    }
    char *stem = strdup(other->stem);
    if (!stem) {
        return no_memory(err);
    }
    found->aliases[found->n_aliases++] =
        (struct found_alias){.stem = stem, .source = other->source, .file = file};
    return WL_OK;
}

// The same bytes under another name: a link, or a second tag of a model.
static enum wl_status merge(struct found *found, const struct found_file *file,
                            const struct stat *st, bool *is_merged, struct wl_err *err) {
    for (size_t i = 0; i < found->n_seen; i++) {
        const struct found_seen *seen = &found->seen[i];
        if (seen->inode != st->st_ino || seen->device != st->st_dev) {
            continue;
        }
        struct found_file *old = &found->files[seen->file];
        *is_merged = true;
        if (!old->projector && file->projector && !(old->projector = strdup(file->projector))) {
            return no_memory(err);
        }
        return add_alias(found, seen->file, file, err);
    }
    return WL_OK;
}

static bool make_file(struct found_file *file, const struct found_new *new_file,
                      const struct stat *st) {
    *file = (struct found_file){.source = new_file->source,
                                .bytes = (uint64_t)st->st_size,
                                .n_parts_here = 1,
                                .path = strdup(new_file->path)};
    if (new_file->projector && !(file->projector = strdup(new_file->projector))) {
        return false;
    }
    return file->path && describe_name(file, new_file);
}

// Keeps the file as a new item or as part of one, taking it over when *is_new.
static enum wl_status keep(struct found *found, const struct found_file *file,
                           const struct stat *st, bool *is_new, struct wl_err *err) {
    size_t index = found->n_files;
    bool is_part = fold_part(found, file, &index);
    if (!is_part && found->n_files >= CATALOG_MAX_ENTRIES) {
        found->is_cut = true;
        return WL_OK;
    }
    if (!grow((void **)&found->files, found->n_files, &found->files_capacity,
              sizeof *found->files) ||
        !grow((void **)&found->seen, found->n_seen, &found->seen_capacity, sizeof *found->seen)) {
        return no_memory(err);
    }
    found->seen[found->n_seen++] =
        (struct found_seen){.device = st->st_dev, .inode = st->st_ino, .file = index};
    if (!is_part) {
        found->files[found->n_files++] = *file;
        *is_new = true;
    }
    return WL_OK;
}

enum wl_status found_add(struct found *found, const struct found_new *new_file,
                         const struct stat *st, bool *is_new, struct wl_err *err) {
    *is_new = false;
    struct found_file file;
    bool is_merged = false;
    enum wl_status status =
        make_file(&file, new_file, st) ? merge(found, &file, st, &is_merged, err) : no_memory(err);
    if (status == WL_OK && !is_merged) {
        status = keep(found, &file, st, is_new, err);
    }
    if (!*is_new) {
        release_file(&file);
    }
    return status;
}

void found_release(struct found *found) {
    for (size_t i = 0; i < found->n_files; i++) {
        release_file(&found->files[i]);
    }
    for (size_t i = 0; i < found->n_aliases; i++) {
        free(found->aliases[i].stem);
    }
    free(found->files);
    free(found->aliases);
    free(found->seen);
    *found = (struct found){0};
}
