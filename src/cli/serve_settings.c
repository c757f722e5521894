#include "cli/serve_settings.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/engine_options.h"
#include "os/file.h"

enum { MAX_TEXTS = 32 };

static struct {
    const char *model, *mmproj, *profile, *upstream, *upstream_key_file, *server, *rpc;
    char **server_args, **image_hosts;
    const char *host, *count_model, *meter_root, *policy, *canary, *log;
    const char *queue_time, *idle_unload, *canary_every, *canary_at, *drain, *body, *answer_time;
    int port, slots, concurrency, queue, connections, retention_days;
    int max_input, max_output, image_tokens, image_tokens_low, image_pixels, max_images;
    int cache_ram_mib, keep_text, images_first, canary_limit;
    double max_seconds, max_joules, idle_w, canary_floor, canary_max_wh;
    struct serve_given other;
} given = {.port = -1,
           .cache_ram_mib = -1,
           .retention_days = -1,
           .queue = -1,
           .idle_w = -1,
           .canary_floor = -1,
           .canary_max_wh = -1};

const struct serve_given *serve_given(void) {
    return &given.other;
}

const struct poptOption SERVE_OPTIONS[] = {
    {"model", 'm', POPT_ARG_STRING, &given.model, 0,
     "GGUF file, or a name that 'wattlaw models' lists (default: builtin)", "MODEL"},
    {"mmproj", 0, POPT_ARG_STRING, &given.mmproj, 0,
     "image encoder (default: the one that belongs to the model; none: no pictures)", "FILE"},
    {"profile", 0, POPT_ARG_STRING, &given.profile, 0,
     "model, settings and limits in one file, as 'wattlaw tune' writes it; options win; read "
     "again on SIGHUP",
     "FILE"},
    {"upstream", 0, POPT_ARG_STRING, &given.upstream, 0,
     "serve a model server that runs (llama-server, Ollama, vLLM) instead of a model file", "URL"},
    {"upstream-key-file", 0, POPT_ARG_STRING, &given.upstream_key_file, 0,
     "file with the API key to show to it", "FILE"},
    {"host", 0, POPT_ARG_STRING, &given.host, 0,
     "address to listen on, or the path of a socket (default: 127.0.0.1); other than loopback "
     "needs --keys",
     "ADDRESS"},
    {"port", 0, POPT_ARG_INT, &given.port, 0, "port (default: 8600; 0: any)", "N"},
    {"keys", 0, POPT_ARG_STRING, &given.other.keys, 0,
     "file of API keys with their budgets; read again on SIGHUP", "FILE"},
    {"new-key", 0, POPT_ARG_STRING, &given.other.new_key, 0,
     "make a key of this name, add its hash to the file of --keys, show it once, and end", "NAME"},
    {"max-input", 0, POPT_ARG_INT, &given.max_input, 0,
     "tokens that a request may have, pictures included", "N"},
    {"max-output", 0, POPT_ARG_INT, &given.max_output, 0, "tokens that an answer may have", "N"},
    {"max-seconds", 0, POPT_ARG_DOUBLE, &given.max_seconds, 0,
     "stop an answer after so long (finish_reason length)", "S"},
    {"max-joules", 0, POPT_ARG_DOUBLE, &given.max_joules, 0,
     "stop an answer that has taken so much energy", "J"},
    {"policy", 0, POPT_ARG_STRING, &given.policy, 0,
     "what is done with a request that is too long: reject (default), or truncate: leave out its "
     "oldest turns",
     "POLICY"},
    {"image-tokens", 0, POPT_ARG_INT, &given.image_tokens, 0,
     "shrink pictures to so many tokens each, where that saves", "N"},
    {"image-tokens-low", 0, POPT_ARG_INT, &given.image_tokens_low, 0,
     "the same for those that come with \"detail\": \"low\"", "N"},
    {"image-pixels", 0, POPT_ARG_INT, &given.image_pixels, 0, "most pixels of a picture", "N"},
    {"max-images", 0, POPT_ARG_INT, &given.max_images, 0, "most pictures of a request", "N"},
    {"images-first", 0, POPT_ARG_NONE, &given.images_first, 0,
     "move pictures in front of the text of their message, so that the same picture is computed "
     "once",
     NULL},
    {"allow-image-host", 0, POPT_ARG_ARGV, &given.image_hosts, 0,
     "pictures may be fetched from here (.example.org: with all below it); several times; default: "
     "data: addresses only",
     "HOST"},
    {"count-model", 0, POPT_ARG_STRING, &given.count_model, 0,
     "GGUF file to count tokens with, for a model server that cannot count", "FILE"},
    {"slots", 0, POPT_ARG_INT, &given.slots, 0,
     "requests that our own model server works at at once (default: 1)", "N"},
    {"cache-ram", 0, POPT_ARG_INT, &given.cache_ram_mib, 0,
     "MiB of computed prompts that it keeps (default: 256)", "MIB"},
    {"idle-unload", 0, POPT_ARG_STRING, &given.idle_unload, 0,
     "stop it after so long without a request; the next one starts it (10m, 2h; default: never)",
     "TIME"},
    {"server", 0, POPT_ARG_STRING, &given.server, 0, "program llama-server (default: found)",
     "FILE"},
    {"server-arg", 0, POPT_ARG_ARGV, &given.server_args, 0,
     "further argument for it, several times", "ARG"},
    {"rpc", 0, POPT_ARG_STRING, &given.rpc, 0,
     "llama.cpp RPC servers that hold parts of a model that is too large for one machine: all its "
     "layers, or as many as --server-arg=-ngl --server-arg=N says",
     "LIST"},
    {"concurrency", 0, POPT_ARG_INT, &given.concurrency, 0,
     "requests at the model server at once (default: its slots)", "N"},
    {"queue", 0, POPT_ARG_INT, &given.queue, 0,
     "requests that may wait; more get 503 (default: 64)", "N"},
    {"queue-time", 0, POPT_ARG_STRING, &given.queue_time, 0, "how long they wait (default: 60s)",
     "TIME"},
    {"answer-time", 0, POPT_ARG_STRING, &given.answer_time, 0,
     "a model server that needs longer is given up (default: no limit)", "TIME"},
    {"body", 0, POPT_ARG_STRING, &given.body, 0, "largest request (default: 32M)", "BYTES"},
    {"connections", 0, POPT_ARG_INT, &given.connections, 0,
     "most connections of clients (default: 1024)", "N"},
    {"drain", 0, POPT_ARG_STRING, &given.drain, 0,
     "at the end, how long to wait for answers under way (default: 30s)", "TIME"},
    {"ledger", 0, POPT_ARG_STRING, &given.other.ledger, 0,
     "SQLite file with a row for each request (default: ledger.db in the data folder)", "FILE"},
    {"no-ledger", 0, POPT_ARG_NONE, &given.other.no_ledger, 0,
     "keep none; daily budgets then begin anew at a restart", NULL},
    {"retention", 0, POPT_ARG_INT, &given.retention_days, 0,
     "days that rows are kept (default: 90; 0: for ever)", "DAYS"},
    {"keep-text", 0, POPT_ARG_NONE, &given.keep_text, 0,
     "prompts and answers go into the ledger, too", NULL},
    {"export-feedback", 0, POPT_ARG_STRING, &given.other.export_feedback, 0,
     "write answers that users have judged (--keep-text, /v1/feedback) as a task file, and end",
     "FILE"},
    {"idle-watts", 0, POPT_ARG_DOUBLE, &given.idle_w, 0,
     "power of the machine at rest, for net energy (default: learned while nobody asks)", "W"},
    {"canary", 0, POPT_ARG_STRING, &given.canary, 0,
     "task file to ask while nobody else does; accuracy and Wh are watched", "FILE"},
    {"canary-every", 0, POPT_ARG_STRING, &given.canary_every, 0, "how often (default: 1h)", "TIME"},
    {"canary-at", 0, POPT_ARG_STRING, &given.canary_at, 0,
     "at these times of the day instead, comma-separated (03:00,15:30)", "LIST"},
    {"canary-limit", 0, POPT_ARG_INT, &given.canary_limit, 0, "questions each time (default: 16)",
     "N"},
    {"canary-floor", 0, POPT_ARG_DOUBLE, &given.canary_floor, 0,
     "alert when the share of right answers is surely below this (0 to 1)", "X"},
    {"canary-max-wh", 0, POPT_ARG_DOUBLE, &given.canary_max_wh, 0,
     "alert when an answer takes more than this", "WH"},
    {"log", 0, POPT_ARG_STRING, &given.log, 0, "form of the log: text (default) or json", "FORM"},
    {"show-settings", 0, POPT_ARG_NONE, &given.other.show_settings, 0,
     "write what the gateway would be told, as JSON, and end", NULL},
    POPT_TABLEEND};

