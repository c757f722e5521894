// Writes the manual pages and the shell completions from the command tables; called by the build.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "cli/command.h"
#include "cli/help.h"
#include "os/file.h"

enum { MAX_PAGE_BYTES = 1 << 20 };

// Text for roff: '-' stays a hyphen-minus that can be copied, a leading '.' or '\'' is no request.
static void put_roff(struct buf *page, const char *text) {
    bool at_line_start = true;
    for (; *text; text++) {
        if (*text == '\n' && text[1] == '\n') {
            buf_puts(page, "\n.PP\n");
            text++;
            at_line_start = true;
            continue;
        }
        if (at_line_start && (*text == '.' || *text == '\'')) {
            buf_puts(page, "\\&");
        }
        if (*text == '-' || *text == '\\') {
            buf_puts(page, *text == '-' ? "\\-" : "\\e");
        } else {
            buf_append(page, text, 1);
        }
        at_line_start = *text == '\n';
    }
}

static void put_option(void *context, const struct poptOption *option) {
    struct buf *page = context;
    char text[80];
    help_option_text(text, sizeof text, option);
    buf_puts(page, ".TP\n.B ");
    put_roff(page, text + strspn(text, " "));
    buf_puts(page, "\n");
    put_roff(page, option->descrip);
    buf_puts(page, "\n");
}

static void put_options(struct buf *page, const struct poptOption *options) {
    help_each_option(options, put_option, page);
}

static void put_upper(struct buf *page, const char *text) {
    for (; *text; text++) {
        char c = (char)toupper((unsigned char)*text);
        buf_append(page, &c, 1);
    }
}

static void put_exit_codes(struct buf *page) {
    buf_puts(page, ".SH EXIT STATUS\n");
    for (size_t i = 0; HELP_EXIT_CODES[i][0]; i++) {
        buf_printf(page, ".TP\n.B %s\n%s\n", HELP_EXIT_CODES[i][0], HELP_EXIT_CODES[i][1]);
    }
}

static void put_examples(struct buf *page, const struct cli_example *examples) {
    if (!examples) {
        return;
    }
    buf_puts(page, ".SH EXAMPLES\n");
    for (; examples->command; examples++) {
        buf_puts(page, ".TP\n.B ");
        put_roff(page, examples->command);
        buf_puts(page, "\n");
        put_roff(page, examples->says);
        buf_puts(page, "\n");
    }
}

static void make_command_page(struct buf *page, const struct cli_command *command) {
    buf_puts(page, ".TH WATTLAW\\-");
    put_upper(page, command->name);
    buf_printf(page, " 1 \"\" \"wattlaw %s\" \"User Commands\"\n.SH NAME\nwattlaw\\-%s \\- ",
               WATTLAW_VERSION, command->name);
    put_roff(page, command->summary);
    buf_printf(page, "\n.SH SYNOPSIS\n.B wattlaw %s\n", command->name);
    put_roff(page, command->arguments);
    buf_puts(page, "\n.SH DESCRIPTION\n");
    put_roff(page, command->description);
    buf_puts(page, "\n");
    if (command->options) {
        buf_puts(page, ".SH OPTIONS\n");
        put_options(page, command->options);
    }
    buf_puts(page, ".SH COMMON OPTIONS\n");
    put_options(page, CLI_COMMON_OPTIONS);
    put_exit_codes(page);
    put_examples(page, command->examples);
    buf_puts(page, ".SH SEE ALSO\n.BR wattlaw (1)\n");
}

static void make_main_page(struct buf *page) {
    buf_printf(page,
               ".TH WATTLAW 1 \"\" \"wattlaw %s\" \"User Commands\"\n.SH NAME\nwattlaw \\- know, "
               "cut and keep down what a local language model costs on a CPU\n.SH SYNOPSIS\n"
               ".B wattlaw\n.I command\n[options]\n.SH DESCRIPTION\n",
               WATTLAW_VERSION);
    put_roff(page, "wattlaw measures energy, CPU, RAM and time of local language models, finds the "
                   "laws behind these costs, and helps to cut them. Every figure carries its "
                   "number of runs, an interval, a source and a label: measured, calibrated, "
                   "estimated or unresolved.\n\nThe answer goes to standard output, progress and "
                   "warnings to standard error.");
    buf_puts(page, "\n.SH COMMANDS\n");
    for (size_t i = 0; CLI_COMMANDS[i]; i++) {
        if (!CLI_COMMANDS[i]->is_hidden) {
            buf_printf(page, ".TP\n.BR wattlaw\\-%s (1)\n", CLI_COMMANDS[i]->name);
            put_roff(page, CLI_COMMANDS[i]->summary);
            buf_puts(page, "\n");
        }
    }
    buf_puts(page, ".SH ENVIRONMENT\n"
                   ".TP\n.B WATTLAW_STORE\nthe database of runs, where \\-\\-store is not given\n"
                   ".TP\n.B WATTLAW_ENGINE\nthe wattlaw\\-engine program to start\n"
                   ".TP\n.B NO_COLOR\nany value: no colour\n");
    put_exit_codes(page);
}

