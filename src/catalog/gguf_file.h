// gguf_peek on a file.
#ifndef WATTLAW_CATALOG_GGUF_FILE_H
#define WATTLAW_CATALOG_GGUF_FILE_H

#include "catalog/gguf_peek.h"

// Opens read-only. Messages begin with "cannot read '<path>'". NOT_FOUND, PERMISSION, or what
// gguf_peek says; INPUT for a folder or anything else that is not a plain file.
enum wl_status gguf_peek_file(const char *path, struct gguf_facts *out, struct wl_err *err);
// The same, and these texts.
enum wl_status gguf_peek_texts(const char *path, const struct gguf_text *texts, size_t n_texts,
                               struct gguf_facts *out, struct wl_err *err);

#endif
