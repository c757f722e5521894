#include "report/text_page.h"

#include <stdio.h>
#include <string.h>

#include "report/clean.h"

void text_paint(const struct text_page *page, enum text_color color) {
    static const char *const CODES[] = {"\033[0m",  "\033[1m",  "\033[2m",
                                        "\033[32m", "\033[31m", "\033[33m"};
    if (page->use_color) {
        buf_puts(page->out, CODES[color]);
    }
}

void text_padded(const struct text_page *page, const char *text, int columns, bool is_right) {
    int used = 0;
    size_t bytes = 0;
    while (text[bytes]) {
        size_t len = clean_char_length(text + bytes);
        int wide = len > 0 ? clean_char_columns(text + bytes, len) : 1;
        if (used + wide > columns) {
            break;
        }
        used += wide;
        bytes += len > 0 ? len : 1;
    }
    if (is_right) {
        buf_printf(page->out, "%*s", columns - used, "");
    }
    buf_append(page->out, text, bytes);
    if (!is_right) {
        buf_printf(page->out, "%*s", columns - used, "");
    }
}

int text_width(const char *text) {
    int used = 0;
    while (*text) {
        size_t len = clean_char_length(text);
        used += len > 0 ? clean_char_columns(text, len) : 1;
        text += len > 0 ? len : 1;
    }
    return used;
}

void text_end_line(const struct text_page *page) {
    struct buf *out = page->out;
    while (out->len > 0 && out->data[out->len - 1] == ' ') {
        out->data[--out->len] = '\0';
    }
    buf_puts(out, "\n");
}

void text_wrapped(const struct text_page *page, const char *text, int indent) {
    int column = indent;
    const char *p = text;
    while (*p) {
        size_t len = strcspn(p, " ");
        char word[128];
        snprintf(word, sizeof word, "%.*s", (int)(len < 100 ? len : 100), p);
        int wide = text_width(word);
        if (column > indent && column + 1 + wide > page->columns) {
            buf_printf(page->out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            buf_puts(page->out, " ");
            column++;
        }
        buf_puts(page->out, word);
        column += wide;
        p += len < 100 ? len : 100;
        p += *p == ' ';
    }
    buf_puts(page->out, "\n");
}

void text_heading(const struct text_page *page, const char *text) {
    buf_puts(page->out, "\n");
    text_paint(page, TEXT_BOLD);
    text_wrapped(page, text, 0);
    text_paint(page, TEXT_PLAIN);
}

void text_note(const struct text_page *page, char *text) {
    clean_text(text);
    text_paint(page, TEXT_WARN);
    buf_puts(page->out, "! ");
    text_paint(page, TEXT_PLAIN);
    text_wrapped(page, text, 2);
}
