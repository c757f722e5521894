// How compressible a matrix is where its inputs really go. PURE.
//
// The singular values of A = W C^(1/2) are the square roots of the eigenvalues of W C W^T: dropping
// the smallest r of them costs exactly the sum of their squares in E|y|^2 (SVD-LLM, Wang et al.
// 2024). No choice of k inputs can lose less than tail(k): the floor under any pruning.
#ifndef WATTLAW_COMPRESS_SPECTRUM_H
#define WATTLAW_COMPRESS_SPECTRUM_H

#include <stddef.h>

#include "base/err.h"

// Where n < n_all, the values that are not known count as all equal below: an upper bound of the
// entropy, of a tail and of a rank.
struct spectrum {
    size_t n;       // values that are known
    size_t n_all;   // values that there are
    double *values; // squared singular values, largest first
    double total;   // the sum of all
};

// Of W C^(1/2): w [n_out][n_in], square = C [n_in][n_in] (left as it is). MEMORY, INPUT, LIMIT.
enum wl_status spectrum_weighted(const float *w, size_t n_out, size_t n_in, const float *square,
                                 struct spectrum *out, struct wl_err *err);
// Of the two-core matrix product operator (a sum of Kronecker products; Van Loan & Pitsianis 1993)
// of w, whose sides are split as evenly as they factor: n_out = o1 o2, n_in = i1 i2, rearranged to
// [o1 i1][o2 i2]. All values where the smaller side is at most `exact_up_to`, else the `n_most`
// largest, by a randomised range finder (Halko et al. 2011); total is exact either way. The factors
// of a side come smaller one first: 2048 = 32 * 64. MEMORY, INPUT, LIMIT.
enum wl_status spectrum_mpo(const float *w, size_t n_out, size_t n_in, size_t exact_up_to,
                            size_t n_most, struct spectrum *out, struct wl_err *err);
void spectrum_release(struct spectrum *spectrum); // zeroed ones are fine

// -sum p ln p of p = value / total, in nats ("entanglement entropy" of the cut).
double spectrum_entropy(const struct spectrum *spectrum);
// Share of the total that is lost when the `rank` largest stay; 0 when all stay.
double spectrum_tail(const struct spectrum *spectrum, size_t rank);
// The smallest rank with spectrum_tail <= share ("bond dimension at that error").
size_t spectrum_rank(const struct spectrum *spectrum, double share);

#endif