// ---- small setters: what was not given is left out ----

static void set_text(json_t *object, const char *name, const char *text) {
    if (text) {
        json_object_set_new(object, name, json_string(text));
    }
}

static void set_count(json_t *object, const char *name, int n) {
    if (n > 0) {
        json_object_set_new(object, name, json_integer(n));
    }
}

static void set_real(json_t *object, const char *name, double x) {
    if (x > 0) {
        json_object_set_new(object, name, json_real(x));
    }
}

static enum wl_status set_seconds(json_t *object, const char *name, const char *option,
                                  const char *text, struct wl_err *err) {
    double seconds;
    if (!text) {
        return WL_OK;
    }
    if (!str_parse_seconds(text, &seconds)) {
        return wl_err_set(err, WL_USAGE, "--%s: expected a time like 90s, 10m or 2h, found '%s'",
                          option, text);
    }
    json_object_set_new(object, name, json_real(seconds));
    return WL_OK;
}

// Only objects that say something.
static void set_object(json_t *object, const char *name, json_t *part) {
    if (json_object_size(part) > 0) {
        json_object_set_new(object, name, part);
    } else {
        json_decref(part);
    }
}

static json_t *texts(char **list) {
    json_t *out = json_array();
    for (size_t i = 0; list && list[i] && i < MAX_TEXTS; i++) {
        json_array_append_new(out, json_string(list[i]));
    }
    return out;
}

