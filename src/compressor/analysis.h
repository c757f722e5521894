// What each part of a model is worth: how much of its output a given number of neurons or heads can
// give (and the bound that no choice can beat), how much the blocks change, and what an error in a
// part costs at the end, as Kullback-Leibler divergence of the next-token distributions.
#ifndef WATTLAW_COMPRESSOR_ANALYSIS_H
#define WATTLAW_COMPRESSOR_ANALYSIS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "compressor/source.h"
#include "compressor/text.h"

enum { ANALYSIS_WIDTHS = 16, ANALYSIS_MAX_GROUPS = 128, ANALYSIS_BONDS = 5 };

struct analysis_spectrum {  // of an activation-weighted matrix, or of a two-core tensor train
    double entropy;         // nats, of sigma^2 / sum
    uint32_t rank;          // of the full matrix or bond
    uint32_t chi_10, chi_1; // least number of values that leave 10 % and 1 % of the sum
};

// Widths are those of ANALYSIS_WIDTHS equal steps: entry i is of a part with (i + 1) / 16 of its
// neurons, rounded to the file's step. Errors are E|y - y'|^2 / E|y|^2 of the part's own output
// after the best repair.
struct analysis_layer {
    uint32_t layer;
    double influence;                  // 1 - E cos(x_l, x_l+1)
    double attention_share, ffn_share; // E|what the part adds|^2 / E|x|^2
    uint32_t widths[ANALYSIS_WIDTHS];
    double ffn_error[ANALYSIS_WIDTHS]; // what pruning achieves
    double ffn_tail[ANALYSIS_WIDTHS];  // the bound of any choice: the spectrum's tail
    uint32_t n_groups;
    double group_error[ANALYSIS_MAX_GROUPS]; // entry i: of i + 1 KV heads that stay
    double group_tail[ANALYSIS_MAX_GROUPS];
    struct analysis_spectrum ffn, attention;        // W_down C_h^(1/2), W_o C_a^(1/2)
    struct analysis_spectrum bonds[ANALYSIS_BONDS]; // two-core MPO of gate, up, down, q, output
    // Divergence in nats of the whole model for an error of 1 in the part alone, from a cut to half
    // of it; and of the model without the attention, and without the block.
    double ffn_sensitivity, attention_sensitivity;
    double kl_no_attention, kl_removed;
};

struct analysis {
    char arch[32];
    uint32_t n_layer;
    struct analysis_layer *layers;
    size_t n_tokens, n_tokens_kl; // that moments and divergences are of
    double seconds;
};

struct analysis_options {
    size_t n_held_out;  // last sequences: what the divergences are judged on
    size_t n_tokens_kl; // at most, 1024
    bool with_bonds;    // the MPO spectra too, which only the report needs
    uint64_t seed;
    const char *scratch_dir;
    bool (*go_on)(void *context, double share_done);
    void *context;
};

enum wl_status analysis_run(const struct compress_source *source, const struct compress_text *text,
                            const struct analysis_options *options, struct analysis *out,
                            struct wl_err *err);
void analysis_release(struct analysis *analysis);       // zeroed ones are fine
json_t *analysis_json(const struct analysis *analysis); // NULL: no memory
// What analysis_json wrote (kept beside a job, so that another budget costs nothing).
enum wl_status analysis_parse(const json_t *json, struct analysis *out, struct wl_err *err);

#endif
