// What the parts of a model are worth, as `wattlaw-compressor` found it (docs/protocol.md,
// ANALYZE): read from its answer, or from what `wattlaw analyze --json` printed, put into words and
// drawn. PURE.
#ifndef WATTLAW_REPORT_ANALYSIS_H
#define WATTLAW_REPORT_ANALYSIS_H

#include <jansson.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { REPORT_ANALYSIS_WIDTHS = 16, REPORT_ANALYSIS_GROUPS = 128, REPORT_ANALYSIS_BONDS = 5 };

// Mean divergence in nats a token: up to the first a changed model is called transparent, up to
// the second good; a part is cheap below the third.
#define REPORT_TRANSPARENT_KL 0.05
#define REPORT_GOOD_KL 0.15
#define REPORT_CHEAP_KL 0.01

struct report_spectrum {
    double entropy;               // nats
    uint32_t rank, chi_10, chi_1; // values that there are; that leave 10 % and 1 % of the sum
};

// Entry i of what has REPORT_ANALYSIS_WIDTHS is of (i + 1) / 16 of the neurons; entry i of groups
// is of i + 1 KV heads.
struct report_analysis_layer {
    double influence, attention_share, ffn_share;
    uint32_t widths[REPORT_ANALYSIS_WIDTHS];
    double ffn_error[REPORT_ANALYSIS_WIDTHS], ffn_tail[REPORT_ANALYSIS_WIDTHS];
    uint32_t n_groups;
    double group_error[REPORT_ANALYSIS_GROUPS], group_tail[REPORT_ANALYSIS_GROUPS];
    struct report_spectrum ffn, attention, bonds[REPORT_ANALYSIS_BONDS];
    double ffn_sensitivity, attention_sensitivity; // nats for an error of 1
    double kl_no_attention, kl_removed;            // nats
};

struct report_analysis {
    char arch[32], flexible[32]; // flexible: where each block may have its own sizes; "" = nowhere
    int64_t file_bytes, n_embd, n_vocab, n_head, n_head_kv, n_ff, step;
    int64_t ffn_weights, attention_weights;
    int64_t n_tokens, n_tokens_kl;
    double seconds, text_seconds;
    bool has_bonds;
    struct report_analysis_layer *layers;
    uint32_t n_layer;
};

// INPUT with the key that is wrong. Other keys than those of the answer are left alone.
enum wl_status report_analysis_read(const json_t *document, struct report_analysis *out,
                                    struct wl_err *err);
void report_analysis_release(struct report_analysis *analysis); // zeroed ones are fine

// Divergence that is to be expected of a block with so many sixteenths of its neurons (1 to 16).
double report_analysis_ffn_kl(const struct report_analysis_layer *layer, uint32_t sixteenths);
// The same for `n` of its KV heads.
double report_analysis_group_kl(const struct report_analysis_layer *layer, uint32_t n);
// Of all blocks together, if losses add up.
double report_analysis_all_kl(const struct report_analysis *analysis, uint32_t sixteenths);
// KV heads that three quarters, a half or a quarter (3, 2, 1) are, at least one.
uint32_t report_analysis_groups(const struct report_analysis_layer *layer, uint32_t quarters);
// Error over the bound that no choice can beat; NaN where the bound is 0, but for rounding.
double report_analysis_ratio(double error, double tail);

// What follows, one sentence after the other, in plain words.
enum { REPORT_ANALYSIS_SENTENCES = 12, REPORT_SENTENCE_BYTES = 400 };
struct report_analysis_words {
    char text[REPORT_ANALYSIS_SENTENCES][REPORT_SENTENCE_BYTES];
    size_t n;
};
void report_analysis_words(const struct report_analysis *analysis,
                           struct report_analysis_words *out);

// A page that stands alone; `title` and `subtitle` come from outside and are escaped.
struct report_analysis_page {
    const char *title, *subtitle, *version;
};
// False when it does not fit into `out`.
bool report_analysis_html(const struct report_analysis *analysis,
                          const struct report_analysis_page *page, struct buf *out);

#endif
