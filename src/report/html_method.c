// How the figures were made: paper mode, idle baseline, flags, machine, sources, definitions.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "report/figures.h"
#include "report/html.h"
#include "report/html_sections.h"

// ---- paper mode ----

void html_paper_mode(struct buf *out, const struct report_result *result) {
    bool has_any = false;
    for (size_t m = 0; m < result->n_models; m++) {
        has_any |= result->model[m].paper.n > 0;
    }
    if (!has_any) {
        return;
    }
    buf_puts(out,
             "<h2 id=\"paper\">Exact against the paper\xe2\x80\x99s method</h2>"
             "<p class=\"lead\">Exact: the engine\xe2\x80\x99s own CPU clock between the "
             "request and its last token. Paper: the machine\xe2\x80\x99s CPU % at 5 Hz, the "
             "window found from its gradient, trapezoid above idle. The difference says how "
             "far results of the two may be compared.</p><div class=\"scroll\"><table><thead>"
             "<tr><th>CPU AUC, paper against exact</th><th>Runs</th><th>Median</th><th>Smallest"
             "</th><th>Largest</th></tr></thead><tbody>");
    for (size_t m = 0; m < result->n_models; m++) {
        const struct report_paper_mode *p = &result->model[m].paper;
        if (p->n == 0) {
            continue;
        }
        const double columns[] = {p->median_pct, p->min_pct, p->max_pct};
        buf_printf(out,
                   "<tr><th scope=\"row\"><span class=\"key\"><span class=\"swatch "
                   "%s\"></span><span>",
                   HTML_ROLE[m]);
        html_text_cut(out, result->model[m].name, 40);
        buf_printf(out, "</span></span></th><td>%zu</td>", p->n);
        for (int i = 0; i < 3; i++) {
            char text[FIGURE_BYTES];
            buf_puts(out, "<td>");
            html_figure(out, figure_change(text, 1 + columns[i] / 100));
            buf_puts(out, "</td>");
        }
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div>");
}

// ---- idle baseline and flags ----

// The mean to the place of the deviation's second digit: "1.604 +- 0.021 W".
static void put_mean_sd(struct buf *out, double mean, double sd, const char *unit) {
    char text[FIGURE_BYTES];
    if (!isfinite(mean)) {
        return;
    }
    if (isfinite(sd) && sd > 0) {
        double digits = 1 - floor(log10(sd));
        int decimals = digits < 0 ? 0 : digits > 6 ? 6 : (int)digits;
        snprintf(text, sizeof text, "%.*f \xc2\xb1 %.*f %s", decimals, mean, decimals, sd, unit);
    } else {
        snprintf(text, sizeof text, "%.3g %s", mean, unit);
    }
    html_figure(out, text);
}

static void put_idle(struct buf *out, const struct report_idle *idle) {
    char text[FIGURE_BYTES], flags[256];
    buf_puts(out, "<tr>");
    html_element(out, "td", NULL, figure_date(text, idle->wall_ns));
    buf_printf(out, "<td>%.0f s</td>", idle->duration_s);
    buf_puts(out, "<td>");
    put_mean_sd(out, idle->cpu_pct_mean, idle->cpu_pct_sd, "%");
    buf_puts(out, "</td><td>");
    for (uint32_t i = 0; i < idle->n_powers; i++) {
        buf_puts(out, i ? "<br>" : "");
        html_text(out, idle->power[i].source);
        buf_puts(out, " ");
        put_mean_sd(out, idle->power[i].mean_w, idle->power[i].sd_w, "W");
    }
    buf_puts(out, "</td>");
    html_element(out, "td", "left", record_flags_text(flags, sizeof flags, idle->flags));
    buf_puts(out, "</tr>");
}

static void put_idles(struct buf *out, const struct report_result *result) {
    if (result->n_idles == 0) {
        buf_puts(out, "<p class=\"small\">No idle baseline was stored.</p>");
        return;
    }
    buf_puts(out,
             "<div class=\"scroll\"><table><thead><tr><th>Idle baseline</th><th>Length</th><th>"
             "CPU</th><th>Power</th><th class=\"left\">Flags</th></tr></thead><tbody>");
    for (size_t i = 0; i < result->n_idles; i++) {
        put_idle(out, &result->idles[i]);
    }
    buf_puts(out, "</tbody></table></div>");
}

static void put_flag_row(struct buf *out, const struct report_result *result, unsigned bit,
                         const char *name, const char *meaning) {
    size_t n = 0;
    for (size_t m = 0; m < result->n_models; m++) {
        n += result->model[m].flag_count[bit];
    }
    if (n == 0) {
        return;
    }
    buf_puts(out, "<tr>");
    html_element(out, "th", NULL, name);
    for (size_t m = 0; m < result->n_models; m++) {
        buf_printf(out, "<td>%zu of %zu</td>", result->model[m].flag_count[bit],
                   result->model[m].n_used);
    }
    html_element(out, "td", "left wrap", meaning);
    buf_puts(out, "</tr>");
}

static bool has_flags(const struct report_result *result) {
    for (size_t m = 0; m < result->n_models; m++) {
        if (result->model[m].n_clean < result->model[m].n_used) {
            return true;
        }
    }
    return false;
}

void html_quality(struct buf *out, const struct report_result *result) {
    buf_puts(out,
             "<h2 id=\"quality\">Idle baseline and flags</h2><p class=\"lead\">What the machine "
             "took while it did nothing, and what disturbed the runs. Flagged runs are kept "
             "and counted.</p>");
    put_idles(out, result);
    if (!has_flags(result)) {
        buf_puts(out, "<p class=\"small\">No run carries a flag.</p>");
        return;
    }
    buf_puts(out, "<div class=\"scroll\"><table><thead><tr><th>Flag</th>");
    for (size_t m = 0; m < result->n_models; m++) {
        buf_printf(out, "<th>%s</th>", result->n_models == 2 ? HTML_ROLE[m] : "Runs");
    }
    buf_puts(out, "<th class=\"left\">What it means</th></tr></thead><tbody>");
#define X(suffix, bit, name, meaning) put_flag_row(out, result, bit, name, meaning);
    RECORD_FLAG_LIST(X)
#undef X
    buf_puts(out, "</tbody></table></div>");
}

// ---- JSON facts ----

enum { MAX_FACT_CHARS = 160, MAX_FACTS = 120, MAX_KEY_BYTES = 80 };

static void put_fact_value(struct buf *out, const char *key, const json_t *value) {
    char text[64];
    if (json_is_string(value)) {
        html_text_cut(out, json_string_value(value), MAX_FACT_CHARS);
    } else if (json_is_boolean(value)) {
        buf_puts(out, json_is_true(value) ? "yes" : "no");
    } else if (json_is_integer(value) && strstr(key, "bytes")) {
        html_text(out, units_bytes(text, (double)json_integer_value(value)));
    } else if (json_is_integer(value)) {
        buf_printf(out, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        snprintf(text, sizeof text, "%.6g", json_real_value(value));
        html_figure(out, text);
    }
}

static bool is_scalar(const json_t *value) {
    return !json_is_object(value) && !json_is_array(value) && !json_is_null(value);
}

// "n_ubatch" reads "n ubatch"; nested keys are joined by a space.
static void join_key(char out[MAX_KEY_BYTES], const char *prefix, const char *key) {
    snprintf(out, MAX_KEY_BYTES, "%.36s%s%.40s", prefix, prefix[0] ? " " : "", key);
    for (char *p = out; *p; p++) {
        if (*p == '_') {
            *p = ' ';
        }
    }
}

static bool is_array_of_scalars(const json_t *array) {
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (!is_scalar(json_array_get(array, i))) {
            return false;
        }
    }
    return json_array_size(array) > 0;
}

// Objects flattened, arrays of scalars joined; arrays of objects and nulls left to the JSON report.
static void put_facts(struct buf *out, const char *prefix, const json_t *object, int *n_left) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        char name[MAX_KEY_BYTES];
        join_key(name, prefix, key);
        bool is_list = json_is_array(value) && is_array_of_scalars(value);
        if (json_is_object(value)) {
            put_facts(out, name, value, n_left);
        } else if ((is_scalar(value) || is_list) && *n_left > 0) {
            --*n_left;
            html_element(out, "dt", NULL, name);
            buf_puts(out, "<dd>");
            for (size_t i = 0; is_list && i < json_array_size(value); i++) {
                buf_puts(out, i ? ", " : "");
                put_fact_value(out, key, json_array_get(value, i));
            }
            put_fact_value(out, key, value);
            buf_puts(out, "</dd>");
        }
    }
}

