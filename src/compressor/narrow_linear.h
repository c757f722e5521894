// Parts of narrow.c: a matrix that leads back into the stream and keeps some of its inputs (neurons
// of a feed-forward part, or groups of attention heads): which, and what makes up for the others.
#ifndef WATTLAW_COMPRESSOR_NARROW_LINEAR_H
#define WATTLAW_COMPRESSOR_NARROW_LINEAR_H

#include "compress/gram.h"
#include "compressor/narrow.h"

struct narrow_moments {
    size_t n_in, n_out;
    struct gram gram;   // of inputs
    float *cross;       // [n_out][n_in]: sum of target input^T
    double *target_sum; // [n_out]
};

enum wl_status narrow_moments_open(struct narrow_moments *moments, size_t n_in, size_t n_out,
                                   struct wl_err *err);
void narrow_moments_close(struct narrow_moments *moments); // zeroed ones are fine
void narrow_moments_add(struct narrow_moments *moments, const float *in, const float *target,
                        size_t n, float weight);

struct narrow_choice {
    enum narrow_method method;
    double ridge;
    size_t group; // inputs that stay or go together
    size_t n_kept;
    const float *score;           // [n_in] of NARROW_MAGNITUDE
    bool (*go_on)(void *context); // as in compress/obs.h
    void *context;
};

// kept [n_kept], ascending.
enum wl_status narrow_choose(const struct narrow_moments *moments, const float *w,
                             const struct narrow_choice *choice, uint32_t *kept,
                             struct wl_err *err);
// w [n_out][n_kept] by least squares, falling back to w0 where the text says nothing. Uses up the
// moments but for means and diagonal: gives back their memory as it goes.
enum wl_status narrow_repair(struct narrow_moments *moments, const uint32_t *kept, size_t n_kept,
                             double ridge, const float *w0, float *w, struct wl_err *err);

#endif
