// Reads one HTTP/1.1 answer as its bytes come: no more than a benchmark needs, so that the client
// costs little beside what it measures.
#ifndef WATTLAW_BENCH_WIRE_H
#define WATTLAW_BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_state {
    WIRE_HEAD,
    WIRE_LENGTH,     // a body of a stated length
    WIRE_CHUNK_SIZE, // a line
    WIRE_CHUNK,
    WIRE_CHUNK_END, // the line end behind it
    WIRE_LAST_LINE, // behind the last chunk
    WIRE_WHOLE,
    WIRE_BROKEN
};

struct wire {
    enum wire_state state;
    int status;
    uint64_t left; // of the body or chunk
    char line[4096];
    size_t n_line; // of the head, or of a chunk's size
    uint64_t n_body;
    void (*on_body)(void *context, const char *bytes, size_t n); // NULL: not wanted
    void *context;
};

void wire_begin(struct wire *wire, void (*on_body)(void *context, const char *bytes, size_t n),
                void *context);
void wire_feed(struct wire *wire, const char *bytes, size_t n);

// POST (GET without a body) on a connection that stays open; malloc'd, NULL without memory.
char *wire_request(const char *path, const char *body, size_t n_body, size_t *n);

#endif
