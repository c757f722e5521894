// Parts of calib.c: what making calibration text works with.
#ifndef WATTLAW_COMPRESSOR_CALIB_MAKER_H
#define WATTLAW_COMPRESSOR_CALIB_MAKER_H

#include "base/rng.h"
#include "compressor/calib.h"
#include "compressor/calib_chat.h"
#include "compressor/calib_image.h"
#include "compressor/calib_read.h"
#include "compressor/calib_units.h"
#include "compressor/calib_write.h"
#include "compressor/text_model.h"

enum calib_side { CALIB_CALIBRATION, CALIB_HELD_OUT, CALIB_SIDES };

struct calib_maker {
    const struct calib_options *options;
    struct text_watch watch;
    struct text_model model;
    struct calib_chat chat;
    struct calib_documents documents;
    struct calib_units units[CALIB_SIDES][CALIB_SORTS];
    struct calib_encoder encoder;
    struct calib_rows rows;
    bool has_pictures; // the encoder is open
    struct calib_seen seen;
    double shares[CALIB_SOURCES];
    uint32_t min_length, max_length;
    uint32_t next_document;
    struct rng rng;
    struct calib *out;
    double work_done, work_total; // for progress, in tokens of text
};

// USAGE.
enum wl_status calib_check_options(const struct calib_options *options, struct wl_err *err);
// What is absent is made up by the other text, then by the model.
void calib_choose_shares(const struct calib_options *options, double shares[CALIB_SOURCES]);

// How many tokens a part gets, and how many of them come from where.
struct calib_budget {
    size_t n, n_text, n_tasks, n_self;
};
struct calib_budget calib_budget_of(const struct calib_maker *maker, size_t n);

// One side: first what there is, then what the model writes.
enum wl_status calib_fill_documents(struct calib_maker *maker, enum calib_side side,
                                    struct calib_part *part, const struct calib_budget *budget,
                                    struct wl_err *err);
enum wl_status calib_fill_self(struct calib_maker *maker, enum calib_side side,
                               struct calib_part *part, const struct calib_budget *budget,
                               struct wl_err *err);
// What the work on so many tokens costs, in tokens of text.
double calib_work_of(const struct calib_maker *maker, const struct calib_budget *budget);

#endif
