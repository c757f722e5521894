#include "eval/plain.h"

#include <stdlib.h>
#include <string.h>

struct variant {
    const char *utf8;
    const char *ascii;
};

// Lengths 2 and 3 only; the ASCII form is never longer.
static const struct variant VARIANTS[] = {
    {"\u00a0", " "},   {"\u1680", " "},  {"\u2000", " "},  {"\u2001", " "},   {"\u2002", " "},
    {"\u2003", " "},   {"\u2004", " "},  {"\u2005", " "},  {"\u2006", " "},   {"\u2007", " "},
    {"\u2008", " "},   {"\u2009", " "},  {"\u200a", " "},  {"\u2028", " "},   {"\u2029", " "},
    {"\u202f", " "},   {"\u205f", " "},  {"\u3000", " "},  {"\xc2\x85", " "}, {"\ufeff", " "},
    {"\u2018", "'"},   {"\u2019", "'"},  {"\u201a", "'"},  {"\u02bc", "'"},   {"\u201c", "\""},
    {"\u201d", "\""},  {"\u201e", "\""}, {"\u00ab", "\""}, {"\u00bb", "\""},  {"\u2010", "-"},
    {"\u2011", "-"},   {"\u2012", "-"},  {"\u2013", "-"},  {"\u2014", "-"},   {"\u2212", "-"},
    {"\u2026", "..."},
};
enum { N_VARIANTS = sizeof VARIANTS / sizeof VARIANTS[0] };

// The variant that `text` begins with, or NULL.
static const struct variant *variant_at(const char *text) {
    if ((unsigned char)text[0] < 0xc2) {
        return NULL;
    }
    for (size_t i = 0; i < N_VARIANTS; i++) {
        if (strncmp(text, VARIANTS[i].utf8, strlen(VARIANTS[i].utf8)) == 0) {
            return &VARIANTS[i];
        }
    }
    return NULL;
}

// isspace and tolower of the C locale, whatever the program's is.
static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char to_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

char *plain_fold(const char *text) {
    char *out = calloc(strlen(text) + 1, 1);
    if (!out) {
        return NULL;
    }
    char *to = out;
    while (*text) {
        const struct variant *variant = variant_at(text);
        if (variant) {
            size_t len = strlen(variant->ascii);
            memcpy(to, variant->ascii, len);
            to += len;
            text += strlen(variant->utf8);
        } else {
            *to++ = is_space(*text) ? ' ' : to_lower(*text);
            text++;
        }
    }
    *to = '\0';
    return out;
}

bool plain_is_blank(const char *text) {
    while (*text) {
        const struct variant *variant = variant_at(text);
        if (variant ? variant->ascii[0] != ' ' : !is_space(*text)) {
            return false;
        }
        text += variant ? strlen(variant->utf8) : 1;
    }
    return true;
}

static void collapse_spaces(char *text) {
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from == ' ' && (to == text || to[-1] == ' ')) {
            continue;
        }
        if (*from == '%' && to > text && to[-1] == ' ') {
            to--;
        }
        *to++ = *from;
    }
    if (to > text && to[-1] == ' ') {
        to--;
    }
    *to = '\0';
}

// What is decoration at the ends of an answer; signs and units are not.
static bool is_decoration(char c) {
    return c && strchr(" .,;:!?\"'`()[]{}*_~#", c) != NULL;
}

// A '.' before a digit is a decimal point.
static bool is_leading_decoration(const char *text) {
    return is_decoration(text[0]) && !(text[0] == '.' && text[1] >= '0' && text[1] <= '9');
}

static char *strip_ends(char *text) {
    while (is_leading_decoration(text)) {
        text++;
    }
    size_t len = strlen(text);
    while (len && is_decoration(text[len - 1])) {
        text[--len] = '\0';
    }
    return text;
}

static char *strip_article(char *text) {
    static const char *const ARTICLES[] = {"the ", "a ", "an "};
    for (size_t i = 0; i < sizeof ARTICLES / sizeof ARTICLES[0]; i++) {
        size_t len = strlen(ARTICLES[i]);
        if (strncmp(text, ARTICLES[i], len) == 0) {
            return text + len;
        }
    }
    return text;
}

char *plain_normalise(const char *text) {
    char *folded = plain_fold(text);
    if (!folded) {
        return NULL;
    }
    collapse_spaces(folded);
    char *kept = strip_ends(strip_article(strip_ends(folded)));
    memmove(folded, kept, strlen(kept) + 1);
    return folded;
}
