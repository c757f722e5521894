#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/help.h"
#include "os/file.h"

// Replaces this process by man(1); comes back only when that fails.
static void open_manual(const char *page) {
    execlp("man", "man", page, (char *)NULL);
}

static int run(struct cli_context *context) {
    if (context->n_args == 0) {
        help_print_overview(stdout);
        return 0;
    }
    const struct cli_command *command = cli_command_by_name(context->args[0]);
    if (!command) {
        return cli_usage(context, "no command '%s'", context->args[0]);
    }
    if (isatty(STDOUT_FILENO)) {
        // The page of this build first, so that help also works before `make install`.
        char dir[OS_PATH_BYTES], path[OS_PATH_BYTES + 128];
        if (os_executable_dir(dir, NULL) == WL_OK) {
            snprintf(path, sizeof path, "%s/../generated/man/wattlaw-%s.1", dir, command->name);
            if (!os_exists(path)) {
                snprintf(path, sizeof path, "wattlaw-%s", command->name);
            }
            fflush(stdout);
            open_manual(path);
        }
    }
    help_print_command(stdout, command);
    return 0;
}

const struct cli_command CMD_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "open the manual of a command",
    .description = "Opens the manual page of a command on a terminal, and prints the same text as "
                   "--help elsewhere.",
    .run = run,
};
