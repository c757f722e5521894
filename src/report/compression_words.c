// What is to be said of a compression, in sentences that follow from its figures.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "report/analysis.h"
#include "report/compression_parts.h"

enum { LIST_BYTES = 120, MAX_LISTED = 12, PHRASE_BYTES = 200 };
static const double ABOUT = 0.05; // sizes and times closer than this are called the same
static const double NEAR = 0.1;   // ... and those closer than this, of logarithms, about the same
static const double LEAST_PLAIN = 1e-4; // smaller ones are written with a power of ten
static const double FEW_TOKENS = 2000, DOUBTFUL_RESIDUAL = 0.2, LOST_MASS = 0.001;

__attribute__((format(printf, 2, 3))) static void say(struct compression_words *out,
                                                      const char *format, ...) {
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

// "0.0084 nats per token (95 % 0 to 0.0227)".
static const char *divergence(char out[PHRASE_BYTES], const struct compression_verdict *v) {
    char kl[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES];
    compression_kl_text(kl, v->kl);
    if (compression_has_interval(v)) {
        snprintf(out, PHRASE_BYTES, "%.40s nats per token (95 %% %.40s to %.40s)", kl,
                 compression_kl_text(low, v->kl_low), compression_kl_text(high, v->kl_high));
    } else {
        snprintf(out, PHRASE_BYTES, "%.40s nats per token", kl);
    }
    return out;
}

// "51 % less", of a ratio.
static const char *difference(char out[UNITS_TEXT_BYTES], double ratio) {
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
                            char out[PHRASE_BYTES]) {
    const char *written = c->is_written ? "written" : "not written";
    if (grade) {
        snprintf(out, PHRASE_BYTES, "%s, %s %s", grade, c->is_written ? "and" : "but", written);
    } else {
        snprintf(out, PHRASE_BYTES, "%s", written);
    }
    out[0] = (char)(out[0] - 'a' + 'A');
    return out;
}

static void say_grade(const struct compression *c, struct compression_words *out) {
    char kl[PHRASE_BYTES], head[PHRASE_BYTES];
    static const char *const MEANING[][2] = {
        {"transparent",
         "on text like the calibration text it can hardly be told from the original"},
        {"good", "on text like the calibration text it answers nearly as the original does"},
        {"degraded", "it answers differently from the original, and what the calibration text did "
                     "not ask for is likely lost"}};
    divergence(kl, &c->own.verdict);
    for (size_t i = 0; i < sizeof MEANING / sizeof MEANING[0]; i++) {
        if (c->own.verdict.is_there && strcmp(c->grade, MEANING[i][0]) == 0) {
            say(out, "%s: %s. It diverges by %s.", headline(c, MEANING[i][0], head), MEANING[i][1],
                kl);
            return;
        }
    }
    if (c->own.verdict.is_there) {
        say(out, "%s. It diverges by %s.", headline(c, NULL, head), kl);
    } else {
        say(out, "%s. How far it is from the original is not known.", headline(c, NULL, head));
    }
}

static void say_sizes(const struct compression *c, struct compression_words *out) {
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], size[UNITS_TEXT_BYTES];
    char weights[UNITS_TEXT_BYTES], prompt[FIGURE_BYTES], decode[FIGURE_BYTES];
    const struct compression_speed *s = &c->own.speed;
    if (c->own.bytes > 0 && c->original.bytes > 0) {
        say(out, "%s became %s, %s; weights in blocks: %s.", units_bytes(before, c->original.bytes),
            units_bytes(after, c->own.bytes), difference(size, c->own.bytes / c->original.bytes),
            difference(weights, c->block_weights_after / c->block_weights_before));
    }
    if (isfinite(s->prompt_ratio.median) && isfinite(s->decode_ratio.median)) {
        say(out, "Speed on this machine: prompts %.40s, generation %.40s of the original's.",
            figure_times(prompt, s->prompt_ratio.median),
            figure_times(decode, s->decode_ratio.median));
    }
}

