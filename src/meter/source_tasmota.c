// Plugs with the Tasmota firmware, asked for their status 8 (sensors). Tasmota takes its password
// in the query of each request: it stays in memory and in that request.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meter/plug.h"
#include "meter/source.h"

static const char FORM[] = "tasmota:HOST[:PORT][/CHANNEL]";
static const char DEFAULT_USER[] = "admin";
enum { MAX_CHANNEL = 64, ESCAPED_BYTES = 3 };

struct tasmota {
    struct plug *plug;
    unsigned channel; // from 1; 0: the only one
    char path[64 + TOKEN_BYTES];
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    plug_probe(FORM,
               "wattlaw study --meters tasmota:192.168.1.51\n"
               "finer steps than 1 W, in Tasmota's console: WattRes 1\n"
               "if the device has a password, in a file named after HOST:\n"
               "  mkdir -p ~/.local/share/wattlaw/tokens\n"
               "  (umask 077; cat > ~/.local/share/wattlaw/tokens/192.168.1.51)",
               out);
}

// Appends percent-encoded text (RFC 3986); false when it does not fit.
static bool append_escaped(char *out, size_t size, const char *text, size_t len) {
    size_t used = strlen(out);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (used + ESCAPED_BYTES >= size) {
            return false;
        }
        bool is_plain = c < 0x80 && (isalnum(c) || strchr("-._~", c));
        used += (size_t)snprintf(out + used, size - used, is_plain ? "%c" : "%%%02X", c);
    }
    return true;
}

static enum wl_status make_path(struct tasmota *tasmota, struct wl_err *err) {
    const struct token *token = &tasmota->plug->token;
    char *path = tasmota->path;
    size_t size = sizeof tasmota->path;
    if (!token->is_present) {
        snprintf(path, size, "/cm?cmnd=Status%%208");
        return WL_OK;
    }
    const char *colon = strchr(token->text, ':');
    const char *user = colon ? token->text : DEFAULT_USER;
    const char *password = colon ? colon + 1 : token->text;
    snprintf(path, size, "/cm?user=");
    bool fits = append_escaped(path, size, user, colon ? (size_t)(colon - user) : strlen(user));
    size_t used = strlen(path);
    snprintf(path + used, size - used, "&password=");
    fits = fits && append_escaped(path, size, password, strlen(password));
    used = strlen(path);
    int n = snprintf(path + used, size - used, "&cmnd=Status%%208");
    return fits && (size_t)n < size - used
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "the password in '%s' is too long", token->path);
}

static bool take(void *context, const struct http_reply *reply, struct meter_channel_reading *out) {
    struct tasmota *tasmota = context;
    struct tasmota_power power;
    if (tasmota_parse_power(plug_text_of(reply), tasmota->channel, &power, NULL) != WL_OK) {
        return false;
    }
    out->value = power.power_w;
    return true;
}

static enum wl_status ask_once(struct tasmota *tasmota, struct meter_info *info,
                               struct wl_err *err) {
    const struct http_reply *reply = NULL;
    struct tasmota_power power;
    enum wl_status status = make_path(tasmota, err);
    if (status == WL_OK) {
        status = plug_fetch(tasmota->plug, tasmota->path, &reply, err);
    }
    if (status != WL_OK) {
        return status;
    }
    status = tasmota_parse_power(plug_text_of(reply), tasmota->channel, &power, err);
    if (status != WL_OK) {
        return status == WL_PERMISSION ? plug_explain_refusal(tasmota->plug, err) : status;
    }
    plug_describe(info);
    info->quantum = power.quantum_w;
    if (tasmota->channel) {
        snprintf(info->title, sizeof info->title, "Tasmota plug, channel %u", tasmota->channel);
    }
    return WL_OK;
}

static void close_state(void *state) {
    struct tasmota *tasmota = state;
    if (tasmota) {
        plug_close(tasmota->plug);
        free(tasmota);
    }
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **state, struct wl_err *err) {
    struct plug_address address;
    unsigned channel = 0;
    enum wl_status status = plug_address_parse(argument, 0, FORM, &address, err);
    if (status == WL_OK) {
        status = plug_address_number(&address, 0, MAX_CHANNEL, FORM, &channel, err);
    }
    if (status != WL_OK) {
        return status;
    }
    struct tasmota *tasmota = calloc(1, sizeof *tasmota);
    if (!tasmota) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    tasmota->channel = channel;
    status = plug_open(env, &address, PLUG_SECRET_IN_QUERY, &tasmota->plug, err);
    if (status == WL_OK) {
        status = ask_once(tasmota, info, err);
    }
    if (status != WL_OK) {
        close_state(tasmota);
        return status;
    }
    *state = tasmota;
    return WL_OK;
}

static enum wl_status read_source(void *state, struct meter_reading *out, struct wl_err *err) {
    struct tasmota *tasmota = state;
    (void)err; // an unreachable plug may come back: a gap, not the end
    plug_read(tasmota->plug, tasmota->path, take, tasmota, out);
    return WL_OK;
}

const struct meter_source meter_source_tasmota = {.name = "tasmota",
                                                  .title = "Tasmota plug",
                                                  .probe = probe,
                                                  .open = open_source,
                                                  .read = read_source,
                                                  .close = close_state};
