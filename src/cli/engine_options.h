// The options of every command that loads a model.
#ifndef WATTLAW_CLI_ENGINE_OPTIONS_H
#define WATTLAW_CLI_ENGINE_OPTIONS_H

#include <popt.h>

#include "cli/command.h"
#include "measure/subject.h"

extern const struct poptOption ENGINE_OPTIONS[]; // include it in the command's table

// What the user asked for, checked; model_path is left NULL. USAGE says which option is wrong.
enum wl_status engine_options_get(const struct cli_context *context, struct subject_options *out,
                                  struct wl_err *err);

// How threads wait for each other unless the user says so: "passive" or NULL, as llama.cpp does it.
const char *engine_options_wait_policy(void);

// Lets the sources use what 'wattlaw calibrate' stored for this machine; a warning says when that
// cannot be used. Commands that measure call it, `calibrate` itself does not.
void engine_options_calibrate(const struct cli_context *context, struct subject_options *options);

#endif