// ---- the profile's part ----

static enum wl_status set_engine(json_t *profile, const struct subject_options *options,
                                 struct wl_err *err) {
    json_t *engine = json_object();
    set_count(engine, "threads", (int)options->threads);
    set_count(engine, "threads_batch", (int)options->threads_batch);
    set_count(engine, "ctx", (int)options->n_ctx);
    set_count(engine, "ubatch", (int)options->n_ubatch);
    set_count(engine, "slots", given.slots);
    set_count(engine, "image_min_tokens", options->image_min_tokens);
    set_count(engine, "image_max_tokens", options->image_max_tokens);
    set_text(engine, "load_mode", options->load_mode);
    set_text(engine, "wait", options->wait_policy);
    if (given.cache_ram_mib >= 0) {
        json_object_set_new(engine, "cache_ram_mib", json_integer(given.cache_ram_mib));
    }
    enum wl_status status =
        set_seconds(engine, "idle_unload_s", "idle-unload", given.idle_unload, err);
    set_object(profile, "engine", engine);
    return status;
}

static void set_limits(json_t *profile) {
    json_t *limits = json_object();
    set_count(limits, "input_tokens", given.max_input);
    set_count(limits, "output_tokens", given.max_output);
    set_real(limits, "seconds", given.max_seconds);
    set_real(limits, "joules", given.max_joules);
    set_object(profile, "limits", limits);
}

static json_t *detail(int tokens) {
    json_t *out = json_object();
    set_count(out, "tokens", tokens);
    set_count(out, "pixels", given.image_pixels);
    return out;
}

