// `models --info`: what one file is, and what a compressed one says of its making
// (general.wattlaw.certificate). The certificate is text from a file: nobody vouches for it but the
// file.
#ifndef WATTLAW_CLI_MODEL_INFO_H
#define WATTLAW_CLI_MODEL_INFO_H

#include "cli/command.h"

// `name` as every command takes a model.
enum wl_status model_info_print(const struct cli_context *context, const char *name,
                                struct wl_err *err);

#endif
