// GGUF files that people already have on this machine, wherever their programs keep them, and the
// short names to type for them.
#ifndef WATTLAW_CATALOG_CATALOG_H
#define WATTLAW_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/gguf_peek.h"
#include "os/file.h"

enum {
    CATALOG_MAX_DEPTH = 8,       // folders below a searched one
    CATALOG_MAX_FOLDERS = 20000, // visited in all: a search that got lost stops here
    CATALOG_MAX_DIR_ENTRIES = 20000,
    CATALOG_MAX_ENTRIES = 5000, // models found
    CATALOG_MAX_PARTS = 512,    // of one model that is split into files
    CATALOG_PROBLEM_BYTES = 256,
};

// Where to look; every text may be NULL. Tests fill it by hand, programs from the environment.
struct catalog_env {
    const char *home;          // HOME
    const char *models_path;   // WATTLAW_MODELS_PATH: folders, separated by ':'
    const char *data_home;     // XDG_DATA_HOME
    const char *cache_home;    // XDG_CACHE_HOME
    const char *config_home;   // XDG_CONFIG_HOME
    const char *llama_cache;   // LLAMA_CACHE
    const char *hf_hub_cache;  // HF_HUB_CACHE
    const char *hf_home;       // HF_HOME
    const char *ollama_models; // OLLAMA_MODELS
    const char *system_root;   // in front of /usr/share/...; NULL = none
    const char *builtin;       // folder of the models that came with wattlaw; NULL = none
};

// A folder of what came with wattlaw: "models" or "tasks", found beside the program; "" when there
// is none. $WATTLAW_DATA wins.
void catalog_data_dir(const char *what, char out[OS_PATH_BYTES]);
// The name of the built-in model in every list: catalog_resolve knows it.
#define CATALOG_BUILTIN "builtin"

struct catalog_entry {
    char *name;         // unique in the list; what people type
    char *path;         // of the file, or of the first part
    const char *source; // "ollama"; a constant
    char *stem;         // what the file itself is called, not unique: "qwen-q8_0"
    char *group;        // what qualifies the name: a repository or folder; may be ""
    char *mmproj;       // the image encoder that belongs to this model, or NULL
    uint64_t bytes;     // of all parts
    uint32_t n_parts;   // 1 for an ordinary file
    bool is_mmproj;     // not a model that answers but an image encoder for one
    bool has_facts;     // `facts` are filled
    char problem[CATALOG_PROBLEM_BYTES]; // why the file cannot be used; "" when it can
    struct gguf_facts facts;             // of the first part; counts are of all parts
};

// Another name under which the same file was found.
struct catalog_alias {
    char *name;
    const char *source;
    size_t entry;
};

struct catalog_place {
    const char *source;
    char *path;
    bool exists;
    size_t n_found;                   // files that no earlier place had
    char note[CATALOG_PROBLEM_BYTES]; // "permission denied"; "" when all went well
};

struct catalog {
    struct catalog_entry *entries; // by name, image encoders last
    size_t n_entries;
    struct catalog_alias *aliases;
    size_t n_aliases;
    struct catalog_place *places; // in the order searched
    size_t n_places;
    bool is_cut; // a maximum was reached: there may be more
};

// From this process's environment (borrowed from it).
void catalog_env_from_process(struct catalog_env *env);

// Searches all places. `wants_facts` reads each file's header too, which pairs image encoders with
// models more surely and finds damaged files. A place that is missing or not readable is no
// failure. MEMORY is the only one. `env` NULL = the process's. `out` is to be released whatever
// the status.
enum wl_status catalog_find(const struct catalog_env *env, bool wants_facts, struct catalog *out,
                            struct wl_err *err);
void catalog_release(struct catalog *catalog);

// Turns what a user typed into a path: an existing file wins; then the exact name (or another name
// of the same file), then the same in another case, then the only file that is called so, then the
// only name that begins with it, ends with it or has it inside. NOT_FOUND has the nearest name;
// USAGE lists the candidates when several fit. `env` NULL = the process's.
enum wl_status catalog_resolve(const struct catalog_env *env, const char *name_or_path,
                               char path[OS_PATH_BYTES], struct wl_err *err);
// The image encoder that belongs to a model file: of the catalogue, else the one beside it.
// NOT_FOUND says what to give.
enum wl_status catalog_find_mmproj(const char *model_path, char path[OS_PATH_BYTES],
                                   struct wl_err *err);
// The same among what was found already; names only.
enum wl_status catalog_resolve_in(const struct catalog *catalog, const char *name_or_path,
                                  char path[OS_PATH_BYTES], struct wl_err *err);

// Whether `pattern` (a shell pattern when it has any of *?[, else a part; ASCII case ignored) fits
// the entry's name, one of its other names or its group.
bool catalog_matches(const struct catalog *catalog, size_t entry, const char *pattern);

#endif
