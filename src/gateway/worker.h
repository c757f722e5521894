// One thread for what takes longer than the loop may wait: decoding and encoding pictures, asking
// our own engine. Works in the order of the orders; results come back on the loop.
#ifndef WATTLAW_GATEWAY_WORKER_H
#define WATTLAW_GATEWAY_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "base/err.h"

struct gateway_worker;

// An order; embedded in what it is about. Stays where it is until on_done.
struct worker_order {
    void (*work)(struct worker_order *order);    // on the worker's thread
    void (*on_done)(struct worker_order *order); // on the loop; also after a cancel
    bool is_cancelled;                           // read it on the loop only
    struct worker_order *next;
};

// The thread lives until the close: an engine that is started in `work` lives with it.
enum wl_status worker_open(uv_loop_t *loop, struct gateway_worker **out, struct wl_err *err);
// Waits for the order that is being worked at, then calls `at_end` on the thread (to stop engines;
// may be NULL); orders that wait come back cancelled, without work. The loop must run once more
// before its memory is gone.
void worker_close(struct gateway_worker *worker, void (*at_end)(void *context), void *context);

void worker_submit(struct gateway_worker *worker, struct worker_order *order);
// An order that waits is not worked at any more; one that is being worked at goes on. on_done comes
// in both cases.
void worker_cancel(struct gateway_worker *worker, struct worker_order *order);
size_t worker_n_waiting(const struct gateway_worker *worker); // without the one that is worked at

#endif
