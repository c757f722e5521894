// What follows from an analysis, in sentences.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "report/analysis.h"

enum { HALF = 8, QUARTER = 4, LIST_BYTES = 160, MAX_RANGES = 12 };

__attribute__((format(printf, 2, 3))) static void say(struct report_analysis_words *out,
                                                      const char *format, ...) {
    va_list args;
    if (out->n < REPORT_ANALYSIS_SENTENCES) {
        va_start(args, format);
        vsnprintf(out->text[out->n++], REPORT_SENTENCE_BYTES, format, args);
        va_end(args);
    }
}

// ---- lists of blocks ----

typedef bool is_wanted(const struct report_analysis_layer *layer);

static uint32_t count(const struct report_analysis *a, is_wanted *wanted) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < a->n_layer; i++) {
        n += wanted(&a->layers[i]);
    }
    return n;
}

// "block 3", "blocks 1, 4-7, 9"; "..." where there are too many pieces.
static const char *list(const struct report_analysis *a, is_wanted *wanted, char out[LIST_BYTES]) {
    size_t n_pieces = 0,
           len = (size_t)snprintf(out, LIST_BYTES, "block%s ", count(a, wanted) == 1 ? "" : "s");
    for (uint32_t i = 0; i < a->n_layer && len < LIST_BYTES; i++) {
        uint32_t first = i;
        if (!wanted(&a->layers[i])) {
            continue;
        }
        while (i + 1 < a->n_layer && wanted(&a->layers[i + 1])) {
            i++;
        }
        if (n_pieces == MAX_RANGES) {
            snprintf(out + len, LIST_BYTES - len, " ...");
            break;
        }
        const char *comma = n_pieces++ > 0 ? ", " : "";
        int n = i > first ? snprintf(out + len, LIST_BYTES - len, "%s%" PRIu32 "-%" PRIu32, comma,
                                     first, i)
                          : snprintf(out + len, LIST_BYTES - len, "%s%" PRIu32, comma, i);
        len += (size_t)n;
    }
    return out;
}

// ---- what can go ----

static bool is_half_cheap(const struct report_analysis_layer *layer) {
    return report_analysis_ffn_kl(layer, HALF) < REPORT_CHEAP_KL;
}

static bool is_half_dear(const struct report_analysis_layer *layer) {
    return report_analysis_ffn_kl(layer, HALF) > REPORT_TRANSPARENT_KL;
}

static bool is_half_attention_cheap(const struct report_analysis_layer *layer) {
    return layer->n_groups > 1 &&
           report_analysis_group_kl(layer, report_analysis_groups(layer, 2)) < REPORT_CHEAP_KL;
}

static bool is_attention_cheap(const struct report_analysis_layer *layer) {
    return layer->kl_no_attention < REPORT_CHEAP_KL;
}

static bool is_block_cheap(const struct report_analysis_layer *layer) {
    return layer->kl_removed < REPORT_TRANSPARENT_KL;
}

static void say_widths(const struct report_analysis *a, struct report_analysis_words *out) {
    char three[UNITS_TEXT_BYTES], half[UNITS_TEXT_BYTES], quarter[UNITS_TEXT_BYTES];
    say(out,
        "With 3/4, 1/2 and 1/4 of the neurons in every block the model is to be "
        "expected about "
        "%s, %s and %s nats per token away, if losses add up, before any healing "
        "(transparent: up "
        "to %g, good: up to %g).",
        units_number(three, report_analysis_all_kl(a, 12)),
        units_number(half, report_analysis_all_kl(a, HALF)),
        units_number(quarter, report_analysis_all_kl(a, QUARTER)), REPORT_TRANSPARENT_KL,
        REPORT_GOOD_KL);
}

static void say_neurons(const struct report_analysis *a, struct report_analysis_words *out) {
    char text[LIST_BYTES];
    uint32_t n_cheap = count(a, is_half_cheap), n_dear = count(a, is_half_dear);
    if (n_cheap > 0) {
        say(out, "Can go: half of the neurons of %s, for less than %g nats each.",
            list(a, is_half_cheap, text), REPORT_CHEAP_KL);
    } else {
        say(out, "No block can lose half of its neurons for less than %g nats.", REPORT_CHEAP_KL);
    }
    if (n_dear > 0) {
        say(out,
            "Should stay: the neurons of %s; half of them cost more than %g nats "
            "in each.",
            list(a, is_half_dear, text), REPORT_TRANSPARENT_KL);
    }
}

static void say_attention(const struct report_analysis *a, struct report_analysis_words *out) {
    char text[LIST_BYTES];
    if (count(a, is_half_attention_cheap) > 0) {
        say(out, "Can go: half of the KV heads of %s, for less than %g nats each.",
            list(a, is_half_attention_cheap, text), REPORT_CHEAP_KL);
    }
    if (count(a, is_attention_cheap) > 0) {
        say(out,
            "Hardly needed: all attention of %s; without it less than %g nats "
            "each.",
            list(a, is_attention_cheap, text), REPORT_CHEAP_KL);
    }
}

