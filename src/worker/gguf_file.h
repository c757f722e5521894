// Our own bounded reader of a GGUF file's tables. It runs before llama.cpp sees the file, so that a
// damaged file gives one clear sentence (what, where, expected, found) and not an abort.
// The file stays mapped while the struct is open; the pointers below point into it.
#ifndef WATTLAW_WORKER_GGUF_FILE_H
#define WATTLAW_WORKER_GGUF_FILE_H

#include <ggml.h>
#include <gguf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { GGUF_NAME_BYTES = 128 };

struct gguf_kv {
    const char *key; // not terminated
    size_t key_len;
    enum gguf_type type; // of the value; for an array of its elements
    bool is_array;
    uint64_t n;                // elements; 1 for a scalar
    const unsigned char *data; // first element
};

struct gguf_tensor {
    char name[GGUF_NAME_BYTES]; // terminated
    enum ggml_type type;
    uint32_t n_dims;
    uint64_t ne[4];  // 1 beyond n_dims
    uint64_t offset; // in the data section
    uint64_t n_elements;
    uint64_t n_bytes;
};

struct gguf_file {
    void *map; // not writable
    uint64_t file_bytes;
    struct gguf_kv *kvs;
    uint64_t n_kv;
    struct gguf_tensor *tensors;
    uint64_t n_tensors;
    uint64_t alignment;
    uint64_t data_offset;
};

// Reads and checks every table and every tensor's extent. On failure nothing stays open.
enum wl_status gguf_file_open(struct gguf_file *file, const char *path, struct wl_err *err);
void gguf_file_close(struct gguf_file *file);

const struct gguf_kv *gguf_file_find(const struct gguf_file *file, const char *key);
// The integer at element `i` of a scalar or array of any integer type; `fallback` when absent.
uint64_t gguf_file_uint(const struct gguf_file *file, const char *key, uint64_t i,
                        uint64_t fallback);
// Copies a string value, cut to `size`; false when absent or not a string.
bool gguf_file_string(const struct gguf_file *file, const char *key, char *out, size_t size);
bool gguf_file_bool(const struct gguf_file *file, const char *key);

#endif
