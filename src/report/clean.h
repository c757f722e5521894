// Text from outside (GGUF metadata, sensor names, stored files) made harmless before any format
// sees it: valid UTF-8, no control characters, no direction overrides. Escaping for HTML, CSV and
// JSON comes on top and is each format's own.
#ifndef WATTLAW_REPORT_CLEAN_H
#define WATTLAW_REPORT_CLEAN_H

#include <stddef.h>

// Length of the valid, printable UTF-8 character at `text` (1..4), or 0 when its first byte must
// be replaced. A NUL gives 0.
size_t clean_char_length(const char *text);
// The number of bytes to skip where clean_char_length gives 0: 3 for a direction override, else 1.
size_t clean_skip_length(const char *text);
// In place: white space other than ' ' becomes ' ', all else that is not printable '?'. The text
// never grows.
void clean_text(char *text);
// Columns that the (clean) character of `len` bytes takes on a terminal: 0, 1 or 2.
int clean_char_columns(const char *text, size_t len);

#endif
