// The analysis as one HTML file: no script, nothing is loaded, it works from a
// mail attachment.
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "report/analysis_parts.h"
#include "report/html.h"
#include "report/sha256.h"

extern const char REPORT_STYLE_CSS[];

enum { OPEN_CURVES = 8 }; // blocks up to which the curves are unfolded

static void put_head(struct buf *out, const struct report_analysis_page *page) {
    char style[SHA256_BASE64_BYTES];
    sha256_base64(REPORT_STYLE_CSS, strlen(REPORT_STYLE_CSS), style);
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta "
                  "charset=\"utf-8\">\n");
    buf_printf(out,
               "<meta http-equiv=\"Content-Security-Policy\" "
               "content=\"default-src 'none'; "
               "style-src 'sha256-%s'; base-uri 'none'; form-action 'none'\">\n",
               style);
    buf_puts(out, "<meta name=\"viewport\" content=\"width=device-width, "
                  "initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n"
                  "<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    html_text_cut(out, page->title, 120);
    buf_puts(out, " \xe2\x80\x93 wattlaw</title>\n<style>");
    buf_puts(out, REPORT_STYLE_CSS);
    buf_puts(out, "</style>\n</head>\n<body>\n<main>\n<header><p class=\"brand\">wattlaw "
                  "analyze</p><h1>");
    html_text_cut(out, page->title, 200);
    buf_puts(out, "</h1><p class=\"meta\">");
    html_text(out, page->subtitle);
    buf_puts(out, "</p>");
}

static void put_facts(struct buf *out, const struct report_analysis *a) {
    char bytes[UNITS_TEXT_BYTES], ffn[UNITS_TEXT_BYTES], attention[UNITS_TEXT_BYTES];
    char seconds[UNITS_TEXT_BYTES], text[320];
    snprintf(text, sizeof text,
             "%s, %" PRIu32 " blocks of %" PRId64 " neurons and %" PRId64 " KV heads, %s; %s "
             "weights in feed-forward parts, %s in attention. %" PRId64 " tokens of calibration, "
             "%" PRId64 " held out for divergences, %s.",
             a->arch, a->n_layer, a->n_ff, a->n_head_kv, units_bytes(bytes, (double)a->file_bytes),
             units_params(ffn, (double)a->ffn_weights),
             units_params(attention, (double)a->attention_weights), a->n_tokens, a->n_tokens_kl,
             units_seconds(seconds, a->seconds + a->text_seconds));
    html_element(out, "p", "lead", text);
    buf_puts(out, "</header>\n");
}

static void put_words(struct buf *out, const struct report_analysis *a) {
    struct report_analysis_words words;
    report_analysis_words(a, &words);
    buf_puts(out, "<h2 id=\"words\">What can go, and what should stay</h2><div "
                  "class=\"panel\">");
    for (size_t i = 0; i < words.n; i++) {
        bool is_caution = strncmp(words.text[i], "Caution", 7) == 0;
        html_element(out, "p", is_caution ? "bad" : NULL, words.text[i]);
    }
    buf_puts(out, "</div>");
}

// ---- tables ----

