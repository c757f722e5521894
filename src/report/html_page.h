// Inside report only: pages that stand alone and need no script, and what their tables and sections
// are made of.
#ifndef WATTLAW_REPORT_HTML_PAGE_H
#define WATTLAW_REPORT_HTML_PAGE_H

#include <stddef.h>

#include "base/buf.h"

struct html_page {
    const char *brand;                      // ours: "wattlaw analyze"
    const char *title, *subtitle, *version; // from outside
};
// Nothing may be loaded, nothing sent: it works from a mail attachment. <header> is left open.
void html_page_open(struct buf *out, const struct html_page *page);
void html_page_close(struct buf *out, const struct html_page *page);

// A heading, and below it a paragraph unless `lead` is NULL.
void html_section(struct buf *out, const char *id, const char *title, const char *lead);

// `css` of the box that scrolls, beside "scroll" (NULL: none); `names` of columns end with NULL.
void html_table_open(struct buf *out, const char *css, const char *const *names);
void html_table_close(struct buf *out);
// A cell of our own figures; "-" is one without any.
void html_cell(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The same as one number; NaN gives a dash.
void html_cell_number(struct buf *out, double value);

#endif
