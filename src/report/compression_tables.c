// Figures of the result: beside the original's, and beside what could be taken instead.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "report/compression_parts.h"
#include "report/html.h"
#include "report/html_page.h"

#define Z95 1.96

void compression_put_words(struct buf *out, const struct compression_words *words) {
    for (size_t i = 0; i < words->n; i++) {
        bool is_caution = strncmp(words->text[i], "Caution", 7) == 0;
        html_element(out, "p", is_caution ? "bad" : NULL, words->text[i]);
    }
}

// ---- cells ----

// A figure, and below it what it may also be: nothing, where the ends are not known.
static void put_between(struct buf *out, const char *text, const char *low, const char *high) {
    char ends[2 * FIGURE_BYTES + 8];
    buf_puts(out, "<td>");
    html_figure(out, strcmp(text, "-") == 0 ? "" : text); // what units and figures write for NaN
    if (strcmp(low, "-") != 0) {
        snprintf(ends, sizeof ends, "%s to %s", low, high);
        buf_puts(out, "<span class=\"ci\">");
        html_figure(out, ends);
        buf_puts(out, "</span>");
    }
    buf_puts(out, "</td>");
}

static void put_ms(struct buf *out, const struct compression_range *ms) {
    char text[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    put_between(out, units_number(text, ms->median), units_number(low, ms->low),
                units_number(high, ms->high));
}

static void put_times(struct buf *out, const struct compression_range *ratio) {
    char text[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES];
    put_between(out, figure_times(text, ratio->median), figure_times(low, ratio->low),
                figure_times(high, ratio->high));
}

static void put_kl(struct buf *out, const struct compression_verdict *v) {
    char text[FIGURE_BYTES], low[FIGURE_BYTES], high[FIGURE_BYTES];
    put_between(out, compression_kl_text(text, v->kl), compression_kl_text(low, v->kl_low),
                compression_kl_text(high, v->kl_high));
}

static void put_share(struct buf *out, double share) {
    if (isfinite(share)) {
        html_cell(out, "%.1f %%", 100 * share);
    } else {
        buf_puts(out, "<td></td>"); // a dash by its style
    }
}

static void open_row(struct buf *out, const char *name) {
    buf_puts(out, "<tr>");
    html_element(out, "th", NULL, name);
}

static void close_row(struct buf *out) {
    buf_puts(out, "</tr>");
}

// ---- the result beside the original ----

static void size_rows(struct buf *out, const struct compression *c) {
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], change[UNITS_TEXT_BYTES];
    open_row(out, "File");
    html_cell(out, "%s", units_bytes(before, c->original.bytes));
    html_cell(out, "%s", units_bytes(after, c->own.bytes));
    html_cell(out, "%s", units_signed_pct(change, c->own.bytes / c->original.bytes));
    close_row(out);
    open_row(out, "Block weights");
    html_cell(out, "%s", units_params(before, c->block_weights_before));
    html_cell(out, "%s", units_params(after, c->block_weights_after));
    html_cell(out, "%s",
              units_signed_pct(change, c->block_weights_after / c->block_weights_before));
    close_row(out);
}

static void speed_row(struct buf *out, const char *name, const struct compression_range *before,
                      const struct compression_range *after,
                      const struct compression_range *ratio) {
    if (isfinite(after->median)) {
        open_row(out, name);
        put_ms(out, before);
        put_ms(out, after);
        put_times(out, ratio);
        close_row(out);
    }
}

