// Names and sizes of the tensor types, and the names of the mixtures that `general.file_type`
// stands for. PURE.
#ifndef WATTLAW_CATALOG_GGUF_TYPES_H
#define WATTLAW_CATALOG_GGUF_TYPES_H

#include <stdint.h>

enum { GGUF_MAX_TYPES = 43 }; // one more than the largest number in gguf_types.def

struct gguf_type {
    const char *name; // "q8_0", lower case
    uint32_t block_weights;
    uint32_t block_bytes;
};

// NULL for a number that is unknown or was removed.
const struct gguf_type *gguf_type_at(uint32_t number);
// ASCII case ignored; NULL when unknown.
const struct gguf_type *gguf_type_by_name(const char *name);
double gguf_type_bits_per_weight(const struct gguf_type *type);
// "q4_k_m" for 15; NULL when unknown or only guessed by the program that wrote the file.
const char *gguf_file_type_name(int64_t file_type);

#endif
