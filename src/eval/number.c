#include "eval/number.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "eval/plain.h"

enum { MAX_DIGITS = 48 }; // of one number; longer ones are none

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || c == '_'; // folded text has no capitals
}

static bool is_separator(char c) {
    return c == '.' || c == ',';
}

// ---- digits

// Groups of digits with a separator in front of each but the first: "1,234.5" has 3.
struct digit_groups {
    const char *begin;
    size_t n;
    const char *first[MAX_DIGITS]; // where each group begins
    size_t len[MAX_DIGITS];
    const char *end;
    bool is_too_long;
};

static void read_groups(const char *text, struct digit_groups *out) {
    *out = (struct digit_groups){.begin = text, .end = text};
    const char *p = text;
    do {
        p += out->n > 0 || is_separator(*p);
        size_t len = strspn(p, "0123456789");
        if (out->n < MAX_DIGITS) {
            out->first[out->n] = p;
            out->len[out->n] = len;
            out->n++;
        } else {
            out->is_too_long = true;
        }
        p += len;
    } while (is_separator(p[0]) && is_digit(p[1]));
    out->end = p;
    out->is_too_long = out->is_too_long || p - text > MAX_DIGITS;
}

static char separator_before(const struct digit_groups *groups, size_t i) {
    return groups->first[i][-1];
}

// The groups [0, n) are thousands: "1,234,567", the same separator throughout.
static bool are_thousands(const struct digit_groups *groups, size_t n) {
    if (n < 2 || groups->len[0] > 3 || groups->first[0][0] == '0') {
        return false;
    }
    for (size_t i = 1; i < n; i++) {
        if (groups->len[i] != 3 || separator_before(groups, i) != separator_before(groups, 1)) {
            return false;
        }
    }
    return true;
}

// How many groups are the whole part, and whether the one after them is the fraction.
static void choose_parts(const struct digit_groups *groups, size_t *n_whole, bool *has_fraction) {
    size_t n = groups->n;
    bool begins_with_comma = n > 1 && separator_before(groups, 1) == ',';
    *n_whole = 1;
    *has_fraction = false;
    if (n > 2 && separator_before(groups, n - 1) != separator_before(groups, 1) &&
        are_thousands(groups, n - 1)) {
        *n_whole = n - 1; // 1,234.5 and 1.234,5
        *has_fraction = true;
    } else if ((n > 2 || begins_with_comma) && are_thousands(groups, n)) {
        *n_whole = n; // 1,234 and 1.234.567
    } else if (n > 1) {
        *has_fraction = !begins_with_comma || n == 2; // 3.5 and 3,5; of the list 3,5,7 only 3
    }
}

// "e3" after the digits, when no letter or digit follows it; 0 bytes otherwise.
static size_t exponent_len(const char *text) {
    if (text[0] != 'e') {
        return 0;
    }
    size_t sign = text[1] == '+' || text[1] == '-';
    size_t n_digits = strspn(text + 1 + sign, "0123456789");
    const char *end = text + 1 + sign + n_digits;
    return n_digits > 0 && n_digits <= 3 && !is_letter(*end) ? (size_t)(end - text) : 0;
}

// The number at `text`, which is a digit, or a '.' before one.
static bool parse_digits(const char *text, double *out) {
    struct digit_groups groups;
    size_t n_whole = 0;
    bool has_fraction = true;
    char plain[2 * MAX_DIGITS], *to = plain;
    read_groups(text, &groups);
    if (groups.is_too_long) {
        return false;
    }
    if (is_separator(*text)) {
        *to++ = '0'; // .5
    } else {
        choose_parts(&groups, &n_whole, &has_fraction);
    }
    for (size_t i = 0; i < n_whole + has_fraction; i++) {
        if (i == n_whole) {
            *to++ = '.';
        }
        memcpy(to, groups.first[i], groups.len[i]);
        to += groups.len[i];
    }
    const char *end = groups.first[n_whole + has_fraction - 1];
    end += groups.len[n_whole + has_fraction - 1];
    size_t exponent = exponent_len(end);
    memcpy(to, end, exponent);
    to[exponent] = '\0';
    return str_parse_double(plain, out);
}

// ---- words

