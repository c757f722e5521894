// A fitted law in words: the equation, what the quadratic term means, how good it is.
#ifndef WATTLAW_REPORT_LAWS_H
#define WATTLAW_REPORT_LAWS_H

#include "report/figures.h"
#include "report/result.h"

enum { LAW_TEXT_BYTES = 512 };

// A coefficient with its interval: the unit is the metric's, per token (or per token squared).
// "1.23 ms/token" style parts; empty when the term is not in the law.
struct law_part {
    char value[FIGURE_BYTES];
    char interval[FIGURE_BYTES];
    char unit[FIGURE_BYTES]; // "ms", "ms/token"
    bool is_used;
};
void law_part_fill(const struct law_fit *fit, enum metric_id metric, enum law_term term,
                   struct law_part *out);

// "0.12 s + 1.23 ms x prompt + 45.6 ms x generated" (one line).
char *law_equation(char out[LAW_TEXT_BYTES], const struct law_fit *fit, enum metric_id metric);
// One or two sentences: linear or not, and how well it fits.
char *law_words(char out[LAW_TEXT_BYTES], const struct law_fit *fit);

#endif
