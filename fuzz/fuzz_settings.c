// Any text as a gateway's settings: refused in words with nothing left behind, or settings within
// their bounds.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) {
        abort();
    }
}

static void check_text(const char *text, size_t size) {
    require(memchr(text, '\0', size) != NULL);
}

static void check_range(double value, double min, double max) {
    require(value >= min && value <= max);
}

static void check(const struct gateway_settings *s) {
    check_text(s->host, sizeof s->host);
    check_text(s->upstream, sizeof s->upstream);
    check_text(s->keys, sizeof s->keys);
    check_text(s->ledger, sizeof s->ledger);
    check_text(s->meter, sizeof s->meter);
    check_range((double)s->port, 0, 65535);
    check_range((double)s->concurrency, 0, 4096);
    check_range((double)s->queue, 0, 100000);
    check_range((double)s->body_bytes, 1024, 4294967296.0);
    check_range((double)s->connections, 1, 65536);
    check_range(s->silence_s, 1, 86400);
    check_range(s->answer_s, 0, 864000);
    check_range(s->drain_s, 0, 86400);
    require(isnan(s->idle_w) || s->idle_w >= 0);
    require(isnan(s->canary_accuracy_floor) || s->canary_accuracy_floor <= 1);
    require(!s->override || json_is_object(s->override));
    size_t n = 0;
    while (s->server_args[n]) {
        n++;
    }
    require(n <= SETTINGS_MAX_ARGS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct gateway_settings settings;
    struct wl_err err = {0};
    char *text = malloc(size ? size : 1); // exact, so that reading past the end is seen
    require(text != NULL);
    memcpy(text, data, size);
    enum wl_status status = settings_parse(text, size, &settings, &err);
    free(text);
    if (status != WL_OK) {
        require(err.status == status && err.message[0]);
        require(!settings.override && !settings.server_args[0]);
    } else {
        check(&settings);
    }
    settings_release(&settings);
    return 0;
}
