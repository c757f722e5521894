// Many clients at once, each on a connection of its own that stays open, each asking again as soon
// as it has its answer. One thread, epoll.
#ifndef WATTLAW_BENCH_LOAD_H
#define WATTLAW_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>

struct load {
    uint16_t port;
    const char *request;
    size_t n_request;
    unsigned n_clients;
    double seconds;
};

struct load_result {
    uint64_t n_answers; // with status 200
    uint64_t n_failures;
    double seconds;
    double p50_s, p99_s;
};

struct load_result load_run(const struct load *load);

#endif
