// The options of `wattlaw serve`, and the gateway's settings out of them.
#ifndef WATTLAW_CLI_SERVE_SETTINGS_H
#define WATTLAW_CLI_SERVE_SETTINGS_H

#include <jansson.h>
#include <popt.h>

#include "cli/command.h"

extern const struct poptOption SERVE_OPTIONS[]; // include it in the command's table

// What else the command may be told to do, instead of serving; NULL: not asked for.
struct serve_given {
    const char *keys, *new_key, *ledger, *export_feedback;
    int no_ledger, show_settings;
};
const struct serve_given *serve_given(void);

// src/gateway/settings.h has the form. New reference; NULL: USAGE or NOT_FOUND, with words.
json_t *serve_settings(const struct cli_context *context, struct wl_err *err);
// The ledger's file: as given, else in the user's data folder (made when it is not there).
enum wl_status serve_ledger_path(char *out, size_t size, struct wl_err *err);

#endif
