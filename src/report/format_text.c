// The summary for a terminal: who, where, the study's table, the laws, what to be careful about.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "report/clean.h"
#include "report/figures.h"
#include "report/formats.h"
#include "report/laws.h"
#include "report/table.h"
#include "report/text_page.h"

enum { MIN_COLUMNS = 60, DEFAULT_COLUMNS = 80, MAX_COLUMNS = 200 };
enum { MIN_CELL = 11, MAX_CELL = 15 }; // "unresolved" and a space fit in the first

// ---- head ----

static void put_head(const struct text_page *page, const struct report_result *result) {
    char line[768], date[FIGURE_BYTES], machine[512];
    text_paint(page, TEXT_BOLD);
    text_padded(page, result->title, page->columns, false);
    text_paint(page, TEXT_PLAIN);
    text_end_line(page);
    figure_machine(machine, sizeof machine, result);
    snprintf(line, sizeof line, "%s%s%.100s%s%s", machine, machine[0] ? ", " : "",
             result->engine_version, result->engine_version[0] ? ", " : "",
             figure_date(date, result->created_wall_ns));
    text_paint(page, TEXT_DIM);
    text_wrapped(page, line, 0);
    text_paint(page, TEXT_PLAIN);
}

static void put_models(const struct text_page *page, const struct report_result *result) {
    static const char *const ROLES[] = {"base", "vs"};
    buf_puts(page->out, "\n");
    for (size_t i = 0; i < result->n_models; i++) {
        const struct report_model *model = &result->model[i];
        char size[UNITS_TEXT_BYTES] = "", runs[64];
        snprintf(runs, sizeof runs, "%s  %zu runs",
                 model->file_bytes ? units_bytes(size, (double)model->file_bytes) : "",
                 model->n_used);
        int name_columns = page->columns - TEXT_LABEL_COLUMNS - 24;
        text_padded(page, result->n_models == 2 ? ROLES[i] : "model", TEXT_LABEL_COLUMNS, false);
        text_padded(page, model->name, name_columns, false);
        text_padded(page, runs, 24, true);
        buf_puts(page->out, "\n");
    }
}

// ---- the study's table ----

static void put_cell(const struct text_page *page, const char *text, int columns,
                     enum text_color color) {
    buf_puts(page->out, " ");
    if (color != TEXT_PLAIN) {
        text_paint(page, color);
    }
    text_padded(page, text, columns - 1, true);
    if (color != TEXT_PLAIN) {
        text_paint(page, TEXT_PLAIN);
    }
}

static enum text_color color_of(const struct table_cell *cell) {
    return !cell->is_number    ? TEXT_DIM
           : cell->verdict > 0 ? TEXT_GOOD
           : cell->verdict < 0 ? TEXT_BAD
                               : TEXT_PLAIN;
}

// One row of the table: a cell per column, picked by `text_of`.
static void put_row(const struct text_page *page, const struct table_column *columns,
                    const char *label,
                    const struct table_cell *(*cell_of)(const struct table_column *column)) {
    text_padded(page, label, TEXT_LABEL_COLUMNS, false);
    for (int i = 0; i < page->n_cells; i++) {
        const struct table_cell *cell = cell_of(&columns[i]);
        bool is_too_long = text_width(cell->value) >= page->cell_width && !cell->is_number;
        put_cell(page, is_too_long ? "-" : cell->value, page->cell_width, color_of(cell));
    }
    text_end_line(page);
}

static const struct table_cell *cell_of_base(const struct table_column *column) {
    return &column->model[0];
}

static const struct table_cell *cell_of_vs(const struct table_column *column) {
    return &column->model[1];
}

static const struct table_cell *cell_of_change(const struct table_column *column) {
    return &column->change;
}

static const struct table_cell *cell_of_times(const struct table_column *column) {
    return &column->change_times;
}

// "-63.1 to -60.8 %" is too long for a column of 14: each end of the intervals has a row.
static void put_ends(const struct text_page *page, const struct table_column *columns, bool is_low,
                     const struct table_cell *(*cell_of)(const struct table_column *column)) {
    text_padded(page, is_low ? "  95 %" : "  CI", TEXT_LABEL_COLUMNS, false);
    text_paint(page, TEXT_DIM);
    for (int i = 0; i < page->n_cells; i++) {
        char text[FIGURE_BYTES];
        str_copy(text, sizeof text, cell_of(&columns[i])->interval);
        bool is_percent = str_ends_with(text, " %");
        char *middle = strstr(text, " to ");
        const char *end = middle ? middle + 4 : "";
        char shown[FIGURE_BYTES + 4];
        snprintf(shown, sizeof shown, "%.*s%s", middle ? (int)(middle - text) : 0, text,
                 middle && is_percent ? " %" : "");
        put_cell(page, is_low ? shown : end, page->cell_width, TEXT_PLAIN);
    }
    text_paint(page, TEXT_PLAIN);
    text_end_line(page);
}

