// The analysis as one HTML file: no script, nothing is loaded, it works from a
// mail attachment.
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "report/analysis_parts.h"
#include "report/html.h"
#include "report/html_page.h"

enum { OPEN_CURVES = 8 }; // blocks up to which the curves are unfolded

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
    buf_puts(out, "<div class=\"panel\">");
    for (size_t i = 0; i < words.n; i++) {
        bool is_caution = strncmp(words.text[i], "Caution", 7) == 0;
        html_element(out, "p", is_caution ? "bad" : NULL, words.text[i]);
    }
    buf_puts(out, "</div>");
}

// ---- tables ----

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

static void put_row_head(struct buf *out, uint32_t layer) {
    buf_printf(out, "<tr><th>%" PRIu32 "</th>", layer);
}

static void put_spectrum(struct buf *out, const struct report_spectrum *s) {
    html_cell(out, "%.2f", s->entropy);
    html_cell(out, "%" PRIu32 " / %" PRIu32, s->chi_10, s->chi_1);
    html_cell(out, "%" PRIu32, s->rank);
}

static void ffn_table(struct buf *out, const struct report_analysis *a) {
    static const char *const NAMES[] = {
        "Block",   "Error with 3/4",       "1/2", "1/4", "Nats for error 1", "Half costs, nats",
        "Entropy", "\xcf\x87 at 10 / 1 %", "of",  NULL};
    html_table_open(out, "dense", NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        put_row_head(out, i);
        for (size_t k = 12; k >= 4; k -= 4) {
            put_error(out, l->ffn_error[k - 1], l->ffn_tail[k - 1]);
        }
        html_cell_number(out, l->ffn_sensitivity);
        html_cell_number(out, report_analysis_ffn_kl(l, 8));
        put_spectrum(out, &l->ffn);
        buf_puts(out, "</tr>");
    }
    html_table_close(out);
}

static void attention_table(struct buf *out, const struct report_analysis *a) {
    static const char *const NAMES[] = {
        "Block",   "Error with 3/4",       "1/2", "1/4", "Nats for error 1", "Without it, nats",
        "Entropy", "\xcf\x87 at 10 / 1 %", "of",  NULL};
    html_table_open(out, "dense", NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        put_row_head(out, i);
        for (uint32_t quarters = 3; quarters > 0; quarters--) {
            uint32_t n = report_analysis_groups(l, quarters);
            put_error(out, l->group_error[n - 1], l->group_tail[n - 1]);
        }
        html_cell_number(out, l->attention_sensitivity);
        html_cell_number(out, l->kl_no_attention);
        put_spectrum(out, &l->attention);
        buf_puts(out, "</tr>");
    }
    html_table_close(out);
}

static void block_table(struct buf *out, const struct report_analysis *a) {
    static const char *const NAMES[] = {"Block",
                                        "Influence",
                                        "Attention adds",
                                        "Feed-forward adds",
                                        "Without its attention, nats",
                                        "Without it, nats",
                                        NULL};
    html_table_open(out, "dense", NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        const struct report_analysis_layer *l = &a->layers[i];
        put_row_head(out, i);
        html_cell_number(out, l->influence);
        html_cell_number(out, l->attention_share);
        html_cell_number(out, l->ffn_share);
        html_cell_number(out, l->kl_no_attention);
        html_cell_number(out, l->kl_removed);
        buf_puts(out, "</tr>");
    }
    html_table_close(out);
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
    html_table_open(out, "dense", NAMES);
    for (uint32_t i = 0; i < a->n_layer; i++) {
        put_row_head(out, i);
        for (size_t k = 0; k < REPORT_ANALYSIS_BONDS; k++) {
            const struct report_spectrum *s = &a->layers[i].bonds[k];
            html_cell(out, "%.2f", s->entropy);
            html_cell(out, "%" PRIu32 " of %" PRIu32, s->chi_10, s->rank);
        }
        buf_puts(out, "</tr>");
    }
    html_table_close(out);
}

// ---- sections ----

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

void analysis_overview(struct buf *out, const struct report_analysis *analysis) {
    put_words(out, analysis);
    buf_puts(out, "<div class=\"grid\">");
    analysis_heat_plot(out, analysis);
    analysis_sensitivity_plot(out, analysis);
    analysis_removal_plot(out, analysis);
    analysis_influence_plot(out, analysis);
    buf_puts(out, "</div>\n");
}

bool report_analysis_html(const struct report_analysis *analysis,
                          const struct report_analysis_page *page, struct buf *out) {
    const struct html_page frame = {.brand = "wattlaw analyze",
                                    .title = page->title,
                                    .subtitle = page->subtitle,
                                    .version = page->version};
    html_page_open(out, &frame);
    put_facts(out, analysis);
    html_section(out, "words", "What can go, and what should stay", NULL);
    analysis_overview(out, analysis);
    html_section(out, "ffn", "Feed-forward parts",
                 "Error of the part's own output as a share of its square, after "
                 "the best repair; "
                 "below it what no choice could avoid. \xcf\x87 is how many "
                 "directions carry 90 and "
                 "99 % of the output, entropy how evenly they do (nats).");
    ffn_table(out, analysis);
    put_curves(out, analysis);
    html_section(
        out, "attention", "Attention",
        "The same for KV heads with their query heads, which only go together; of few, at least "
        "one stays.");
    attention_table(out, analysis);
    html_section(out, "blocks", "Blocks",
                 "What the parts add, as a share of the square of the stream they "
                 "add it to, and "
                 "the model's divergence without them.");
    block_table(out, analysis);
    if (analysis->has_bonds) {
        html_section(out, "bonds", "Tensor trains",
                     "The bond between the two cores of each matrix as a matrix product "
                     "operator, "
                     "weights alone: how many values carry 90 % of the square. A flat "
                     "spectrum "
                     "(most of the bond) means that the matrix is no short sum of Kronecker "
                     "products.");
        bond_table(out, analysis);
    }
    html_page_close(out, &frame);
    return !out->is_failed;
}
