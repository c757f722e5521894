// What a changed file will hold, worked out before a byte is written. Only for src/compressor's
// target*.c and relabel*.c.
#ifndef WATTLAW_COMPRESSOR_TARGET_PLAN_H
#define WATTLAW_COMPRESSOR_TARGET_PLAN_H

#include "compressor/target.h"

struct target_key {
    const char *name; // not terminated; in the source's map, or own_name
    size_t name_len;
    enum gguf_type type; // of the value; for an array of its elements
    bool is_array;
    uint64_t n;                // elements; 1 for a scalar
    const unsigned char *data; // as they lie in a file; in the source's map, or own_data
    uint64_t n_bytes;
    char *own_name;
    unsigned char *own_data;
};

// A row is what can be picked: one of a matrix, one element of a one-dimensional tensor.
struct target_tensor {
    char source_name[GGUF_NAME_BYTES]; // by which callers name it; of an added one its only name
    char name[GGUF_NAME_BYTES];        // under which it is written
    enum ggml_type type;
    uint32_t n_dims;
    uint64_t ne[4]; // of `bytes`
    const unsigned char *bytes;
    compress_target_read read; // makes them instead; NULL: `bytes` has them
    void *read_context;
    uint64_t n_rows, row_bytes; // of `bytes`
    const uint32_t *rows;       // kept ones, the caller's; NULL: all
    uint64_t n_kept;
    uint32_t head_dim; // rows of a head, to be interleaved; 0: rows stay in order
    bool is_dropped;
    bool is_joined;   // written as a part of another one
    size_t next_part; // written behind this one's rows; 0: none (the first is never a part)
};

struct compress_target {
    const struct gguf_file *source;
    struct target_key *keys;
    size_t n_keys, keys_capacity;
    struct target_tensor *tensors;
    size_t n_tensors, tensors_capacity;
};

// ---- keys (target_keys.c) ----

enum wl_status target_copy_keys(struct compress_target *target, struct wl_err *err);
void target_release_keys(struct compress_target *target);
const struct target_key *target_find_key(const struct compress_target *target, const char *key);
// Of general.alignment as it will be written; 0 when that is not a power of two in range.
uint64_t target_alignment(const struct compress_target *target);

// ---- tensors (target.c) ----

// By its name in the source, or of an added one. NULL when there is none.
struct target_tensor *target_find_tensor(const struct compress_target *target, const char *name);
// By the name that will be written; not those that are dropped or a part of another.
struct target_tensor *target_find_written(const struct compress_target *target, const char *name);
bool target_is_written(const struct target_tensor *tensor);
// Rows that will be written, those of its parts included.
uint64_t target_written_rows(const struct compress_target *target,
                             const struct target_tensor *tensor);
// The shape that will be written; returns the number of dimensions.
uint32_t target_written_shape(const struct compress_target *target,
                              const struct target_tensor *tensor, uint64_t ne[4]);
// The row of `bytes` that is written as row `i` of this part.
uint64_t target_row_at(const struct target_tensor *tensor, uint64_t i);

#endif