static void perplexity_row(struct buf *out, const struct compression_verdict *v) {
    char mean[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    double half = Z95 * v->log_ppl_ratio_sem;
    open_row(out, "Perplexity");
    html_cell_number(out, v->perplexity_before);
    html_cell_number(out, v->perplexity_after);
    put_between(out, units_signed_pct(mean, exp(v->log_ppl_ratio)),
                units_signed_pct(low, exp(v->log_ppl_ratio - half)),
                units_signed_pct(high, exp(v->log_ppl_ratio + half)));
    close_row(out);
}

static void divergence_row(struct buf *out, const char *name, double kl) {
    char text[FIGURE_BYTES];
    open_row(out, name);
    html_cell(out, "0");
    html_cell(out, "%s", compression_kl_text(text, kl));
    buf_puts(out, "<td></td></tr>");
}

static void share_row(struct buf *out, const char *name, double share) {
    open_row(out, name);
    html_cell(out, "100 %%");
    put_share(out, share);
    buf_puts(out, "<td></td></tr>");
}

static void divergence_rows(struct buf *out, const struct compression_verdict *v) {
    open_row(out, "KL divergence, nats per token");
    html_cell(out, "0");
    put_kl(out, v);
    buf_puts(out, "<td></td></tr>");
    divergence_row(out, "KL divergence, median", v->kl_median);
    divergence_row(out, "KL divergence that 1 % exceed", v->kl_p99);
    if (v->n_image > 0) {
        divergence_row(out, "KL divergence with pictures", v->kl_image);
    }
    share_row(out, "Same likeliest token", v->top1_share);
    if (v->n_answers > 0) {
        char name[FIGURE_BYTES];
        snprintf(name, sizeof name, "Same answer, of %.0f", v->n_answers);
        share_row(out, name, v->exact_share);
        share_row(out, "Tokens of answers up to the first that differs", v->same_share);
    }
}

void compression_summary(struct buf *out, const struct compression *c) {
    static const char *const NAMES[] = {"", "Original", "This file", "Change", NULL};
    const struct compression_speed *before = &c->original.speed, *after = &c->own.speed;
    html_table_open(out, NULL, NAMES);
    size_rows(out, c);
    speed_row(out, "Prompt, ms per token", &before->prompt_ms, &after->prompt_ms,
              &after->prompt_ratio);
    speed_row(out, "Generation, ms per token", &before->decode_ms, &after->decode_ms,
              &after->decode_ratio);
    if (c->own.verdict.is_there) {
        divergence_rows(out, &c->own.verdict);
        perplexity_row(out, &c->own.verdict);
    }
    html_table_close(out);
    html_element(out, "p", "small",
                 "Small figures: 95 % interval; of times the lowest and highest of the rounds, "
                 "their change in throughput. Divergence and perplexity are of text that took no "
                 "part in the compression.");
}

// ---- beside it ----

static void file_row(struct buf *out, const struct compression_file *file, bool is_own,
                     bool is_original) {
    char bytes[UNITS_TEXT_BYTES];
    buf_puts(out, is_own ? "<tr class=\"change\">" : "<tr>");
    html_element(out, "th", NULL, file->name);
    html_cell(out, "%s", units_bytes(bytes, file->bytes));
    put_ms(out, &file->speed.prompt_ms);
    put_ms(out, &file->speed.decode_ms);
    if (is_original) {
        html_cell(out, "0");
        html_cell(out, "100 %%");
    } else {
        put_kl(out, &file->verdict);
        put_share(out, file->verdict.top1_share);
    }
    close_row(out);
}

static void put_refusals(struct buf *out, const struct compression *c) {
    for (size_t i = 0; i < c->n_rivals; i++) {
        if (c->rivals[i].refusal && c->rivals[i].refusal[0]) {
            buf_puts(out, "<p class=\"small\">Not compared with the original: ");
            html_text_cut(out, c->rivals[i].refusal, 300);
            buf_puts(out, "</p>");
        }
    }
}

static void put_rounds_note(struct buf *out, const struct compression_speed *speed) {
    char text[240];
    if (!(speed->n > 0)) {
        return;
    }
    snprintf(text, sizeof text,
             "Times: median of %.0f rounds, with all files in turns; below it the lowest and the "
             "highest.",
             speed->n);
    html_element(out, "p", "small", text);
}

void compression_beside(struct buf *out, const struct compression *c) {
    static const char *const NAMES[] = {"",
                                        "File",
                                        "Prompt, ms per token",
                                        "Generation, ms per token",
                                        "KL divergence, nats per token",
                                        "Same token",
                                        NULL};
    struct compression_words words;
    if (c->n_rivals == 0) {
        return;
    }
    html_section(out, "beside", "Beside it",
                 "What could be taken instead: the original in types of fewer bits, which costs "
                 "nothing to make, and models that were named.");
    html_table_open(out, NULL, NAMES);
    file_row(out, &c->own, true, false);
    file_row(out, &c->original, false, true);
    for (size_t i = 0; i < c->n_rivals; i++) {
        file_row(out, &c->rivals[i], false, false);
    }
    html_table_close(out);
    put_rounds_note(out, &c->own.speed);
    put_refusals(out, c);
    buf_puts(out, "<div class=\"grid\">");
    compression_size_plot(out, c);
    compression_decode_plot(out, c);
    buf_puts(out, "</div>\n");
    compression_say_rivals(c, &words);
    if (words.n > 0) {
        buf_puts(out, "<div class=\"grid\"><div class=\"panel\">");
        compression_put_words(out, &words);
        buf_puts(out, "</div></div>\n");
    }
}
