// A tiny checker of HTML and SVG text: tags balance, attributes are quoted, entities are known.
// It knows only the markup that the report writes.
#ifndef WATTLAW_TESTS_REPORT_MARKUP_H
#define WATTLAW_TESTS_REPORT_MARKUP_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MARKUP_MAX_DEPTH = 64, MARKUP_NAME_BYTES = 24 };

struct markup {
    char open[MARKUP_MAX_DEPTH][MARKUP_NAME_BYTES];
    int depth;
    char problem[160];
};

static inline bool markup_is_void(const char *name) {
    return strcmp(name, "meta") == 0 || strcmp(name, "input") == 0 || strcmp(name, "br") == 0;
}

static inline bool markup_fail(struct markup *m, const char *what, const char *at) {
    snprintf(m->problem, sizeof m->problem, "%s at '%.60s'", what, at);
    return false;
}

// Reads <name attribute="value" ...> or </name>; returns the character after '>', NULL on a
// problem.
static inline const char *markup_tag(struct markup *m, const char *p) {
    const char *start = p++;
    char name[MARKUP_NAME_BYTES] = "";
    bool is_end = *p == '/';
    p += is_end;
    size_t len = strcspn(p, " />\n");
    snprintf(name, sizeof name, "%.*s", (int)len, p);
    p += len;
    while (*p && *p != '>' && *p != '/') {
        p += strcspn(p, "=>/");
        if (*p == '=') {
            if (p[1] != '"') {
                markup_fail(m, "unquoted attribute", start);
                return NULL;
            }
            p += 2 + strcspn(p + 2, "\"<");
            if (*p != '"') {
                markup_fail(m, "bad attribute", start);
                return NULL;
            }
            p++;
        }
    }
    bool is_empty = *p == '/';
    p += is_empty;
    if (*p != '>' || !name[0]) {
        markup_fail(m, "bad tag", start);
        return NULL;
    }
    if (is_end) {
        if (m->depth == 0 || strcmp(m->open[m->depth - 1], name) != 0) {
            markup_fail(m, "unexpected end tag", start);
            return NULL;
        }
        m->depth--;
    } else if (!is_empty && !markup_is_void(name)) {
        if (m->depth == MARKUP_MAX_DEPTH) {
            markup_fail(m, "too deep", start);
            return NULL;
        }
        memcpy(m->open[m->depth++], name, sizeof name);
    }
    return p + 1;
}

static inline bool markup_is_entity(const char *p) {
    static const char *const KNOWN[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;", "&nbsp;"};
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        if (strncmp(p, KNOWN[i], strlen(KNOWN[i])) == 0) {
            return true;
        }
    }
    return false;
}

// The content of <style> and <script> is not markup.
static inline const char *markup_skip_raw(const struct markup *m, const char *p) {
    const char *name = m->depth > 0 ? m->open[m->depth - 1] : "";
    return strcmp(name, "style") == 0    ? strstr(p, "</style>")
           : strcmp(name, "script") == 0 ? strstr(p, "</script>")
                                         : p;
}

static inline bool markup_check(struct markup *m, const char *text) {
    *m = (struct markup){.depth = 0};
    const char *p = text;
    if (strncmp(p, "<!DOCTYPE html>", 15) == 0) {
        p += 15;
    }
    while (p && *p) {
        if (*p == '<') {
            p = markup_tag(m, p);
            p = p ? markup_skip_raw(m, p) : NULL;
            if (!p) {
                return m->problem[0] ? false : markup_fail(m, "unclosed raw text", "");
            }
        } else if (*p == '&' && !markup_is_entity(p)) {
            return markup_fail(m, "bare ampersand", p);
        } else if ((unsigned char)*p < 0x20 && *p != '\n') {
            return markup_fail(m, "control character", p);
        } else {
            p++;
        }
    }
    return m->depth == 0 ? true : markup_fail(m, "unclosed", m->open[m->depth - 1]);
}

#endif
