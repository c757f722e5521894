// The growing list of files that a search has found, before they get names. Used by catalog only.
#ifndef WATTLAW_CATALOG_FOUND_H
#define WATTLAW_CATALOG_FOUND_H

#include <sys/stat.h>
#include <sys/types.h>

#include "catalog/catalog.h"

struct found_file {
    char *path;
    char *stem;      // what the file calls the model: "qwen-q8_0", Ollama's "llama3:8b"
    char *group;     // repository or folder that qualifies the stem
    char *projector; // Ollama says which image encoder belongs to the model; else NULL
    const char *source;
    uint64_t bytes;                          // of all parts that are there
    uint32_t part_no, n_parts, n_parts_here; // "-00001-of-00003" in the file name, else 0
    bool is_flat; // lies directly in a searched folder, beside files it has nothing to do with
    bool is_mmproj;
};

struct found_alias {
    char *stem;
    const char *source;
    size_t file;
};

// Every file on disk that was seen, parts included, so that a second link to it is recognised.
struct found_seen {
    dev_t device;
    ino_t inode;
    size_t file;
};

struct found {
    struct found_file *files;
    size_t n_files, files_capacity;
    struct found_alias *aliases;
    size_t n_aliases, aliases_capacity;
    struct found_seen *seen;
    size_t n_seen, seen_capacity;
    bool is_cut;
};

struct found_new {
    const char *path;
    const char *stem; // NULL = from the file name
    const char *group;
    const char *projector; // or NULL
    const char *source;
    bool is_flat;
};

// Adds a file that stat() saw as `st`, merging it with one that is the same (device and inode) or
// of which it is another part; *is_new tells. MEMORY, or OK.
enum wl_status found_add(struct found *found, const struct found_new *file, const struct stat *st,
                         bool *is_new, struct wl_err *err);
void found_release(struct found *found);

// "m-00002-of-00003.gguf" -> 2, 3 and the length of "m"; false for other names.
bool found_parse_part(const char *file_name, size_t *base_len, uint32_t *part_no,
                      uint32_t *n_parts);

#endif