static void put_fact_panel(struct buf *out, const char *title, const json_t *object) {
    int n_left = MAX_FACTS;
    if (json_object_size(object) == 0) {
        return;
    }
    buf_puts(out, "<div class=\"panel\">");
    html_element(out, "h3", NULL, title);
    buf_puts(out, "<dl>");
    put_facts(out, "", object, &n_left);
    buf_puts(out, "</dl></div>");
}

// ---- energy sources ----

static void put_source(struct buf *out, const struct report_source *source, const char *role,
                       bool is_primary) {
    char text[FIGURE_BYTES];
    buf_puts(out, "<tr><th scope=\"row\">");
    html_text(out, source->source);
    buf_printf(out, "%s</th><td>%s</td>", is_primary ? " (primary)" : "", role);
    html_element(out, "td", NULL, source->scope);
    html_element(out, "td", NULL, record_label_name(source->label));
    buf_puts(out, "<td>");
    html_figure(out, figure_text(text, METRIC_energy_gross_j, source->mean_gross_j));
    buf_puts(out, "</td><td>");
    html_figure(out, figure_text(text, METRIC_energy_net_j, source->mean_net_j));
    buf_printf(out, "</td><td>%.1f&nbsp;%%</td><td>%.0f&nbsp;%%</td><td>%zu</td><td>%zu</td></tr>",
               100 * source->systematic_rel,
               isfinite(source->mean_coverage) ? 100 * source->mean_coverage : 0, source->n,
               source->n_unresolved);
}

