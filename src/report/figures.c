#include "report/figures.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "report/clean.h"

#define MIDDLE_DOT "\xc2\xb7"
#define MICRO "\xc2\xb5"
#define NS_PER_MINUTE (60 * UNITS_NS_PER_S)

struct unit_row {
    double from; // shown magnitudes from here on, in the metric's own unit
    struct figure_unit unit;
};

// The last row has from = 0.
static struct figure_unit pick(const struct unit_row *rows, double magnitude) {
    while (rows->from > 0 && !(magnitude >= rows->from)) {
        rows++;
    }
    return rows->unit;
}

struct figure_unit figure_unit_for(enum metric_id metric, double magnitude) {
    static const struct unit_row SECONDS[] = {{0.9995, {1, "s"}},
                                              {0.9995e-3, {1e3, "ms"}},
                                              {0.9995e-6, {1e6, MICRO "s"}},
                                              {0, {1e9, "ns"}}};
    static const struct unit_row ENERGY[] = {{3600 * 999.5, {1 / 3.6e6, "kWh"}},
                                             {3600 * 0.9995, {1 / 3600.0, "Wh"}},
                                             {3.6 * 0.9995, {1e3 / 3600.0, "mWh"}},
                                             {3.6e-3 * 0.9995, {1e6 / 3600.0, MICRO "Wh"}},
                                             {0, {1e9 / 3600.0, "nWh"}}};
    static const struct unit_row RAM_AUC[] = {{1024 * 99.95, {1 / 1024.0, "GiB" MIDDLE_DOT "s"}},
                                              {0.09995, {1, "MiB" MIDDLE_DOT "s"}},
                                              {0.9995 / 1024, {1024, "KiB" MIDDLE_DOT "s"}},
                                              {0, {1048576, "B" MIDDLE_DOT "s"}}};
    static const struct unit_row RAM[] = {{1024 * 9.995, {1 / 1024.0, "GiB"}}, {0, {1, "MiB"}}};
    const char *unit = metric_info(metric)->unit;
    magnitude = fabs(magnitude);
    if (magnitude == 0) {
        magnitude = 1;
    }
    return strcmp(unit, "s") == 0          ? pick(SECONDS, magnitude)
           : strcmp(unit, "J") == 0        ? pick(ENERGY, magnitude)
           : strcmp(unit, "MiB.s") == 0    ? pick(RAM_AUC, magnitude)
           : strcmp(unit, "MiB") == 0      ? pick(RAM, magnitude)
           : strcmp(unit, "%.s") == 0      ? (struct figure_unit){1, "%" MIDDLE_DOT "s"}
           : strcmp(unit, "C") == 0        ? (struct figure_unit){1, "\xc2\xb0"
                                                                            "C"}
           : strcmp(unit, "tokens/s") == 0 ? (struct figure_unit){1, "tok/s"}
                                           : (struct figure_unit){1, unit};
}

// "2.30e-06" reads "2.30x10^-6", with superscripts.
static void put_power_of_ten(char *out, const char *mantissa, int len, const char *exponent) {
    static const char *const DIGITS[] = {
        "\xe2\x81\xb0", "\xc2\xb9",     "\xc2\xb2",     "\xc2\xb3",     "\xe2\x81\xb4",
        "\xe2\x81\xb5", "\xe2\x81\xb6", "\xe2\x81\xb7", "\xe2\x81\xb8", "\xe2\x81\xb9"};
    size_t used = (size_t)snprintf(out, FIGURE_BYTES,
                                   "%.*s\xc3\x97"
                                   "10%s",
                                   len, mantissa, exponent[0] == '-' ? "\xe2\x81\xbb" : "");
    for (exponent += strspn(exponent, "+-0"); *exponent >= '0' && *exponent <= '9'; exponent++) {
        used += (size_t)snprintf(out + used, FIGURE_BYTES - used, "%s", DIGITS[*exponent - '0']);
    }
}

char *figure_number(char out[FIGURE_BYTES], struct figure_unit unit, double value) {
    char number[UNITS_TEXT_BYTES];
    units_number(number, value * unit.factor);
    const char *exponent = strchr(number, 'e');
    if (exponent) {
        put_power_of_ten(out, number, (int)(exponent - number), exponent + 1);
    } else {
        str_copy(out, FIGURE_BYTES, number);
    }
    return out;
}

char *figure_text(char out[FIGURE_BYTES], enum metric_id metric, double value) {
    struct figure_unit unit = figure_unit_for(metric, value);
    figure_number(out, unit, value);
    if (unit.text[0] && isfinite(value)) {
        size_t used = strlen(out);
        snprintf(out + used, FIGURE_BYTES - used, " %s", unit.text);
    }
    return out;
}

