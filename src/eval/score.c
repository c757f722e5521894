#include "eval/score.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "eval/number.h"
#include "eval/plain.h"

// Differences of decimal fractions have errors of rounding: 0.4 is within 0.1 of 0.3.
#define ROUNDING_REL 1e-9

static const char *const METHOD_NAMES[] = {
    [SCORE_EXACT] = "exact",
    [SCORE_NORMALISED] = "normalised",
    [SCORE_NUMBER] = "number",
    [SCORE_CONTAINS] = "contains",
    NULL,
};
enum { N_METHODS = sizeof METHOD_NAMES / sizeof METHOD_NAMES[0] - 1 };

const char *score_method_name(enum score_method method) {
    return (size_t)method < N_METHODS ? METHOD_NAMES[method] : "unknown";
}

enum wl_status score_method_by_name(const char *name, enum score_method *out, struct wl_err *err) {
    for (size_t i = 0; i < N_METHODS; i++) {
        if (strcmp(name, METHOD_NAMES[i]) == 0) {
            *out = (enum score_method)i;
            return WL_OK;
        }
    }
    const char *nearest = str_nearest(name, METHOD_NAMES);
    return wl_err_set(
        err, WL_INPUT, "expected exact, normalised, number or contains, found '%s'%s%s%s", name,
        nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'" : "");
}

enum wl_status score_check_reference(const struct score_rule *rule, const char *reference,
                                     struct wl_err *err) {
    double number;
    char *plain;
    switch (rule->method) {
    case SCORE_EXACT:
        return reference[0] ? WL_OK : wl_err_set(err, WL_INPUT, "expected text, found none");
    case SCORE_NUMBER:
        return number_first(reference, &number)
                   ? WL_OK
                   : wl_err_set(err, WL_INPUT,
                                "expected a number for the scorer 'number', found '%s'", reference);
    default: break;
    }
    plain = plain_normalise(reference);
    bool is_empty = plain && !plain[0];
    free(plain);
    if (is_empty) {
        return wl_err_set(err, WL_INPUT,
                          "expected letters or digits, found '%s', of which normalisation leaves "
                          "nothing (the scorer 'exact' takes it as it is)",
                          reference);
    }
    return WL_OK;
}

// ---- words

// Whether the character that begins at `text` belongs to a word: ASCII letters, digits and '_', and
// the alphabets of U+00C0 to U+1FFF. Scripts without spaces between words have no borders.
static bool is_word_start(const char *text) {
    unsigned char c = (unsigned char)text[0];
    if (c < 0x80) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               c == '_';
    }
    bool is_sign = c == 0xc3 && (text[1] == '\x97' || text[1] == '\xb7'); // the signs of x and /
    return c >= 0xc3 && c <= 0xe1 && !is_sign;
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

// The character before `at`; `at` itself at the beginning.
static const char *step_back(const char *text, const char *at) {
    while (at > text && ((unsigned char)*--at & 0xc0) == 0x80) {
    }
    return at;
}

// A number that goes on across the border: the 7 of "1.7", of "7.5", of "-7".
static bool is_in_number(const char *text, const char *at, size_t len) {
    const char *end = at + len;
    bool is_before = at > text && is_digit(*at) &&
                     ((at - text >= 2 && (at[-1] == '.' || at[-1] == ',') && is_digit(at[-2])) ||
                      (at[-1] == '-' && (at - text == 1 || at[-2] == ' ')));
    bool is_after =
        len && is_digit(end[-1]) && (end[0] == '.' || end[0] == ',') && is_digit(end[1]);
    return is_before || is_after;
}

static bool has_borders(const char *text, const char *at, size_t len) {
    const char *end = at + len;
    bool joins_before = at > text && is_word_start(step_back(text, at)) && is_word_start(at);
    bool joins_after = is_word_start(end) && is_word_start(step_back(text, end));
    return !joins_before && !joins_after && !is_in_number(text, at, len);
}

static bool contains_words(const char *text, const char *words) {
    size_t len = strlen(words);
    for (const char *at = text; len && (at = strstr(at, words)); at++) {
        if (has_borders(text, at, len)) {
            return true;
        }
    }
    return false;
}

// ---- right or not

static bool is_near(const struct score_rule *rule, double answer, double reference) {
    double allowed = fmax(rule->tolerance, rule->tolerance_rel * fabs(reference));
    double rounding = ROUNDING_REL * fmax(fabs(answer), fabs(reference));
    return fabs(answer - reference) <= allowed + rounding;
}

static bool numbers_match(const struct score_rule *rule, const char *answer,
                          const char *const *references, size_t n) {
    double found, wanted;
    if (!number_first(answer, &found)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (number_first(references[i], &wanted) && is_near(rule, found, wanted)) {
            return true;
        }
    }
    return false;
}

static bool texts_match(enum score_method method, const char *answer, const char *const *references,
                        size_t n) {
    char *plain = plain_normalise(answer);
    bool is_match = false;
    for (size_t i = 0; plain && i < n && !is_match; i++) {
        char *wanted = plain_normalise(references[i]);
        is_match = wanted && (method == SCORE_CONTAINS ? contains_words(plain, wanted)
                                                       : strcmp(plain, wanted) == 0);
        free(wanted);
    }
    free(plain);
    return is_match;
}

bool score_answer(const struct score_rule *rule, const char *answer, const char *const *references,
                  size_t n_references) {
    switch (rule->method) {
    case SCORE_EXACT:
        for (size_t i = 0; i < n_references; i++) {
            if (strcmp(answer, references[i]) == 0) {
                return true;
            }
        }
        return false;
    case SCORE_NUMBER: return numbers_match(rule, answer, references, n_references);
    default: return texts_match(rule->method, answer, references, n_references);
    }
}

// ---- defects

const char *score_defect_name(enum score_defect defect) {
    static const char *const NAMES[] = {"fine", "empty", "looping"};
    return (size_t)defect < sizeof NAMES / sizeof NAMES[0] ? NAMES[defect] : "unknown";
}

enum { MAX_PERIOD = 32, MIN_ROUNDS = 4, MAX_TAIL = MAX_PERIOD * MIN_ROUNDS + 1 };

struct word {
    const char *begin;
    size_t len;
};

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

// The last words, the very last first; returns how many (at most MAX_TAIL).
static size_t last_words(const char *text, struct word words[MAX_TAIL]) {
    size_t n = 0;
    const char *end = text + strlen(text);
    while (n < MAX_TAIL) {
        while (end > text && is_space(end[-1])) {
            end--;
        }
        const char *begin = end;
        while (begin > text && !is_space(begin[-1])) {
            begin--;
        }
        if (begin == end) {
            break;
        }
        words[n++] = (struct word){begin, (size_t)(end - begin)};
        end = begin;
    }
    return n;
}

static bool is_same_word(const struct word *a, const struct word *b) {
    return a->len == b->len && memcmp(a->begin, b->begin, a->len) == 0;
}

// Whether the words end with MIN_ROUNDS rounds of `period` words.
static bool ends_in_rounds(const struct word *words, size_t n, size_t period) {
    if (n < MIN_ROUNDS * period) {
        return false;
    }
    for (size_t i = 0; i + period < MIN_ROUNDS * period; i++) {
        if (!is_same_word(&words[i], &words[i + period])) {
            return false;
        }
    }
    return true;
}

// The last word may have been cut: then it is the beginning of the one a round before.
static bool is_cut_word(const struct word *words, size_t n, size_t period) {
    return n > period && words[0].len < words[period].len &&
           memcmp(words[0].begin, words[period].begin, words[0].len) == 0;
}

enum score_defect score_defect(const char *answer, bool is_cut) {
    struct word words[MAX_TAIL];
    if (plain_is_blank(answer)) {
        return SCORE_EMPTY;
    }
    size_t n = is_cut ? last_words(answer, words) : 0;
    for (size_t period = 1; n && period <= MAX_PERIOD; period++) {
        if (ends_in_rounds(words, n, period) ||
            (is_cut_word(words, n, period) && ends_in_rounds(words + 1, n - 1, period))) {
            return SCORE_LOOPING;
        }
    }
    return SCORE_FINE;
}
