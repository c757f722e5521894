// wattlaw-gateway SETTINGS: what `wattlaw serve` starts. SETTINGS is a JSON file (settings.h).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway.h"
#include "gateway/log.h"
#include "os/file.h"

static int fail(enum wl_status status, const struct wl_err *err) {
    fprintf(stderr, "wattlaw-gateway: %s\n", err->message);
    return wl_status_exit_code(status);
}

static enum wl_status read_settings(const char *path, struct gateway_settings *out,
                                    struct wl_err *err) {
    struct buf text;
    buf_init(&text, SETTINGS_MAX_BYTES);
    enum wl_status status = os_slurp(path, &text, err);
    if (status == WL_OK) {
        status = settings_parse(buf_text(&text), text.len, out, err);
    }
    buf_release(&text);
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "settings '%s'", path);
}

static void say_hello(const struct gateway *gateway) {
    const struct gateway_settings *settings = &gateway->settings;
    if (settings->host[0] == '/') {
        log_event(LOG_INFO, "listening on %s", settings->host);
    } else {
        bool is_v6 = strchr(settings->host, ':');
        log_event(LOG_INFO, "listening on http://%s%s%s:%u  (OpenAI's API under /v1, figures at /)",
                  is_v6 ? "[" : "", settings->host, is_v6 ? "]" : "",
                  (unsigned)http_server_port(gateway->server));
    }
}

int main(int argc, char **argv) {
    static struct gateway gateway;
    struct gateway_settings settings;
    struct wl_err err = {0};
    settings_init(&settings);
    if (argc != 2) {
        fputs("usage: wattlaw-gateway SETTINGS.json  ('wattlaw serve' writes them for you)\n",
              stderr);
        return wl_status_exit_code(WL_USAGE);
    }
    enum wl_status status = read_settings(argv[1], &settings, &err);
    if (status != WL_OK) {
        return fail(status, &err);
    }
    log_set(settings.log_json, settings.is_quiet);
    status = gateway_open(&gateway, &settings, &err);
    if (status != WL_OK) {
        return fail(status, &err);
    }
    say_hello(&gateway);
    gateway_run(&gateway);
    gateway_close(&gateway);
    log_event(LOG_INFO, "ended");
    return 0;
}
