// Trimming the vocabulary of a byte-level BPE tokenizer without breaking it. PURE.
//
// A token that goes takes every merge with it that makes it or is made of it; a kept token must
// keep the tokens that its merges pass through. What must stay whatever the counts: the 256 byte
// symbols, control, user-defined and unknown tokens (all but normal and unused ones), and those
// that the caller names. Then every text whose old tokens all stay is still encoded to these, and
// other text to tokens that stay, mostly more of them. SentencePiece vocabularies, whose merges are
// scores, are not for here.
#ifndef WATTLAW_COMPRESS_VOCAB_H
#define WATTLAW_COMPRESS_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { VOCAB_MAX_TOKENS = 1000000, VOCAB_MAX_MERGES = 1000000, VOCAB_MAX_TOKEN_BYTES = 65536 };

struct vocab {
    const char *const *tokens; // as in tokenizer.ggml.tokens (bytes written as GPT-2's symbols)
    const int32_t *types; // tokenizer.ggml.token_type: 1 normal, 3 control, 4 user-defined, ...
    size_t n_tokens;
    const char *const *merges; // "a b", in order of rank
    size_t n_merges;
};

struct vocab_trim {
    uint32_t *kept; // old numbers of the kept tokens, ascending: the new number is the index
    size_t n_kept;
    int32_t *renumber; // [n_tokens]: new number, -1 = gone
    uint32_t *merges;  // old numbers of the kept merges, ascending
    size_t n_merges;
};

// counts [n_tokens]: how often each token was seen in the user's text. Tokens with at least
// `min_count` stay, the first `n_first` too (early ones are frequent), `needed` [n_tokens] (may be
// NULL) as said, and what those need. The number kept is rounded up to a multiple of `multiple` (0:
// not at all) with the most frequent of the rest, of equal ones the first; one that does not fit
// with what it needs is passed over. So it is never exceeded, and only missed when all tokens
// together are fewer: then all stay. At least one token stays.
// INPUT: no tokens, two equal ones (empty ones may repeat), merges that do not parse, join no
// tokens or make none. LIMIT: more than the maxima above. MEMORY.
enum wl_status vocab_trim_choose(const struct vocab *vocab, const uint64_t *counts,
                                 const bool *needed, uint64_t min_count, size_t n_first,
                                 size_t multiple, struct vocab_trim *out, struct wl_err *err);
void vocab_trim_release(struct vocab_trim *trim);

#endif