static void set_images(json_t *profile) {
    json_t *images = json_object();
    int low = given.image_tokens_low ? given.image_tokens_low : given.image_tokens;
    set_object(images, "auto", detail(given.image_tokens));
    set_object(images, "low", detail(low));
    set_object(images, "high", detail(given.image_tokens));
    set_count(images, "max_images", given.max_images);
    if (given.images_first) {
        json_object_set_new(images, "first", json_true());
    }
    if (given.image_hosts) {
        json_object_set_new(images, "allowed_hosts", texts(given.image_hosts));
    }
    set_object(profile, "images", images);
}

static enum wl_status set_profile(const struct cli_context *context, json_t *settings,
                                  struct wl_err *err) {
    struct subject_options options;
    enum wl_status status = engine_options_get(context, &options, err);
    if (status != WL_OK) {
        return status;
    }
    if (options.meters && strchr(options.meters, ',')) {
        return wl_err_set(err, WL_USAGE,
                          "--meters: the gateway shares the joules of one source, found '%s'",
                          options.meters);
    }
    json_t *profile = json_object();
    set_text(profile, "model", given.model);
    set_text(profile, "mmproj", given.mmproj);
    set_text(profile, "policy", given.policy);
    status = set_engine(profile, &options, err);
    set_limits(profile);
    set_images(profile);
    set_object(settings, "override", profile);
    set_text(settings, "meter", options.meters);
    return status;
}

// ---- the rest ----

