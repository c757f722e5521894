// Tiles, the study's table, all figures, the fits and the raw records.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/figures.h"
#include "report/html.h"
#include "report/html_sections.h"
#include "report/laws.h"
#include "report/table.h"

const char *const HTML_ROLE[REPORT_MAX_MODELS] = {"base", "vs"};

static const char *verdict_class(const struct table_cell *cell) {
    return !cell->is_number    ? "word"
           : cell->verdict > 0 ? "good"
           : cell->verdict < 0 ? "bad"
                               : "unclear";
}

static const char *verdict_words(const struct table_cell *cell) {
    return !cell->is_number    ? ""
           : cell->verdict > 0 ? "better"
           : cell->verdict < 0 ? "worse"
                               : "within noise";
}

// ---- tiles ----

static void put_tile_change(struct buf *out, const struct table_column *c) {
    bool is_rate = c->metric == METRIC_window_tps; // the field states throughput as a factor
    const struct table_cell *big = is_rate ? &c->change_times : &c->change;
    bool has_number = big->is_number;
    buf_printf(out, "<div class=\"big %s\">", has_number ? verdict_class(big) : "word");
    html_figure(out, has_number              ? big->value
                     : c->model[0].is_number ? c->model[1].value
                                             : c->model[0].value);
    buf_puts(out, "</div>");
    if (!has_number) {
        return;
    }
    buf_puts(out, "<div class=\"sub\">");
    if (c->model[0].is_number && c->model[1].is_number) {
        html_figure(out, c->model[0].value);
        buf_puts(out, " \xe2\x86\x92 ");
        html_figure(out, c->model[1].value);
        buf_puts(out, " ");
        html_text(out, c->unit);
    } else { // a bounded change of estimates that are unresolved themselves
        buf_puts(out, "each: unresolved");
    }
    buf_puts(out, "</div><div class=\"sub\">");
    html_figure(out, big->interval);
    buf_puts(out, "</div>");
}

static void put_tile_value(struct buf *out, const struct table_column *c) {
    const struct table_cell *cell = &c->model[0];
    buf_printf(out, "<div class=\"big%s\">", cell->is_number ? "" : " word");
    html_figure(out, cell->value);
    if (cell->is_number) {
        html_element(out, "span", "unit", c->unit);
    }
    buf_puts(out, "</div><div class=\"sub\">");
    html_figure(out, cell->interval);
    buf_puts(out, "</div>");
}

void html_tiles(struct buf *out, const struct report_result *result) {
    static const enum metric_id ORDER[] = {METRIC_energy_gross_j, METRIC_ram_auc_mib_s,
                                           METRIC_window_tps, METRIC_cpu_auc_pct_s,
                                           METRIC_accuracy};
    static const char *const NAMES[] = {"Energy", "RAM", "Throughput", "CPU", "Accuracy"};
    static const char *const FEET[] = {"", "AUC: size \xc3\x97 time",
                                       "generated tokens/s, whole window",
                                       "AUC: load \xc3\x97 time", "semantic similarity"};
    struct table_column columns[TABLE_COLUMNS];
    table_fill(result, false, columns);
    buf_puts(out, "<section class=\"tiles\" aria-label=\"Headline\">");
    for (size_t i = 0; i < sizeof ORDER / sizeof ORDER[0]; i++) {
        struct table_column column = columns[0];
        for (size_t k = 1; k < TABLE_COLUMNS; k++) {
            column = columns[k].metric == ORDER[i] ? columns[k] : column;
        }
        buf_puts(out, "<div class=\"tile\">");
        html_element(out, "div", "name", NAMES[i]);
        if (result->n_models == 2) {
            put_tile_change(out, &column);
        } else {
            put_tile_value(out, &column);
        }
        html_element(out, "div", "foot", column.note[0] ? column.note : FEET[i]);
        buf_puts(out, "</div>");
    }
    buf_puts(out, "</section>");
}

// ---- the study's table ----