static void put_rule(const struct text_page *page, int columns) {
    text_paint(page, TEXT_DIM);
    for (int i = 0; i < columns; i++) {
        buf_puts(page->out, "\xe2\x94\x80");
    }
    text_paint(page, TEXT_PLAIN);
    buf_puts(page->out, "\n");
}

static void put_table_head(const struct text_page *page, const struct table_column *columns) {
    text_padded(page, "", TEXT_LABEL_COLUMNS, false);
    for (int i = 0; i < page->n_cells; i++) {
        char title[FIGURE_BYTES];
        str_copy(title, sizeof title, columns[i].title);
        if (text_width(title) >= page->cell_width) { // its first word
            title[strcspn(title, " ")] = '\0';
        }
        put_cell(page, title, page->cell_width, TEXT_BOLD);
    }
    text_end_line(page);
    text_padded(page, "", TEXT_LABEL_COLUMNS, false);
    for (int i = 0; i < page->n_cells; i++) {
        put_cell(page, columns[i].unit, page->cell_width, TEXT_DIM);
    }
    text_end_line(page);
    put_rule(page, TEXT_LABEL_COLUMNS + page->cell_width * page->n_cells);
}

// Where energy comes from, and the columns for which there was no room.
static void put_table_notes(const struct text_page *page, const struct report_result *result,
                            const struct table_column *columns) {
    for (int i = 0; i < TABLE_COLUMNS; i++) {
        char line[8 * FIGURE_BYTES] = "";
        const struct table_column *c = &columns[i];
        if (i >= page->n_cells && result->n_models == 2) {
            snprintf(line, sizeof line, "%s: base %s, vs %s", c->title, c->model[0].value,
                     c->model[1].value);
        } else if (i >= page->n_cells) {
            snprintf(line, sizeof line, "%s: %s", c->title, c->model[0].value);
        } else if (c->note[0]) {
            snprintf(line, sizeof line, "%s: %s", c->title, c->note);
        }
        if (line[0]) {
            text_paint(page, TEXT_DIM);
            text_wrapped(page, line, 0);
            text_paint(page, TEXT_PLAIN);
        }
    }
}

static void put_table(const struct text_page *page, const struct report_result *result) {
    struct table_column columns[TABLE_COLUMNS];
    char heading[160];
    table_fill(result, false, columns);
    snprintf(heading, sizeof heading, "Cost per request, mean over the study's %zu prompt sizes",
             result->model[0].n_cells);
    text_heading(page, heading);
    put_table_head(page, columns);
    if (result->n_models == 2) {
        put_row(page, columns, "base", cell_of_base);
        put_row(page, columns, "vs", cell_of_vs);
        put_row(page, columns, "change", cell_of_change);
        put_ends(page, columns, true, cell_of_change);
        put_ends(page, columns, false, cell_of_change);
        put_row(page, columns, "times", cell_of_times);
    } else {
        put_row(page, columns, "model", cell_of_base);
        put_ends(page, columns, true, cell_of_base);
        put_ends(page, columns, false, cell_of_base);
    }
    put_table_notes(page, result, columns);
}

// ---- laws ----

static void put_law(const struct text_page *page, const struct report_model *model, unsigned law,
                    const char *label) {
    char text[LAW_TEXT_BYTES], line[LAW_TEXT_BYTES + 64];
    enum metric_id metric = report_law_metric((enum report_law)law);
    text_padded(page, label, TEXT_LABEL_COLUMNS, false);
    if (!model->has_law[law]) {
        text_paint(page, TEXT_DIM);
        text_wrapped(page, model->law_reason[law], TEXT_LABEL_COLUMNS);
        text_paint(page, TEXT_PLAIN);
        return;
    }
    const struct law_fit *fit = &model->law[law];
    law_equation(text, fit, metric);
    snprintf(line, sizeof line, "%s   (R\xc2\xb2 %.4f%s)", text, fit->r2,
             fit->has_term[LAW_QUADRATIC] ? ", not linear" : "");
    text_wrapped(page, line, TEXT_LABEL_COLUMNS);
}

