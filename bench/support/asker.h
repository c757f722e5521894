// One client on one connection that stays open: asks, waits, and says how long it took.
#ifndef WATTLAW_BENCH_ASKER_H
#define WATTLAW_BENCH_ASKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "support/wire.h"

struct asker {
    int fd;
    struct wire wire;
    int64_t first_ns; // first byte of the answer's body
};

struct asked {
    int status;              // 0: the connection broke
    double first_s, whole_s; // since the first byte of the request was sent
    uint64_t n_body;
};

// A connection to a port of this machine; -1. Set without Nagle's delay.
int asker_connect(uint16_t port);
bool asker_open(struct asker *asker, uint16_t port);
void asker_close(struct asker *asker);
struct asked asker_ask(struct asker *asker, const char *request, size_t n);
// GET on a connection of its own; the status, 0 when nobody answers.
int asker_get(uint16_t port, const char *path);

#endif