static void put_cell(struct buf *out, const struct table_cell *cell) {
    buf_printf(out, "<td%s>", cell->is_number ? "" : " class=\"word\"");
    html_figure(out, cell->value);
    if (cell->interval[0]) {
        buf_puts(out, "<span class=\"ci\">");
        html_figure(out, cell->interval);
        buf_puts(out, "</span>");
    }
    if (cell->note[0]) {
        html_element(out, "span", "ci", cell->note);
    }
    buf_puts(out, "</td>");
}

static void put_change_cell(struct buf *out, const struct table_cell *cell, bool has_words) {
    if (!cell->value[0]) {
        buf_puts(out, "<td></td>");
        return;
    }
    buf_printf(out, "<td><b class=\"%s\">", verdict_class(cell));
    html_figure(out, cell->value);
    buf_puts(out, "</b>");
    if (cell->is_number) {
        buf_puts(out, "<span class=\"ci\">");
        html_figure(out, cell->interval);
        buf_puts(out, "</span>");
    }
    if (cell->is_number && has_words) {
        html_element(out, "span", "ci", verdict_words(cell));
    }
    buf_puts(out, "</td>");
}

static void put_model_head(struct buf *out, const struct report_result *result, size_t i) {
    buf_printf(out, "<th scope=\"row\"><span class=\"key\"><span class=\"swatch %s\"></span><span>",
               HTML_ROLE[i]);
    html_text_cut(out, result->model[i].name, 40);
    buf_puts(out, "</span></span></th>");
}

