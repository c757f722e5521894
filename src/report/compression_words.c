// What is to be said of a compression, in sentences that follow from its figures.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "report/compression_parts.h"

enum { LIST_BYTES = 120, MAX_LISTED = 12 };
static const double LEAST_PLAIN = 1e-4; // smaller ones are written with a power of ten
static const double FEW_TOKENS = 2000, DOUBTFUL_RESIDUAL = 0.2, LOST_MASS = 0.001;

void compression_say(struct compression_words *out, const char *format, ...) {
    va_list args;
    if (out->n < COMPRESSION_SENTENCES) {
        va_start(args, format);
        vsnprintf(out->text[out->n++], COMPRESSION_SENTENCE_BYTES, format, args);
        va_end(args);
    }
}

// ---- figures ----

char *compression_kl_text(char out[FIGURE_BYTES], double kl) {
    if (kl >= LEAST_PLAIN && kl < 1) {
        snprintf(out, FIGURE_BYTES, "%.3g", kl);
    } else {
        figure_number(out, (struct figure_unit){1, ""}, kl);
    }
    return out;
}

bool compression_has_interval(const struct compression_verdict *verdict) {
    return isfinite(verdict->kl_low) && isfinite(verdict->kl_high);
}

const char *compression_divergence(char out[COMPRESSION_PHRASE_BYTES],
                                   const struct compression_verdict *v) {
    char kl[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES];
    compression_kl_text(kl, v->kl);
    if (compression_has_interval(v)) {
        snprintf(out, COMPRESSION_PHRASE_BYTES, "%.40s nats per token (95 %% %.40s to %.40s)", kl,
                 compression_kl_text(low, v->kl_low), compression_kl_text(high, v->kl_high));
    } else {
        snprintf(out, COMPRESSION_PHRASE_BYTES, "%.40s nats per token", kl);
    }
    return out;
}

const char *compression_difference(char out[UNITS_TEXT_BYTES], double ratio) {
    if (!isfinite(ratio)) {
        snprintf(out, UNITS_TEXT_BYTES, "unknown");
    } else if (ratio > 0.995 && ratio < 1.005) {
        snprintf(out, UNITS_TEXT_BYTES, "the same");
    } else if (ratio < 3) {
        snprintf(out, UNITS_TEXT_BYTES, "%.0f %% %s", 100 * fabs(ratio - 1),
                 ratio < 1 ? "less" : "more");
    } else {
        snprintf(out, UNITS_TEXT_BYTES, "%.3g times as much", ratio);
    }
    return out;
}

// ---- what came of it ----

// "Good, and written", "Written".
static const char *headline(const struct compression *c, const char *grade,
                            char out[COMPRESSION_PHRASE_BYTES]) {
    const char *written = c->is_written ? "written" : "not written";
    if (grade) {
        snprintf(out, COMPRESSION_PHRASE_BYTES, "%s, %s %s", grade, c->is_written ? "and" : "but",
                 written);
    } else {
        snprintf(out, COMPRESSION_PHRASE_BYTES, "%s", written);
    }
    out[0] = (char)(out[0] - 'a' + 'A');
    return out;
}

static void say_grade(const struct compression *c, struct compression_words *out) {
    char kl[COMPRESSION_PHRASE_BYTES], head[COMPRESSION_PHRASE_BYTES];
    static const char *const MEANING[][2] = {
        {"transparent",
         "on text like the calibration text it can hardly be told from the original"},
        {"good", "on text like the calibration text it answers nearly as the original does"},
        {"degraded", "it answers differently from the original, and what the calibration text did "
                     "not ask for is likely lost"}};
    compression_divergence(kl, &c->own.verdict);
    for (size_t i = 0; i < sizeof MEANING / sizeof MEANING[0]; i++) {
        if (c->own.verdict.is_there && strcmp(c->grade, MEANING[i][0]) == 0) {
            compression_say(out, "%s: %s. It diverges by %s.", headline(c, MEANING[i][0], head),
                            MEANING[i][1], kl);
            return;
        }
    }
    if (c->own.verdict.is_there) {
        compression_say(out, "%s. It diverges by %s.", headline(c, NULL, head), kl);
    } else {
        compression_say(out, "%s. How far it is from the original is not known.",
                        headline(c, NULL, head));
    }
}

static void say_sizes(const struct compression *c, struct compression_words *out) {
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], size[UNITS_TEXT_BYTES];
    char weights[UNITS_TEXT_BYTES], prompt[FIGURE_BYTES], decode[FIGURE_BYTES];
    const struct compression_speed *s = &c->own.speed;
    if (c->own.bytes > 0 && c->original.bytes > 0) {
        compression_say(
            out, "%s became %s, %s; weights in blocks: %s.", units_bytes(before, c->original.bytes),
            units_bytes(after, c->own.bytes),
            compression_difference(size, c->own.bytes / c->original.bytes),
            compression_difference(weights, c->block_weights_after / c->block_weights_before));
    }
    if (isfinite(s->prompt_ratio.median) && isfinite(s->decode_ratio.median)) {
        compression_say(out,
                        "Speed on this machine: prompts %.40s, generation %.40s of the original's.",
                        figure_times(prompt, s->prompt_ratio.median),
                        figure_times(decode, s->decode_ratio.median));
    }
}

