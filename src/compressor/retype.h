// Other tensor types, from file to file: all matrices to one type, or each its own under a budget
// of bytes. Columns that matter are given the bits: the second moments of every matrix's inputs are
// taken from the very model that is written. Neurons are put in another order first (which means
// nothing to the model), so that those that matter do not share scales (retype_order.h).
#ifndef WATTLAW_COMPRESSOR_RETYPE_H
#define WATTLAW_COMPRESSOR_RETYPE_H

#include <ggml.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/text.h"
#include "worker/gguf_file.h"

struct retype_options {
    // One type (F16, Q8_0, Q6_K, Q5_K, Q4_K, Q4_0 ...), or GGML_TYPE_COUNT: each its own, at most
    // `budget_bytes` for the file.
    enum ggml_type type;
    uint64_t budget_bytes;
    bool keeps_order;                 // neurons stay where they are
    const struct compress_text *text; // for the moments; NULL: all columns are alike
    const char *scratch_dir;
    bool (*go_on)(void *context, double share_done);
    void *context;
};

struct retype_result {
    uint64_t in_bytes, out_bytes;
    double error; // sum over matrices of E|w x - w' x|^2 / E|w x|^2, over their number
    struct retype_tensor {
        char name[64];
        enum ggml_type type;
        double error;
    } * tensors; // that have another type now
    size_t n_tensors;
    double error_in_order; // what `error` would be without another order; NaN: not worked out
};
void retype_result_release(struct retype_result *result); // zeroed ones are fine

// "Q4_K", "q8_0" ...: the types that a compressed model may have. USAGE lists them.
enum wl_status retype_parse(const char *name, enum ggml_type *out, struct wl_err *err);
// Types whose rows do not divide fall back as llama-quantize does, and never to a slow kernel.
// Vectors stay; the output matrix and the embedding get at least Q6_K; a source below the wanted
// type keeps its own. LIMIT when the budget is below what the smallest types need.
enum wl_status retype_run(const char *in, const char *out, const struct retype_options *options,
                          struct retype_result *result, struct wl_err *err);
// The share of the tensors' bytes that is left when all matrices of a file get one type.
double retype_share(const struct gguf_file *file, enum ggml_type type);

#endif
