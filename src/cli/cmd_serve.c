// The gateway: options become settings, and this process becomes wattlaw-gateway.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cli/command.h"
#include "cli/engine_options.h"
#include "cli/serve_export.h"
#include "cli/serve_key.h"
#include "cli/serve_settings.h"
#include "engine/client.h"

static const struct poptOption OPTIONS[] = {
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)SERVE_OPTIONS, 0, NULL, NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)ENGINE_OPTIONS, 0, NULL, NULL},
    POPT_TABLEEND};

static int make_key(struct cli_context *context) {
    const struct serve_given *given = serve_given();
    char secret[KEY_SECRET_BYTES];
    struct wl_err err = {0};
    if (!given->keys) {
        return cli_usage(context, "--new-key adds a key to a file: name it with --keys FILE");
    }
    enum wl_status status = serve_key_add(given->keys, given->new_key, secret, &err);
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    if (context->common.json) {
        printf("{\"schema_version\":1,\"name\":\"%s\",\"key\":\"%s\"}\n", given->new_key, secret);
        return 0;
    }
    printf("%s\n", secret);
    if (!context->common.quiet) {
        fprintf(stderr,
                "The key of '%s'. It is shown this once: '%s' has only its hash, and there you can "
                "give it limits.\nA gateway that runs takes it on SIGHUP.\n",
                given->new_key, given->keys);
    }
    return 0;
}

static int show(const json_t *settings) {
    struct buf text;
    buf_init(&text, 1 << 20);
    bool is_written = wl_json_write_pretty(&text, settings);
    printf("%s\n", buf_text(&text));
    buf_release(&text);
    return is_written ? 0 : 1;
}

// Small enough for a pipe's buffer, so that nobody has to read while it is written.
static int settings_pipe(const json_t *settings, struct wl_err *err) {
    struct buf text;
    int fds[2];
    buf_init(&text, 60000);
    if (!wl_json_write(&text, settings)) {
        wl_err_set(err, WL_LIMIT, "the options are longer than 60000 bytes");
        buf_release(&text);
        return -1;
    }
    ssize_t n = -1;
    if (pipe(fds) == 0) {
        n = write(fds[1], text.data, text.len);
        close(fds[1]);
    }
    bool is_written = n == (ssize_t)text.len;
    buf_release(&text);
    if (!is_written) {
        wl_err_errno(err, errno, "cannot hand over the settings");
    }
    return is_written ? fds[0] : -1;
}

static int become_gateway(const json_t *settings) {
    char program[OS_PATH_BYTES], path[64];
    struct wl_err err = {0};
    enum wl_status status = engine_find_gateway(program, &err);
    int fd = status == WL_OK ? settings_pipe(settings, &err) : -1;
    if (fd < 0) {
        return cli_fail(err.status, &err);
    }
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    execl(program, "wattlaw-gateway", path, (char *)NULL);
    return cli_fail(wl_err_errno(&err, errno, "cannot start '%s'", program), &err);
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    const struct serve_given *given = serve_given();
    if (context->n_args) {
        return cli_usage(context, "unexpected argument '%s'", context->args[0]);
    }
    if (given->new_key) {
        return make_key(context);
    }
    if (given->export_feedback) {
        return serve_export(context, given->export_feedback);
    }
    json_t *settings = serve_settings(context, &err);
    if (!settings) {
        return err.status == WL_USAGE ? cli_usage(context, "%s", err.message)
                                      : cli_fail(err.status, &err);
    }
    int exit_code =
        given->show_settings || context->common.json ? show(settings) : become_gateway(settings);
    json_decref(settings);
    return exit_code;
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw serve", "the built-in pair on http://127.0.0.1:8600/v1"},
    {"wattlaw serve -m qwen2.5-vl-3b --image-tokens 256 --max-output 512",
     "a model of yours, with a clamp and a limit"},
    {"wattlaw serve --upstream http://127.0.0.1:11434 --max-joules 500",
     "in front of Ollama; no answer takes more than 500 J"},
    {"wattlaw serve --keys keys.json --new-key kitchen", "make an API key"},
    {"wattlaw serve --host 0.0.0.0 --keys keys.json --profile tuned.json",
     "for the network, with keys and a profile"},
    {"curl http://127.0.0.1:8600/v1/energy", "what it has cost, by key, model and day"},
    {NULL, NULL}};

const struct cli_command CMD_serve = {
    .name = "serve",
    .arguments = "[-m MODEL | --upstream URL] [options]",
    .summary = "an OpenAI-compatible gateway that keeps tokens, pixels and Wh under control",
    .description =
        "Stands in front of a local model server and speaks OpenAI's API: clients change nothing "
        "but their base URL. Every answer carries what it cost (usage.energy); requests, tokens, "
        "pixels, seconds and joules can be limited for each request, key, model and day; every "
        "request is a row in a ledger; /metrics is for Prometheus, / is a page for people.\n\n"
        "With -m it starts llama-server itself on a private socket, with settings for small "
        "machines (one slot, 4096 tokens of context unless -c says otherwise), and keeps it alive. "
        "With --upstream it serves one that runs. Without either it "
        "serves the built-in pair.\n\n"
        "SIGHUP reads keys and profile again; SIGTERM ends when the answers under way are whole. "
        "docs/serve.md has everything.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
