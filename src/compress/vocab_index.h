// Tokens found by their bytes, and merges by what they join. For vocab*.c only. PURE.
//
// Sorted arrays in place of hash tables: no file can make the search slow.
#ifndef WATTLAW_COMPRESS_VOCAB_INDEX_H
#define WATTLAW_COMPRESS_VOCAB_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compress/vocab.h"

#define VOCAB_NONE UINT32_MAX

struct vocab_word {
    uint64_t hash;
    uint32_t len;
    uint32_t token;
};

struct vocab_merge {
    uint32_t left; // tokens
    uint32_t right;
    uint32_t joined;
};

struct vocab_pair {
    uint64_t sides; // left << 32 | right
    uint32_t rank;  // number of the merge
};

struct vocab_index {
    const struct vocab *vocab;
    struct vocab_word *words; // those that are not empty, by hash, length and bytes
    size_t n_words;
    uint32_t max_len;           // of a token, in bytes
    struct vocab_merge *merges; // [n_merges], by rank
    struct vocab_pair *pairs;   // [n_merges], by sides and rank
};

// INPUT: two equal tokens, a merge that is not two tokens with a space between them, or that makes
// no token. LIMIT: more or longer than vocab.h allows. MEMORY. On failure there is nothing to
// release.
enum wl_status vocab_index_init(struct vocab_index *index, const struct vocab *vocab,
                                struct wl_err *err);
void vocab_index_release(struct vocab_index *index);
// The token of these bytes, or VOCAB_NONE. Empty tokens are never found.
uint32_t vocab_index_find(const struct vocab_index *index, const char *text, size_t len);
// The rank of the first merge that joins these two tokens, or VOCAB_NONE.
uint32_t vocab_index_rank(const struct vocab_index *index, uint32_t left, uint32_t right);

#endif
