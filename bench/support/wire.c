#include "support/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void wire_begin(struct wire *wire, void (*on_body)(void *context, const char *bytes, size_t n),
                void *context) {
    wire->state = WIRE_HEAD;
    wire->status = 0;
    wire->left = wire->n_body = 0;
    wire->n_line = 0;
    wire->on_body = on_body;
    wire->context = context;
}

// Takes bytes up to and with the end mark; true when it is there. What is too long is broken.
static bool take_until(struct wire *wire, const char *mark, const char **at, const char *end) {
    size_t n_mark = strlen(mark);
    while (*at < end && wire->n_line + 1 < sizeof wire->line) {
        wire->line[wire->n_line++] = *(*at)++;
        if (wire->n_line >= n_mark &&
            memcmp(wire->line + wire->n_line - n_mark, mark, n_mark) == 0) {
            wire->line[wire->n_line] = '\0';
            return true;
        }
    }
    if (wire->n_line + 1 >= sizeof wire->line) {
        wire->state = WIRE_BROKEN;
    }
    return false;
}

static const char *header(const struct wire *wire, const char *name) {
    size_t n = strlen(name);
    for (const char *line = strstr(wire->line, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':') {
            return line + 2 + n + 1 + strspn(line + 2 + n + 1, " ");
        }
    }
    return NULL;
}

static void take_head(struct wire *wire) {
    const char *length = header(wire, "Content-Length"), *space = strchr(wire->line, ' ');
    wire->status = space ? (int)strtol(space, NULL, 10) : 0;
    wire->n_line = 0;
    if (header(wire, "Transfer-Encoding")) {
        wire->state = WIRE_CHUNK_SIZE;
    } else if (length) {
        wire->left = strtoull(length, NULL, 10);
        wire->state = wire->left > 0 ? WIRE_LENGTH : WIRE_WHOLE;
    } else {
        wire->state = WIRE_BROKEN; // until the connection ends: not what is measured here
    }
}

static void take_chunk_size(struct wire *wire) {
    wire->left = strtoull(wire->line, NULL, 16);
    wire->n_line = 0;
    wire->state = wire->left > 0 ? WIRE_CHUNK : WIRE_LAST_LINE;
}

static void take_body(struct wire *wire, const char **at, const char *end) {
    size_t n = (size_t)(end - *at);
    n = n < wire->left ? n : (size_t)wire->left;
    if (wire->on_body) {
        wire->on_body(wire->context, *at, n);
    }
    wire->n_body += n;
    wire->left -= n;
    *at += n;
    if (wire->left == 0) {
        wire->state = wire->state == WIRE_LENGTH ? WIRE_WHOLE : WIRE_CHUNK_END;
    }
}

static void take_line_end(struct wire *wire, const char **at, const char *end) {
    if (take_until(wire, "\r\n", at, end)) {
        wire->n_line = 0;
        wire->state = wire->state == WIRE_CHUNK_END ? WIRE_CHUNK_SIZE : WIRE_WHOLE;
    }
}

void wire_feed(struct wire *wire, const char *bytes, size_t n) {
    const char *at = bytes, *end = bytes + n;
    while (at < end && wire->state != WIRE_BROKEN) {
        switch (wire->state) {
        case WIRE_HEAD:
            if (take_until(wire, "\r\n\r\n", &at, end)) {
                take_head(wire);
            }
            break;
        case WIRE_CHUNK_SIZE:
            if (take_until(wire, "\r\n", &at, end)) {
                take_chunk_size(wire);
            }
            break;
        case WIRE_LENGTH:
        case WIRE_CHUNK: take_body(wire, &at, end); break;
        case WIRE_CHUNK_END:
        case WIRE_LAST_LINE: take_line_end(wire, &at, end); break;
        default: wire->state = WIRE_BROKEN; // more than one answer
        }
    }
}

char *wire_request(const char *path, const char *body, size_t n_body, size_t *n) {
    size_t size = n_body + strlen(path) + 256;
    char *text = malloc(size);
    if (!text) {
        return NULL;
    }
    int n_head = body ? snprintf(text, size,
                                 "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: "
                                 "application/json\r\nContent-Length: %zu\r\n\r\n",
                                 path, n_body)
                      : snprintf(text, size, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
    if (body) {
        memcpy(text + n_head, body, n_body);
    }
    *n = (size_t)n_head + n_body;
    return text;
}
