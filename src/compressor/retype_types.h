// Which type a matrix gets. Only for retype*.c and eye_write.c.
#ifndef WATTLAW_COMPRESSOR_RETYPE_TYPES_H
#define WATTLAW_COMPRESSOR_RETYPE_TYPES_H

#include <ggml.h>
#include <stdbool.h>
#include <stdint.h>

#include "worker/gguf_file.h"

enum retype_part {
    RETYPE_Q,
    RETYPE_K,
    RETYPE_V,
    RETYPE_ATTENTION_OUT,
    RETYPE_GATE,
    RETYPE_UP,
    RETYPE_DOWN,
    RETYPE_BLOCK_PARTS, // those before are of a block whose computation is known
    RETYPE_EMBEDDING = RETYPE_BLOCK_PARTS,
    RETYPE_OUTPUT,
    RETYPE_OTHER,
};

// False for what is no matrix of weights: vectors, norms, tables of positions, convolutions.
bool retype_is_matrix(const struct gguf_tensor *tensor);
// `layer` is -1 for what is of the whole model.
enum retype_part retype_part_of(const struct gguf_tensor *tensor, int32_t *layer);

double retype_bits(enum ggml_type type); // of a weight
// The type that the matrix gets when `wanted` is: its own where that has no more bits, more than
// wanted for the embedding and the output matrix, another one for rows that do not divide.
enum ggml_type retype_for(const struct gguf_tensor *tensor, enum retype_part part,
                          enum ggml_type wanted);
// What it can have under a budget, each once, the matrix's own last; returns how many.
enum { RETYPE_MAX_CHOICES = 5 };
size_t retype_choices(const struct gguf_tensor *tensor, enum retype_part part,
                      enum ggml_type out[RETYPE_MAX_CHOICES]);
// llama.cpp's number for a file most of whose weights are of this type.
uint32_t retype_file_type(enum ggml_type type, bool is_mixed);

#endif
