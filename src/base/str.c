#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// What may follow a number: nothing, or the newline that sysfs adds.
static bool is_end(const char *end) {
    return *end == '\0' || (end[0] == '\n' && end[1] == '\0');
}

bool str_parse_u64(const char *text, uint64_t *out) {
    if (!text || !isdigit((unsigned char)text[0])) { // strtoull would take spaces and '-'
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || !is_end(end)) {
        return false;
    }
    *out = value;
    return true;
}

bool str_parse_i64(const char *text, int64_t *out) {
    if (!text) {
        return false;
    }
    const char *digits = text[0] == '-' ? text + 1 : text;
    if (!isdigit((unsigned char)digits[0])) {
        return false;
    }
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || !is_end(end)) {
        return false;
    }
    *out = value;
    return true;
}

// Made once; threads that come at the same time make one each, and the first one's stays.
static locale_t c_locale(void) {
    static _Atomic(locale_t) made;
    locale_t locale = atomic_load(&made), none = (locale_t)0;
    if (!locale) {
        locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        if (locale && !atomic_compare_exchange_strong(&made, &none, locale)) {
            freelocale(locale);
            locale = none; // what is there by now
        }
    }
    return locale;
}

// strtod in the C locale, whatever the program's locale is, and without its hexadecimal form.
static double parse_c_double(const char *text, char **end) {
    const char *digits = text + (text[0] == '+' || text[0] == '-');
    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) {
        *end = (char *)text;
        return 0;
    }
    locale_t old = uselocale(c_locale());
    double value = strtod(text, end);
    uselocale(old);
    return value;
}

bool str_parse_double(const char *text, double *out) {
    if (!text || !(isdigit((unsigned char)text[0]) || strchr("+-.", text[0])) || !text[0]) {
        return false;
    }
    char *end;
    double value = parse_c_double(text, &end);
    if (end == text || !is_end(end) || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

bool str_parse_bytes(const char *text, uint64_t *out) {
    if (!text || !isdigit((unsigned char)text[0])) {
        return false;
    }
    char *end;
    double value = parse_c_double(text, &end);
    static const char LETTERS[] = "KMGT";
    double factor = 1;
    const char *letter = *end ? strchr(LETTERS, toupper((unsigned char)*end)) : NULL;
    if (letter) {
        factor = pow(1024, (double)(letter - LETTERS + 1));
        end++;
        if (*end == 'i') {
            end++;
        }
    }
    if (*end == 'B') {
        end++;
    }
    double bytes = value * factor;
    if (!is_end(end) || !(bytes < 9.2e18)) {
        return false;
    }
    *out = (uint64_t)bytes;
    return true;
}

bool str_parse_seconds(const char *text, double *out) {
    if (!text || !isdigit((unsigned char)text[0])) {
        return false;
    }
    char *end;
    double value = parse_c_double(text, &end);
    double factor = 1;
    if (*end == 's') {
        end++;
    } else if (*end == 'm') {
        factor = 60;
        end++;
    } else if (*end == 'h') {
        factor = 3600;
        end++;
    }
    if (!is_end(end) || !(value * factor < 1e9)) {
        return false;
    }
    *out = value * factor;
    return true;
}

static bool parse_count(const char *text, size_t len, uint32_t *out) {
    char word[16];
    uint64_t value;
    if (len == 0 || len >= sizeof word) {
        return false;
    }
    memcpy(word, text, len);
    word[len] = '\0';
    if (word[len - 1] == '\n' || !str_parse_u64(word, &value) || value == 0 ||
        value > UINT32_MAX / 4) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool expand_range(uint32_t low, uint32_t high, uint32_t *out, size_t max_n, size_t *n) {
    for (uint32_t value = low; value < high; value *= 2) {
        if (*n == max_n) {
            return false;
        }
        out[(*n)++] = value;
    }
    if (*n == max_n || low > high) {
        return false;
    }
    out[(*n)++] = high;
    return true;
}

static int compare_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static size_t sort_unique(uint32_t *items, size_t n) {
    qsort(items, n, sizeof *items, compare_u32);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || items[kept - 1] != items[i]) {
            items[kept++] = items[i];
        }
    }
    return kept;
}

bool str_parse_sweep(const char *text, uint32_t *out, size_t max_n, size_t *n) {
    size_t count = 0;
    if (!text || !text[0]) {
        return false;
    }
    for (const char *part = text;;) {
        size_t len = strcspn(part, ",");
        const char *dots = strstr(part, "..");
        uint32_t low, high;
        if (dots && dots < part + len) {
            if (!parse_count(part, (size_t)(dots - part), &low) ||
                !parse_count(dots + 2, (size_t)(part + len - dots - 2), &high) ||
                !expand_range(low, high, out, max_n, &count)) {
                return false;
            }
        } else if (count == max_n || !parse_count(part, len, &out[count++])) {
            return false;
        }
        if (part[len] == '\0') {
            break;
        }
        part += len + 1;
    }
    *n = sort_unique(out, count);
    return true;
}

bool str_starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends_with(const char *text, const char *suffix) {
    size_t text_len = strlen(text), suffix_len = strlen(suffix);
    return text_len >= suffix_len && strcmp(text + text_len - suffix_len, suffix) == 0;
}

bool str_copy(char *out, size_t size, const char *text) {
    size_t len = strlen(text);
    size_t kept = len < size ? len : size - 1;
    memcpy(out, text, kept);
    out[kept] = '\0';
    return kept == len;
}

size_t str_utf8_len(const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    size_t len = p[0] == 0      ? 0
                 : p[0] < 0x80  ? 1
                 : p[0] < 0xc2  ? 0 // a continuation, or an overlong form
                 : p[0] < 0xe0  ? 2
                 : p[0] < 0xf0  ? 3
                 : p[0] <= 0xf4 ? 4
                                : 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool is_wrong = (p[0] == 0xe0 && p[1] < 0xa0) ||  // overlong
                    (p[0] == 0xed && p[1] >= 0xa0) || // half of a surrogate pair
                    (p[0] == 0xf0 && p[1] < 0x90) ||  // overlong
                    (p[0] == 0xf4 && p[1] >= 0x90);   // above U+10FFFF
    return is_wrong ? 0 : len;
}

char *str_trim(char *text) {
    while (isspace((unsigned char)*text)) {
        text++;
    }
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) {
        end--;
    }
    *end = '\0';
    return text;
}

// Levenshtein distance of two short words, capped at 31 characters.
static size_t edit_distance(const char *a, const char *b) {
    size_t a_len = strnlen(a, 31), b_len = strnlen(b, 31);
    size_t row[32];
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[b_len];
}

const char *str_nearest(const char *word, const char *const *candidates) {
    const char *nearest = NULL;
    size_t best = strlen(word) / 3 + 2; // further away is another word, not a slip
    for (; *candidates; candidates++) {
        size_t distance = edit_distance(word, *candidates);
        if (distance < best) {
            best = distance;
            nearest = *candidates;
        }
    }
    return nearest;
}