static void put_sources(struct buf *out, const struct report_result *result) {
    if (result->model[0].n_sources == 0) {
        return;
    }
    buf_puts(out, "<div class=\"scroll\"><table><thead><tr><th>Energy source</th><th>Model</th><th>"
                  "Scope</th><th>Label</th><th>Mean, gross</th><th>Mean, net</th><th>Systematic "
                  "error</th><th>Coverage</th><th>Windows</th><th>Unresolved alone</th></tr>"
                  "</thead><tbody>");
    for (size_t m = 0; m < result->n_models; m++) {
        for (size_t i = 0; i < result->model[m].n_sources; i++) {
            put_source(out, &result->model[m].source[i], HTML_ROLE[m], i == 0);
        }
    }
    buf_puts(out, "</tbody></table></div>");
    html_element(
        out, "p", "note",
        "Each scope contains the one before it: cpu, soc, board, wall. Joules of different "
        "sources are therefore never added; the primary source gives the figures above, the "
        "others stand beside it.");
}

static void put_meters(struct buf *out, const struct report_result *result) {
    for (size_t i = 0; i < json_array_size(result->meters) && i < RECORD_MAX_ENERGIES; i++) {
        const json_t *meter = json_array_get(result->meters, i);
        char title[128];
        const char *name = wl_json_opt_string(meter, "name", "");
        str_copy(title, sizeof title, "Energy source ");
        snprintf(title, sizeof title, "Energy source %.100s", name);
        put_fact_panel(out, title, meter);
    }
}

// ---- definitions ----

static void put_definitions(struct buf *out) {
    buf_puts(out, "<details><summary>What the words mean</summary><div class=\"panel\"><dl>");
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metric_info((enum metric_id)i);
        html_element(out, "dt", NULL, info->title);
        html_element(out, "dd", NULL, info->meaning);
    }
    static const char *const WORDS[][2] = {
        {"gross, net", "all energy in the window; the same minus idle power x window"},
        {"scope",
         "what the source sees: cpu (package), soc (chip with memory), board, wall (plug)"},
        {"measured", "read from an energy counter or power sensor of known error"},
        {"calibrated", "read from a source that was corrected against a better one"},
        {"estimated", "computed by a model from load and frequency, not measured"},
        {"unresolved", "the 95 % interval is wider than the value, so no number is given"},
        {"95 % interval", "Student's t from the scatter within prompt sizes; for energy also the "
                          "source's systematic error, which repeats do not shrink"},
        {"change",
         "ratio of the sums over prompt sizes, pairs of adjacent runs, Fieller's interval; "
         "the systematic error of one source cancels in it"}};
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        html_element(out, "dt", NULL, WORDS[i][0]);
        html_element(out, "dd", NULL, WORDS[i][1]);
    }
    buf_puts(out, "</dl></div></details>");
}

static void put_model_facts(struct buf *out, const struct report_result *result) {
    for (size_t m = 0; m < result->n_models; m++) {
        char title[64];
        const struct report_model *model = &result->model[m];
        snprintf(title, sizeof title, result->n_models == 2 ? "Model, %s" : "Model", HTML_ROLE[m]);
        buf_puts(out, "<div class=\"panel\">");
        html_element(out, "h3", NULL, title);
        buf_puts(out, "<dl><dt>name</dt><dd>");
        html_text_cut(out, model->name, MAX_FACT_CHARS);
        buf_puts(out, "</dd><dt>file</dt><dd>");
        html_text_cut(out, model->path, MAX_FACT_CHARS);
        buf_puts(out, "</dd><dt>hash</dt><dd>");
        html_text_cut(out, model->hash, MAX_FACT_CHARS);
        buf_puts(out, "</dd>");
        int n_left = MAX_FACTS;
        put_facts(out, "", model->describe, &n_left);
        buf_puts(out, "</dl></div>");
    }
}

void html_method(struct buf *out, const struct report_result *result) {
    buf_puts(out, "<h2 id=\"method\">How these figures were made</h2><p class=\"lead\">One engine "
                  "process per model; windows from the engine\xe2\x80\x99s own time stamps; models "
                  "and sizes interleaved in a seeded random order; the first run after a load is "
                  "left out.</p>");
    put_sources(out, result);
    buf_puts(out, "<div class=\"two\">");
    put_fact_panel(out, "Machine", result->machine);
    put_fact_panel(out, "Study", result->options);
    buf_puts(out, "</div>");
    put_definitions(out);
    buf_puts(out, "<details><summary>Models and energy sources in detail</summary><div "
                  "class=\"two\">");
    put_model_facts(out, result);
    put_meters(out, result);
    buf_puts(out, "</div></details>");
}

void html_reproduce(struct buf *out, const struct report_result *result) {
    buf_puts(out, "<h2 id=\"repeat\">Repeat it</h2><pre><code>");
    html_text(out, result->command_line[0] ? result->command_line : "wattlaw study");
    buf_printf(out, "</code></pre><p class=\"small\">Seed %llu; ",
               (unsigned long long)result->seed);
    html_text(out, result->engine_version[0] ? result->engine_version : "engine version unknown");
    buf_puts(out, ".</p>");
}
