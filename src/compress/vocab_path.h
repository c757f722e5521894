// How BPE builds a token: what it passes through on the way. For vocab*.c only. PURE.
#ifndef WATTLAW_COMPRESS_VOCAB_PATH_H
#define WATTLAW_COMPRESS_VOCAB_PATH_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compress/vocab_index.h"

struct vocab_symbol {
    uint32_t token; // VOCAB_NONE: no token, or joined to the one before
    uint32_t before;
    uint32_t after;
};

struct vocab_path {
    const struct vocab_index *index;
    struct vocab_symbol *symbols; // of the token being built
    uint64_t *heap;               // merges that may be done: rank << 32 | symbol; the least first
    size_t n_heap;
    uint32_t *steps;
};

enum wl_status vocab_path_init(struct vocab_path *path, const struct vocab_index *index,
                               struct wl_err *err); // MEMORY
void vocab_path_release(struct vocab_path *path);
// Merges the token's characters in the order of rank, as a tokenizer does. Writes to path->steps
// all tokens that are there at some time (some perhaps twice), the token itself last, and returns
// their number. Where merging ends before the token is made (control and added tokens), it is the
// token alone.
//
// The steps of a step are among them: nothing outside a token takes part in how it is built.
size_t vocab_path_find(struct vocab_path *path, uint32_t token);

#endif
