// Finds the subcommand, parses its options with the tables of command.h, runs it.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/term.h"

#define COMMAND(name) extern const struct cli_command CMD_##name;
#include "cli/commands.def"
#undef COMMAND

const struct cli_command *const CLI_COMMANDS[] = {
#define COMMAND(name) &CMD_##name,
#include "cli/commands.def"
#undef COMMAND
    NULL};

static struct cli_common common;

const struct poptOption CLI_COMMON_OPTIONS[] = {
    {"json", 0, POPT_ARG_NONE, &common.json, 0, "print the answer as JSON", NULL},
    {"quiet", 'q', POPT_ARG_NONE, &common.quiet, 0, "no progress and no warnings", NULL},
    {"color", 0, POPT_ARG_STRING, &common.color, 0,
     "auto (default), always or never; NO_COLOR is respected", "WHEN"},
    {"store", 0, POPT_ARG_STRING, &common.store, 0,
     "the database of runs (default: ~/.local/share/wattlaw/store.db, or $WATTLAW_STORE)", "FILE"},
    {"root", 0, POPT_ARG_STRING, &common.root, 0,
     "read /proc and /sys below this folder (a captured machine)", "DIR"},
    {"help", 'h', POPT_ARG_NONE, NULL, 'h', "this help", NULL},
    POPT_TABLEEND};

const struct cli_command *cli_command_by_name(const char *name) {
    for (size_t i = 0; CLI_COMMANDS[i]; i++) {
        if (strcmp(CLI_COMMANDS[i]->name, name) == 0) {
            return CLI_COMMANDS[i];
        }
    }
    return NULL;
}

int cli_fail(enum wl_status status, const struct wl_err *err) {
    fflush(stdout);
    fprintf(stderr, "wattlaw: %s\n",
            err && err->message[0] ? err->message : wl_status_name(status));
    return wl_status_exit_code(status);
}

int cli_usage(const struct cli_context *context, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("wattlaw: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\ntry 'wattlaw %s --help'\n", context->command->name);
    return wl_status_exit_code(WL_USAGE);
}

void cli_warn(const struct cli_context *context, const char *format, ...) {
    if (context->common.quiet) {
        return;
    }
    va_list args;
    va_start(args, format);
    fputs("wattlaw: warning: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

static int unknown_command(const char *name) {
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; CLI_COMMANDS[i] && n < 63; i++) {
        if (!CLI_COMMANDS[i]->is_hidden) {
            names[n++] = CLI_COMMANDS[i]->name;
        }
    }
    names[n] = NULL;
    struct wl_err err;
    wl_err_set(&err, WL_USAGE, "unknown command '%s'", name);
    fprintf(stderr, "wattlaw: %s\n", err.message);
    const char *nearest = str_nearest(name, names);
    if (nearest) {
        fprintf(stderr, "did you mean 'wattlaw %s'?\n", nearest);
    } else {
        fputs("'wattlaw --help' lists the commands\n", stderr);
    }
    return wl_status_exit_code(WL_USAGE);
}

struct name_list {
    const char *names[128];
    size_t n;
};

static void collect_name(void *context, const struct poptOption *option) {
    struct name_list *list = context;
    if (option->longName && list->n < 127) {
        list->names[list->n++] = option->longName;
    }
}

static int bad_option(const struct cli_context *context, poptContext popt, int code) {
    const char *option = poptBadOption(popt, POPT_BADOPTION_NOALIAS);
    fprintf(stderr, "wattlaw %s: %s: %s\n", context->command->name, option, poptStrerror(code));
    struct name_list list = {0};
    help_each_option(context->command->options, collect_name, &list);
    help_each_option(CLI_COMMON_OPTIONS, collect_name, &list);
    while (*option == '-') {
        option++;
    }
    const char *nearest = code == POPT_ERROR_BADOPT ? str_nearest(option, list.names) : NULL;
    if (nearest) {
        fprintf(stderr, "did you mean '--%s'?\n", nearest);
    }
    fprintf(stderr, "try 'wattlaw %s --help'\n", context->command->name);
    return wl_status_exit_code(WL_USAGE);
}

// Parses the options after the command's name; returns -1 to go on, else the exit code.
static int parse_options(struct cli_context *context, poptContext popt) {
    int code;
    while ((code = poptGetNextOpt(popt)) >= 0) {
        if (code == 'h') {
            help_print_command(stdout, context->command);
            return 0;
        }
    }
    if (code < -1) {
        return bad_option(context, popt, code);
    }
    context->args = poptGetArgs(popt);
    while (context->args && context->args[context->n_args]) {
        context->n_args++;
    }
    return -1;
}

static const struct poptOption NO_OPTIONS[] = {POPT_TABLEEND};

static int run_command(const struct cli_command *command, int argc, const char **argv) {
    struct poptOption options[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE,
         (void *)(command->options ? command->options : NO_OPTIONS), 0, NULL, NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)CLI_COMMON_OPTIONS, 0, NULL, NULL},
        POPT_TABLEEND};
    struct cli_context context = {.command = command};
    poptContext popt = poptGetContext("wattlaw", argc, argv, options, 0);
    int exit_code = parse_options(&context, popt);
    if (exit_code < 0) {
        if (common.color && strcmp(common.color, "auto") != 0 &&
            strcmp(common.color, "always") != 0 && strcmp(common.color, "never") != 0) {
            exit_code = cli_usage(&context, "--color: expected auto, always or never, found '%s'",
                                  common.color);
        } else {
            term_init(common.color);
            context.common = common;
            exit_code = command->run(&context);
        }
    }
    poptFreeContext(popt);
    return exit_code;
}

// A full disk or a closed pipe must not look like success.
static int close_stdout(int exit_code) {
    if (fflush(stdout) != 0 && exit_code == 0) {
        fputs("wattlaw: cannot write to standard output\n", stderr);
        return wl_status_exit_code(WL_IO);
    }
    return exit_code;
}

int main(int argc, const char **argv) {
    if (argc < 2) {
        help_print_overview(stderr);
        return wl_status_exit_code(WL_USAGE);
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        help_print_overview(stdout);
        return close_stdout(0);
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("wattlaw %s\n", WATTLAW_VERSION);
        return close_stdout(0);
    }
    const struct cli_command *command = cli_command_by_name(word);
    if (!command) {
        return unknown_command(word);
    }
    return close_stdout(run_command(command, argc - 1, argv + 1));
}
