// Bodies of requests.
#ifndef WATTLAW_BENCH_QUESTION_H
#define WATTLAW_BENCH_QUESTION_H

#include <stdbool.h>
#include <stddef.h>

// A chat of about 200 bytes whose last message is `text`; malloc'd.
char *question_small(const char *text, bool is_stream);
// The same with a JPEG as data URI of about n_uri bytes before the text.
char *question_picture(const char *text, bool is_stream, size_t n_uri);

#endif
