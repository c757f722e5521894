// The report as one HTML file: no request ever leaves it, it works from a mail attachment, prints,
// and needs no script except for the calculator.
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/sha256.h"
#include "base/units.h"
#include "report/figures.h"
#include "report/formats.h"
#include "report/html.h"
#include "report/html_sections.h"

extern const char REPORT_STYLE_CSS[];
extern const char REPORT_ROI_JS[];

// Nothing may be loaded, nothing sent; exactly this style and this script may run, so even markup
// that slipped through the escaping could not.
static void put_policy(struct buf *out) {
    char style[SHA256_BASE64_BYTES], script[SHA256_BASE64_BYTES];
    sha256_base64(REPORT_STYLE_CSS, strlen(REPORT_STYLE_CSS), style);
    sha256_base64(REPORT_ROI_JS, strlen(REPORT_ROI_JS), script);
    buf_printf(out,
               "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
               "style-src 'sha256-%s'; script-src 'sha256-%s'; base-uri 'none'; form-action "
               "'none'\">\n",
               style, script);
}

static void put_head(struct buf *out, const struct report_result *result) {
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    put_policy(out);
    buf_puts(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n"
                  "<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    html_text_cut(out, result->title, 120);
    buf_puts(out, " \xe2\x80\x93 wattlaw</title>\n<style>");
    buf_puts(out, REPORT_STYLE_CSS);
    buf_puts(out, "</style>\n</head>\n<body>\n<main>\n");
}

static void put_models(struct buf *out, const struct report_result *result) {
    buf_puts(out, "<ul class=\"models\">");
    for (size_t m = 0; m < result->n_models; m++) {
        const struct report_model *model = &result->model[m];
        char size[UNITS_TEXT_BYTES];
        buf_printf(out, "<li><span class=\"swatch %s\"></span><b>", HTML_ROLE[m]);
        html_text_cut(out, model->name, 90);
        buf_puts(out, "</b><span class=\"what\">");
        if (result->n_models == 2) {
            buf_puts(out, m == 0 ? "base" : "compared with it");
            buf_puts(out, " \xc2\xb7 ");
        }
        if (model->file_bytes > 0) {
            buf_printf(out, "%s \xc2\xb7 ", units_bytes(size, (double)model->file_bytes));
        }
        buf_printf(out, "%zu runs at %zu prompt sizes</span></li>", model->n_used, model->n_cells);
    }
    buf_puts(out, "</ul>");
}

static void put_nav(struct buf *out, const struct report_result *result) {
    bool has_runs = result->reference.n > 0;
    const struct {
        const char *id, *name;
        bool is_there;
    } parts[] = {{"table", "Table", true},
                 {"cost", "Cost", has_runs},
                 {"laws", "Laws", has_runs},
                 {"phases", "Phases", has_runs},
                 {"images", "Images", html_has_images(result)},
                 {"accuracy", "Accuracy", html_has_accuracy(result)},
                 {"savings", "Per year", true},
                 {"quality", "Quality", true},
                 {"method", "Method", true},
                 {"data", "Data", true}};
    buf_puts(out, "<nav aria-label=\"Sections\">");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].is_there) {
            buf_printf(out, "<a href=\"#%s\">%s</a>", parts[i].id, parts[i].name);
        }
    }
    buf_puts(out, "</nav>");
}

static void put_header(struct buf *out, const struct report_result *result) {
    char text[512];
    buf_puts(out, "<header><p class=\"brand\">wattlaw study</p><h1>");
    html_text_cut(out, result->title, 200);
    buf_puts(out, "</h1><p class=\"meta\">");
    figure_machine(text, sizeof text, result);
    html_text(out, text);
    buf_puts(out, text[0] ? " \xc2\xb7 " : "");
    html_text(out, result->engine_version);
    buf_puts(out, result->engine_version[0] ? " \xc2\xb7 " : "");
    html_text(out, figure_date(text, result->created_wall_ns));
    buf_puts(out, "</p>");
    put_models(out, result);
    put_nav(out, result);
    buf_puts(out, "</header>\n");
}

static void put_note(struct buf *out, const char *before, const char *name, const char *after) {
    buf_puts(out, "<p class=\"note\">");
    buf_puts(out, before);
    html_text_cut(out, name, 60);
    buf_puts(out, after);
    buf_puts(out, "</p>");
}

static void put_flag_note(struct buf *out, const struct report_model *model) {
    char after[160];
    size_t n_flagged = model->n_used - model->n_clean;
    if (2 * n_flagged > model->n_used) {
        snprintf(after, sizeof after,
                 ": %zu of %zu runs carry a flag; see <a "
                 "href=\"#quality\">Quality</a> before you rely on it.",
                 n_flagged, model->n_used);
        put_note(out, "", model->name, after);
    }
}

static void put_notes(struct buf *out, const struct report_result *result) {
    if (result->state[0] && strcmp(result->state, "done") != 0) {
        put_note(out, "This study is ", result->state, ": the figures are of the runs so far.");
    }
    for (size_t m = 0; m < result->n_models; m++) {
        const struct report_model *model = &result->model[m];
        if (model->is_synthetic) {
            put_note(out, "The weights of ", model->name,
                     " are random: its cost is real, its answers mean nothing.");
        }
        if (model->n_used == 0 && model->vision.n_budgets == 0 && model->vision.n_accuracies == 0) {
            put_note(out, "There is no finished run of ", model->name, ".");
        }
        put_flag_note(out, model);
    }
}

static void put_footer(struct buf *out, const struct report_result *result) {
    char text[FIGURE_BYTES];
    buf_puts(out, "<footer>wattlaw ");
    html_text(out, result->wattlaw_version);
    buf_puts(out, " \xc2\xb7 study ");
    html_text(out, result->study_uuid);
    buf_puts(out, " \xc2\xb7 report of ");
    html_text(out, figure_date(text, result->now_wall_ns));
    buf_puts(out, "</footer>\n</main>\n<script>");
    buf_puts(out, REPORT_ROI_JS);
    buf_puts(out, "</script>\n</body>\n</html>\n");
}

bool report_format_html(const struct report_result *result, const struct report_options *options,
                        struct buf *out) {
    (void)options;
    bool has_runs = result->reference.n > 0;
    put_head(out, result);
    put_header(out, result);
    put_notes(out, result);
    html_tiles(out, result);
    html_study_table(out, result);
    html_all_figures(out, result);
    if (has_runs) {
        html_cost_plots(out, result);
        html_fits(out, result);
        html_residual_plots(out, result);
        html_phase_plots(out, result);
    }
    html_vision(out, result);
    html_image_phase_plots(out, result);
    html_accuracy(out, result);
    html_roi(out, result);
    html_paper_mode(out, result);
    html_quality(out, result);
    html_method(out, result);
    buf_puts(out, "<h2 id=\"data\">Data</h2>");
    html_records(out, result);
    html_reproduce(out, result);
    put_footer(out, result);
    return !out->is_failed;
}
