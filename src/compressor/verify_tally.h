// The figures of a verification, added up token by token, sequence after sequence.
#ifndef WATTLAW_COMPRESSOR_VERIFY_TALLY_H
#define WATTLAW_COMPRESSOR_VERIFY_TALLY_H

#include "compressor/verify.h"
#include "compressor/verify_record.h"

struct verify_sums { // of one sequence
    double n, nll_original, nll_changed, kl;
    bool has_image;
};

struct verify_tally {
    struct verify_sums *sequences;
    size_t n_sequences; // begun
    double *kl;         // of every token
    size_t n;
    double rest_mass, lost_mass;
    size_t n_same_top;
};

// Room for that many.
enum wl_status verify_tally_init(struct verify_tally *tally, size_t n_sequences, size_t n_tokens,
                                 struct wl_err *err);
void verify_tally_release(struct verify_tally *tally); // zeroed ones are fine

void verify_tally_begin(struct verify_tally *tally, bool has_image); // a sequence
void verify_tally_add(struct verify_tally *tally, const struct verify_record *record,
                      const struct verify_difference *difference);
// Sorts the divergences. Needs at least one token.
void verify_tally_result(struct verify_tally *tally, struct verify_result *out);

#endif