static void say_cautions(const struct compression *c, struct compression_words *out) {
    const struct compression_verdict *v = &c->own.verdict;
    if (v->n < FEW_TOKENS) {
        say(out, "Caution: judged on %.0f tokens only: good for an order of magnitude.", v->n);
    }
    if (v->is_there && !compression_has_interval(v)) {
        say(out, "Caution: too little text was held out for an interval.");
    }
    if (v->lost_mass > LOST_MASS) {
        say(out,
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

// ---- beside the rivals ----

// Of two positive figures: -1 less, 0 about the same, 1 more.
static int order(double theirs, double own) {
    return theirs < own * (1 - ABOUT) ? -1 : theirs > own * (1 + ABOUT) ? 1 : 0;
}

// How both divergences compare, in words.
static const char *compare_kl(const struct compression_verdict *theirs,
                              const struct compression_verdict *own) {
    bool is_less = theirs->kl < own->kl;
    if (!compression_has_interval(theirs) || !compression_has_interval(own)) {
        return is_less ? "less than this file" : "more than this file";
    }
    if (theirs->kl_high < own->kl_low || theirs->kl_low > own->kl_high) {
        return is_less ? "clearly less than this file" : "clearly more than this file";
    }
    return is_less ? "on average less than this file, but the intervals overlap"
                   : "on average more than this file, but the intervals overlap";
}

typedef double quantity(const struct compression_file *file);

static double bytes_of(const struct compression_file *file) {
    return file->bytes;
}

static double decode_ms_of(const struct compression_file *file) {
    return file->speed.decode_ms.median;
}

static double distance(const struct compression_file *a, const struct compression_file *b,
                       quantity *of) {
    double ratio = of(a) / of(b);
    return ratio > 0 && isfinite(ratio) ? fabs(log(ratio)) : INFINITY;
}

// The judged rival that is nearest in a quantity; NULL: none is known.
static const struct compression_file *nearest(const struct compression *c, quantity *of) {
    const struct compression_file *best = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < c->n_rivals; i++) {
        double d = distance(&c->rivals[i], &c->own, of);
        if (c->rivals[i].verdict.is_there && d < least) {
            least = d;
            best = &c->rivals[i];
        }
    }
    return best;
}

struct likeness { // words for a quantity
    const char *same, *nearest, *nearest_of_all;
    quantity *of;
    bool is_bytes;
};

static const char *quantity_text(char out[FIGURE_BYTES], const struct likeness *like,
                                 const struct compression_file *file) {
    char text[UNITS_TEXT_BYTES];
    units_number(text, like->of(file));
    if (like->is_bytes) {
        units_bytes(text, like->of(file));
    }
    snprintf(out, FIGURE_BYTES, like->is_bytes ? "%s" : "%s ms", text);
    return out;
}

static void say_nearest(const struct compression *c, const struct likeness *like,
                        const struct compression_file *rival, bool is_told,
                        struct compression_words *out) {
    char theirs[FIGURE_BYTES], own[FIGURE_BYTES], how[UNITS_TEXT_BYTES], kl[PHRASE_BYTES];
    quantity_text(theirs, like, rival);
    quantity_text(own, like, &c->own);
    difference(how, like->of(rival) / like->of(&c->own));
    if (is_told) {
        say(out, "%s it is nearest, too: %.40s against %.40s, %s.", like->nearest, theirs, own,
            how);
    } else {
        bool is_same = distance(rival, &c->own, like->of) <= NEAR;
        say(out, "%s (%.40s against %.40s, %s), %s diverges by %s: %s.",
            is_same ? like->same : like->nearest_of_all, theirs, own, how, rival->name,
            divergence(kl, &rival->verdict), compare_kl(&rival->verdict, &c->own.verdict));
    }
}

// ---- a rival that is simply better ----

static bool has_speeds(const struct compression_file *file) {
    return file->speed.prompt_ms.median > 0 && file->speed.decode_ms.median > 0;
}

enum { NOT_TIMED = 2 };

// The same of the times of a token, NOT_TIMED where they are not known.
static int prompt_order(const struct compression_file *theirs, const struct compression_file *own) {
    return has_speeds(theirs) && has_speeds(own)
               ? order(theirs->speed.prompt_ms.median, own->speed.prompt_ms.median)
               : NOT_TIMED;
}

static int decode_order(const struct compression_file *theirs, const struct compression_file *own) {
    return has_speeds(theirs) && has_speeds(own)
               ? order(theirs->speed.decode_ms.median, own->speed.decode_ms.median)
               : NOT_TIMED;
}

// Not larger, and nearer to the original.
static bool is_smaller_and_nearer(const struct compression_file *theirs,
                                  const struct compression_file *own) {
    return theirs->verdict.is_there && own->verdict.is_there &&
           theirs->verdict.kl < own->verdict.kl && theirs->bytes > 0 &&
           order(theirs->bytes, own->bytes) <= 0;
}

// Such a rival that is slower in what is asked for and in nothing else, or in nothing. Of several
// the nearest to the original; NULL: none.
static const struct compression_file *best_of(const struct compression *c, bool is_prompt_slower,
                                              bool is_decode_slower) {
    const struct compression_file *best = NULL;
    for (size_t i = 0; i < c->n_rivals; i++) {
        const struct compression_file *rival = &c->rivals[i];
        bool is_wanted = is_smaller_and_nearer(rival, &c->own) &&
                         (prompt_order(rival, &c->own) == 1) == is_prompt_slower &&
                         (decode_order(rival, &c->own) == 1) == is_decode_slower;
        if (is_wanted && (!best || rival->verdict.kl < best->verdict.kl)) {
            best = rival;
        }
    }
    return best;
}

static const char *size_words(const struct compression *c, const struct compression_file *rival) {
    return order(rival->bytes, c->own.bytes) < 0 ? "smaller" : "about as small";
}

static const char *kl_words(const struct compression *c, const struct compression_file *rival) {
    return rival->verdict.kl_high < c->own.verdict.kl_low ? "nearer to the original"
                                                          : "on average nearer to the original";
}

static void say_better(const struct compression *c, const struct compression_file *rival,
                       struct compression_words *out) {
    int prompt = prompt_order(rival, &c->own), decode = decode_order(rival, &c->own);
    if (prompt == NOT_TIMED) {
        say(out,
            "%s is %s and %s: unless it is too slow (times were not measured), take it instead.",
            rival->name, size_words(c, rival), kl_words(c, rival));
    } else {
        say(out, "%s is %s, %s and %s: take it instead.", rival->name, size_words(c, rival),
            prompt < 0 || decode < 0 ? "faster" : "as fast", kl_words(c, rival));
    }
}

static void say_slower(const struct compression *c, const struct compression_file *rival,
                       bool is_prompt, struct compression_words *out) {
    char theirs[UNITS_TEXT_BYTES], own[UNITS_TEXT_BYTES];
    const struct compression_speed *a = &rival->speed, *b = &c->own.speed;
    say(out,
        "Only the speed of %s speaks for this file: %s is %s and %s, but takes %s ms for a token "
        "there against %s.",
        is_prompt ? "prompts" : "generation", rival->name, size_words(c, rival), kl_words(c, rival),
        units_number(theirs, is_prompt ? a->prompt_ms.median : a->decode_ms.median),
        units_number(own, is_prompt ? b->prompt_ms.median : b->decode_ms.median));
}

static bool is_any_compared(const struct compression *c) {
    bool is_any = false;
    for (size_t i = 0; i < c->n_rivals; i++) {
        is_any = is_any || (c->rivals[i].verdict.is_there && has_speeds(&c->rivals[i]));
    }
    return is_any && c->own.verdict.is_there && has_speeds(&c->own);
}

static void say_choice(const struct compression *c, struct compression_words *out) {
    const struct compression_file *better = best_of(c, false, false);
    const struct compression_file *slow_prompt = best_of(c, true, false);
    const struct compression_file *slow_decode = best_of(c, false, true);
    if (better) {
        say_better(c, better, out);
    } else if (slow_prompt || slow_decode) {
        say_slower(c, slow_prompt ? slow_prompt : slow_decode, slow_prompt != NULL, out);
    } else if (is_any_compared(c)) {
        say(out, "None of them is as small, as fast and as near to the original at once.");
    }
}

static void begin_with_capital(struct compression_words *words) {
    for (size_t i = 0; i < words->n; i++) {
        if (strncmp(words->text[i], "the original", 12) == 0) {
            words->text[i][0] = 'T';
        }
    }
}

void compression_say_rivals(const struct compression *c, struct compression_words *out) {
    static const struct likeness SIZE = {"At about the same size", "In size", "Nearest in size",
                                         bytes_of, true};
    static const struct likeness DECODE = {
        "At about the same time for a generated token", "In time for a generated token",
        "Nearest in time for a generated token", decode_ms_of, false};
    *out = (struct compression_words){.n = 0};
    const struct compression_file *in_size = nearest(c, bytes_of);
    const struct compression_file *in_decode = nearest(c, decode_ms_of);
    if (in_size && c->own.verdict.is_there) {
        say_nearest(c, &SIZE, in_size, false, out);
    }
    if (in_decode && c->own.verdict.is_there) {
        say_nearest(c, &DECODE, in_decode, in_decode == in_size, out);
    }
    say_choice(c, out);
    begin_with_capital(out);
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
        say(out, "%s: all %.0f stay in every block.", what, s->before);
    } else if (s->low == s->high) {
        say(out, "%s: %.0f of %.0f stay in every block.", what, s->low, s->before);
    } else {
        say(out, "%s: %.0f to %.0f of %.0f stay, each block its own number.", what, s->low, s->high,
            s->before);
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
        say(out, "Taken out whole: %" PRIu32 " of %" PRIu32 " blocks (%s%s).", n_removed, b->n,
            list, n < n_removed ? " ..." : "");
    }
}

static void say_foretold(const struct compression *c, struct compression_words *out) {
    char kl[FIGURE_BYTES], uniform[FIGURE_BYTES], found[FIGURE_BYTES];
    if (!c->allocation.is_there || !isfinite(c->allocation.predicted_kl)) {
        return;
    }
    say(out,
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
        say(out,
            "Caution: the times of the parts on this machine do not add up to within %.0f %%; "
            "measure again while nothing else runs.",
            100 * c->residual_share);
    }
}