static void put_table(struct buf *out, const struct report_result *result, bool is_reference) {
    struct table_column columns[TABLE_COLUMNS];
    table_fill(result, is_reference, columns);
    buf_puts(out, "<div class=\"scroll\"><table><thead><tr><th>Per request</th>");
    for (int i = 0; i < TABLE_COLUMNS; i++) {
        buf_puts(out, "<th scope=\"col\">");
        html_text(out, columns[i].title);
        html_element(out, "span", "unit", columns[i].unit);
        buf_puts(out, "</th>");
    }
    buf_puts(out, "</tr></thead><tbody>");
    for (size_t m = 0; m < html_n_models(result); m++) {
        buf_puts(out, "<tr>");
        put_model_head(out, result, m);
        for (int i = 0; i < TABLE_COLUMNS; i++) {
            put_cell(out, &columns[i].model[m]);
        }
        buf_puts(out, "</tr>");
    }
    if (result->n_models == 2) {
        buf_puts(out, "<tr class=\"change\"><th scope=\"row\">Change</th>");
        for (int i = 0; i < TABLE_COLUMNS; i++) {
            put_change_cell(out, &columns[i].change, true);
        }
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div>");
}

static void put_energy_note(struct buf *out, const struct report_result *result) {
    buf_puts(out, "<p class=\"small\">");
    if (result->model[0].n_sources == 0) {
        buf_puts(out, "No energy source was available, so energy was not measured. ");
    }
    char source[REPORT_MAX_MODELS][4 * RECORD_NAME_BYTES] = {"", ""};
    for (size_t m = 0; m < html_n_models(result); m++) {
        figure_source(source[m], sizeof source[m], &result->model[m]);
    }
    bool is_same = result->n_models == 1 || strcmp(source[0], source[1]) == 0;
    for (size_t m = 0; m < (is_same ? 1 : html_n_models(result)); m++) {
        if (source[m][0]) {
            buf_printf(out, "Energy%s%s: gross, source ", is_same ? "" : " of ",
                       is_same ? "" : HTML_ROLE[m]);
            html_text(out, source[m]);
            buf_puts(out, ". ");
        }
    }
    if (result->change[METRIC_energy_gross_j].is_bounded) {
        buf_puts(out, "No meter: the energy is estimated, and its change lies between those of "
                      "time, CPU time and memory traffic, whatever the model\xe2\x80\x99s "
                      "constants are. ");
    }
    if (result->model[0].metric[METRIC_accuracy].all.n_cells == 0 &&
        result->model[0].vision.right.n == 0) {
        buf_puts(out, "Accuracy is not measured by this study. ");
    }
    buf_puts(out, "Small figures are 95&nbsp;% intervals.</p>");
}

void html_study_table(struct buf *out, const struct report_result *result) {
    buf_puts(out, "<h2 id=\"table\">The study\xe2\x80\x99s table</h2><p class=\"lead\">");
    buf_printf(out, "Mean over the %zu prompt sizes, each counting the same.",
               result->model[0].n_cells);
    if (result->n_models == 2) {
        buf_puts(out,
                 " The change compares runs that were made next to each other, so drift of the "
                 "machine cancels.");
    }
    buf_puts(out, "</p>");
    put_table(out, result, false);
    put_energy_note(out, result);
    if (result->reference.n > 0) {
        buf_printf(out,
                   "<details><summary>The same at one size: %u prompt and %u generated "
                   "tokens</summary>",
                   result->reference.prompt_tokens, result->reference.generated_tokens);
        put_table(out, result, true);
        buf_puts(out, "</details>");
    }
}

// ---- all figures ----

static bool is_measured(const struct report_result *result, unsigned metric) {
    for (size_t m = 0; m < html_n_models(result); m++) {
        if (result->model[m].metric[metric].all.n_cells > 0) {
            return true;
        }
    }
    return false;
}

void html_all_figures(struct buf *out, const struct report_result *result) {
    bool is_pair = result->n_models == 2;
    buf_puts(out, "<details><summary>All figures</summary><div class=\"scroll\"><table><thead><tr>"
                  "<th>Figure</th><th>Unit</th>");
    buf_puts(out, is_pair ? "<th>base</th><th>vs</th><th>Change</th>" : "<th>Mean</th>");
    buf_puts(out, "<th class=\"left\">What it is</th></tr></thead><tbody>");
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        struct table_column column;
        if (!is_measured(result, i)) {
            continue;
        }
        table_fill_column(result, (enum metric_id)i, false, &column);
        buf_puts(out, "<tr>");
        html_element(out, "th", NULL, column.title);
        html_element(out, "td", NULL, column.unit);
        for (size_t m = 0; m < html_n_models(result); m++) {
            put_cell(out, &column.model[m]);
        }
        if (is_pair) {
            put_change_cell(out, &column.change, false);
        }
        html_element(out, "td", "left wrap", metric_info((enum metric_id)i)->meaning);
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div></details>");
}

// ---- fits ----

static void put_part(struct buf *out, const struct law_fit *fit, enum metric_id metric,
                     enum law_term term) {
    struct law_part part;
    law_part_fill(fit, metric, term, &part);
    buf_puts(out, "<td>");
    if (part.is_used) {
        html_figure(out, part.value);
        buf_puts(out, " ");
        html_text(out, part.unit);
        buf_puts(out, "<span class=\"ci\">");
        html_figure(out, part.interval);
        buf_puts(out, "</span>");
    }
    buf_puts(out, "</td>");
}

// Terms that no law of the study has get no column; a and b always have one.
static bool has_column(const struct report_result *result, enum law_term term) {
    for (size_t m = 0; m < html_n_models(result); m++) {
        for (unsigned law = 0; law < REPORT_N_LAWS; law++) {
            if (result->model[m].has_law[law] && result->model[m].law[law].has_term[term]) {
                return true;
            }
        }
    }
    return term == LAW_FIXED || term == LAW_PROMPT;
}

static void put_fit_row(struct buf *out, const struct report_result *result, size_t m,
                        unsigned law) {
    const struct report_model *model = &result->model[m];
    enum metric_id metric = report_law_metric((enum report_law)law);
    buf_puts(out, "<tr>");
    put_model_head(out, result, m);
    if (!model->has_law[law]) {
        buf_puts(out, "<td class=\"left wrap word\" colspan=\"7\">");
        html_text(out, model->law_reason[law] ? model->law_reason[law] : "");
        buf_puts(out, "</td></tr>");
        return;
    }
    const struct law_fit *fit = &model->law[law];
    for (unsigned term = 0; term < LAW_N_TERMS; term++) {
        if (has_column(result, (enum law_term)term)) {
            put_part(out, fit, metric, (enum law_term)term);
        }
    }
    buf_printf(out, "<td>%.4f</td><td>", fit->r2);
    if (isfinite(fit->mean_abs_pct_error)) {
        buf_printf(out, "%.1f&nbsp;%%", fit->mean_abs_pct_error);
    }
    buf_puts(out, "</td></tr>");
}

static void put_contrast(struct buf *out, const struct law_contrast *contrast) {
    char text[FIGURE_BYTES];
    buf_puts(out, "<td>");
    if (contrast->is_valid && isfinite(contrast->ratio_ci95.low)) {
        html_figure(out, figure_change(text, contrast->ratio));
        buf_puts(out, "<span class=\"ci\">");
        html_figure(out, figure_change_interval(text, contrast->ratio_ci95));
        buf_puts(out, "</span>");
    } else if (contrast->is_valid) { // the base's is not clearly different from 0
        buf_puts(out, "<span class=\"word\">difference: ");
        html_text(out, figure_p(text, contrast->p_equal));
        buf_puts(out, "</span>");
    }
    buf_puts(out, "</td>");
}

static void put_comparison(struct buf *out, const struct report_result *result, unsigned law) {
    const struct law_comparison *c = &result->comparison[law];
    if (!result->has_comparison[law]) {
        return;
    }
    buf_puts(out, "<tr class=\"change\"><th scope=\"row\">Change</th>");
    for (unsigned term = 0; term < LAW_N_TERMS; term++) {
        if (has_column(result, (enum law_term)term)) {
            put_contrast(out, &c->term[term]);
        }
    }
    buf_puts(out, "<td></td><td></td></tr>");
}

static bool is_fitted(const struct report_result *result, unsigned law) {
    return result->model[0].has_law[law] ||
           (result->n_models == 2 && result->model[1].has_law[law]);
}

static void put_law_group(struct buf *out, const struct report_result *result, unsigned law) {
    char words[LAW_TEXT_BYTES];
    buf_puts(out, "<tbody><tr class=\"group\"><th colspan=\"8\" scope=\"rowgroup\">");
    html_text(out, metric_info(report_law_metric((enum report_law)law))->title);
    for (size_t m = 0; m < html_n_models(result); m++) {
        if (result->model[m].has_law[law]) {
            buf_puts(out, "<span class=\"small\">");
            if (result->n_models == 2) {
                buf_printf(out, "%s: ", HTML_ROLE[m]);
            }
            html_text(out, law_words(words, &result->model[m].law[law]));
            buf_puts(out, "</span>");
        }
    }
    buf_puts(out, "</th></tr>");
    for (size_t m = 0; m < html_n_models(result); m++) {
        put_fit_row(out, result, m, law);
    }
    put_comparison(out, result, law);
    buf_puts(out, "</tbody>");
}

static void put_missing(struct buf *out, const struct report_result *result) {
    const char *before = "<p class=\"small\">No law for: ";
    const char *after = "";
    for (unsigned law = 0; law < REPORT_N_LAWS; law++) {
        if (!is_fitted(result, law)) {
            const char *reason = result->model[0].law_reason[law];
            buf_puts(out, before);
            html_text(out, metric_info(report_law_metric((enum report_law)law))->title);
            buf_puts(out, " (");
            html_text(out, reason ? reason : "");
            buf_puts(out, ")");
            before = "; ";
            after = ".</p>";
        }
    }
    buf_puts(out, after);
}

// With one generated length c cannot be told from a; the reader must know.
static void put_hidden_note(struct buf *out, const struct report_result *result) {
    const struct report_model *model = &result->model[0];
    if (model->has_law[REPORT_LAW_TIME] && model->law[REPORT_LAW_TIME].n_generated_lengths == 1) {
        buf_printf(out, " All runs generate %u tokens, so their cost is part of the fixed one, a.",
                   result->reference.generated_tokens);
    }
}

void html_fits(struct buf *out, const struct report_result *result) {
    static const char *const HEADS[LAW_N_TERMS] = {"Fixed, a", "Per prompt token, b",
                                                   "Per generated token, c", "Quadratic",
                                                   "Prompt \xc3\x97 generated"};
    buf_puts(out,
             "<h2 id=\"laws\">The laws</h2><p class=\"lead\">cost = a + b \xc2\xb7 prompt tokens "
             "+ c \xc2\xb7 generated tokens. A quadratic term is added only where the data "
             "demand it. Typical error: each prompt size predicted by a fit that has not seen "
             "it.");
    put_hidden_note(out, result);
    buf_puts(out, "</p><div class=\"scroll dense\"><table><thead><tr>"
                  "<th>Cost</th>");
    for (unsigned term = 0; term < LAW_N_TERMS; term++) {
        if (has_column(result, (enum law_term)term)) {
            html_element(out, "th", NULL, HEADS[term]);
        }
    }
    buf_puts(out, "<th>R\xc2\xb2</th><th>Typical error</th></tr></thead>");
    for (unsigned law = 0; law < REPORT_N_LAWS; law++) {
        if (is_fitted(result, law)) {
            put_law_group(out, result, law);
        }
    }
    buf_puts(out, "</table></div>");
    put_missing(out, result);
}

// ---- raw records ----

enum { MAX_SHOWN_RECORDS = 2000 }; // per model; a browser is slow on more, the CSV has all

static void put_record(struct buf *out, const struct report_result *result, size_t m,
                       const struct record *record) {
    char flags[256];
    buf_printf(out, "<tr><td>%s</td><td>%u</td><td>%u</td><td>%u</td><td>%u</td>", HTML_ROLE[m],
               record->seq, record->repeat, record->prompt_tokens, record->generated_tokens);
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        if (is_measured(result, i)) {
            buf_puts(out, "<td>");
            if (isfinite(record->value[i])) {
                char number[32];
                snprintf(number, sizeof number, "%.5g", record->value[i]);
                html_figure(out, number);
            }
            buf_puts(out, "</td>");
        }
    }
    html_element(out, "td", "left", record_flags_text(flags, sizeof flags, record->flags));
    buf_puts(out, "</tr>\n");
}

