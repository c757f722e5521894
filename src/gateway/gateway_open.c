// Opening all parts in their order, and closing them in the other.
#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/catalog.h"
#include "gateway/canary.h"
#include "gateway/gateway_parts.h"
#include "gateway/job.h"
#include "gateway/log.h"
#include "measure/calibrate.h"
#include "os/clock.h"

enum {
    KEPT_CONNECTIONS = 4, // each one that is not used blocks a thread of llama-server
    MAX_KEPT_CONNECTIONS = 256,
    HEADER_BYTES = 16 << 10,
    WAITING_BYTES = 1 << 20, // of a stream whose client is slow
};

// ---- parts ----

static enum wl_status check_exposure(const struct gateway *gateway, struct wl_err *err) {
    const char *host = gateway->settings.host;
    bool is_local = host[0] == '/' || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
    if (is_local || gateway->accounts.needs_key) {
        return WL_OK;
    }
    return wl_err_set(err, WL_USAGE,
                      "refusing to listen on %s without API keys: anybody there could use the "
                      "machine; make a key with 'wattlaw serve --new-key NAME' and give its file "
                      "with --keys FILE",
                      host);
}

static void on_upstream_change(void *context) {
    struct gateway *gateway = context;
    struct upstream_facts facts;
    upstream_facts(gateway->upstream, &facts);
    log_event(facts.health == UPSTREAM_DOWN || facts.health == UPSTREAM_FAILED ? LOG_WARNING
                                                                               : LOG_INFO,
              "model server (%s): %s%s%s%s%s", upstream_kind_name(facts.kind),
              upstream_health_name(facts.health), facts.model[0] ? ", model " : "", facts.model,
              facts.problem[0] ? ": " : "", facts.problem);
    if (gateway->pictures) {
        pictures_forget_costs(gateway->pictures); // it may be another model now
    }
    job_queue_run(gateway);
}

static void on_log(void *context, const char *line) {
    (void)context;
    log_event(LOG_INFO, "%s", line);
}

static enum wl_status open_upstream(struct gateway *gateway, struct wl_err *err) {
    const struct gateway_settings *settings = &gateway->settings;
    enum wl_status status = gateway_load_upstream_key(gateway, err);
    struct upstream_options options = {.loop = &gateway->loop,
                                       .client = gateway->client,
                                       .url = settings->upstream[0] ? settings->upstream : NULL,
                                       .api_key = gateway->upstream_key,
                                       .on_change = on_upstream_change,
                                       .on_log = on_log,
                                       .context = gateway};
    struct upstream_server server;
    if (status == WL_OK && !options.url) {
        status = own_server_set(settings, &gateway->profile, NULL, &gateway->own, err);
        server = own_server_options(&gateway->own, settings, &gateway->profile);
        options.server = &server;
    }
    return status == WL_OK ? upstream_open(&options, &gateway->upstream, err) : status;
}

// For servers that cannot count: the file that the user named, or what the catalogue knows by that
// name (Ollama's models among them).
static bool find_model(void *context, const char *model, char *path, size_t path_size, char *mmproj,
                       size_t mmproj_size) {
    struct gateway *gateway = context;
    char found[OS_PATH_BYTES], encoder[OS_PATH_BYTES];
    const char *name = gateway->settings.count_model[0] ? gateway->settings.count_model : model;
    if (!name[0] || catalog_resolve(NULL, name, found, NULL) != WL_OK) {
        return false;
    }
    snprintf(path, path_size, "%s", found);
    bool has_encoder = catalog_find_mmproj(found, encoder, NULL) == WL_OK;
    snprintf(mmproj, mmproj_size, "%s", has_encoder ? encoder : "");
    return true;
}

static enum wl_status open_helpers(struct gateway *gateway, struct wl_err *err) {
    struct counting_options counting = {.client = gateway->client,
                                        .upstream = gateway->upstream,
                                        .worker = gateway->worker,
                                        .find_model = find_model,
                                        .context = gateway};
    enum wl_status status = counting_open(&counting, &gateway->counting, err);
    struct pictures_options pictures = {.loop = &gateway->loop,
                                        .client = gateway->client,
                                        .worker = gateway->worker,
                                        .counting = gateway->counting};
    return status == WL_OK ? pictures_open(&pictures, &gateway->pictures, err) : status;
}

static void load_calibrations(struct gateway *gateway) {
    char warning[CALIBRATE_WARNING_BYTES] = "";
    struct wl_err err = {0};
    gateway->calibrations = calloc(1, sizeof *gateway->calibrations);
    enum wl_status status =
        gateway->calibrations
            ? calibrate_load_for_machine(gateway->settings.root, gateway->calibrations, warning,
                                         sizeof warning, &err)
            : WL_MEMORY;
    if (status != WL_OK || warning[0]) {
        log_event(LOG_WARNING, "%s", warning[0] ? warning : err.message);
    }
    if (status != WL_OK) {
        free(gateway->calibrations);
        gateway->calibrations = NULL;
    }
}

// Without a source that works requests are served all the same; their energy is not known.
static void open_power(struct gateway *gateway) {
    struct wl_err err = {0};
    load_calibrations(gateway);
    struct power_options options = {
        .env = {.root = gateway->settings.root, .calibrations = gateway->calibrations},
        .meter = gateway->settings.meter,
        .idle_w = gateway->settings.idle_w,
        .idle_sd_w = isfinite(gateway->settings.idle_w) ? 0 : NAN};
    if (power_open(&options, &gateway->power, &err) != WL_OK) {
        log_event(LOG_WARNING, "no energy will be told: %s", err.message);
    }
}

