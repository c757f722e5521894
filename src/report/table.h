// The study's own table: for each model CPU AUC, RAM AUC, throughput, energy and accuracy, and the
// change between them, as texts that every format lays out its own way. Where answers were scored
// and their similarity was not measured, the last column is the share that was right.
#ifndef WATTLAW_REPORT_TABLE_H
#define WATTLAW_REPORT_TABLE_H

#include <stdbool.h>

#include "report/figures.h"
#include "report/result.h"

enum { TABLE_COLUMNS = 5 };

struct table_cell {
    char value[FIGURE_BYTES];    // "12.3", "unresolved", "not measured"
    char interval[FIGURE_BYTES]; // "12.1 to 12.5" or ""
    char note[FIGURE_BYTES];     // "2 of 8 sizes" where not all were measured, or ""
    bool is_number;
    int verdict; // of changes: 1 better, -1 worse, 0 unclear
};

struct table_column {
    enum metric_id metric;
    char title[FIGURE_BYTES];    // "CPU AUC"
    char unit[FIGURE_BYTES];     // "%·s", one for both models
    char note[4 * FIGURE_BYTES]; // energy: "gross; powercap, cpu scope, calibrated"
    struct table_cell model[REPORT_MAX_MODELS];
    struct table_cell change;       // two models
    struct table_cell change_times; // the same as "x2.10"
};

// Over all prompts, or (is_reference) at the reference prompt only.
void table_fill(const struct report_result *result, bool is_reference,
                struct table_column out[TABLE_COLUMNS]);
// One column for any metric.
void table_fill_column(const struct report_result *result, enum metric_id metric, bool is_reference,
                       struct table_column *out);

#endif