static void put_cell(struct buf *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void put_cell(struct buf *out, const char *format, ...) {
    char text[96];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_puts(out, "<td>");
    html_figure(out, text);
    buf_puts(out, "</td>");
}

static void put_number(struct buf *out, double value) {
    char text[UNITS_TEXT_BYTES];
    put_cell(out, "%s", units_number(text, value));
}

// The error, and below it the bound and how many times that it is.
static void put_error(struct buf *out, double error, double tail) {
    char number[UNITS_TEXT_BYTES], bound[UNITS_TEXT_BYTES], text[96];
    double ratio = report_analysis_ratio(error, tail);
    buf_puts(out, "<td>");
    html_figure(out, units_number(number, error));
    if (isfinite(ratio)) {
        snprintf(text, sizeof text, "\xe2\x89\xa5 %s, %.*f times", units_number(bound, tail),
                 ratio < 100 ? 1 : 0, ratio);
    } else {
        snprintf(text, sizeof text, "bound 0");
    }
    html_element(out, "span", "ci", text);
    buf_puts(out, "</td>");
}

static void put_table_head(struct buf *out, const char *const *names) {
    buf_puts(out, "<div class=\"scroll dense\"><table><thead><tr>");
    for (size_t i = 0; names[i]; i++) {
        html_element(out, "th", NULL, names[i]);
    }
    buf_puts(out, "</tr></thead><tbody>");
}

static void put_row_head(struct buf *out, uint32_t layer) {
    buf_printf(out, "<tr><th>%" PRIu32 "</th>", layer);
}

static void put_spectrum(struct buf *out, const struct report_spectrum *s) {
    put_cell(out, "%.2f", s->entropy);
    put_cell(out, "%" PRIu32 " / %" PRIu32, s->chi_10, s->chi_1);
    put_cell(out, "%" PRIu32, s->rank);
}

static void ffn_table(struct buf *out, const struct report_analysis *a) {
    static const char *const NAMES[] = {
        "Block",   "Error with 3/4",       "1/2", "1/4", "Nats for error 1", "Half costs, nats",
        "Entropy", "\xcf\x87 at 10 / 1 %", "of",  NULL};
    put_table_head(out, NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        put_row_head(out, i);
        for (size_t k = 12; k >= 4; k -= 4) {
            put_error(out, l->ffn_error[k - 1], l->ffn_tail[k - 1]);
        }
        put_number(out, l->ffn_sensitivity);
        put_number(out, report_analysis_ffn_kl(l, 8));
        put_spectrum(out, &l->ffn);
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div>");
}

static void attention_table(struct buf *out, const struct report_analysis *a) {
    static const char *const NAMES[] = {
        "Block",   "Error with 3/4",       "1/2", "1/4", "Nats for error 1", "Without it, nats",
        "Entropy", "\xcf\x87 at 10 / 1 %", "of",  NULL};
    put_table_head(out, NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        put_row_head(out, i);
        for (uint32_t quarters = 3; quarters > 0; quarters--) {
            uint32_t n = report_analysis_groups(l, quarters);
            put_error(out, l->group_error[n - 1], l->group_tail[n - 1]);
        }
        put_number(out, l->attention_sensitivity);
        put_number(out, l->kl_no_attention);
        put_spectrum(out, &l->attention);
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div>");
}

static void block_table(struct buf *out, const struct report_analysis *a) {
    static const char *const NAMES[] = {"Block",
                                        "Influence",
                                        "Attention adds",
                                        "Feed-forward adds",
                                        "Without its attention, nats",
                                        "Without it, nats",
                                        NULL};
    put_table_head(out, NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        put_row_head(out, i);
        put_number(out, l->influence);
        put_number(out, l->attention_share);
        put_number(out, l->ffn_share);
        put_number(out, l->kl_no_attention);
        put_number(out, l->kl_removed);
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div>");
}

static void bond_table(struct buf *out, const struct report_analysis *a) {
    static const char *const NAMES[] = {"Block",
                                        "gate, entropy",
                                        "\xcf\x87 of bond",
                                        "up, entropy",
                                        "\xcf\x87 of bond",
                                        "down, entropy",
                                        "\xcf\x87 of bond",
                                        "Q, entropy",
                                        "\xcf\x87 of bond",
                                        "output, entropy",
                                        "\xcf\x87 of bond",
                                        NULL};
    put_table_head(out, NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        put_row_head(out, i);
        for (size_t k = 0; k < REPORT_ANALYSIS_BONDS; k++) {
            const struct report_spectrum *s = &a->layers[i].bonds[k];
            put_cell(out, "%.2f", s->entropy);
            put_cell(out, "%" PRIu32 " of %" PRIu32, s->chi_10, s->rank);
        }
        buf_puts(out, "</tr>");
    }
    buf_puts(out, "</tbody></table></div>");
}

// ---- sections ----

static void put_section(struct buf *out, const char *id, const char *title, const char *lead) {
    buf_printf(out, "<h2 id=\"%s\">", id);
    html_text(out, title);
    buf_puts(out, "</h2>");
    html_element(out, "p", "lead", lead);
}

static void put_curves(struct buf *out, const struct report_analysis *a) {
    buf_printf(out,
               "<details%s><summary>Error against neurons, block by block</summary><p "
               "class=\"lead\">The lower line is the bound: no choice of as many "
               "directions, "
               "neurons or not, can come below it. Where the lines are close, pruning "
               "is near its "
               "best.</p><div class=\"grid\">",
               a->n_layer <= OPEN_CURVES ? " open=\"\"" : "");
    for (uint32_t i = 0; i < a->n_layer; i++) {
        analysis_curve_plot(out, a, i);
    }
    buf_puts(out, "</div></details>");
}

bool report_analysis_html(const struct report_analysis *analysis,
                          const struct report_analysis_page *page, struct buf *out) {
    put_head(out, page);
    put_facts(out, analysis);
    put_words(out, analysis);
    buf_puts(out, "<div class=\"grid\">");
    analysis_heat_plot(out, analysis);
    analysis_sensitivity_plot(out, analysis);
    analysis_removal_plot(out, analysis);
    analysis_influence_plot(out, analysis);
    buf_puts(out, "</div>");
    put_section(out, "ffn", "Feed-forward parts",
                "Error of the part's own output as a share of its square, after "
                "the best repair; "
                "below it what no choice could avoid. \xcf\x87 is how many "
                "directions carry 90 and "
                "99 % of the output, entropy how evenly they do (nats).");
    ffn_table(out, analysis);
    put_curves(out, analysis);
    put_section(
        out, "attention", "Attention",
        "The same for KV heads with their query heads, which only go together; of few, at least "
        "one stays.");
    attention_table(out, analysis);
    put_section(out, "blocks", "Blocks",
                "What the parts add, as a share of the square of the stream they "
                "add it to, and "
                "the model's divergence without them.");
    block_table(out, analysis);
    if (analysis->has_bonds) {
        put_section(out, "bonds", "Tensor trains",
                    "The bond between the two cores of each matrix as a matrix product "
                    "operator, "
                    "weights alone: how many values carry 90 % of the square. A flat "
                    "spectrum "
                    "(most of the bond) means that the matrix is no short sum of Kronecker "
                    "products.");
        bond_table(out, analysis);
    }
    buf_puts(out, "<footer>wattlaw ");
    html_text(out, page->version);
    buf_puts(out, "</footer>\n</main>\n</body>\n</html>\n");
    return !out->is_failed;
}
