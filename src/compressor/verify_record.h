// What is kept of one next-token distribution of the original, and how another one differs from it.
#ifndef WATTLAW_COMPRESSOR_VERIFY_RECORD_H
#define WATTLAW_COMPRESSOR_VERIFY_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct verify_shape {
    uint32_t n_vocab;       // of the original
    const int32_t *new_ids; // of verify_options
    uint32_t n_new;         // tokens of the changed model
    bool is_whole;          // every token is kept: ids are 0, 1, 2, ...
    uint32_t n_kept;        // tokens in a record
};

struct verify_record {
    double nll;       // of the true token, under everything the original can say
    double lost_mass; // of tokens that are gone
    double rest_mass; // of the tokens that are there but not below; the sum of both is 1
    int32_t *ids;     // [n_kept] in the original's numbers, likeliest first unless is_whole
    float *log_p;     // [n_kept] of what is left; -INFINITY: gone
    int32_t top;      // the likeliest that is left
};

struct verify_difference {
    double kl, nll; // nll of the true token under the changed model
    bool is_same_top;
};

// new_ids may be NULL. INPUT when a number is outside of the changed model, or nothing is left.
enum wl_status verify_shape_init(struct verify_shape *shape, uint32_t n_vocab,
                                 const int32_t *new_ids, struct wl_err *err);
// The changed model's number; -1 = gone.
int32_t verify_shape_new_id(const struct verify_shape *shape, int32_t id);

enum wl_status verify_record_init(struct verify_record *record, const struct verify_shape *shape,
                                  struct wl_err *err);
void verify_record_release(struct verify_record *record); // zeroed ones are fine

// `token` is the true one. False when the logits are not numbers.
bool verify_record_fill(struct verify_record *record, const struct verify_shape *shape,
                        const float *logits, int32_t token);
// `logits` of the changed model, `token` in the original's numbers. False as above.
bool verify_record_compare(const struct verify_record *record, const struct verify_shape *shape,
                           const float *logits, int32_t token, struct verify_difference *out);

bool verify_record_write(const struct verify_record *record, const struct verify_shape *shape,
                         FILE *file);
bool verify_record_read(struct verify_record *record, const struct verify_shape *shape, FILE *file);

#endif
