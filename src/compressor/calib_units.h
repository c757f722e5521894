// What sequences are made of: the documents of one side, in pieces that are tokenised only when
// they are needed, in a random order.
#ifndef WATTLAW_COMPRESSOR_CALIB_UNITS_H
#define WATTLAW_COMPRESSOR_CALIB_UNITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rng.h"
#include "compressor/calib_read.h"

struct calib_unit {
    uint32_t document;
    size_t at, len; // in the text of the documents
};

struct calib_units {
    struct calib_unit *items;
    size_t n;
    size_t next; // for whoever takes them one after the other
};

// Chooses at random which documents are held out: of each sort about that share of the bytes, never
// more unless there would be none. What is about the same picture stays together. A sort of one
// document stays for calibration.
enum wl_status calib_split(struct calib_documents *documents, double held_out, struct rng *rng,
                           struct wl_err *err);

// Of one sort and side. Text is cut into sections of about `section_bytes`.
enum wl_status calib_units_make(struct calib_units *units, const struct calib_documents *documents,
                                enum calib_sort sort, bool is_held_out, size_t section_bytes,
                                struct rng *rng, struct wl_err *err);
void calib_units_release(struct calib_units *units); // zeroed ones are fine

#endif