static enum wl_status open_ledger(struct gateway *gateway, struct wl_err *err) {
    if (!gateway->settings.ledger[0]) {
        return WL_OK;
    }
    struct ledger_thread_options options = {.loop = &gateway->loop,
                                            .path = gateway->settings.ledger,
                                            .retention_days = gateway->settings.retention_days,
                                            .on_log = on_log,
                                            .context = gateway};
    return ledger_thread_open(&options, &gateway->ledger, err);
}

static enum wl_status open_server(struct gateway *gateway, struct wl_err *err) {
    const struct gateway_settings *settings = &gateway->settings;
    struct http_listen where = {.host = settings->host, .port = (uint16_t)settings->port};
    struct http_limits limits = {.header_bytes = HEADER_BYTES,
                                 .body_bytes = (size_t)settings->body_bytes,
                                 .waiting_bytes = WAITING_BYTES,
                                 .n_connections = (unsigned)settings->connections,
                                 .silence_seconds = (unsigned)settings->silence_s};
    return http_server_open(&gateway->loop, &where, &limits, &GATEWAY_HANDLERS, gateway,
                            &gateway->server, err);
}

static unsigned kept_connections(const struct gateway_settings *settings) {
    int64_t n = settings->concurrency;
    return n <= KEPT_CONNECTIONS ? KEPT_CONNECTIONS
                                 : (unsigned)(n < MAX_KEPT_CONNECTIONS ? n : MAX_KEPT_CONNECTIONS);
}

static enum wl_status open_parts(struct gateway *gateway, struct wl_err *err) {
    enum wl_status status = http_client_open(&gateway->loop, kept_connections(&gateway->settings),
                                             &gateway->client, err);
    if (status == WL_OK) {
        status = worker_open(&gateway->loop, &gateway->worker, err);
    }
    if (status == WL_OK) {
        status = open_ledger(gateway, err); // before the keys, whose budgets rest on it
    }
    if (status == WL_OK) {
        status = gateway_load_keys(gateway, err);
    }
    if (status == WL_OK) {
        status = check_exposure(gateway, err);
    }
    if (status == WL_OK) {
        status = open_upstream(gateway, err);
    }
    if (status == WL_OK) {
        status = open_helpers(gateway, err);
    }
    if (status == WL_OK) {
        open_power(gateway);
        status = open_server(gateway, err);
    }
    return status == WL_OK && gateway->settings.canary_tasks[0] ? canary_open(gateway, err)
                                                                : status;
}

enum wl_status gateway_open(struct gateway *gateway, struct gateway_settings *settings,
                            struct wl_err *err) {
    memset(gateway, 0, sizeof *gateway);
    gateway->settings = *settings;
    *settings = (struct gateway_settings){0};
    gateway->begin_wall_ms = os_wall_ns() / 1000000;
    gateway->told_ns = gateway->watts_ns = os_now_ns();
    accounts_init(&gateway->accounts);
    figures_init(&gateway->figures);
    uv_loop_init(&gateway->loop);
    uv_timer_init(&gateway->loop, &gateway->tick);
    uv_signal_init(&gateway->loop, &gateway->terminate);
    uv_signal_init(&gateway->loop, &gateway->interrupt);
    uv_signal_init(&gateway->loop, &gateway->reload);
    gateway->tick.data = gateway->terminate.data = gateway;
    gateway->interrupt.data = gateway->reload.data = gateway;
    enum wl_status status = gateway_load_profile(&gateway->settings, &gateway->profile, err);
    if (status == WL_OK) {
        gateway_apply_profile(gateway);
        status = open_parts(gateway, err);
    }
    if (status != WL_OK) {
        gateway_close(gateway);
    }
    return status;
}

// ---- closing ----

static void on_upstream_closed(void *context) {
    struct gateway *gateway = context;
    gateway->upstream = NULL;
}

static void abandon_jobs(struct gateway *gateway) {
    for (struct job *job = gateway->first_job, *next; job; job = next) {
        job->n_holds++;
        job_abandon(job);
        next = job->next;
        job_drop(job);
    }
}

static void run_until_empty(struct gateway *gateway) {
    int64_t until_ns = os_now_ns() + INT64_C(5000000000);
    while (uv_loop_alive(&gateway->loop) && os_now_ns() < until_ns) {
        uv_run(&gateway->loop, UV_RUN_ONCE);
    }
}

void gateway_close(struct gateway *gateway) {
    canary_close(gateway->canary);
    abandon_jobs(gateway);
    http_server_close(gateway->server);
    pictures_close(gateway->pictures);
    gateway_tell_machine(gateway);
    if (gateway->ledger) {
        ledger_thread_close(gateway->ledger);
    }
    uv_close((uv_handle_t *)&gateway->tick, NULL);
    uv_close((uv_handle_t *)&gateway->terminate, NULL);
    uv_close((uv_handle_t *)&gateway->interrupt, NULL);
    uv_close((uv_handle_t *)&gateway->reload, NULL);
    counting_close(gateway->counting);
    worker_close(gateway->worker, NULL, NULL);
    if (gateway->upstream) {
        upstream_close(gateway->upstream, on_upstream_closed, gateway);
    }
    while (gateway->upstream) {
        uv_run(&gateway->loop, UV_RUN_ONCE);
    }
    http_client_close(gateway->client);
    run_until_empty(gateway);
    uv_loop_close(&gateway->loop);
    power_close(gateway->power);
    own_server_remove_socket_dir(&gateway->own);
    accounts_release(&gateway->accounts);
    profile_release(&gateway->profile);
    settings_release(&gateway->settings);
    free(gateway->calibrations);
    free(gateway->upstream_key);
}
