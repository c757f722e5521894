// Each matrix its own type, under a budget of bytes. Only for retype*.c.
#ifndef WATTLAW_COMPRESSOR_RETYPE_PLAN_H
#define WATTLAW_COMPRESSOR_RETYPE_PLAN_H

#include "compressor/retype_rows.h"

struct retype_budget {
    uint64_t file_bytes;   // of the whole file with the types as they are now
    uint64_t budget_bytes; // what it may have
    uint64_t alignment;    // to which every tensor is padded
    bool (*go_on)(void *context, double share_done);
    void *context;
};

// Sets the types of the matrices to those with the least sum of errors (each the matrix's own,
// from some of its rows, times its sensitivity) whose bytes fit. LIMIT: nothing fits.
enum wl_status retype_plan(const struct compress_source *source, struct retype_matrix *matrices,
                           size_t n, const struct retype_budget *budget, struct wl_err *err);
// That most of the weights have.
enum ggml_type retype_plan_commonest(const struct retype_matrix *matrices, size_t n);

#endif
