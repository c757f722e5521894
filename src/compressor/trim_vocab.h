// A file's vocabulary as compress/vocab.h wants it, and which of its tokens stay. Only for trim*.c.
#ifndef WATTLAW_COMPRESSOR_TRIM_VOCAB_H
#define WATTLAW_COMPRESSOR_TRIM_VOCAB_H

#include "compress/vocab.h"
#include "compress/vocab_spm.h"
#include "worker/gguf_file.h"

struct trim_vocab {
    struct vocab vocab;
    bool is_spm;
    struct vocab_spm spm; // its merges, when it is
    char *token_memory, *merge_memory;
    const char **tokens, **merges;
    int32_t *types;
};

// UNSUPPORTED: a tokenizer that is neither byte-level BPE ("gpt2") nor SentencePiece ("llama"), or
// a token with a zero byte. INPUT: arrays that do not fit each other.
enum wl_status trim_vocab_open(struct trim_vocab *vocab, const struct gguf_file *file,
                               struct wl_err *err);
void trim_vocab_close(struct trim_vocab *vocab); // zeroed ones are fine

// Marks what no count speaks for: tokens that keys name ("tokenizer.ggml.bos_token_id"), those that
// look like markers ("<|im_start|>"), and SentencePiece's space.
void trim_vocab_need(const struct trim_vocab *vocab, const struct gguf_file *file, bool *needed);
// The key names a token or several.
bool trim_is_token_key(const struct gguf_kv *kv);

struct trim_choice {
    const uint64_t *counts; // [n_tokens]
    const bool *needed;     // [n_tokens]
    uint32_t n_wanted;      // at most; 0: all that occur
    uint32_t n_first;
};
// LIMIT: more must stay than are wanted.
enum wl_status trim_vocab_choose(const struct trim_vocab *vocab, const struct trim_choice *choice,
                                 struct vocab_trim *out, struct wl_err *err);

#endif
