// A vocabulary of the tokens that are used, from file to file (compress/vocab.h): tokens that do
// not occur in the text, nor are needed to build others, go, with their rows, merges and scores.
#ifndef WATTLAW_COMPRESSOR_TRIM_H
#define WATTLAW_COMPRESSOR_TRIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text.h"

struct trim_options {
    uint32_t n_wanted; // tokens to keep at most, most used first; 0: all that occur
    uint32_t n_first;  // of the vocabulary that stay whatever occurs (early ones are frequent)
    double max_growth; // of the number of tokens on held-out text: 0.02
    size_t n_held_out; // last sequences of the text, for that
    bool (*go_on)(void *context, double share_done);
    void *context;
};

struct trim_result {
    uint32_t n_before, n_after;
    double growth;    // of the number of tokens of held-out text, round trip
    double coverage;  // share of held-out tokens that are there as they were
    int32_t *new_ids; // [n_before]; -1: gone
    uint64_t in_bytes, out_bytes;
};
void trim_result_release(struct trim_result *result); // zeroed ones are fine

// UNSUPPORTED: a tokenizer whose tokens cannot be taken out safely. GATE: the text would become
// longer than max_growth allows. The written file is opened with llama.cpp's own tokenizer, and
// the texts must come back as they were: else INPUT, and nothing is written.
enum wl_status trim_run(const char *in, const char *out, const struct compress_text *text,
                        const struct trim_options *options, struct trim_result *result,
                        struct wl_err *err);

#endif
