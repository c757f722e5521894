// Help and manual text from the tables of command.h.
#ifndef WATTLAW_CLI_HELP_H
#define WATTLAW_CLI_HELP_H

#include <stdio.h>

#include "cli/command.h"

void help_print_overview(FILE *out);
void help_print_command(FILE *out, const struct cli_command *command);
// "-m, --model=FILE" into `out`.
char *help_option_text(char *out, size_t size, const struct poptOption *option);
// Visits the options of a table and of the tables it includes, hidden ones left out.
void help_each_option(const struct poptOption *options,
                      void (*visit)(void *context, const struct poptOption *option), void *context);
// Exit codes, one line each, the same text in help and manual.
extern const char *const HELP_EXIT_CODES[][2];

#endif
