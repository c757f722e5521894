// Inside report only: writing HTML and SVG text. Every byte that comes from outside goes through
// html_text or html_figure.
#ifndef WATTLAW_REPORT_HTML_H
#define WATTLAW_REPORT_HTML_H

#include <stddef.h>

#include "base/buf.h"

// Escapes & < > " ' and replaces what is not printable; right inside elements and quoted
// attributes.
void html_text(struct buf *out, const char *text);
// The same, cut after max_chars characters with an ellipsis.
void html_text_cut(struct buf *out, const char *text, size_t max_chars);
// The same for our own figures: a hyphen before a digit becomes a minus sign, " to " before an
// unsigned number an en dash ("-63.1 to -60.8" keeps its word: a dash between signs misleads).
void html_figure(struct buf *out, const char *text);
// <tag class="css">escaped text</tag>; css may be NULL.
void html_element(struct buf *out, const char *tag, const char *css, const char *text);

#endif
