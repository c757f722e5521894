// What a gateway is told at its start: one JSON document, which `wattlaw serve` writes from its
// options. Text in, struct out.
#ifndef WATTLAW_GATEWAY_SETTINGS_H
#define WATTLAW_GATEWAY_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    SETTINGS_PATH_BYTES = 1024,
    SETTINGS_HOST_BYTES = 256,
    SETTINGS_MAX_BYTES = 1 << 20,
    SETTINGS_MAX_ARGS = 32,
    SETTINGS_MAX_TIMES = 24,
};

struct gateway_settings {
    char host[SETTINGS_HOST_BYTES]; // an address, or the path of a Unix socket; "127.0.0.1"
    int64_t port;                   // 8600; 0: any

    char upstream[SETTINGS_PATH_BYTES];          // URL; "": a llama-server of our own
    char upstream_key_file[SETTINGS_PATH_BYTES]; // what we show to it; ""
    char server[SETTINGS_PATH_BYTES];            // program llama-server; "": found
    char *server_args[SETTINGS_MAX_ARGS + 1];    // further ones for it; NULL at the end
    char count_model[SETTINGS_PATH_BYTES];       // GGUF to count with, for servers that cannot; ""

    char profile[SETTINGS_PATH_BYTES]; // file; ""
    json_t *override;                  // in the profile's form, laid over it; NULL

    char keys[SETTINGS_PATH_BYTES];   // file; "": nobody needs a key
    char ledger[SETTINGS_PATH_BYTES]; // file; "": none is kept
    int64_t retention_days;           // 90; 0: for ever
    bool keeps_text;                  // prompts and answers go into the ledger

    char meter[SETTINGS_HOST_BYTES]; // "auto"
    char root[SETTINGS_PATH_BYTES];  // in front of /proc and /sys
    double idle_w;                   // NaN: learned

    int64_t concurrency; // requests at the model server; 0: as many as it has slots
    int64_t queue;       // requests that wait; 64
    double queue_s;      // 60: then 503
    int64_t body_bytes;  // 32 MiB
    int64_t connections; // 1024
    double silence_s;    // 60: of a client
    double answer_s;     // 0: no limit; of a whole request at the model server
    double drain_s;      // 30: at the end, for answers that are under way

    char canary_tasks[SETTINGS_PATH_BYTES]; // task file; "": none
    double canary_every_s;                  // 3600
    int16_t
        canary_at[SETTINGS_MAX_TIMES]; // minutes after local midnight, instead of canary_every_s
    size_t n_canary_at;
    int64_t canary_limit;         // questions each time; 16
    double canary_accuracy_floor; // 0 to 1; NaN: none
    double canary_wh_ceiling;     // per answer; NaN: none

    bool log_json; // one object a line instead of text
    bool is_quiet; // only warnings
};

void settings_init(struct gateway_settings *settings);
void settings_release(struct gateway_settings *settings);
// INPUT names the field, what was expected and found.
enum wl_status settings_parse(const char *text, size_t n, struct gateway_settings *out,
                              struct wl_err *err);

#endif