void html_records(struct buf *out, const struct report_result *result) {
    size_t n = 0;
    for (size_t m = 0; m < html_n_models(result); m++) {
        n += result->model[m].n_records;
    }
    buf_printf(out,
               "<details><summary>Raw points (%zu runs)</summary><div class=\"scroll "
               "tall\"><table><thead><tr><th>Model</th><th>Run</th><th>Repeat</th><th>Prompt</th>"
               "<th>Generated</th>",
               n);
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        if (is_measured(result, i)) {
            const struct metric_info *info = metric_info((enum metric_id)i);
            buf_puts(out, "<th>");
            html_text(out, info->title);
            html_element(out, "span", "unit", info->unit);
            buf_puts(out, "</th>");
        }
    }
    buf_puts(out, "<th class=\"left\">Flags</th></tr></thead><tbody>");
    for (size_t m = 0; m < html_n_models(result); m++) {
        const struct report_model *model = &result->model[m];
        for (size_t i = 0; i < model->n_records && i < MAX_SHOWN_RECORDS; i++) {
            put_record(out, result, m, &model->records[i]);
        }
    }
    buf_puts(out, "</tbody></table></div>");
    buf_printf(out,
               "<p class=\"small\">At most %d runs per model are shown; the CSV and JSON "
               "reports hold all.</p></details>",
               MAX_SHOWN_RECORDS);
}
