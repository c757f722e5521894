// What may be asked of the gateway, and what kind of work it is.
#ifndef WATTLAW_GATEWAY_ROUTES_H
#define WATTLAW_GATEWAY_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "openai/request.h"

enum route_kind {
    ROUTE_GENERATE, // read, limited, counted, measured
    ROUTE_OPAQUE,   // passed on as it is, measured; its usage is read from the answer
    ROUTE_FORWARD,  // passed on as it is; costs next to nothing
    ROUTE_PAGE,
    ROUTE_HEALTH,
    ROUTE_METRICS,
    ROUTE_ENERGY,
    ROUTE_LIVE,
    ROUTE_FEEDBACK
};

struct route {
    const char *method, *path;
    enum route_kind kind;
    const char *name;     // in ledger and figures: "chat"
    const char *upstream; // path there; NULL: the same
    enum openai_endpoint endpoint;
    bool is_open;  // needs no key
    bool is_admin; // needs the key of an administrator
};

// NULL: there is none. *is_path_known: but with another method.
const struct route *route_find(const char *method, const char *path, bool *is_path_known);
// Passed on to the model server.
bool route_is_upstream(const struct route *route);
// The path there in the form of a URL, for a request that came with `path` (decoded). Nothing in it
// can mean another path than the route's, or a query. False when it is longer than `size`.
bool route_upstream_path(const struct route *route, const char *path, char *out, size_t size);

#endif
