// Inside report/compression*.c only: a compression as it was read, and the parts of its page.
// Figures that are not known are NaN.
#ifndef WATTLAW_REPORT_COMPRESSION_PARTS_H
#define WATTLAW_REPORT_COMPRESSION_PARTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/units.h"
#include "report/figures.h"

enum {
    COMPRESSION_BLOCKS = 4096,
    COMPRESSION_RIVALS = 16,
    COMPRESSION_ROUNDS = 16,
    COMPRESSION_STAGES = 16,
    COMPRESSION_CLASSES = 32, // of tensors: what they are called without the block
    COMPRESSION_TYPES = 10,
    COMPRESSION_NAME_BYTES = 72,
};

struct compression_range { // of the rounds
    double median, low, high;
};

struct compression_speed {
    double n; // rounds, with all files in turns
    double n_prompt, n_decode;
    struct compression_range prompt_ms, decode_ms;       // of a token
    struct compression_range prompt_ratio, decode_ratio; // of throughput, against the original
};

struct compression_verdict {
    bool is_there;
    double n; // tokens
    double kl, kl_low, kl_high, kl_median, kl_p99;
    double n_image, kl_image;
    double top1_share, lost_mass;
    double n_answers, exact_share, same_share; // that both write; 0: none
    double log_ppl_ratio, log_ppl_ratio_sem;
    double perplexity_before, perplexity_after;
};

// The result, the original, or what could be taken instead.
struct compression_file {
    char name[COMPRESSION_NAME_BYTES];  // "the original in Q4_K"
    char label[COMPRESSION_NAME_BYTES]; // of its dot: "Q4_K"
    const char *refusal;                // why there is no verdict; NULL: none
    bool is_model;                      // a model of its own, not the original in another type
    double bytes;
    struct compression_verdict verdict;
    struct compression_speed speed;
};

enum compression_step { // what is done to a block, in this order
    COMPRESSION_CUT,
    COMPRESSION_REPAIRED,
    COMPRESSION_BIAS,
    COMPRESSION_HEALED,
    COMPRESSION_STEPS,
};

struct compression_block {
    bool is_removed;
    double n_ff_before, n_ff;
    double n_head_kv_before, n_head_kv;
    double error[COMPRESSION_STEPS]; // on held-out text, as a share
    double error_image;
    double attention_cut, attention_repaired;
    double influence; // of an image encoder's block
    double seconds;
};

struct compression_blocks {
    struct compression_block *items;
    uint32_t n;
};

struct compression_round {
    double block_weights, kl, eased;
};

struct compression_stage {
    char name[COMPRESSION_NAME_BYTES];
    double seconds;
};

struct compression_types {
    char class_name[COMPRESSION_CLASSES][COMPRESSION_NAME_BYTES];
    char type_name[COMPRESSION_TYPES][COMPRESSION_NAME_BYTES];
    uint32_t count[COMPRESSION_CLASSES][COMPRESSION_TYPES];
    size_t n_classes, n_types;
    size_t n_others; // tensors beyond these
    double in_bytes, out_bytes, error;
};

struct compression {
    const json_t *document; // texts below are borrowed from it
    char arch[COMPRESSION_NAME_BYTES];
    const char *grade, *refusal; // "" and NULL: none
    bool is_written, is_mixed;
    struct compression_file own, original, rivals[COMPRESSION_RIVALS];
    size_t n_rivals;
    double block_weights_before, block_weights_after;
    struct compression_blocks blocks;
    double stream_error;
    struct {
        bool is_there;
        double predicted_kl, uniform_kl;
    } allocation;
    double residual_share; // of the fit of costs: the worse of prompt and decode
    struct {
        bool is_there, is_kept;
        double kl_before, kl_after, n_tokens, seconds;
    } distilled;
    struct compression_stage stages[COMPRESSION_STAGES];
    size_t n_stages;
    struct compression_round rounds[COMPRESSION_ROUNDS];
    size_t n_rounds;
    struct {
        bool is_there;
        double n_before, n_after, growth, coverage, in_bytes, out_bytes;
    } vocabulary;
    bool has_types;
    struct compression_types types;
    struct {
        bool is_there;
        double in_bytes, out_bytes, weights_before, weights_after, error_projected, cosine;
        double seconds_before, seconds_after; // of a picture
        struct compression_blocks blocks;
    } encoder;
};

// ---- compression_read.c, compression_types.c
// *out is 50 KB: not for the stack of a small thread. Zeroed ones may be released.
enum wl_status compression_read(const json_t *document, struct compression *out,
                                struct wl_err *err);
void compression_release(struct compression *c);
double compression_figure(const json_t *object, const char *key, double low, double high);
void compression_name(char out[COMPRESSION_NAME_BYTES], const char *text); // cut, and valid UTF-8
void compression_types_read(const json_t *json, struct compression_types *out);

// ---- compression_words.c, compression_rivals.c
enum {
    COMPRESSION_SENTENCE_BYTES = 480,
    COMPRESSION_SENTENCES = 8,
    COMPRESSION_PHRASE_BYTES = 200
};
struct compression_words {
    char text[COMPRESSION_SENTENCES][COMPRESSION_SENTENCE_BYTES];
    size_t n;
};
void compression_say_outcome(const struct compression *c, struct compression_words *out);
// How it stands beside the rivals.
void compression_say_rivals(const struct compression *c, struct compression_words *out);
void compression_say_blocks(const struct compression *c, struct compression_words *out);
void compression_say(struct compression_words *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
char *compression_kl_text(char out[FIGURE_BYTES], double kl);
bool compression_has_interval(const struct compression_verdict *verdict);
// "0.0084 nats per token (95 % 0 to 0.0227)".
const char *compression_divergence(char out[COMPRESSION_PHRASE_BYTES],
                                   const struct compression_verdict *verdict);
// "51 % less", of a ratio.
const char *compression_difference(char out[UNITS_TEXT_BYTES], double ratio);

// ---- the parts of the page, in their order
void compression_summary(struct buf *out, const struct compression *c); // compression_tables.c
void compression_beside(struct buf *out, const struct compression *c);
void compression_put_words(struct buf *out, const struct compression_words *words);
void compression_blocks(struct buf *out, const struct compression *c);  // compression_blocks.c
void compression_healing(struct buf *out, const struct compression *c); // compression_steps.c
void compression_encoder(struct buf *out, const struct compression *c); // compression_blocks.c
void compression_vocabulary(struct buf *out, const struct compression *c);
void compression_types_table(struct buf *out, const struct compression *c);
void compression_rounds(struct buf *out, const struct compression *c);
void compression_method(struct buf *out, const struct compression *c); // compression_method.c

// ---- compression_plots.c, compression_block_plots.c
void compression_size_plot(struct buf *out, const struct compression *c);
void compression_decode_plot(struct buf *out, const struct compression *c);
// `id` makes the elements' ids unique.
void compression_neurons_plot(struct buf *out, const char *id, const struct compression_blocks *b);
void compression_error_plot(struct buf *out, const char *id, const struct compression_blocks *b);

#endif
