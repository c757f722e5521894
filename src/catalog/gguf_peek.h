// What a GGUF file (v2 or v3, little endian) says about itself: its keys and the list of its
// tensors, never the weights. PURE: the bytes come through a callback.
//
// The file is untrusted. Every count and length is checked against a limit and against the bytes
// that are left before it is used; nothing is cast onto the bytes; memory does not depend on what
// the file claims. Failures name the offset, what was expected and what was found:
//   INPUT  not a GGUF file, or a damaged or cut one
//   LIMIT  larger than a stated maximum
#ifndef WATTLAW_CATALOG_GGUF_PEEK_H
#define WATTLAW_CATALOG_GGUF_PEEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/gguf_types.h"

enum {
    GGUF_MAX_HEADER_BYTES = 64 << 20, // a 262144-word tokenizer with merges takes about 16 MiB
    GGUF_MAX_KEYS = 1 << 16,
    GGUF_MAX_TENSORS = 1 << 17,
    GGUF_MAX_KEY_BYTES = 1 << 16,     // GGUF's own maximum is 2^16 - 1
    GGUF_MAX_TENSOR_NAME_BYTES = 256, // ggml keeps 64
    GGUF_MAX_STRING_BYTES = 16 << 20, // chat templates are the long ones
    GGUF_MAX_ARRAY_DEPTH = 4,         // arrays of arrays
    GGUF_MAX_ALIGNMENT = 1 << 20,
};

// A text that is wanted besides the facts, for which it may be too long.
struct gguf_text {
    const char *key;
    char *out; // cut to fit, as it is in the file; "" when there is none
    size_t size;
};

// Where the bytes come from.
struct gguf_bytes {
    // Copies exactly `len` bytes at `offset`; asked only for bytes below `file_bytes`.
    enum wl_status (*read)(const void *context, uint64_t offset, void *out, size_t len,
                           struct wl_err *err);
    const void *context;
    uint64_t file_bytes;
    // A file cut behind its tensor list is INPUT ("the download is incomplete") unless this is set
    // (for a header that was saved alone).
    bool is_header_only;
    const struct gguf_text *texts; // [n_texts]
    size_t n_texts;
};

// Absent keys are "", 0 or false. Texts are valid UTF-8 without control characters, cut to fit.
struct gguf_facts {
    uint32_t version;
    uint64_t n_keys, n_tensors;
    uint64_t header_bytes; // up to the end of the tensor list

    char arch[64];       // general.architecture
    char name[256];      // general.name
    char kind[32];       // general.type: "model", "mmproj", "adapter"
    char size_label[32]; // general.size_label: "135M"
    char file_type[16];  // "q4_k_m": from general.file_type, else the type most weights have
    char projector[64];  // clip.projector_type
    uint32_t n_layer, n_ctx_train, n_embd, n_head, n_head_kv, head_dim, n_ff, n_vocab;
    uint32_t projection_dim;   // of an mmproj: the width that the text model must have
    uint32_t part_no, n_parts; // of a split file; 0 of 0 otherwise
    bool is_mmproj;            // an image or audio encoder, not a model that answers
    bool is_synthetic;         // wattlaw.synth: random weights
    bool has_synth_seed;
    uint64_t synth_seed;
    bool has_output; // an output matrix of its own, not the embedding's

    uint64_t n_params;     // of all tensors
    uint64_t tensor_bytes; // of the tensors with a known type
    uint32_t type_tensors[GGUF_MAX_TYPES];
    uint64_t type_params[GGUF_MAX_TYPES];
    uint32_t n_unknown_types; // tensors with a type newer than this program
};

// `out` is zeroed first; after a failure it holds what was read before it.
enum wl_status gguf_peek(const struct gguf_bytes *bytes, struct gguf_facts *out,
                         struct wl_err *err);
// The same on `len` bytes in memory, which are the whole file.
enum wl_status gguf_peek_memory(const void *data, size_t len, struct gguf_facts *out,
                                struct wl_err *err);
// Copies outside text: control characters and invalid UTF-8 become '?', cut between characters.
void gguf_clean_text(char *out, size_t size, const char *text);

#endif
