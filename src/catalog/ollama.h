// Ollama's store: a manifest per name and tag, which names content-addressed blobs.
#ifndef WATTLAW_CATALOG_OLLAMA_H
#define WATTLAW_CATALOG_OLLAMA_H

#include "catalog/walk.h"

enum {
    OLLAMA_BLOB_BYTES = 80,            // "sha256-" and 64 digits
    OLLAMA_MAX_MANIFEST_BYTES = 65536, // a few layers
};

struct ollama_manifest {
    char model[OLLAMA_BLOB_BYTES];     // blob file name of the model; "" when it has none
    char projector[OLLAMA_BLOB_BYTES]; // of the image encoder; "" when it has none
};

// INPUT when it is not such a manifest or a digest is not one (it becomes part of a path).
enum wl_status ollama_manifest_parse(const char *text, size_t len, struct ollama_manifest *out,
                                     struct wl_err *err);
// "registry.ollama.ai/library/llama3/8b" -> "llama3:8b", other registries and owners are kept.
// False when the path is not <registry>/<owner>/<name>/<tag>.
bool ollama_name(char *out, size_t size, const char *manifest_path);
// Adds the models of the store at place->path.
void ollama_walk(struct walk *walk, struct catalog_place *place);

#endif
