// A subcommand is one file cmd_<name>.c with a `const struct cli_command CMD_<name>` and one line
// in commands.def. Help, manual page, completion and the agreement tests all come from this table.
#ifndef WATTLAW_CLI_COMMAND_H
#define WATTLAW_CLI_COMMAND_H

#include <popt.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct cli_example {
    const char *command; // what to type
    const char *says;    // what it does, one line
};

// Options that every command has.
struct cli_common {
    int json;          // the answer as JSON on stdout
    int quiet;         // no progress, no warnings
    const char *color; // "auto", "always", "never"
    const char *root;  // prefix of /proc and /sys, for captured machines
    const char *store; // the SQLite file
};

struct cli_context {
    const struct cli_command *command;
    struct cli_common common;
    const char **args; // what is left after the options, NULL-terminated
    int n_args;
};

struct cli_command {
    const char *name;
    const char *arguments;   // after the name in the synopsis
    const char *summary;     // one line, no full stop
    const char *description; // paragraphs, separated by an empty line
    const struct poptOption *options;
    const struct cli_example *examples; // ends with a NULL command
    bool is_hidden;
    // The exit code of the process (status.h): the command has printed its answer and its errors.
    int (*run)(struct cli_context *context);
};

extern const struct cli_command *const CLI_COMMANDS[]; // NULL-terminated, in the order of the table
const struct cli_command *cli_command_by_name(const char *name);
extern const struct poptOption CLI_COMMON_OPTIONS[];

// Prints "wattlaw: <message>" on stderr and returns the exit code of `status`.
int cli_fail(enum wl_status status, const struct wl_err *err);
// A usage error with the hint "try 'wattlaw <command> --help'"; returns 2.
int cli_usage(const struct cli_context *context, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void cli_warn(const struct cli_context *context, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
