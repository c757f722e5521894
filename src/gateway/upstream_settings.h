// What our own llama-server is started with: a copy of struct upstream_server, and the command line
// it becomes.
#ifndef WATTLAW_GATEWAY_UPSTREAM_SETTINGS_H
#define WATTLAW_GATEWAY_UPSTREAM_SETTINGS_H

#include "base/err.h"
#include "gateway/upstream.h"

// INPUT says what is missing or does not fit; MEMORY. `out` is to be released when OK.
enum wl_status upstream_settings_copy(const struct upstream_server *from,
                                      struct upstream_server *out, struct wl_err *err);
void upstream_settings_release(struct upstream_server *settings); // zeroed ones are fine

// Borrows from the settings and from itself: not to be copied.
struct upstream_command {
    const char *argv[UPSTREAM_MAX_ARGS + 1];
    const char *env[3];
    size_t n;
    char numbers[16][12];
    size_t n_numbers;
    char wait_policy[64];
};
// The settings must have passed upstream_settings_copy.
void upstream_command_make(const struct upstream_server *settings, struct upstream_command *out);

// The folder of the socket is made (mode 0700) where there is none, and a socket of an earlier run
// is removed. PERMISSION when others may enter the folder; INPUT when something else has the name.
enum wl_status upstream_socket_prepare(const char *path, struct wl_err *err);
void upstream_socket_remove(const char *path); // if it is a socket

#endif
