// What a dead model server had to say, in one line. PURE.
#ifndef WATTLAW_GATEWAY_UPSTREAM_WORDS_H
#define WATTLAW_GATEWAY_UPSTREAM_WORDS_H

#include <stdbool.h>
#include <stddef.h>

// From the last lines of its output: of one that never came up the first error, which is the cause,
// and the last two; else the last two. "" when it said nothing. Whole lines as far as they fit.
char *upstream_words(const char *output, bool has_been_up, char *out, size_t size);

// Text from outside for people and JSON: what is no printable UTF-8 becomes '?'; cut where full.
char *upstream_clean_copy(char *out, size_t size, const char *text);

#endif