static enum wl_status write_page(const char *dir, const char *file, struct buf *page,
                                 struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = os_path_join(path, dir, file, err);
    if (status == WL_OK) {
        status = os_write_atomic(path, buf_text(page), page->len, err);
    }
    buf_clear(page);
    return status;
}

static enum wl_status generate_man(const char *dir, struct wl_err *err) {
    struct buf page;
    buf_init(&page, MAX_PAGE_BYTES);
    make_main_page(&page);
    enum wl_status status = write_page(dir, "wattlaw.1", &page, err);
    for (size_t i = 0; CLI_COMMANDS[i] && status == WL_OK; i++) {
        if (!CLI_COMMANDS[i]->is_hidden) {
            char file[64];
            snprintf(file, sizeof file, "wattlaw-%s.1", CLI_COMMANDS[i]->name);
            make_command_page(&page, CLI_COMMANDS[i]);
            status = write_page(dir, file, &page, err);
        }
    }
    buf_release(&page);
    return status;
}

static void put_long_option(void *context, const struct poptOption *option) {
    if (option->longName) {
        buf_printf(context, " --%s", option->longName);
    }
}

static void put_long_options(struct buf *out, const struct poptOption *options) {
    help_each_option(options, put_long_option, out);
}

static void make_bash(struct buf *out) {
    buf_puts(out, "# bash completion for wattlaw; written by 'wattlaw generate completion'\n"
                  "_wattlaw() {\n"
                  "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                  "    local command=${COMP_WORDS[1]} words=\n"
                  "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='--help --version");
    for (size_t i = 0; CLI_COMMANDS[i]; i++) {
        if (!CLI_COMMANDS[i]->is_hidden) {
            buf_printf(out, " %s", CLI_COMMANDS[i]->name);
        }
    }
    buf_puts(out, "'\n"
                  "    elif [ \"$prev\" = -m ] || [ \"$prev\" = --model ] || "
                  "[ \"$prev\" = --vs ]; then\n"
                  "        compopt -o filenames\n"
                  "        COMPREPLY=($(compgen -f -X '!*.gguf' -- \"$cur\") "
                  "$(compgen -d -- \"$cur\"))\n        return\n"
                  "    elif [[ $cur == -* ]]; then\n        case $command in\n");
    for (size_t i = 0; CLI_COMMANDS[i]; i++) {
        buf_printf(out, "        %s) words='", CLI_COMMANDS[i]->name);
        put_long_options(out, CLI_COMMANDS[i]->options);
        put_long_options(out, CLI_COMMON_OPTIONS);
        buf_puts(out, "' ;;\n");
    }
    buf_puts(out, "        esac\n    else\n        compopt -o default\n        return\n    fi\n"
                  "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
                  "complete -F _wattlaw wattlaw\n");
}

static void make_zsh(struct buf *out) {
    buf_puts(out, "#compdef wattlaw\n# written by 'wattlaw generate completion'\n"
                  "local -a commands\ncommands=(\n");
    for (size_t i = 0; CLI_COMMANDS[i]; i++) {
        if (!CLI_COMMANDS[i]->is_hidden) {
            buf_printf(out, "  \"%s:%s\"\n", CLI_COMMANDS[i]->name, CLI_COMMANDS[i]->summary);
        }
    }
    buf_puts(out, ")\nif (( CURRENT == 2 )); then\n  _describe command commands\n  return\nfi\n"
                  "local -a opts\ncase $words[2] in\n");
    for (size_t i = 0; CLI_COMMANDS[i]; i++) {
        buf_printf(out, "%s) opts=(", CLI_COMMANDS[i]->name);
        put_long_options(out, CLI_COMMANDS[i]->options);
        put_long_options(out, CLI_COMMON_OPTIONS);
        buf_puts(out, " ) ;;\n");
    }
    buf_puts(out, "esac\nif [[ $PREFIX == -* ]]; then\n  compadd -- $opts\nelse\n  _files\nfi\n");
}

static enum wl_status generate_completion(const char *dir, struct wl_err *err) {
    struct buf out;
    buf_init(&out, MAX_PAGE_BYTES);
    make_bash(&out);
    enum wl_status status = write_page(dir, "wattlaw.bash", &out, err);
    if (status == WL_OK) {
        make_zsh(&out);
        status = write_page(dir, "_wattlaw", &out, err);
    }
    buf_release(&out);
    return status;
}

static int run(struct cli_context *context) {
    struct wl_err err;
    if (context->n_args != 2) {
        return cli_usage(context, "expected 'man DIR' or 'completion DIR'");
    }
    enum wl_status status;
    if (strcmp(context->args[0], "man") == 0) {
        status = generate_man(context->args[1], &err);
    } else if (strcmp(context->args[0], "completion") == 0) {
        status = generate_completion(context->args[1], &err);
    } else {
        return cli_usage(context, "expected man or completion, found '%s'", context->args[0]);
    }
    return status == WL_OK ? 0 : cli_fail(status, &err);
}

const struct cli_command CMD_generate = {
    .name = "generate",
    .arguments = "man|completion DIR",
    .summary = "write manual pages or shell completion",
    .description = "Writes the manual pages or the bash and zsh completion into a folder, from the "
                   "same tables as --help. The build calls it.",
    .is_hidden = true,
    .run = run,
};
