// Text with its variants made plain, so that answers that say the same compare equal. PURE.
#ifndef WATTLAW_EVAL_PLAIN_H
#define WATTLAW_EVAL_PLAIN_H

#include <stdbool.h>

// ASCII letters in lower case; Unicode's spaces, dashes, typographic quotes and the ellipsis as
// their ASCII forms. Never longer than `text`. malloc'd; NULL without memory.
char *plain_fold(const char *text);
// Folded, white space runs to one space and none at the ends or before '%', punctuation off the
// ends, one leading article off. docs/tasks.md says it exactly. malloc'd; NULL without memory.
char *plain_normalise(const char *text);

// Whether `text` has nothing but white space, Unicode's included.
bool plain_is_blank(const char *text);

#endif
