#include "meter/pmic_parse.h"

#include <string.h>

#include "base/str.h"

// Beyond what the chip can deliver or show. A little below zero is its converter's noise.
static const double MAX_CURRENT_A = 40, MAX_VOLTAGE_V = 10, MIN_VALUE = -0.1;
enum { MAX_LINE_BYTES = 80, MAX_INDEX_DIGITS = 3 };

// Moves *text behind `word`; false when it does not begin with it.
static bool skip_word(const char **text, const char *word) {
    if (!str_starts_with(*text, word)) {
        return false;
    }
    *text += strlen(word);
    return true;
}

static bool skip_index(const char **text) {
    size_t n = strspn(*text, "0123456789");
    *text += n;
    return n > 0 && n <= MAX_INDEX_DIGITS;
}

// "0.89745940V": digits and a point only, the unit at the end tells that nothing was cut off.
static bool parse_value(const char *text, char unit, double max, double *out) {
    char number[32];
    size_t n = strspn(text, "-0123456789.");
    if (n == 0 || n >= sizeof number || text[n] != unit || text[n + 1] != '\0') {
        return false;
    }
    memcpy(number, text, n);
    number[n] = '\0';
    if (!str_parse_double(number, out) || *out < MIN_VALUE || *out > max) {
        return false;
    }
    *out = *out < 0 ? 0 : *out;
    return true;
}

static struct pmic_rail *find_or_add(struct pmic_adc *adc, const char *name) {
    for (size_t i = 0; i < adc->n; i++) {
        if (strcmp(adc->rail[i].name, name) == 0) {
            return &adc->rail[i];
        }
    }
    if (adc->n == PMIC_MAX_RAILS) {
        return NULL;
    }
    struct pmic_rail *rail = &adc->rail[adc->n++];
    *rail = (struct pmic_rail){0};
    str_copy(rail->name, sizeof rail->name, name);
    return rail;
}

static bool add_value(struct pmic_adc *adc, const char *name, bool is_current, double value) {
    struct pmic_rail *rail = find_or_add(adc, name);
    if (!rail) {
        return false;
    }
    bool *has = is_current ? &rail->has_current : &rail->has_voltage;
    if (*has) {
        rail->is_doubtful = true;
        return false;
    }
    *has = true;
    *(is_current ? &rail->current_a : &rail->voltage_v) = value;
    return true;
}

// A terminated line without its newline.
static bool parse_line(const char *line, struct pmic_adc *out) {
    static const char NAME_CHARS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    char name[PMIC_NAME_BYTES];
    line += strspn(line, " ");
    size_t n = strspn(line, NAME_CHARS);
    if (n < 3 || line[n - 2] != '_' || n - 2 >= sizeof name) {
        return false;
    }
    memcpy(name, line, n - 2);
    name[n - 2] = '\0';
    char unit = line[n - 1];
    bool is_current = unit == 'A';
    double value;
    line += n;
    if ((unit != 'A' && unit != 'V') || *line != ' ') {
        return false;
    }
    line += strspn(line, " ");
    return skip_word(&line, is_current ? "current(" : "volt(") && skip_index(&line) &&
           skip_word(&line, ")=") &&
           parse_value(line, unit, is_current ? MAX_CURRENT_A : MAX_VOLTAGE_V, &value) &&
           add_value(out, name, is_current, value);
}

void pmic_parse(const char *text, size_t len, struct pmic_adc *out) {
    *out = (struct pmic_adc){0};
    const char *end = text + len;
    for (const char *line = text; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((newline ? newline : end) - line);
        char copy[MAX_LINE_BYTES];
        if (n >= sizeof copy || memchr(line, '\0', n)) {
            out->n_bad++;
        } else if (n > 0) {
            memcpy(copy, line, n);
            copy[n] = '\0';
            out->n_bad += !parse_line(copy, out);
        }
        line += n + (newline != NULL);
    }
}

const struct pmic_rail *pmic_find(const struct pmic_adc *adc, const char *name) {
    for (size_t i = 0; i < adc->n; i++) {
        if (strcmp(adc->rail[i].name, name) == 0) {
            return &adc->rail[i];
        }
    }
    return NULL;
}

bool pmic_is_complete(const struct pmic_rail *rail) {
    return rail->has_current && rail->has_voltage && !rail->is_doubtful;
}

double pmic_power_w(const struct pmic_rail *rail) {
    return rail->current_a * rail->voltage_v;
}