static void say_cautions(const struct compression *c, struct compression_words *out) {
    const struct compression_verdict *v = &c->own.verdict;
    if (v->n < FEW_TOKENS) {
        compression_say(out, "Caution: judged on %.0f tokens only: good for an order of magnitude.",
                        v->n);
    }
    if (v->is_there && !compression_has_interval(v)) {
        compression_say(out, "Caution: too little text was held out for an interval.");
    }
    if (v->lost_mass > LOST_MASS) {
        compression_say(
            out,
            "Caution: %.2g %% of the original's probability is on tokens that the result has no "
            "more; divergences are of the rest.",
            100 * v->lost_mass);
    }
}

void compression_say_outcome(const struct compression *c, struct compression_words *out) {
    *out = (struct compression_words){.n = 0};
    say_grade(c, out);
    say_sizes(c, out);
    say_cautions(c, out);
}

// ---- blocks ----

struct spread { // of a size over the blocks that stay
    double low, high, before;
    uint32_t n, n_removed;
};

static struct spread spread_of(const struct compression_blocks *b, bool is_heads) {
    struct spread s = {.low = INFINITY, .high = 0, .before = NAN};
    for (uint32_t i = 0; i < b->n; i++) {
        const struct compression_block *block = &b->items[i];
        double value = is_heads ? block->n_head_kv : block->n_ff;
        s.before = is_heads ? block->n_head_kv_before : block->n_ff_before;
        s.n_removed += block->is_removed;
        if (!block->is_removed && isfinite(value)) {
            s.low = fmin(s.low, value);
            s.high = fmax(s.high, value);
            s.n++;
        }
    }
    return s;
}

static void say_spread(struct compression_words *out, const char *what, const struct spread *s) {
    if (s->n == 0 || !isfinite(s->before)) {
        return;
    }
    if (s->low == s->high && s->low == s->before) {
        compression_say(out, "%s: all %.0f stay in every block.", what, s->before);
    } else if (s->low == s->high) {
        compression_say(out, "%s: %.0f of %.0f stay in every block.", what, s->low, s->before);
    } else {
        compression_say(out, "%s: %.0f to %.0f of %.0f stay, each block its own number.", what,
                        s->low, s->high, s->before);
    }
}

static void say_removed(const struct compression_blocks *b, uint32_t n_removed,
                        struct compression_words *out) {
    char list[LIST_BYTES] = "";
    size_t used = 0, n = 0;
    for (uint32_t i = 0; i < b->n && n < MAX_LISTED; i++) {
        if (b->items[i].is_removed && used < LIST_BYTES - 16) {
            used += (size_t)snprintf(list + used, LIST_BYTES - used, "%s%" PRIu32,
                                     n++ > 0 ? ", " : "", i);
        }
    }
    if (n_removed > 0) {
        compression_say(out, "Taken out whole: %" PRIu32 " of %" PRIu32 " blocks (%s%s).",
                        n_removed, b->n, list, n < n_removed ? " ..." : "");
    }
}

static void say_foretold(const struct compression *c, struct compression_words *out) {
    char kl[FIGURE_BYTES], uniform[FIGURE_BYTES], found[FIGURE_BYTES];
    if (!c->allocation.is_there || !isfinite(c->allocation.predicted_kl)) {
        return;
    }
    compression_say(
        out,
        "Where to cut follows from the analysis: %.40s nats per token were foretold before any "
        "healing (%.40s with the same sizes in all blocks); %.40s were found.",
        compression_kl_text(kl, c->allocation.predicted_kl),
        compression_kl_text(uniform, c->allocation.uniform_kl),
        compression_kl_text(found, c->own.verdict.kl));
}

void compression_say_blocks(const struct compression *c, struct compression_words *out) {
    *out = (struct compression_words){.n = 0};
    struct spread neurons = spread_of(&c->blocks, false), heads = spread_of(&c->blocks, true);
    say_spread(out, "Neurons", &neurons);
    say_spread(out, "KV heads", &heads);
    say_removed(&c->blocks, neurons.n_removed, out);
    say_foretold(c, out);
    if (c->residual_share > DOUBTFUL_RESIDUAL) {
        compression_say(
            out,
            "Caution: the times of the parts on this machine do not add up to within %.0f %%; "
            "measure again while nothing else runs.",
            100 * c->residual_share);
    }
}
