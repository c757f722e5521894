#include "report/laws.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

static const char *const PER[LAW_N_TERMS] = {"", "/token", "/token", "/token\xc2\xb2",
                                             "/token\xc2\xb2"};
static const char *const FACTOR[LAW_N_TERMS] = {"", "prompt", "generated", "prompt\xc2\xb2",
                                                "prompt \xc3\x97 generated"};

void law_part_fill(const struct law_fit *fit, enum metric_id metric, enum law_term term,
                   struct law_part *out) {
    *out = (struct law_part){.is_used = fit->has_term[term]};
    if (!out->is_used) {
        return;
    }
    double magnitude = fmax(fabs(fit->ci95[term].low), fabs(fit->ci95[term].high));
    struct figure_unit unit =
        figure_unit_for(metric, isfinite(magnitude) ? magnitude : fit->coef[term]);
    figure_number(out->value, unit, fit->coef[term]);
    figure_interval(out->interval, unit, fit->ci95[term]);
    snprintf(out->unit, sizeof out->unit, "%s%s", unit.text, PER[term]);
}

char *law_equation(char out[LAW_TEXT_BYTES], const struct law_fit *fit, enum metric_id metric) {
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < LAW_N_TERMS && used < LAW_TEXT_BYTES; i++) {
        char number[FIGURE_BYTES];
        if (!fit->has_term[i]) {
            continue;
        }
        bool is_negative = fit->coef[i] < 0;
        figure_text(number, metric, fabs(fit->coef[i]));
        const char *sign = used == 0 ? (is_negative ? "-" : "") : is_negative ? " - " : " + ";
        int n = snprintf(out + used, LAW_TEXT_BYTES - used, "%s%s%s%s", sign, number,
                         i == LAW_FIXED ? "" : " \xc3\x97 ", FACTOR[i]);
        used += n > 0 ? (size_t)n : 0;
    }
    return out;
}

static bool is_negative_for_sure(const struct law_fit *fit) {
    for (unsigned i = LAW_FIXED; i <= LAW_GENERATED; i++) {
        if (fit->has_term[i] && fit->ci95[i].high < 0) {
            return true;
        }
    }
    return false;
}

static bool has_no_slope(const struct law_fit *fit) {
    return fit->has_term[LAW_PROMPT] && fit->ci95[LAW_PROMPT].low <= 0 &&
           fit->ci95[LAW_PROMPT].high >= 0;
}

static int put_quadratic(char *out, size_t size, const struct law_fit *fit) {
    char p[FIGURE_BYTES];
    double share = 100 * fit->max_quadratic_share;
    if (has_no_slope(fit) && !fit->has_term[LAW_QUADRATIC]) {
        return snprintf(out, size,
                        "Does not depend on prompt tokens as far as the noise lets see.");
    }
    if (fit->has_term[LAW_QUADRATIC]) {
        return snprintf(
            out, size, "Not linear: the prompt's square is needed (up to %.1f %% of the cost, %s).",
            share, figure_p(p, fit->p_quadratic));
    }
    if (!isfinite(fit->p_quadratic)) {
        return snprintf(out, size, "Too few prompt lengths to test whether it is linear.");
    }
    return snprintf(
        out, size,
        "Linear in prompt tokens: a quadratic term would be at most %.1f %% of the cost "
        "(%s) and is not needed.",
        share, figure_p(p, fit->p_quadratic));
}

char *law_words(char out[LAW_TEXT_BYTES], const struct law_fit *fit) {
    char p[FIGURE_BYTES];
    int n = put_quadratic(out, LAW_TEXT_BYTES, fit);
    size_t used = n > 0 ? (size_t)n : 0;
    if (fit->has_negative_coef && used < LAW_TEXT_BYTES) {
        n = snprintf(out + used, LAW_TEXT_BYTES - used, "%s",
                     is_negative_for_sure(fit)
                         ? " A negative coefficient is not physical: the law does not hold here."
                         : " The negative coefficient is within its noise of zero.");
        used += n > 0 ? (size_t)n : 0;
    }
    if (fit->is_lack_of_fit && used < LAW_TEXT_BYTES) {
        snprintf(out + used, LAW_TEXT_BYTES - used,
                 " The points deviate from it by more than their scatter (lack of fit, %s); the "
                 "intervals are widened for that.",
                 figure_p(p, fit->p_lack_of_fit));
    }
    return out;
}
