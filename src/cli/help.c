#include "cli/help.h"

#include <string.h>

const char *const HELP_EXIT_CODES[][2] = {
    {"0", "done"},
    {"1", "failed"},
    {"2", "wrong usage"},
    {"3", "ran, but the measurement is not trustworthy"},
    {"4", "a floor or gate was not met"},
    {"130", "interrupted"},
    {NULL, NULL},
};

// Prints `text` wrapped at 79 columns, each line after `indent` spaces.
static void print_wrapped(FILE *out, const char *text, int indent) {
    int column = 0;
    while (*text) {
        if (text[0] == '\n') {
            int n_breaks = text[1] == '\n' ? 2 : 1;
            for (int i = 0; i < n_breaks; i++) {
                fputc('\n', out);
            }
            text += n_breaks;
            column = 0;
            continue;
        }
        size_t len = strcspn(text, " \n");
        if (column && column + 1 + (int)len > 79) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0) {
            column = fprintf(out, "%*s", indent, "");
        } else {
            column += fprintf(out, " ");
        }
        column += fprintf(out, "%.*s", (int)len, text);
        text += len;
        while (*text == ' ') {
            text++;
        }
    }
    fputc('\n', out);
}

void help_print_overview(FILE *out) {
    fputs("wattlaw: know, cut and keep down what a local language model costs on a CPU\n\n"
          "usage: wattlaw <command> [options]\n\n",
          out);
    for (size_t i = 0; CLI_COMMANDS[i]; i++) {
        if (!CLI_COMMANDS[i]->is_hidden) {
            fprintf(out, "  %-10s %s\n", CLI_COMMANDS[i]->name, CLI_COMMANDS[i]->summary);
        }
    }
    fputs("\nexamples:\n"
          "  wattlaw study                     the main job, on a built-in model, with a report\n"
          "  wattlaw study -m a.gguf --vs b.gguf   what b saves against a\n"
          "  wattlaw doctor                    what this machine can measure\n\n"
          "'wattlaw <command> --help' tells more; 'wattlaw help <command>' opens the manual.\n",
          out);
}

char *help_option_text(char *out, size_t size, const struct poptOption *option) {
    char short_text[8] = "    ";
    if (option->shortName) {
        snprintf(short_text, sizeof short_text, "-%c%s", option->shortName,
                 option->longName ? ", " : "");
    }
    snprintf(out, size, "%s%s%s%s%s", short_text, option->longName ? "--" : "",
             option->longName ? option->longName : "", option->argDescrip ? "=" : "",
             option->argDescrip ? option->argDescrip : "");
    return out;
}

void help_each_option(const struct poptOption *options,
                      void (*visit)(void *context, const struct poptOption *option),
                      void *context) {
    for (; options && (options->longName || options->shortName || options->arg); options++) {
        if ((options->argInfo & POPT_ARG_MASK) == POPT_ARG_INCLUDE_TABLE) {
            help_each_option(options->arg, visit, context);
        } else if (!(options->argInfo & POPT_ARGFLAG_DOC_HIDDEN)) {
            visit(context, options);
        }
    }
}

// Two columns: the option, and what it does wrapped beside it (below it when the option is long).
static void print_option(void *context, const struct poptOption *option) {
    enum { OPTION_COLUMNS = 25, TEXT_COLUMNS = 51 };
    FILE *out = context;
    char text[80];
    help_option_text(text, sizeof text, option);
    if (strlen(text) >= OPTION_COLUMNS) {
        fprintf(out, "  %s\n", text);
        print_wrapped(out, option->descrip, OPTION_COLUMNS + 3);
        return;
    }
    fprintf(out, "  %-*s", OPTION_COLUMNS, text);
    const char *rest = option->descrip;
    while (strlen(rest) > TEXT_COLUMNS) {
        size_t cut = TEXT_COLUMNS;
        while (cut > 1 && rest[cut] != ' ') {
            cut--;
        }
        fprintf(out, " %.*s\n%*s", (int)cut, rest, OPTION_COLUMNS + 2, "");
        rest += cut + 1;
    }
    fprintf(out, " %s\n", rest);
}

static void print_options(FILE *out, const struct poptOption *options) {
    help_each_option(options, print_option, out);
}

void help_print_command(FILE *out, const struct cli_command *command) {
    char text[512];
    snprintf(text, sizeof text, "wattlaw %s: %s", command->name, command->summary);
    print_wrapped(out, text, 0);
    snprintf(text, sizeof text, "\nusage: wattlaw %s %s", command->name, command->arguments);
    print_wrapped(out, text, 0);
    fputc('\n', out);
    print_wrapped(out, command->description, 0);
    if (command->options) {
        fputs("\noptions:\n", out);
        print_options(out, command->options);
    }
    fputs("\ncommon options:\n", out);
    print_options(out, CLI_COMMON_OPTIONS);
    if (command->examples) {
        fputs("\nexamples:\n", out);
    }
    for (const struct cli_example *e = command->examples; e && e->command; e++) {
        fprintf(out, "  %s\n      %s\n", e->command, e->says);
    }
}