static void say_blocks(const struct report_analysis *a, struct report_analysis_words *out) {
    char text[LIST_BYTES], kl[UNITS_TEXT_BYTES], influence[UNITS_TEXT_BYTES];
    uint32_t least = 0;
    for (uint32_t i = 1; i < a->n_layer; i++) {
        least = a->layers[i].kl_removed < a->layers[least].kl_removed ? i : least;
    }
    const struct report_analysis_layer *layer = &a->layers[least];
    if (count(a, is_block_cheap) > 0) {
        say(out,
            "Can go whole, one of them: %s; the cheapest, block %" PRIu32
            ", costs %s nats (influence %s).",
            list(a, is_block_cheap, text), least, units_number(kl, layer->kl_removed),
            units_number(influence, layer->influence));
    } else {
        say(out,
            "No block can go whole: the cheapest, block %" PRIu32
            ", would cost %s nats (influence %s).",
            least, units_number(kl, layer->kl_removed), units_number(influence, layer->influence));
    }
}

// ---- why ----

static void say_alignment(const struct report_analysis *a, struct report_analysis_words *out) {
    double low = INFINITY, high = 0;
    uint32_t lowest = 0, highest = 0;
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *layer = &a->layers[i];
        double ratio =
            report_analysis_ratio(layer->ffn_error[QUARTER - 1], layer->ffn_tail[QUARTER - 1]);
        if (ratio < low) {
            low = ratio;
            lowest = i;
        }
        if (ratio > high) {
            high = ratio;
            highest = i;
        }
    }
    if (isfinite(low) && low < high) {
        say(out,
            "A quarter of the neurons loses %.*f (block %" PRIu32 ") to %.*f (block %" PRIu32
            ") times what no choice of as many directions could avoid. Where that "
            "is little, "
            "single neurons carry what matters and pruning is near its best; where "
            "it is much, it "
            "is spread over many, and training after the cut has more to win.",
            low < 100 ? 1 : 0, low, lowest, high < 100 ? 1 : 0, high, highest);
    } else if (!isfinite(low)) {
        say(out, "A quarter of the neurons is as many as the block has outputs: "
                 "the bound of the "
                 "spectrum is 0 there and says nothing about pruning.");
    }
}

static void say_spectra(const struct report_analysis *a, struct report_analysis_words *out) {
    uint32_t narrow = 0, wide = 0;
    for (uint32_t i = 1; i < a->n_layer; i++) {
        narrow = a->layers[i].ffn.chi_10 < a->layers[narrow].ffn.chi_10 ? i : narrow;
        wide = a->layers[i].ffn.chi_10 > a->layers[wide].ffn.chi_10 ? i : wide;
    }
    if (narrow != wide) {
        say(out,
            "The feed-forward output is narrowest in block %" PRIu32 " (%" PRIu32 " of %" PRIu32
            " directions carry nine tenths of it) and widest in block %" PRIu32 " (%" PRIu32 ").",
            narrow, a->layers[narrow].ffn.chi_10, a->layers[narrow].ffn.rank, wide,
            a->layers[wide].ffn.chi_10);
    }
}

static void say_sizes(const struct report_analysis *a, struct report_analysis_words *out) {
    if (a->flexible[0]) {
        say(out,
            "Blocks may get sizes of their own: the model can be written as '%s', "
            "which stock "
            "llama.cpp runs.",
            a->flexible);
    } else {
        say(out,
            "All blocks must keep the same sizes in the architecture '%s': the "
            "dearest blocks "
            "decide how much can go.",
            a->arch);
    }
}

static void say_caution(const struct report_analysis *a, struct report_analysis_words *out) {
    if (a->n_tokens < 4 * a->n_ff) {
        say(out,
            "Caution: %" PRId64 " tokens of calibration for %" PRId64
            " neurons: errors are too small, since they are fitted to so little "
            "text; give more "
            "of it.",
            a->n_tokens, a->n_ff);
    }
    if (a->n_tokens_kl < 256) {
        say(out,
            "Caution: divergences are of %" PRId64
            " held-out tokens only: good for an order of magnitude.",
            a->n_tokens_kl);
    }
}

void report_analysis_words(const struct report_analysis *analysis,
                           struct report_analysis_words *out) {
    *out = (struct report_analysis_words){.n = 0};
    say_widths(analysis, out);
    say_neurons(analysis, out);
    say_attention(analysis, out);
    say_blocks(analysis, out);
    say_alignment(analysis, out);
    say_spectra(analysis, out);
    say_sizes(analysis, out);
    say_caution(analysis, out);
}
