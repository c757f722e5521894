// One look at a model server: is it well, which one is it, what can it do. A few small requests,
// one after the other; nothing of what comes back is trusted. On the loop.
#ifndef WATTLAW_GATEWAY_UPSTREAM_PROBE_H
#define WATTLAW_GATEWAY_UPSTREAM_PROBE_H

#include "base/err.h"
#include "gateway/upstream.h"

enum upstream_probe_depth {
    UPSTREAM_PROBE_LIVES, // one request to a server whose kind is known
    UPSTREAM_PROBE_FACTS, // what it is, its models and sizes
    UPSTREAM_PROBE_ALL    // and which endpoints it has, found with empty requests that it refuses
};

enum upstream_probe_state {
    UPSTREAM_PROBE_UP,
    UPSTREAM_PROBE_LOADING, // its model
    UPSTREAM_PROBE_REFUSED, // nothing listens
    UPSTREAM_PROBE_SILENT,  // no answer in time
    UPSTREAM_PROBE_STRANGE  // it answers, but not as a model server should
};

struct upstream_probe_options {
    struct http_client *client;
    const char *url, *unix_socket;   // as of upstream_url, upstream_unix_socket; borrowed
    const char *const *headers;      // borrowed
    enum upstream_kind kind;         // for UPSTREAM_PROBE_LIVES
    enum upstream_probe_depth depth; // more when the kind turns out to be another
    int64_t total_ms;                // of one request
};

struct upstream_probe_answer {
    enum upstream_probe_state state;
    enum upstream_probe_depth depth; // what was looked at
    // UP: of kind, engine, model, numbers, can_... has_... and sees_images what the depth gives.
    struct upstream_facts facts;
    char problem[UPSTREAM_TEXT_BYTES]; // not UP
};

struct upstream_probe;

// on_done comes on the loop, never from within, and ends the probe.
enum wl_status upstream_probe_start(const struct upstream_probe_options *options,
                                    void (*on_done)(void *context,
                                                    const struct upstream_probe_answer *answer),
                                    void *context, struct upstream_probe **out, struct wl_err *err);
void upstream_probe_cancel(struct upstream_probe *probe); // on_done does not come. NULL is fine

#endif
