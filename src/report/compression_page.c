// A compression as one HTML file: no script, nothing is loaded, it works from a mail attachment.
#include "report/compression.h"

#include <stdlib.h>

#include "report/analysis_parts.h"
#include "report/compression_parts.h"
#include "report/html.h"
#include "report/html_page.h"

enum { MAX_REFUSAL_CHARS = 600 };

static void put_outcome(struct buf *out, const struct compression *c) {
    if (c->is_written) {
        return;
    }
    buf_puts(out, "<p class=\"note\"><b>Not written.</b> ");
    html_text_cut(out, c->refusal ? c->refusal : "", MAX_REFUSAL_CHARS);
    buf_puts(out, "</p>");
}

static void put_study_link(struct buf *out, const struct report_compression_page *page) {
    if (page->has_study) {
        buf_puts(out, "<p>Both models measured side by side: <a "
                      "href=\"report.html\">report.html</a>.</p>");
    }
}

static void put_header(struct buf *out, const struct compression *c,
                       const struct report_compression_page *page) {
    struct compression_words words;
    compression_say_outcome(c, &words);
    put_outcome(out, c);
    compression_put_words(out, &words);
    put_study_link(out, page);
    buf_puts(out, "</header>\n");
}

// Those of before the cut; many compressions need none.
static void put_analysis(struct buf *out, const struct compression *c) {
    struct report_analysis analysis;
    struct wl_err err = {0};
    if (!json_is_object(json_object_get(c->document, "analysis")) ||
        !json_is_object(json_object_get(c->document, "model"))) {
        return;
    }
    html_section(out, "analysis", "What the parts were worth before",
                 "Found before anything was cut; the budget was spent by it.");
    if (report_analysis_read(c->document, &analysis, &err) != WL_OK) {
        html_element(out, "p", "note", err.message);
        return;
    }
    analysis_overview(out, &analysis);
    report_analysis_release(&analysis);
}

static void put_page(struct buf *out, const struct compression *c,
                     const struct report_compression_page *page) {
    const struct html_page frame = {.brand = "wattlaw compress",
                                    .title = page->title,
                                    .subtitle = page->subtitle,
                                    .version = page->version};
    html_page_open(out, &frame);
    put_header(out, c, page);
    compression_summary(out, c);
    compression_beside(out, c);
    compression_blocks(out, c);
    compression_healing(out, c);
    compression_encoder(out, c);
    compression_vocabulary(out, c);
    compression_types_table(out, c);
    compression_rounds(out, c);
    put_analysis(out, c);
    compression_method(out, c);
    html_page_close(out, &frame);
}

enum wl_status report_compression_html(const json_t *document,
                                       const struct report_compression_page *page, struct buf *out,
                                       struct wl_err *err) {
    struct compression *c = malloc(sizeof *c);
    if (!c) {
        return wl_err_set(err, WL_MEMORY, "no memory for the page");
    }
    enum wl_status status = compression_read(document, c, err);
    if (status == WL_OK) {
        put_page(out, c, page);
        compression_release(c);
        status = out->is_failed ? wl_err_set(err, WL_LIMIT, "the page is larger than %zu bytes",
                                             out->max_bytes)
                                : WL_OK;
    }
    free(c);
    return status;
}