static bool is_known(struct stats_interval interval) {
    return isfinite(interval.low) && isfinite(interval.high);
}

char *figure_interval(char out[FIGURE_BYTES], struct figure_unit unit,
                      struct stats_interval interval) {
    char low[FIGURE_BYTES], high[FIGURE_BYTES];
    out[0] = '\0';
    if (is_known(interval)) {
        snprintf(out, FIGURE_BYTES, "%.36s to %.36s", figure_number(low, unit, interval.low),
                 figure_number(high, unit, interval.high));
    }
    return out;
}

// One decimal below 100 %, none above: +1234 % needs no tenths.
static void percent(char *out, size_t size, double ratio) {
    double pct = (ratio - 1) * 100;
    snprintf(out, size, fabs(pct) < 99.95 ? "%+.1f" : "%+.0f", pct);
}

char *figure_change(char out[FIGURE_BYTES], double ratio) {
    if (!isfinite(ratio)) {
        str_copy(out, FIGURE_BYTES, "-");
        return out;
    }
    percent(out, FIGURE_BYTES - 4, ratio);
    size_t used = strlen(out);
    snprintf(out + used, FIGURE_BYTES - used, " %%");
    return out;
}

char *figure_change_interval(char out[FIGURE_BYTES], struct stats_interval interval) {
    char low[32], high[32];
    out[0] = '\0';
    if (is_known(interval)) {
        percent(low, sizeof low, interval.low);
        percent(high, sizeof high, interval.high);
        snprintf(out, FIGURE_BYTES, "%s to %s %%", low, high);
    }
    return out;
}

char *figure_times(char out[FIGURE_BYTES], double ratio) {
    char number[UNITS_TEXT_BYTES];
    snprintf(out, FIGURE_BYTES, isfinite(ratio) ? "\xc3\x97%s" : "%s", units_number(number, ratio));
    return out;
}

char *figure_p(char out[FIGURE_BYTES], double p) {
    if (!isfinite(p)) {
        str_copy(out, FIGURE_BYTES, "not tested");
    } else if (p < 0.001) {
        str_copy(out, FIGURE_BYTES, "p < 0.001");
    } else {
        snprintf(out, FIGURE_BYTES, "p = %.*f", p < 0.1 ? 3 : 2, p);
    }
    return out;
}

// Days since 1970-01-01 to year, month, day (Howard Hinnant, 'chrono-compatible low-level date
// algorithms'); gmtime is avoided because it keeps static state.
static void civil_from_days(int64_t days, int *year, int *month, int *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

char *figure_date(char out[FIGURE_BYTES], int64_t wall_ns) {
    int year, month, day;
    if (wall_ns <= 0) {
        str_copy(out, FIGURE_BYTES, "-");
        return out;
    }
    int64_t minutes = wall_ns / NS_PER_MINUTE;
    civil_from_days(minutes / 1440, &year, &month, &day);
    snprintf(out, FIGURE_BYTES, "%04d-%02d-%02d %02d:%02d UTC", year, month, day,
             (int)(minutes / 60 % 24), (int)(minutes % 60));
    return out;
}

int figure_verdict(enum metric_id metric, const struct report_change *change) {
    int better = metric_info(metric)->better;
    if (change->n_cells == 0 || !change->is_resolved || !is_known(change->ci95)) {
        return 0;
    }
    return change->ci95.high < 1 ? -better : change->ci95.low > 1 ? better : 0;
}

char *figure_source(char *out, size_t size, const struct report_model *model) {
    out[0] = '\0';
    if (model->n_sources > 0) {
        const struct report_source *source = &model->source[0];
        snprintf(out, size, "%s, %s scope, %s", source->source, source->scope,
                 record_label_name(source->label));
    }
    return out;
}

char *figure_machine(char *out, size_t size, const struct report_result *result) {
    char bytes[UNITS_TEXT_BYTES] = "", cores[32] = "";
    int64_t ram = wl_json_opt_i64(result->machine, "ram_bytes", 0);
    int64_t n_cores = wl_json_opt_i64(result->machine, "cores", 0);
    if (ram > 0) {
        units_bytes(bytes, (double)ram);
    }
    if (n_cores > 0) {
        snprintf(cores, sizeof cores, "%lld cores", (long long)n_cores);
    }
    const char *const parts[] = {wl_json_opt_string(result->machine, "board", ""),
                                 wl_json_opt_string(result->machine, "cpu_model", ""), cores,
                                 bytes};
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i][0] && used < size) {
            int n = snprintf(out + used, size - used, "%s%.100s", used ? ", " : "", parts[i]);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    clean_text(out);
    return out;
}
