// The command line of our own llama-server. Its defaults are for large machines: four slots, the
// model's whole context for all of them, a prompt cache of 8 GiB, 32 checkpoints of each context.
#include <inttypes.h>
#include <stdio.h>

#include "gateway/upstream_settings.h"

enum {
    DEFAULT_CTX = 4096,
    CHECKPOINTS = 4, // of a slot's context, for models that cannot go back; each is a copy of it
    // A connection holds one of the server's threads: what waits for a slot, is counted, or looks
    // whether it is well must not wait for those.
    SPARE_HTTP_THREADS = 8
};

static void add(struct upstream_command *command, const char *argument) {
    command->argv[command->n++] = argument;
}

static void add_text(struct upstream_command *command, const char *option, const char *value) {
    if (value && *value) {
        add(command, option);
        add(command, value);
    }
}

static void add_number(struct upstream_command *command, const char *option, int64_t value) {
    char *text = command->numbers[command->n_numbers++];
    snprintf(text, sizeof command->numbers[0], "%" PRId64, value);
    add(command, option);
    add(command, text);
}

static void add_positive(struct upstream_command *command, const char *option, int64_t value) {
    if (value > 0) {
        add_number(command, option, value);
    }
}

static void add_sizes(struct upstream_command *command, const struct upstream_server *s) {
    uint32_t n_slots = s->n_slots ? s->n_slots : 1;
    uint32_t n_ctx = s->n_ctx ? s->n_ctx : DEFAULT_CTX;
    int64_t n_ctx_all = (int64_t)n_ctx * n_slots;
    add_number(command, "--parallel", n_slots);
    // Divided among the slots, where they do not share one cache.
    add_number(command, "--ctx-size", n_ctx_all < INT32_MAX ? n_ctx_all : INT32_MAX);
    add(command, "--no-kv-unified");
    add_number(command, "--cache-ram", s->cache_ram_mib);
    add_number(command, "--ctx-checkpoints", CHECKPOINTS);
    add_number(command, "--threads-http", (int64_t)n_slots + SPARE_HTTP_THREADS);
    add_positive(command, "--threads", s->threads);
    add_positive(command, "--threads-batch", s->threads_batch);
    add_positive(command, "--ubatch-size", s->n_ubatch);
    add_positive(command, "--image-min-tokens", s->image_min_tokens);
    add_positive(command, "--image-max-tokens", s->image_max_tokens);
}

static void add_environment(struct upstream_command *command, const struct upstream_server *s) {
    size_t n = 0;
    command->env[n++] = "LLAMA_API_KEY="; // a key of another server's would lock us out
    if (s->wait_policy) {
        snprintf(command->wait_policy, sizeof command->wait_policy, "OMP_WAIT_POLICY=%s",
                 s->wait_policy);
        command->env[n++] = command->wait_policy;
    }
    command->env[n] = NULL;
}

void upstream_command_make(const struct upstream_server *settings, struct upstream_command *out) {
    *out = (struct upstream_command){0};
    add(out, settings->program);
    add_text(out, "--model", settings->model);
    add_text(out, "--mmproj", settings->mmproj);
    add_text(out, "--alias", settings->alias);
    add_text(out, "--host", settings->socket_path);
    add_sizes(out, settings);
    add_text(out, "--load-mode", settings->load_mode);
    add_text(out, "--cache-type-k", settings->type_k);
    add_text(out, "--cache-type-v", settings->type_v);
    add_text(out, "--flash-attn", settings->flash_attn);
    add_text(out, "--fit", "off"); // what is not said here is not to be changed by it
    add_text(out, "--log-verbosity", "2");
    add_text(out, "--log-colors", "off");
    add(out, "--offline");
    add(out, "--no-webui");
    for (size_t i = 0; settings->more_args && settings->more_args[i]; i++) {
        add(out, settings->more_args[i]);
    }
    add_environment(out, settings);
}
