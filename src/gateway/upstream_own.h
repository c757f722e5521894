// The life of our own llama-server: when it is started, started again after a death, put to sleep
// and woken.
#ifndef WATTLAW_GATEWAY_UPSTREAM_OWN_H
#define WATTLAW_GATEWAY_UPSTREAM_OWN_H

#include "gateway/upstream_parts.h"

// INPUT: settings that cannot be. Nothing is started yet. Sets the upstream's `own` and socket.
enum wl_status upstream_own_open(struct upstream *upstream, const struct upstream_server *server,
                                 struct wl_err *err);
void upstream_own_start(struct upstream *upstream);
// Ends the process and gives back what was counted in n_handles.
void upstream_own_close(struct upstream *upstream);

void upstream_own_enter(struct upstream *upstream);
bool upstream_own_has_change(const struct upstream *upstream); // that waits for requests to end
void upstream_own_leave(struct upstream *upstream);
enum wl_status upstream_own_change(struct upstream *upstream, const struct upstream_server *server,
                                   struct wl_err *err);

// What a look has found.
void upstream_own_is_up(struct upstream *upstream);
void upstream_own_is_loading(struct upstream *upstream);
// No answer, or (strange) none that a model server gives.
void upstream_own_is_lost(struct upstream *upstream, bool is_strange, const char *problem);
void upstream_own_look(struct upstream *upstream);               // has the process died?
bool upstream_own_can_be_asked(const struct upstream *upstream); // it runs and shall go on

#endif
