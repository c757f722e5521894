// What upstream.c (looking, states) and upstream_own.c (a process of ours) share.
#ifndef WATTLAW_GATEWAY_UPSTREAM_PARTS_H
#define WATTLAW_GATEWAY_UPSTREAM_PARTS_H

#include "gateway/upstream.h"
#include "gateway/upstream_probe.h"

struct upstream_own;

struct upstream {
    uv_loop_t *loop;
    struct http_client *client;
    void (*on_change)(void *context);
    void (*on_log)(void *context, const char *line);
    void *context;
    int64_t probe_ms;
    char url[UPSTREAM_URL_BYTES];
    char socket[UPSTREAM_TEXT_BYTES]; // "": none
    char *authorization;              // a whole header; NULL: none
    const char *headers[2];
    struct upstream_facts facts;
    struct upstream_probe *probe; // that is under way
    uv_timer_t look;              // starts the next one
    uv_timer_t change;            // tells on_change, once for all that changed
    int64_t pause_ms;             // until the next look at one that is not up
    unsigned n_looks, n_silent;   // silent: in a row
    bool wants_look;              // as soon as the one under way is done
    size_t n_requests;            // at it
    size_t n_waiting;             // for it
    struct upstream_own *own;     // NULL: not ours
    int n_handles;
    bool is_closing;
    void (*on_closed)(void *context);
    void *close_context;
};

// A new state with the reason why it is not up (NULL: none); nothing when both are as they were.
void upstream_set_health(struct upstream *upstream, enum upstream_health health,
                         const char *problem);
void upstream_changed(struct upstream *upstream);
void upstream_log(struct upstream *upstream, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// The next look is in so many milliseconds; later ones follow by what is found.
void upstream_look_in(struct upstream *upstream, int64_t ms);
void upstream_stop_looking(struct upstream *upstream);
void upstream_handle_closed(struct upstream *upstream);

#endif
