#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "report/summary.h"

static const struct {
    enum metric_id metric;
    const char *title;
} COLUMNS[TABLE_COLUMNS] = {
    {METRIC_cpu_auc_pct_s, "CPU AUC"}, {METRIC_ram_auc_mib_s, "RAM AUC"},
    {METRIC_window_tps, "Throughput"}, {METRIC_energy_gross_j, "Energy"},
    {METRIC_accuracy, "Accuracy"},
};

static const struct report_mean *mean_of(const struct report_model *model, enum metric_id metric,
                                         bool is_reference) {
    const struct report_metric *m = &model->metric[metric];
    return is_reference ? &m->reference : &m->all;
}

static void fill_cell(const struct report_mean *mean, size_t n_cells, struct figure_unit unit,
                      struct table_cell *out) {
    *out = (struct table_cell){.is_number = mean->n_cells > 0 && mean->is_resolved};
    if (mean->n_cells == 0) {
        str_copy(out->value, sizeof out->value, "not measured");
    } else if (!mean->is_resolved) {
        str_copy(out->value, sizeof out->value, "unresolved");
    } else {
        figure_number(out->value, unit, mean->value);
        figure_interval(out->interval, unit, mean->ci95);
        if (mean->n_cells < n_cells) {
            snprintf(out->note, sizeof out->note, "%zu of %zu sizes", mean->n_cells, n_cells);
        }
    }
}

static void fill_change(enum metric_id metric, const struct report_change *change,
                        struct table_cell *percent, struct table_cell *times) {
    bool is_number = change->n_cells > 0 && change->is_resolved && isfinite(change->ratio);
    *percent = (struct table_cell){.is_number = is_number};
    if (is_number) {
        percent->verdict = figure_verdict(metric, change);
        figure_change(percent->value, change->ratio);
        figure_change_interval(percent->interval, change->ci95);
    } else {
        str_copy(percent->value, sizeof percent->value, change->n_cells > 0 ? "unresolved" : "");
    }
    *times = *percent;
    if (is_number) {
        figure_times(times->value, change->ratio);
        char low[FIGURE_BYTES], high[FIGURE_BYTES];
        times->interval[0] = '\0';
        if (isfinite(change->ci95.low) && isfinite(change->ci95.high)) {
            snprintf(times->interval, sizeof times->interval, "%.36s to %.36s",
                     figure_times(low, change->ci95.low), figure_times(high, change->ci95.high));
        }
    }
}

static void fill_note(const struct report_result *result, enum metric_id metric, char *out,
                      size_t size) {
    char source[REPORT_MAX_MODELS][4 * RECORD_NAME_BYTES] = {"", ""};
    out[0] = '\0';
    if (!summary_is_energy(metric)) {
        return;
    }
    for (size_t i = 0; i < result->n_models; i++) {
        figure_source(source[i], sizeof source[i], &result->model[i]);
    }
    const char *kind = metric == METRIC_energy_gross_j ? "gross" : "net";
    if (result->n_models == 2 && strcmp(source[0], source[1]) != 0) {
        snprintf(out, size, "%s; base: %s; vs: %s", kind, source[0][0] ? source[0] : "no source",
                 source[1][0] ? source[1] : "no source");
    } else if (source[0][0]) {
        snprintf(out, size, "%s; %s", kind, source[0]);
    }
    const struct report_change *change = &result->change[metric];
    if (result->n_models == 2 && change->is_bounded) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, "; the change lies between those of %sCPU time and %s",
                 metric == METRIC_energy_gross_j ? "time, " : "", "memory traffic");
    }
}

void table_fill_column(const struct report_result *result, enum metric_id metric, bool is_reference,
                       struct table_column *out) {
    double magnitude = 0;
    *out = (struct table_column){.metric = metric};
    str_copy(out->title, sizeof out->title, metric_info(metric)->title);
    for (size_t i = 0; i < result->n_models; i++) {
        const struct report_mean *mean = mean_of(&result->model[i], metric, is_reference);
        magnitude = mean->n_cells > 0 ? fmax(magnitude, fabs(mean->value)) : magnitude;
    }
    struct figure_unit unit = figure_unit_for(metric, magnitude);
    str_copy(out->unit, sizeof out->unit, unit.text);
    fill_note(result, metric, out->note, sizeof out->note);
    for (size_t i = 0; i < result->n_models; i++) {
        fill_cell(mean_of(&result->model[i], metric, is_reference),
                  is_reference ? 0 : result->model[i].n_cells, unit, &out->model[i]);
    }
    if (result->n_models == 2) {
        fill_change(metric,
                    is_reference ? &result->change_reference[metric] : &result->change[metric],
                    &out->change, &out->change_times);
    }
}

// ---- right answers, where answers were scored and similarity was not measured ----

static bool has_right_only(const struct report_result *result) {
    bool has_right = false;
    for (size_t i = 0; i < result->n_models; i++) {
        const struct report_model *model = &result->model[i];
        if (model->metric[METRIC_accuracy].all.n_cells > 0) {
            return false;
        }
        has_right |= model->vision.right.n > 0;
    }
    return has_right;
}

static void fill_right_cell(const struct report_accuracy *right, struct table_cell *out) {
    *out = (struct table_cell){.is_number = right->n > 0};
    if (!out->is_number) {
        str_copy(out->value, sizeof out->value, "not measured");
        return;
    }
    snprintf(out->value, sizeof out->value, "%.1f",
             100 * (double)right->n_right / (double)right->n);
    snprintf(out->interval, sizeof out->interval, "%.1f to %.1f", 100 * right->ci95.low,
             100 * right->ci95.high);
    snprintf(out->note, sizeof out->note, "of %zu questions", right->n);
}

static void fill_right(const struct report_result *result, struct table_column *out) {
    const struct report_right_change *change = &result->right_change;
    *out = (struct table_column){.metric = METRIC_accuracy, .unit = "%"};
    str_copy(out->title, sizeof out->title, "Right answers");
    size_t used = 0;
    for (size_t i = 0; i < result->n_models; i++) {
        const struct report_accuracy *right = &result->model[i].vision.right;
        fill_right_cell(right, &out->model[i]);
        used += (size_t)snprintf(out->note + used, sizeof out->note - used, "%s%zu of %zu",
                                 i ? " and " : "", right->n_right, right->n);
    }
    snprintf(out->note + used, sizeof out->note - used, " questions%s",
             result->n_models == 2 ? "; the change in points" : "");
    if (result->n_models == 2 && change->n > 0) {
        out->change.is_number = true;
        out->change.verdict = change->ci95.low > 0 ? 1 : change->ci95.high < 0 ? -1 : 0;
        snprintf(out->change.value, sizeof out->change.value, "%+.1f", change->points);
        snprintf(out->change.interval, sizeof out->change.interval, "%+.1f to %+.1f",
                 change->ci95.low, change->ci95.high);
    }
}

void table_fill(const struct report_result *result, bool is_reference,
                struct table_column out[TABLE_COLUMNS]) {
    for (size_t i = 0; i < TABLE_COLUMNS; i++) {
        table_fill_column(result, COLUMNS[i].metric, is_reference, &out[i]);
        str_copy(out[i].title, sizeof out[i].title, COLUMNS[i].title);
        if (COLUMNS[i].metric == METRIC_accuracy && has_right_only(result)) {
            fill_right(result, &out[i]);
        }
    }
}
