// `wattlaw serve --export-feedback FILE`.
#ifndef WATTLAW_CLI_SERVE_EXPORT_H
#define WATTLAW_CLI_SERVE_EXPORT_H

#include "cli/command.h"

// Writes the ledger's judged answers as a task file and says how many there are. The exit code.
int serve_export(const struct cli_context *context, const char *path);

#endif
