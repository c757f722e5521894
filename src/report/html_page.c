#include "report/html_page.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/sha256.h"
#include "base/units.h"
#include "report/html.h"

extern const char REPORT_STYLE_CSS[];

enum { CELL_BYTES = 160, MAX_TAB_CHARS = 120, MAX_HEADING_CHARS = 200 };

void html_page_open(struct buf *out, const struct html_page *page) {
    char style[SHA256_BASE64_BYTES];
    sha256_base64(REPORT_STYLE_CSS, strlen(REPORT_STYLE_CSS), style);
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    buf_printf(out,
               "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
               "style-src 'sha256-%s'; base-uri 'none'; form-action 'none'\">\n",
               style);
    buf_puts(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                  "<meta name=\"color-scheme\" content=\"light dark\">\n"
                  "<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    html_text_cut(out, page->title, MAX_TAB_CHARS);
    buf_puts(out, " \xe2\x80\x93 wattlaw</title>\n<style>");
    buf_puts(out, REPORT_STYLE_CSS);
    buf_puts(out, "</style>\n</head>\n<body>\n<main>\n<header>");
    html_element(out, "p", "brand", page->brand);
    buf_puts(out, "<h1>");
    html_text_cut(out, page->title, MAX_HEADING_CHARS);
    buf_puts(out, "</h1>");
    html_element(out, "p", "meta", page->subtitle);
}

void html_page_close(struct buf *out, const struct html_page *page) {
    buf_puts(out, "<footer>wattlaw ");
    html_text(out, page->version);
    buf_puts(out, "</footer>\n</main>\n</body>\n</html>\n");
}

void html_section(struct buf *out, const char *id, const char *title, const char *lead) {
    buf_printf(out, "<h2 id=\"%s\">", id);
    html_text(out, title);
    buf_puts(out, "</h2>");
    if (lead) {
        html_element(out, "p", "lead", lead);
    }
}

void html_table_open(struct buf *out, const char *css, const char *const *names) {
    buf_printf(out, "<div class=\"scroll%s%s\"><table><thead><tr>", css ? " " : "", css ? css : "");
    for (size_t i = 0; names[i]; i++) {
        html_element(out, "th", NULL, names[i]);
    }
    buf_puts(out, "</tr></thead><tbody>");
}

void html_table_close(struct buf *out) {
    buf_puts(out, "</tbody></table></div>\n");
}

void html_cell(struct buf *out, const char *format, ...) {
    char text[CELL_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_puts(out, "<td>");
    html_figure(out, strcmp(text, "-") == 0 ? "" : text); // the style puts a dash into empty cells
    buf_puts(out, "</td>");
}

void html_cell_number(struct buf *out, double value) {
    char text[UNITS_TEXT_BYTES];
    html_cell(out, "%s", units_number(text, value));
}
