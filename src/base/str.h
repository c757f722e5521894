// Strict, locale-free parsing of text from outside: whole string or failure, never a prefix.
#ifndef WATTLAW_BASE_STR_H
#define WATTLAW_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Each returns false (and leaves *out alone) on empty input, trailing garbage, or overflow.
// A single trailing newline, as sysfs files have it, is accepted.
bool str_parse_u64(const char *text, uint64_t *out);
bool str_parse_i64(const char *text, int64_t *out);
bool str_parse_double(const char *text, double *out); // finite only; '.' whatever the locale
// "512", "64K", "1.5M", "2G" (powers of 1024; an optional "iB" or "B" may follow).
bool str_parse_bytes(const char *text, uint64_t *out);
// "90", "90s", "5m", "2h": seconds.
bool str_parse_seconds(const char *text, double *out);
// "16..2048" (geometric, x2 per step, both ends included) or "16,64,256"; ascending, no duplicates.
// Fails when more than max_n values or a value is 0 or not a number; *n is then left alone, `out`
// is not.
bool str_parse_sweep(const char *text, uint32_t *out, size_t max_n, size_t *n);

bool str_starts_with(const char *text, const char *prefix);
bool str_ends_with(const char *text, const char *suffix);
// Copies at most size-1 bytes and always terminates; false when it was cut.
bool str_copy(char *out, size_t size, const char *text);
// Bytes of the valid UTF-8 character at `text`; 0 when there is none (or the end).
size_t str_utf8_len(const char *text);
// Removes white space at both ends, in place; returns the first kept character.
char *str_trim(char *text);
// The candidate (NULL-terminated list) nearest to `word` by edit distance, or NULL when none is
// near.
const char *str_nearest(const char *word, const char *const *candidates);

#endif
