// Text that the model writes itself at temperature 1: from the token that begins a text, and on
// from documents (a question's answer, a reply to a text, or its continuation).
#ifndef WATTLAW_COMPRESSOR_CALIB_WRITE_H
#define WATTLAW_COMPRESSOR_CALIB_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compressor/calib_chat.h"
#include "compressor/calib_part.h"
#include "compressor/calib_units.h"

enum { CALIB_MAX_AT_ONCE = 8, CALIB_SELF_LENGTH = 512 };

// The longest text that the model writes where sequences may have `max_length` tokens.
static inline uint32_t calib_self_length(uint32_t max_length) {
    return max_length < CALIB_SELF_LENGTH ? max_length : CALIB_SELF_LENGTH;
}

// Texts at once: as many as have room in a moderate key and value cache, at least two: several at
// once are computed in less time, but each needs memory beside the model's.
uint32_t calib_at_once(const struct text_model *model, uint32_t max_length);

struct calib_writer {
    struct text_model *model; // started with n_at_once sequences
    uint32_t n_at_once;
    const struct calib_chat *chat;
    const struct calib_documents *documents;
    const struct calib_units *starts[2]; // of one side: text, tasks; drawn again and again
    uint32_t max_length;
    struct rng rng;
    uint32_t *next_document; // number for what is written from nothing
    struct calib_seen *seen; // of both sides: nothing is written twice
    double share_per_token;  // of the whole work, for progress
};

struct calib_seen { // hashes of what was written
    uint64_t *hashes;
    size_t n, capacity;
};
void calib_seen_release(struct calib_seen *seen); // zeroed ones are fine

// Until the part has `end` tokens, or the model writes nothing new any more.
enum wl_status calib_write(struct calib_writer *writer, struct calib_part *part, size_t end,
                           struct wl_err *err);

#endif
