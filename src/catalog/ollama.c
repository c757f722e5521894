#include "catalog/ollama.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

static bool copy_digest(char out[OLLAMA_BLOB_BYTES], const char *digest) {
    if (!str_starts_with(digest, "sha256:") && !str_starts_with(digest, "sha256-")) {
        return false;
    }
    const char *hex = digest + 7;
    if (strlen(hex) != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64) {
        return false;
    }
    snprintf(out, OLLAMA_BLOB_BYTES, "sha256-%s", hex);
    return true;
}

static enum wl_status read_layer(const json_t *layer, struct ollama_manifest *out,
                                 struct wl_err *err) {
    const char *type = wl_json_opt_string(layer, "mediaType", "");
    bool is_model = strcmp(type, "application/vnd.ollama.image.model") == 0;
    if (!is_model && strcmp(type, "application/vnd.ollama.image.projector") != 0) {
        return WL_OK;
    }
    const char *digest;
    enum wl_status status = wl_json_get_string(layer, "digest", &digest, err);
    if (status != WL_OK) {
        return status;
    }
    char *blob = is_model ? out->model : out->projector;
    if (!blob[0] && !copy_digest(blob, digest)) {
        return wl_err_set(err, WL_INPUT, "digest: expected 'sha256:' and 64 digits, found '%.80s'",
                          digest);
    }
    return WL_OK;
}

enum wl_status ollama_manifest_parse(const char *text, size_t len, struct ollama_manifest *out,
                                     struct wl_err *err) {
    *out = (struct ollama_manifest){0};
    json_t *root = NULL;
    enum wl_status status = wl_json_parse(text, len, &root, err);
    if (status != WL_OK) {
        return status;
    }
    const json_t *layers = json_object_get(root, "layers");
    if (!json_is_array(layers)) {
        status = wl_err_set(err, WL_INPUT, "'layers': expected an array");
    }
    for (size_t i = 0; status == WL_OK && i < json_array_size(layers); i++) {
        status = read_layer(json_array_get(layers, i), out, err);
    }
    json_decref(root);
    return status;
}

bool ollama_name(char *out, size_t size, const char *manifest_path) {
    const char *tag = strrchr(manifest_path, '/');
    const char *first = strchr(manifest_path, '/');
    if (!tag || tag == first || !tag[1] || !strchr(first + 1, '/') ||
        strchr(first + 1, '/') == tag) {
        return false;
    }
    const char *start = manifest_path;
    if (str_starts_with(start, "registry.ollama.ai/")) {
        start = first + 1;
        if (str_starts_with(start, "library/")) {
            start += strlen("library/");
        }
    }
    int n = snprintf(out, size, "%.*s:%s", (int)(tag - start), start, tag + 1);
    return n > 0 && (size_t)n < size;
}

struct step {
    struct walk *walk;
    struct catalog_place *place;
    const char *path;     // of this folder
    const char *relative; // below manifests/
    int depth;
};

static enum wl_status read_manifest(const char *path, struct ollama_manifest *manifest,
                                    struct wl_err *err) {
    struct buf text;
    buf_init(&text, OLLAMA_MAX_MANIFEST_BYTES);
    enum wl_status status = os_slurp(path, &text, err);
    if (status == WL_OK) {
        status = ollama_manifest_parse(buf_text(&text), text.len, manifest, err);
        if (status != WL_OK) {
            wl_err_prefix(err, "cannot read '%s'", path);
        }
    }
    buf_release(&text);
    return status;
}

// The blob's path; older versions wrote ':' instead of '-'.
static bool find_blob(char out[OS_PATH_BYTES], const char *store, const char *blob,
                      struct stat *st) {
    char relative[OLLAMA_BLOB_BYTES + 16];
    for (int i = 0; i < 2; i++) {
        snprintf(relative, sizeof relative, "blobs/sha256%c%.64s", i ? ':' : '-', blob + 7);
        if (os_path_join(out, store, relative, NULL) == WL_OK && stat(out, st) == 0 &&
            S_ISREG(st->st_mode)) {
            return true;
        }
    }
    return false;
}

static void add_model(const struct step *step, const char *name,
                      const struct ollama_manifest *manifest) {
    char model[OS_PATH_BYTES], projector[OS_PATH_BYTES];
    struct stat st, projector_st;
    if (!find_blob(model, step->place->path, manifest->model, &st)) {
        struct wl_err err;
        wl_err_set(&err, WL_NOT_FOUND, "the blob of '%s' is missing or not readable", name);
        walk_note(step->place, &err);
        return;
    }
    bool has_projector = manifest->projector[0] && find_blob(projector, step->place->path,
                                                             manifest->projector, &projector_st);
    struct found_new file = {.path = model,
                             .stem = name,
                             .group = "",
                             .projector = has_projector ? projector : NULL,
                             .source = step->place->source};
    bool is_new = false;
    step->walk->status = found_add(step->walk->found, &file, &st, &is_new, step->walk->err);
    step->place->n_found += is_new;
}

static void visit_manifest(const struct step *step, const char *path, const char *relative) {
    char name[512];
    struct ollama_manifest manifest;
    struct wl_err err = {0};
    if (!ollama_name(name, sizeof name, relative)) {
        return;
    }
    if (read_manifest(path, &manifest, &err) != WL_OK) {
        walk_note(step->place, &err);
    } else if (manifest.model[0]) { // models without one are adapters or run elsewhere
        add_model(step, name, &manifest);
    }
}

static bool visit_entry(void *context, const char *name);

static void visit_folder(const struct step *step) {
    struct wl_err err = {0};
    struct step own = *step;
    if (step->depth < CATALOG_MAX_DEPTH &&
        os_list_dir(step->path, CATALOG_MAX_DIR_ENTRIES, visit_entry, &own, &err) != WL_OK) {
        walk_note(step->place, &err);
    }
}

static bool visit_entry(void *context, const char *name) {
    const struct step *step = context;
    char path[OS_PATH_BYTES], relative[OS_PATH_BYTES];
    struct stat st;
    if (name[0] == '.' || os_path_join(path, step->path, name, NULL) != WL_OK ||
        os_path_join(relative, step->relative, name, NULL) != WL_OK || lstat(path, &st) != 0) {
        return true;
    }
    if (S_ISDIR(st.st_mode)) { // not through links: the store has none
        struct step below = *step;
        below.path = path;
        below.relative = relative;
        below.depth = step->depth + 1;
        visit_folder(&below);
    } else if (S_ISREG(st.st_mode)) {
        visit_manifest(step, path, relative);
    }
    return step->walk->status == WL_OK && !step->walk->found->is_cut;
}

void ollama_walk(struct walk *walk, struct catalog_place *place) {
    char manifests[OS_PATH_BYTES];
    if (os_path_join(manifests, place->path, "manifests", NULL) != WL_OK || !os_is_dir(manifests)) {
        return;
    }
    struct step top = {.walk = walk, .place = place, .path = manifests, .relative = ""};
    visit_folder(&top);
}
