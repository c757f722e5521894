// SentencePiece vocabularies as byte-pair ones. PURE.
//
// SentencePiece joins two neighbours when what both make is a token, the one of the highest score
// first. That is the same as merging by rank, when every way to split a token into two is a merge
// and merges are ranked by the token's score; so vocab.h can trim such a vocabulary too. (Of tokens
// with equal scores SentencePiece makes the leftmost in the text, this the first of the vocabulary:
// who trims must look at what comes out.)
#ifndef WATTLAW_COMPRESS_VOCAB_SPM_H
#define WATTLAW_COMPRESS_VOCAB_SPM_H

#include <stddef.h>

#include "base/err.h"
#include "compress/vocab.h"

struct vocab_spm {
    const char **merges; // "a b", by rank
    size_t n_merges;
    char *memory; // of the texts
};

// scores [n_tokens]; the vocabulary's own merges are not looked at. LIMIT: more merges than
// VOCAB_MAX_MERGES. INPUT and MEMORY as vocab_trim_choose.
enum wl_status vocab_spm_init(struct vocab_spm *spm, const struct vocab *vocab, const float *scores,
                              struct wl_err *err);
void vocab_spm_release(struct vocab_spm *spm); // zeroed ones are fine

#endif
