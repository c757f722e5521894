// From the profile to a llama-server of our own: which program, which files, which socket.
#ifndef WATTLAW_GATEWAY_OWN_SERVER_H
#define WATTLAW_GATEWAY_OWN_SERVER_H

#include "gateway/settings.h"
#include "gateway/upstream.h"
#include "os/file.h"
#include "plan/profile.h"

struct own_server {
    char program[OS_PATH_BYTES], model[OS_PATH_BYTES], mmproj[OS_PATH_BYTES];
    char alias[PROFILE_NAME_BYTES];
    char socket_dir[OS_PATH_BYTES], socket_path[OS_PATH_BYTES];
};

// `previous` keeps its socket (a reload); NULL: a new one. NOT_FOUND: program or model.
enum wl_status own_server_set(const struct gateway_settings *settings,
                              const struct profile *profile, const struct own_server *previous,
                              struct own_server *out, struct wl_err *err);
// What it is to be started with; points into all three.
struct upstream_server own_server_options(const struct own_server *server,
                                          const struct gateway_settings *settings,
                                          const struct profile *profile);
void own_server_remove_socket_dir(const struct own_server *server);

#endif
