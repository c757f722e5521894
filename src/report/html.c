#include "report/html.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "report/clean.h"

static const char *entity(char c) {
    switch (c) {
    case '&': return "&amp;";
    case '<': return "&lt;";
    case '>': return "&gt;";
    case '"': return "&quot;";
    case '\'': return "&#39;";
    default: return NULL;
    }
}

// One character; returns the bytes of `text` it took.
static size_t put_char(struct buf *out, const char *text) {
    size_t len = clean_char_length(text);
    const char *name = entity(*text);
    if (name) {
        buf_puts(out, name);
        return 1;
    }
    if (len > 0) {
        buf_append(out, text, len);
        return len;
    }
    buf_puts(out, strchr("\t\n\r", *text) ? " " : "\xef\xbf\xbd"); // U+FFFD
    return clean_skip_length(text);
}

void html_text(struct buf *out, const char *text) {
    html_text_cut(out, text, SIZE_MAX);
}

void html_text_cut(struct buf *out, const char *text, size_t max_chars) {
    for (size_t n = 0; *text; n++) {
        if (n == max_chars) {
            buf_puts(out, "\xe2\x80\xa6");
            return;
        }
        text += put_char(out, text);
    }
}

void html_figure(struct buf *out, const char *text) {
    const char *start = text;
    while (*text) {
        bool is_sign = *text == '-' && isdigit((unsigned char)text[1]) &&
                       (text == start || !isalnum((unsigned char)text[-1]));
        if (is_sign) {
            buf_puts(out, "\xe2\x88\x92");
            text++;
        } else if (strncmp(text, " to ", 4) == 0 && isdigit((unsigned char)text[4])) {
            buf_puts(out, " \xe2\x80\x93 ");
            text += 4;
        } else {
            text += put_char(out, text);
        }
    }
}

void html_element(struct buf *out, const char *tag, const char *css, const char *text) {
    buf_printf(out, css ? "<%s class=\"%s\">" : "<%s>", tag, css);
    html_text(out, text);
    buf_printf(out, "</%s>", tag);
}
