// Inside report only: lines on a terminal, for the text report's parts.
#ifndef WATTLAW_REPORT_TEXT_PAGE_H
#define WATTLAW_REPORT_TEXT_PAGE_H

#include <stdbool.h>

#include "base/buf.h"
#include "report/result.h"

enum { TEXT_LABEL_COLUMNS = 9 }; // in front of a table's rows and of paragraphs

enum text_color { TEXT_PLAIN, TEXT_BOLD, TEXT_DIM, TEXT_GOOD, TEXT_BAD, TEXT_WARN };

struct text_page {
    struct buf *out;
    int columns;
    bool use_color;
    int n_cells; // of the study's table: narrow terminals show accuracy below it
    int cell_width;
};

void text_paint(const struct text_page *page, enum text_color color);
int text_width(const char *text); // in columns
// At most `columns` columns of the text, then spaces up to them; `is_right` pads in front.
void text_padded(const struct text_page *page, const char *text, int columns, bool is_right);
// Ends a line of padded cells without the spaces behind the last text.
void text_end_line(const struct text_page *page);
// Words wrapped at the page's width, each line after `indent` spaces; the first is in place.
void text_wrapped(const struct text_page *page, const char *text, int indent);
void text_heading(const struct text_page *page, const char *text);
// After a mark. A cut may have split a character of `text`: it is made clean in place.
void text_note(const struct text_page *page, char *text);

// text_vision.c: images and right answers; nothing where there are none.
void text_vision(const struct text_page *page, const struct report_result *result);

#endif
