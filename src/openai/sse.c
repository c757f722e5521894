#include "openai/sse.h"

#include <stdint.h>
#include <string.h>

void sse_init(struct sse *sse, size_t max_event_bytes) {
    *sse = (struct sse){.max_event_bytes = max_event_bytes};
    buf_init(&sse->raw, SIZE_MAX / 2); // sse_feed bounds it
    buf_init(&sse->data, SIZE_MAX / 2);
}

void sse_release(struct sse *sse) {
    buf_release(&sse->raw);
    buf_release(&sse->data);
    sse_init(sse, sse->max_event_bytes);
}

// ---- bytes in

// Where the events end is found here, byte by byte, once: sse_next looks only at what is whole, so
// that an event that comes in small pieces costs no more than one that comes at once. False when
// the event becomes too large.
static bool scan_byte(struct sse *sse, char c) {
    bool is_second_half = c == '\n' && sse->is_after_cr;
    sse->is_after_cr = c == '\r';
    if (is_second_half) {
        sse->n_event += sse->n_event > 0; // else of the blank line, and its event is whole
        return sse->n_event <= sse->max_event_bytes;
    }
    bool is_fine = ++sse->n_event <= sse->max_event_bytes;
    if (c != '\n' && c != '\r') {
        sse->is_in_line = true;
    } else if (sse->is_in_line) {
        sse->is_in_line = false;
    } else {
        sse->n_whole++;
        sse->n_event = 0;
    }
    return is_fine;
}

static bool scan(struct sse *sse, const char *bytes, size_t n) {
    if (n > 0 && sse->has_given_cr && sse->raw.len == 0) {
        sse->n_whole += bytes[0] == '\n'; // its event has been given without it
    }
    bool is_fine = true;
    for (size_t i = 0; i < n && is_fine; i++) {
        is_fine = scan_byte(sse, bytes[i]);
    }
    return is_fine;
}

static void drop_taken(struct sse *sse) {
    struct buf *raw = &sse->raw;
    if (sse->taken > 0) {
        memmove(raw->data, raw->data + sse->taken, raw->len - sse->taken + 1);
        raw->len -= sse->taken;
        sse->taken = 0;
    }
}

enum wl_status sse_feed(struct sse *sse, const char *bytes, size_t n, struct wl_err *err) {
    if (sse->data.is_failed) {
        return wl_err_set(err, WL_MEMORY, "no memory for an event of the stream");
    }
    drop_taken(sse);
    struct sse before = *sse;
    if (!scan(sse, bytes, n)) {
        *sse = before;
        return wl_err_set(err, WL_LIMIT,
                          "the stream: expected events of at most %zu bytes, found more",
                          sse->max_event_bytes);
    }
    if (!buf_append(&sse->raw, bytes, n)) {
        before.raw = sse->raw;
        *sse = before;
        return wl_err_set(err, WL_MEMORY, "no memory for an event of the stream");
    }
    return WL_OK;
}

// ---- events out

struct line {
    const char *text;
    size_t n;
};

// The line at *at without its end; *at goes behind it.
static struct line next_line(const char **at, const char *end) {
    struct line line = {*at, 0};
    while (*at < end && **at != '\n' && **at != '\r') {
        ++*at;
    }
    line.n = (size_t)(*at - line.text);
    if (*at < end) {
        bool is_cr = **at == '\r';
        ++*at;
        *at += is_cr && *at < end && **at == '\n';
    }
    return line;
}

// The value when the line is one of this field; else NULL. One space behind the colon is no part of
// it.
static const char *value_of(struct line line, const char *field, size_t *n) {
    size_t n_field = strlen(field);
    if (line.n < n_field || memcmp(line.text, field, n_field) != 0 ||
        (line.n > n_field && line.text[n_field] != ':')) {
        return NULL;
    }
    size_t begin = line.n > n_field ? n_field + 1 : n_field;
    begin += begin < line.n && line.text[begin] == ' ';
    *n = line.n - begin;
    return line.text + begin;
}

static void take_line(struct sse *sse, struct line line, struct sse_event *out) {
    static const char BOM[] = "\xef\xbb\xbf";
    if (!sse->has_begun && line.n >= 3 && memcmp(line.text, BOM, 3) == 0) {
        line.text += 3;
        line.n -= 3;
    }
    sse->has_begun = true;
    size_t n = 0;
    const char *value = value_of(line, "data", &n);
    if (value) {
        if (out->data) {
            buf_append(&sse->data, "\n", 1);
        }
        buf_append(&sse->data, value, n);
        out->data = ""; // set when it is whole
    } else if ((value = value_of(line, "event", &n))) {
        n = n < sizeof sse->name ? n : sizeof sse->name - 1;
        memcpy(sse->name, value, n);
        sse->name[n] = '\0';
    }
}

bool sse_next(struct sse *sse, struct sse_event *out) {
    if (sse->n_whole == 0) {
        return false;
    }
    *out = (struct sse_event){.raw = sse->raw.data + sse->taken, .name = sse->name};
    const char *at = out->raw, *end = sse->raw.data + sse->raw.len;
    buf_clear(&sse->data);
    sse->name[0] = '\0';
    if (sse->has_given_cr && *at == '\n') {
        at++;
    } else {
        for (struct line line; (line = next_line(&at, end)).n > 0;) {
            take_line(sse, line, out);
        }
    }
    sse->has_begun = true;
    if (sse->data.is_failed) {
        return false; // sse_feed tells it
    }
    sse->n_whole--;
    sse->has_given_cr = at[-1] == '\r';
    out->n_raw = (size_t)(at - out->raw);
    sse->taken += out->n_raw;
    if (out->data) {
        out->data = buf_text(&sse->data);
        out->n_data = sse->data.len;
    }
    return true;
}

size_t sse_rest(const struct sse *sse, const char **bytes) {
    *bytes = buf_text(&sse->raw) + sse->taken;
    return sse->raw.len - sse->taken;
}

void sse_write(struct buf *buf, const char *text, size_t n) {
    const char *at = text, *end = text + n;
    bool is_last = false;
    while (!is_last) {
        struct line line = next_line(&at, end);
        is_last = line.text + line.n == end;
        buf_append(buf, "data: ", 6);
        buf_append(buf, line.text, line.n);
        buf_append(buf, "\n", 1);
    }
    buf_append(buf, "\n", 1);
}
