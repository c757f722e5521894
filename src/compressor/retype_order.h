// The order in which the neurons of a feed-forward part are written, which means nothing to the
// model. Columns of the matrix behind them share a scale, some 16 or 32 at a time. The scale is
// fitted to the columns that matter, so these are dealt to the scales like cards: none has to serve
// many of them. (Measured: like ones together make the error 1.5 to 8 times as large, dealt ones
// make it 2 to 50 percent smaller.) Where all inputs count alike, columns of like weight are put
// together. Only for retype*.c.
#ifndef WATTLAW_COMPRESSOR_RETYPE_ORDER_H
#define WATTLAW_COMPRESSOR_RETYPE_ORDER_H

#include "compressor/retype_rows.h"

struct retype_order {
    uint32_t *neurons;            // [n_ff] old numbers in the new order; NULL: they stay
    double error_in_order, error; // of the matrix, without and with it, from some of its rows
};
void retype_order_release(struct retype_order *order); // zeroed ones are fine

// The best of several orders; none when it gains less than a hundredth.
// `down` is in the type that it shall get, without columns.
enum wl_status retype_order_find(const struct compress_source *source,
                                 const struct retype_matrix *down, struct retype_order *out,
                                 struct wl_err *err);

#endif
