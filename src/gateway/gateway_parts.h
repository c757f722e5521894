// Parts of gateway_*.c.
#ifndef WATTLAW_GATEWAY_GATEWAY_PARTS_H
#define WATTLAW_GATEWAY_GATEWAY_PARTS_H

#include "gateway/gateway.h"

enum wl_status gateway_load_profile(const struct gateway_settings *settings,
                                    struct profile *profile, struct wl_err *err);
void gateway_apply_profile(struct gateway *gateway); // to what rests on it
enum wl_status gateway_load_keys(struct gateway *gateway, struct wl_err *err);
enum wl_status gateway_load_upstream_key(struct gateway *gateway, struct wl_err *err);
int64_t gateway_day_offset_s(void);                 // the user's midnight after that of UTC
void gateway_tell_machine(struct gateway *gateway); // what was idle goes into the ledger
extern const struct http_handlers GATEWAY_HANDLERS;

#endif