static const char *const WORDS[] = {
    "zero",     "one",     "two",     "three",     "four",     "five",     "six",
    "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",   "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
};
static const char *const TENS[] = {"twenty", "thirty",  "forty",  "fifty",
                                   "sixty",  "seventy", "eighty", "ninety"};
// After these a number word means something else than it says.
static const char *const SCALES[] = {"hundred", "thousand", "million", "billion", "point", "half"};

static size_t word_len(const char *text) {
    size_t len = 0;
    while (is_letter(text[len]) || is_digit(text[len])) {
        len++;
    }
    return len;
}

// Index of the word at `text` in the list, or n.
static size_t find_word(const char *text, const char *const *list, size_t n) {
    size_t len = word_len(text);
    size_t i = 0;
    while (i < n && (strlen(list[i]) != len || strncmp(list[i], text, len) != 0)) {
        i++;
    }
    return i;
}
#define FIND_WORD(text, list) find_word(text, list, sizeof(list) / sizeof((list)[0]))

static const char *next_part(const char *text) {
    text += word_len(text);
    return *text == ' ' || *text == '-' ? text + 1 : text + strlen(text);
}

enum word_kind { WORD_OTHER, WORD_NUMBER, WORD_UNREADABLE };

static enum word_kind parse_word(const char *text, double *out) {
    size_t tens = FIND_WORD(text, TENS), ones = FIND_WORD(text, WORDS);
    const char *rest = next_part(text);
    double value;
    if (tens < sizeof TENS / sizeof TENS[0]) {
        size_t unit = FIND_WORD(rest, WORDS);
        bool is_compound = unit >= 1 && unit <= 9;
        value = 20 + 10 * (double)tens + (is_compound ? (double)unit : 0);
        rest = is_compound ? next_part(rest) : rest;
    } else if (ones < sizeof WORDS / sizeof WORDS[0]) {
        value = (double)ones;
    } else {
        return WORD_OTHER;
    }
    if (FIND_WORD(rest, SCALES) < sizeof SCALES / sizeof SCALES[0]) {
        return WORD_UNREADABLE;
    }
    *out = value;
    return WORD_NUMBER;
}

// ---- the first of either

static bool begins_digits(const char *text) {
    return is_digit(text[0]) || (text[0] == '.' && is_digit(text[1]));
}

// "minus " or "negative " in front of a number: where that begins, else NULL.
static const char *after_minus(const char *text) {
    static const char *const SIGNS[] = {"minus", "negative"};
    if (FIND_WORD(text, SIGNS) == sizeof SIGNS / sizeof SIGNS[0]) {
        return NULL;
    }
    text += word_len(text);
    text += strspn(text, " ");
    double value;
    return begins_digits(text) || parse_word(text, &value) != WORD_OTHER ? text : NULL;
}

// `p` is not inside a word. *is_found: a number, or something that makes it unreadable.
static bool read_at(const char *p, double *out, bool *is_found) {
    const char *number = after_minus(p);
    double sign = number ? -1 : 1, value = 0;
    bool is_read = false;
    number = number ? number : p;
    if ((*p == '-' || *p == '+') && begins_digits(p + 1)) {
        sign = *p == '-' ? -1 : 1;
        number = p + 1;
    }
    *is_found = true;
    if (begins_digits(number)) {
        is_read = parse_digits(number, &value);
    } else {
        enum word_kind kind = parse_word(number, &value);
        *is_found = kind != WORD_OTHER;
        is_read = kind == WORD_NUMBER;
    }
    if (is_read) {
        *out = sign * value;
    }
    return is_read;
}

bool number_first(const char *text, double *out) {
    char *folded = plain_fold(text);
    bool is_read = false, is_found = false;
    char before = ' ';
    for (const char *p = folded; p && *p && !is_found; p++) {
        bool is_inside =
            is_letter(before) || is_digit(before) || (before == '-' && (*p == '-' || *p == '+'));
        before = *p;
        if (!is_inside) {
            is_read = read_at(p, out, &is_found);
        } else if (*p == '-' && begins_digits(p + 1)) {
            before = ' '; // pump-7: a hyphen, then a number without a sign
        } else if (is_separator(*p) && is_digit(p[-1]) && is_digit(p[1])) {
            before = '0'; // v1.5: all of it is a name
        }
    }
    free(folded);
    return is_read;
}
