// Any power or energy sensor that Home Assistant knows, through its REST API. Home Assistant keeps
// the last value until its device reports again: the value is held, as it is held there, and is a
// gap once it is too old. Ages are differences of the server's own clock (its Date header), so that
// two clocks need not agree.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "meter/homeassistant_state.h"
#include "meter/plug.h"
#include "meter/source.h"
#include "os/clock.h"

static const char FORM[] = "homeassistant:HOST[:PORT]/sensor.some_power";
static const int64_t SECOND_NS = 1000000000;
enum { DEFAULT_PORT = 8123 };

// How often sensors report is the integration's affair: 1 s to a minute. Half of this is the mean
// age of a held value, and lag_sd covers that it is not known better.
static const int64_t POWER_PERIOD_S = 10, ENERGY_PERIOD_S = 60;
static const int64_t POWER_STALE_S = 30, ENERGY_STALE_S = 150;
static const double RAW_J = 1e-3; // a counter's unit
static const double MAX_POWER_W = PLUG_MAX_POWER_W;

struct homeassistant {
    struct plug *plug;
    bool is_energy;
    char path[PLUG_ITEM_BYTES + 32];
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    plug_probe(FORM,
               "wattlaw study --meters homeassistant:192.168.1.10/sensor.desk_plug_power\n"
               "with https: homeassistant:https://home.example.org/sensor.desk_plug_power\n"
               "the access token (your profile, Security, Long-lived access tokens) goes into a "
               "file named after HOST:\n"
               "  mkdir -p ~/.local/share/wattlaw/tokens\n"
               "  (umask 077; cat > ~/.local/share/wattlaw/tokens/192.168.1.10)",
               out);
}

// "sensor.desk_plug_power": it becomes part of a URL.
static bool is_entity(const char *text) {
    const char *dot = strchr(text, '.');
    for (const char *c = text; *c; c++) {
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_' && c != dot) {
            return false;
        }
    }
    return dot && dot != text && dot[1];
}

static int64_t age_s(const struct http_reply *reply, const struct homeassistant_state *state) {
    int64_t now_s = reply->date_s >= 0 ? reply->date_s : os_wall_ns() / SECOND_NS;
    return now_s - state->reported_s;
}

static enum wl_status parse(const struct http_reply *reply, struct homeassistant_state *state,
                            struct wl_err *err) {
    enum wl_status status = homeassistant_parse_state(plug_text_of(reply), state, err);
    int64_t limit_s = state->is_energy ? ENERGY_STALE_S : POWER_STALE_S;
    if (status == WL_OK && age_s(reply, state) > limit_s) {
        return wl_err_set(err, WL_INPUT,
                          "its value is %lld s old; expected a sensor that reports at least every "
                          "%lld s (is the device on? can its integration report more often?)",
                          (long long)age_s(reply, state), (long long)limit_s);
    }
    return status;
}

static bool take(void *context, const struct http_reply *reply, struct meter_channel_reading *out) {
    const struct homeassistant *home = context;
    struct homeassistant_state state;
    if (parse(reply, &state, NULL) != WL_OK || state.is_energy != home->is_energy) {
        return false;
    }
    if (state.is_energy) {
        out->raw = (uint64_t)llround(state.value / RAW_J);
    } else {
        out->value = state.value;
    }
    return true;
}

static void describe(const struct homeassistant_state *state, struct meter_info *info) {
    plug_describe(info);
    int64_t period_ns = (state->is_energy ? ENERGY_PERIOD_S : POWER_PERIOD_S) * SECOND_NS;
    info->native_period_ns = period_ns;
    info->lag_ns = 0;
    info->lag_sd_ns = period_ns * 3 / 10;
    info->quantum = state->quantum;
    info->max_power_w = MAX_POWER_W;
    if (state->is_energy) {
        info->kind = METER_COUNTER;
        info->unit = "mJ";
        info->noise_sd_w = 0;
        info->offset_error_w = 0.3;
        info->channel[0].scale = RAW_J;
    }
    str_copy(info->title, sizeof info->title,
             state->is_energy ? "energy sensor of Home Assistant"
                              : "power sensor of Home Assistant");
}

static void close_state(void *state) {
    struct homeassistant *home = state;
    if (home) {
        plug_close(home->plug);
        free(home);
    }
}

static enum wl_status ask_once(struct homeassistant *home, struct meter_info *info,
                               struct wl_err *err) {
    const struct http_reply *reply = NULL;
    struct homeassistant_state state;
    enum wl_status status = plug_fetch(home->plug, home->path, &reply, err);
    if (status != WL_OK) {
        return status;
    }
    status = parse(reply, &state, err);
    if (status != WL_OK) {
        wl_err_prefix(err, "'%s'", home->plug->address.item);
        return status;
    }
    home->is_energy = state.is_energy;
    describe(&state, info);
    return WL_OK;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **state, struct wl_err *err) {
    struct plug_address address;
    enum wl_status status = plug_address_parse(argument, DEFAULT_PORT, FORM, &address, err);
    if (status == WL_OK && !is_entity(address.item)) {
        status = wl_err_set(err, WL_USAGE, "expected '%s', found the sensor '%.64s'", FORM,
                            address.item);
    }
    if (status != WL_OK) {
        return status;
    }
    struct homeassistant *home = calloc(1, sizeof *home);
    if (!home) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    snprintf(home->path, sizeof home->path, "/api/states/%s", address.item);
    status = plug_open(env, &address, PLUG_SECRET_BEARER, &home->plug, err);
    if (status == WL_OK) {
        status = ask_once(home, info, err);
    }
    if (status != WL_OK) {
        close_state(home);
        return status;
    }
    *state = home;
    return WL_OK;
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    struct homeassistant *home = state;
    (void)err; // an unreachable server may come back: a gap, not the end
    plug_read(home->plug, home->path, take, home, out);
    return WL_OK;
}

const struct meter_source meter_source_homeassistant = {.name = "homeassistant",
                                                        .title = "sensor of Home Assistant",
                                                        .probe = probe,
                                                        .open = open_source,
                                                        .read = read_source,
                                                        .close = close_state};
