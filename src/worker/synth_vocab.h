// A byte-level BPE vocabulary of any size for synthetic models: the 256 bytes, merges that build
// the commonest English words, the special tokens of chats and images, and unused entries up to the
// wanted size.
#ifndef WATTLAW_WORKER_SYNTH_VOCAB_H
#define WATTLAW_WORKER_SYNTH_VOCAB_H

#include <gguf.h>
#include <stdint.h>

#include "base/err.h"

enum { SYNTH_VOCAB_MIN = 288 };

// Sets the tokenizer.* keys. `splitter` is tokenizer.ggml.pre ("smollm", "qwen2").
enum wl_status synth_vocab_write(struct gguf_context *gguf, uint32_t n_vocab, const char *splitter,
                                 struct wl_err *err);

#endif