// Has the user said how many layers leave this machine?
static bool has_layers(char **args) {
    static const char *const NAMES[] = {"-ngl", "--gpu-layers", "--n-gpu-layers"};
    for (size_t i = 0; args && args[i]; i++) {
        for (size_t k = 0; k < sizeof NAMES / sizeof *NAMES; k++) {
            if (strcmp(args[i], NAMES[k]) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void set_server_args(json_t *settings) {
    json_t *args = texts(given.server_args);
    if (given.rpc) {
        json_array_append_new(args, json_string("--rpc"));
        json_array_append_new(args, json_string(given.rpc));
    }
    // Layers go to the other machines only when they count as "on the GPU", and then all of them.
    if (given.rpc && !has_layers(given.server_args)) {
        json_array_append_new(args, json_string("-ngl"));
        json_array_append_new(args, json_string("999"));
    }
    if (json_array_size(args) > 0) {
        json_object_set_new(settings, "server_args", args);
    } else {
        json_decref(args);
    }
}

enum wl_status serve_ledger_path(char *out, size_t size, struct wl_err *err) {
    char dir[OS_PATH_BYTES], path[OS_PATH_BYTES];
    const char *stated = given.other.ledger;
    enum wl_status status = WL_OK;
    if (!stated) {
        status = os_data_dir(dir, err);
        if (status == WL_OK) {
            status = os_make_dirs(dir, err);
        }
        if (status == WL_OK) {
            status = os_path_join(path, dir, "ledger.db", err);
        }
        stated = path;
    }
    return status != WL_OK || str_copy(out, size, stated)
               ? status
               : wl_err_set(err, WL_LIMIT, "the ledger's path is too long");
}

static enum wl_status set_ledger(json_t *settings, struct wl_err *err) {
    char path[1024];
    if (given.other.no_ledger) {
        return WL_OK;
    }
    enum wl_status status = serve_ledger_path(path, sizeof path, err);
    if (status == WL_OK) {
        set_text(settings, "ledger", path);
    }
    if (given.retention_days >= 0) {
        json_object_set_new(settings, "retention_days", json_integer(given.retention_days));
    }
    return status;
}

static enum wl_status set_times(json_t *settings, struct wl_err *err) {
    enum wl_status status = set_seconds(settings, "queue_s", "queue-time", given.queue_time, err);
    if (status == WL_OK) {
        status = set_seconds(settings, "answer_s", "answer-time", given.answer_time, err);
    }
    if (status == WL_OK) {
        status = set_seconds(settings, "drain_s", "drain", given.drain, err);
    }
    return status == WL_OK
               ? set_seconds(settings, "canary_every_s", "canary-every", given.canary_every, err)
               : status;
}

static enum wl_status set_sizes(json_t *settings, struct wl_err *err) {
    uint64_t bytes;
    if (given.body && !str_parse_bytes(given.body, &bytes)) {
        return wl_err_set(err, WL_USAGE, "--body: expected a size like 32M, found '%s'",
                          given.body);
    }
    if (given.body) {
        json_object_set_new(settings, "body_bytes", json_integer((json_int_t)bytes));
    }
    if (given.port >= 0) {
        json_object_set_new(settings, "port", json_integer(given.port));
    }
    if (given.queue >= 0) {
        json_object_set_new(settings, "queue", json_integer(given.queue));
    }
    set_count(settings, "concurrency", given.concurrency);
    set_count(settings, "connections", given.connections);
    return WL_OK;
}

static json_t *split(const char *list) {
    json_t *out = json_array();
    while (list && *list) {
        size_t n = strcspn(list, ",");
        json_array_append_new(out, json_stringn(list, n));
        list += n + (list[n] == ',');
    }
    return out;
}

static void set_canary(json_t *settings) {
    set_text(settings, "canary_tasks", given.canary);
    if (given.canary_at) {
        json_object_set_new(settings, "canary_at", split(given.canary_at));
    }
    set_count(settings, "canary_limit", given.canary_limit);
    if (given.canary_floor >= 0) {
        json_object_set_new(settings, "canary_accuracy_floor", json_real(given.canary_floor));
    }
    if (given.canary_max_wh >= 0) {
        json_object_set_new(settings, "canary_wh_ceiling", json_real(given.canary_max_wh));
    }
}

static enum wl_status check(struct wl_err *err) {
    if (given.upstream && (given.model || given.mmproj || given.server || given.rpc)) {
        return wl_err_set(
            err, WL_USAGE,
            "--upstream serves a model server that runs: leave out --model, --mmproj, "
            "--server and --rpc");
    }
    if (given.log && strcmp(given.log, "text") != 0 && strcmp(given.log, "json") != 0) {
        return wl_err_set(err, WL_USAGE, "--log: expected text or json, found '%s'", given.log);
    }
    if (given.max_input < 0 || given.max_output < 0 || given.max_seconds < 0 ||
        given.max_joules < 0 || given.image_tokens < 0 || given.image_tokens_low < 0) {
        return wl_err_set(err, WL_USAGE, "a limit must not be negative");
    }
    return WL_OK;
}

json_t *serve_settings(const struct cli_context *context, struct wl_err *err) {
    json_t *settings = json_object();
    enum wl_status status = check(err);
    if (status == WL_OK) {
        status = set_profile(context, settings, err);
    }
    if (status == WL_OK) {
        status = set_ledger(settings, err);
    }
    if (status == WL_OK) {
        status = set_times(settings, err);
    }
    if (status == WL_OK) {
        status = set_sizes(settings, err);
    }
    set_text(settings, "host", given.host);
    set_text(settings, "upstream", given.upstream);
    set_text(settings, "upstream_key_file", given.upstream_key_file);
    set_text(settings, "server", given.server);
    set_text(settings, "count_model", given.count_model);
    set_text(settings, "profile", given.profile);
    set_text(settings, "keys", given.other.keys);
    set_text(settings, "root", context->common.root);
    set_server_args(settings);
    set_canary(settings);
    if (given.idle_w >= 0) {
        json_object_set_new(settings, "idle_w", json_real(given.idle_w));
    }
    if (given.keep_text) {
        json_object_set_new(settings, "keeps_text", json_true());
    }
    if (given.log && strcmp(given.log, "json") == 0) {
        json_object_set_new(settings, "log_json", json_true());
    }
    if (context->common.quiet) {
        json_object_set_new(settings, "is_quiet", json_true());
    }
    if (status != WL_OK) {
        json_decref(settings);
        return NULL;
    }
    return settings;
}