static void put_laws(const struct text_page *page, const struct report_result *result) {
    static const enum report_law SHOWN[] = {REPORT_LAW_TIME, REPORT_LAW_CPU, REPORT_LAW_RAM,
                                            REPORT_LAW_ENERGY_GROSS};
    text_heading(page, "Laws: fixed part + cost per prompt token + cost per generated token");
    for (size_t i = 0; i < sizeof SHOWN / sizeof SHOWN[0]; i++) {
        const char *title = metric_info(report_law_metric(SHOWN[i]))->title;
        bool is_pair = result->n_models == 2;
        if (is_pair) {
            buf_printf(page->out, "%s\n", title);
        }
        for (size_t m = 0; m < result->n_models; m++) {
            char label[TEXT_LABEL_COLUMNS];
            snprintf(label, sizeof label, "%.8s",
                     SHOWN[i] == REPORT_LAW_ENERGY_GROSS ? "Energy" : title);
            put_law(page, &result->model[m], SHOWN[i],
                    is_pair ? (m == 0 ? "  base" : "  vs") : label);
        }
    }
}

// ---- notes ----

static void put_flag_note(const struct text_page *page, const struct report_model *model) {
    char line[512];
    size_t used = 0;
    size_t n_flagged = model->n_used - model->n_clean;
    if (n_flagged == 0) {
        return;
    }
    used = (size_t)snprintf(line, sizeof line, "%.60s: %zu of %zu runs carry a flag (", model->name,
                            n_flagged, model->n_used);
    const char *comma = "";
    for (unsigned bit = 0; bit < REPORT_N_FLAGS && used < sizeof line; bit++) {
        char name[64];
        if (model->flag_count[bit] > 0) {
            used += (size_t)snprintf(line + used, sizeof line - used, "%s%s %zu", comma,
                                     record_flags_text(name, sizeof name, 1u << bit),
                                     model->flag_count[bit]);
            comma = ", ";
        }
    }
    if (used < sizeof line) {
        snprintf(line + used, sizeof line - used, ")");
    }
    text_note(page, line);
}

static void put_model_notes(const struct text_page *page, const struct report_model *model) {
    char line[512];
    put_flag_note(page, model);
    if (model->is_synthetic) {
        snprintf(line, sizeof line,
                 "%.60s: its weights are random, so its cost is real and its answers mean nothing",
                 model->name);
        text_note(page, line);
    }
    if (model->n_used == 0) {
        snprintf(line, sizeof line, "%.60s: no finished run", model->name);
        text_note(page, line);
    }
    if (model->paper.n > 0) {
        snprintf(line, sizeof line,
                 "%.60s: CPU AUC by the paper's 5 Hz method differs from the exact one by %+.1f %% "
                 "(median of %zu)",
                 model->name, model->paper.median_pct, model->paper.n);
        text_note(page, line);
    }
}

static void put_notes(const struct text_page *page, const struct report_result *result) {
    buf_puts(page->out, "\n");
    if (strcmp(result->state, "done") != 0 && result->state[0]) {
        char line[128];
        snprintf(line, sizeof line, "the study is %.20s: figures are of the runs so far",
                 result->state);
        text_note(page, line);
    }
    for (size_t i = 0; i < result->n_models; i++) {
        put_model_notes(page, &result->model[i]);
    }
}

bool report_format_text(const struct report_result *result, const struct report_options *options,
                        struct buf *out) {
    int columns = options->columns ? options->columns : DEFAULT_COLUMNS;
    columns = columns < MIN_COLUMNS ? MIN_COLUMNS : columns > MAX_COLUMNS ? MAX_COLUMNS : columns;
    struct text_page page = {.out = out, .columns = columns, .use_color = options->use_color};
    page.n_cells =
        columns < TEXT_LABEL_COLUMNS + MIN_CELL * TABLE_COLUMNS ? TABLE_COLUMNS - 1 : TABLE_COLUMNS;
    page.cell_width = (columns - TEXT_LABEL_COLUMNS) / page.n_cells;
    page.cell_width = page.cell_width > MAX_CELL ? MAX_CELL : page.cell_width;
    put_head(&page, result);
    put_models(&page, result);
    put_table(&page, result);
    put_laws(&page, result);
    text_vision(&page, result);
    put_notes(&page, result);
    return !out->is_failed;
}
