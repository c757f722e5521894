#include "compress/budget.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

enum { MAX_NUMBER_BYTES = 40 };

static const struct {
    const char *unit; // longer ones before their own ends
    enum allocate_budget kind;
    double factor, max;
} FORMS[] = {
    {"ptok/s", ALLOCATE_PROMPT, 1, 1e12}, {"tok/s", ALLOCATE_DECODE, 1, 1e12},
    {"mJ", ALLOCATE_JOULES, 1e-3, 1e12},  {"J", ALLOCATE_JOULES, 1, 1e12},
    {"%", ALLOCATE_WEIGHTS, 0.01, 1},     {"", ALLOCATE_WEIGHTS, 1, 1},
};

static enum wl_status usage(const char *text, struct wl_err *err) {
    return wl_err_set(
        err, WL_USAGE,
        "budget: expected a share of the block weights as 0.5 or 50%%, a file size as "
        "600MB or 1.2GB, a speed as 20tok/s or 100ptok/s (prompt), or the energy of "
        "an answer as 1.5J, found '%.100s'",
        text);
}

static bool parse_bytes(const char *text, double *budget) {
    uint64_t bytes = 0;
    size_t len = strlen(text);
    bool has_unit = len > 0 && strchr("KMGTBkmgt", text[len - 1]);
    if (!has_unit || !str_parse_bytes(text, &bytes) || bytes == 0) {
        return false;
    }
    *budget = (double)bytes;
    return true;
}

static bool parse_number(const char *text, size_t len, double *out) {
    char number[MAX_NUMBER_BYTES];
    if (len >= sizeof number || memchr(text, '\n', len)) {
        return false;
    }
    memcpy(number, text, len);
    number[len] = '\0';
    return str_parse_double(number, out);
}

enum wl_status budget_parse(const char *text, enum allocate_budget *kind, double *budget,
                            struct wl_err *err) {
    double value = 0;
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++) {
        size_t len = strlen(text), unit_len = strlen(FORMS[i].unit);
        if (str_ends_with(text, FORMS[i].unit) && parse_number(text, len - unit_len, &value)) {
            value *= FORMS[i].factor;
            if (!(value > 0 && value <= FORMS[i].max)) {
                return usage(text, err);
            }
            *kind = FORMS[i].kind;
            *budget = value;
            return WL_OK;
        }
    }
    if (!parse_bytes(text, &value)) {
        return usage(text, err);
    }
    *kind = ALLOCATE_BYTES;
    *budget = value;
    return WL_OK;
}

char *budget_text(char out[BUDGET_TEXT_BYTES], enum allocate_budget kind, double budget) {
    char number[UNITS_TEXT_BYTES];
    switch (kind) {
    case ALLOCATE_BYTES: snprintf(out, BUDGET_TEXT_BYTES, "%s", units_bytes(number, budget)); break;
    case ALLOCATE_JOULES:
        snprintf(out, BUDGET_TEXT_BYTES, "%s", units_joules(number, budget));
        break;
    case ALLOCATE_DECODE:
        snprintf(out, BUDGET_TEXT_BYTES, "%s tok/s", units_number(number, budget));
        break;
    case ALLOCATE_PROMPT:
        snprintf(out, BUDGET_TEXT_BYTES, "%s ptok/s", units_number(number, budget));
        break;
    default:
        snprintf(out, BUDGET_TEXT_BYTES, "%s %% of the block weights",
                 units_number(number, 100 * budget));
    }
    return out;
}
