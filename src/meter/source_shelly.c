// Shelly plugs, relays and energy meters, Gen1 (plain HTTP) and Gen2 and later (RPC over HTTP,
// digest authentication). The device itself says which it is and which of its parts meter power.
#include <stdio.h>
#include <stdlib.h>

#include "meter/plug.h"
#include "meter/source.h"

static const char FORM[] = "shelly:HOST[:PORT][/ID]";
enum { MAX_ID = 1000 };

struct shelly {
    struct plug *plug;
    struct shelly_component component;
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    plug_probe(FORM,
               "wattlaw study --meters shelly:192.168.1.50\n"
               "if the device has a password, in a file named after HOST:\n"
               "  mkdir -p ~/.local/share/wattlaw/tokens\n"
               "  (umask 077; cat > ~/.local/share/wattlaw/tokens/192.168.1.50)",
               out);
}

static bool take(void *context, const struct http_reply *reply, struct meter_channel_reading *out) {
    (void)context;
    return shelly_parse_power(plug_text_of(reply), &out->value, NULL) == WL_OK;
}

static enum wl_status find_component(struct shelly *shelly, unsigned id, struct meter_info *info,
                                     struct wl_err *err) {
    const struct http_reply *reply = NULL;
    int generation = 0;
    double power_w;
    enum wl_status status = plug_fetch(shelly->plug, "/shelly", &reply, err);
    if (status == WL_OK) {
        status = shelly_parse_generation(plug_text_of(reply), &generation, err);
    }
    if (status == WL_OK) {
        const char *path = generation == 1 ? "/status" : "/rpc/Shelly.GetStatus";
        status = plug_fetch(shelly->plug, path, &reply, err);
    }
    if (status == WL_OK) {
        status =
            shelly_find_component(plug_text_of(reply), generation, id, &shelly->component, err);
    }
    if (status == WL_OK) {
        status = plug_fetch(shelly->plug, shelly->component.path, &reply, err);
    }
    if (status == WL_OK) {
        status = shelly_parse_power(plug_text_of(reply), &power_w, err);
    }
    snprintf(info->title, sizeof info->title, "Shelly Gen%d (%s)", generation,
             shelly->component.name);
    return status;
}

static void close_state(void *state) {
    struct shelly *shelly = state;
    if (shelly) {
        plug_close(shelly->plug);
        free(shelly);
    }
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **state, struct wl_err *err) {
    struct plug_address address;
    unsigned id = 0;
    enum wl_status status = plug_address_parse(argument, 0, FORM, &address, err);
    if (status == WL_OK) {
        status = plug_address_number(&address, 0, MAX_ID, FORM, &id, err);
    }
    if (status != WL_OK) {
        return status;
    }
    struct shelly *shelly = calloc(1, sizeof *shelly);
    if (!shelly) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    status = plug_open(env, &address, PLUG_SECRET_PASSWORD, &shelly->plug, err);
    if (status == WL_OK) {
        status = find_component(shelly, id, info, err);
    }
    if (status != WL_OK) {
        close_state(shelly);
        return status;
    }
    plug_describe(info);
    info->quantum = 0.1;
    *state = shelly;
    return WL_OK;
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    struct shelly *shelly = state;
    (void)err; // an unreachable plug may come back: a gap, not the end
    plug_read(shelly->plug, shelly->component.path, take, NULL, out);
    return WL_OK;
}

const struct meter_source meter_source_shelly = {.name = "shelly",
                                                 .title = "Shelly plug or energy meter",
                                                 .probe = probe,
                                                 .open = open_source,
                                                 .read = read_source,
                                                 .close = close_state};
