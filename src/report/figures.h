// Figures as words: the unit that fits, three significant digits, intervals, dates. Used by every
// format that people read, so that they agree.
#ifndef WATTLAW_REPORT_FIGURES_H
#define WATTLAW_REPORT_FIGURES_H

#include <stddef.h>
#include <stdint.h>

#include "record/record.h"
#include "report/result.h"
#include "stats/describe.h"

enum { FIGURE_BYTES = 80 };

// A metric's unit at some magnitude: shown = value x factor, followed by `text` (UTF-8, may be "").
struct figure_unit {
    double factor;
    const char *text;
};
struct figure_unit figure_unit_for(enum metric_id metric, double magnitude);

// "12.3" in that unit; "-" for NaN.
char *figure_number(char out[FIGURE_BYTES], struct figure_unit unit, double value);
// "12.3 mWh".
char *figure_text(char out[FIGURE_BYTES], enum metric_id metric, double value);
// "12.1 to 12.5" in that unit; "" when either end is NaN.
char *figure_interval(char out[FIGURE_BYTES], struct figure_unit unit,
                      struct stats_interval interval);
// A ratio as "-62.0 %", its interval as "-63.1 to -60.8 %" ("" when NaN), and as "x2.10".
char *figure_change(char out[FIGURE_BYTES], double ratio);
char *figure_change_interval(char out[FIGURE_BYTES], struct stats_interval interval);
char *figure_times(char out[FIGURE_BYTES], double ratio);
// "p < 0.001", "p = 0.032".
char *figure_p(char out[FIGURE_BYTES], double p);
// "2026-02-14 09:26 UTC"; "-" for 0.
char *figure_date(char out[FIGURE_BYTES], int64_t wall_ns);

// 1 better, -1 worse, 0 not told apart from noise (or a condition, or no interval).
int figure_verdict(enum metric_id metric, const struct report_change *change);

// "source powercap, scope cpu, calibrated"; "" when there is no source.
char *figure_source(char *out, size_t size, const struct report_model *model);

// "Raspberry Pi 5, Cortex-A76, 4 cores, 8.00 GiB": what is known of the machine; "" for nothing.
char *figure_machine(char *out, size_t size, const struct report_result *result);

#endif
