// The number that an answer gives. PURE.
#ifndef WATTLAW_EVAL_NUMBER_H
#define WATTLAW_EVAL_NUMBER_H

#include <stdbool.h>

// The first number in `text`: digits with an optional sign, decimal point or comma, thousands
// separators and exponent, or an English word from zero to ninety-nine. Units after it are
// ignored. docs/tasks.md says it exactly. False (and *out untouched) when there is none.
bool number_first(const char *text, double *out);

#endif
