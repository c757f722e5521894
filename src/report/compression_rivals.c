// How the result stands beside what could be taken instead of it, in sentences.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "report/compression_parts.h"

static const double ABOUT = 0.05;   // sizes and times closer than this are called the same
static const double UNSTEADY = 1.5; // spread of the rounds' times: lowest to highest
static const double NEAR = 0.1;     // ... and those closer than this, of logarithms, about the same

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
    char theirs[FIGURE_BYTES], own[FIGURE_BYTES], how[UNITS_TEXT_BYTES],
        kl[COMPRESSION_PHRASE_BYTES];
    quantity_text(theirs, like, rival);
    quantity_text(own, like, &c->own);
    compression_difference(how, like->of(rival) / like->of(&c->own));
    if (is_told) {
        compression_say(out, "%s it is nearest, too: %.40s against %.40s, %s.", like->nearest,
                        theirs, own, how);
    } else {
        bool is_same = distance(rival, &c->own, like->of) <= NEAR;
        compression_say(out, "%s (%.40s against %.40s, %s), %s diverges by %s: %s.",
                        is_same ? like->same : like->nearest_of_all, theirs, own, how, rival->name,
                        compression_divergence(kl, &rival->verdict),
                        compare_kl(&rival->verdict, &c->own.verdict));
    }
}

// ---- a rival that is simply better ----

static bool has_speeds(const struct compression_file *file) {
    return file->speed.prompt_ms.median > 0 && file->speed.decode_ms.median > 0;
}

enum { NOT_TIMED = 2 };

// Of two times of a token, which differ only where no round of the one is like a round of the
// other.
static int time_order(const struct compression_range *theirs, const struct compression_range *own) {
    int by_median = order(theirs->median, own->median);
    bool is_apart = !(theirs->low <= own->high && own->low <= theirs->high);
    return is_apart ? by_median : 0;
}

// The median is slower all the same.
static bool is_maybe_slower(const struct compression_range *theirs,
                            const struct compression_range *own) {
    return order(theirs->median, own->median) > 0 && time_order(theirs, own) <= 0;
}

static int prompt_order(const struct compression_file *theirs, const struct compression_file *own) {
    return has_speeds(theirs) && has_speeds(own)
               ? time_order(&theirs->speed.prompt_ms, &own->speed.prompt_ms)
               : NOT_TIMED;
}

static int decode_order(const struct compression_file *theirs, const struct compression_file *own) {
    return has_speeds(theirs) && has_speeds(own)
               ? time_order(&theirs->speed.decode_ms, &own->speed.decode_ms)
               : NOT_TIMED;
}

static const char *speed_words(const struct compression_file *theirs,
                               const struct compression_file *own) {
    return prompt_order(theirs, own) < 0 || decode_order(theirs, own) < 0 ? "faster" : "as fast";
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
    if (prompt_order(rival, &c->own) == NOT_TIMED) {
        compression_say(
            out,
            "%s is %s and %s: unless it is too slow (times were not measured), take it instead.",
            rival->name, size_words(c, rival), kl_words(c, rival));
    } else if (is_maybe_slower(&rival->speed.prompt_ms, &c->own.speed.prompt_ms) ||
               is_maybe_slower(&rival->speed.decode_ms, &c->own.speed.decode_ms)) {
        compression_say(out,
                        "%s is %s and %s; the rounds do not tell whether it is slower: if it is "
                        "not, take it instead.",
                        rival->name, size_words(c, rival), kl_words(c, rival));
    } else {
        compression_say(out, "%s is %s, %s and %s: take it instead.", rival->name,
                        size_words(c, rival), speed_words(rival, &c->own), kl_words(c, rival));
    }
}

static void say_slower(const struct compression *c, const struct compression_file *rival,
                       bool is_prompt, struct compression_words *out) {
    char theirs[UNITS_TEXT_BYTES], own[UNITS_TEXT_BYTES];
    const struct compression_speed *a = &rival->speed, *b = &c->own.speed;
    compression_say(
        out,
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
        compression_say(out,
                        "None of them is as small, as fast and as near to the original at once.");
    }
}

// What other programs do to the times shows in their spread.
static void say_spread_of_times(const struct compression *c, struct compression_words *out) {
    const struct compression_range *prompt = &c->own.speed.prompt_ms;
    const struct compression_range *decode = &c->own.speed.decode_ms;
    double worst = fmax(prompt->high / prompt->low, decode->high / decode->low);
    if (worst > UNSTEADY && isfinite(worst)) {
        compression_say(out,
                        "Caution: from round to round the times of this file differ by a factor of "
                        "up to %.3g; measure again while nothing else runs.",
                        worst);
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
    say_spread_of_times(c, out);
    begin_with_capital(out);
}
