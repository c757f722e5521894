#include "meter/plug.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "meter/source.h"

static const int64_t SECOND_NS = 1000000000;
static const char DEFAULT_USER[] = "admin"; // of Shelly Gen2+, which has no other, and of Tasmota

// --- life ---------------------------------------------------------------------------------------

static enum wl_status connect_http(struct plug *plug, enum plug_secret secret, struct wl_err *err) {
    struct http_options options = {0};
    char user[TOKEN_BYTES];
    const char *text = plug->token.text;
    if (plug->token.is_present && secret == PLUG_SECRET_BEARER) {
        options.bearer = text;
    } else if (plug->token.is_present && secret == PLUG_SECRET_PASSWORD) {
        const char *colon = strchr(text, ':');
        size_t len = colon ? (size_t)(colon - text) : 0;
        memcpy(user, text, len);
        user[len] = '\0';
        options.user = colon ? user : DEFAULT_USER;
        options.password = colon ? colon + 1 : text;
    }
    return http_get_new(&options, &plug->http, err);
}

enum wl_status plug_open(const struct meter_env *env, const struct plug_address *address,
                         enum plug_secret secret, struct plug **out, struct wl_err *err) {
    struct plug *plug = calloc(1, sizeof *plug);
    if (!plug) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    plug->clock = meter_env_clock(env);
    plug->address = *address;
    plug->poll_ns = SECOND_NS;
    enum wl_status status = token_file_read(env->token_dir, address->host, &plug->token, err);
    if (status == WL_OK) {
        status = connect_http(plug, secret, err);
    }
    if (status != WL_OK) {
        plug_close(plug);
        return status;
    }
    *out = plug;
    return WL_OK;
}

void plug_close(struct plug *plug) {
    if (plug) {
        http_get_free(plug->http);
        free(plug);
    }
}

// --- asking -------------------------------------------------------------------------------------

enum wl_status plug_explain_refusal(const struct plug *plug, struct wl_err *err) {
    char said[WL_ERR_MESSAGE_BYTES];
    str_copy(said, sizeof said, err ? err->message : "");
    if (plug->token.is_present) {
        return wl_err_set(err, WL_PERMISSION, "%s; is what '%s' says right?", said,
                          plug->token.path);
    }
    return wl_err_set(err, WL_PERMISSION,
                      "%s; write its password or access token into '%s' and run: chmod 600 '%s'",
                      said, plug->token.path, plug->token.path);
}

enum wl_status plug_fetch(struct plug *plug, const char *path, const struct http_reply **reply,
                          struct wl_err *err) {
    char url[HTTP_URL_BYTES];
    int n = snprintf(url, sizeof url, "%s%s", plug->address.base, path);
    if (n < 0 || (size_t)n >= sizeof url) {
        return wl_err_set(err, WL_LIMIT, "the address of '%s' is longer than %d bytes",
                          plug->address.host, HTTP_URL_BYTES - 1);
    }
    enum wl_status status = http_get(plug->http, url, reply, err);
    return status == WL_PERMISSION ? plug_explain_refusal(plug, err) : status;
}

void plug_read(struct plug *plug, const char *path, plug_take *take, void *context,
               struct meter_reading *out) {
    const struct http_reply *reply = NULL;
    struct meter_channel_reading *channel = &out->channel[0];
    out->t_before_ns = plug->clock->now_ns(plug->clock->context);
    bool is_answered = plug_fetch(plug, path, &reply, NULL) == WL_OK;
    out->t_after_ns = plug->clock->now_ns(plug->clock->context);
    bool is_timely = out->t_after_ns - out->t_before_ns <= plug->poll_ns;
    channel->is_valid = is_answered && is_timely && take(context, reply, channel);
    if (!channel->is_valid) {
        // The time that a failure took says nothing about when values were read.
        out->t_before_ns = out->t_after_ns;
    }
}

// --- description --------------------------------------------------------------------------------

void plug_describe(struct meter_info *info) {
    info->kind = METER_GAUGE_INSTANT;
    info->scope = METER_SCOPE_WALL;
    info->unit = "W";
    info->native_period_ns = SECOND_NS;
    info->poll_period_ns = SECOND_NS;
    info->lag_ns = SECOND_NS + SECOND_NS / 2;
    info->lag_sd_ns = SECOND_NS * 7 / 10;
    info->smoothing_ns = SECOND_NS;
    info->noise_sd_w = 0.1;
    info->includes_dram = true;
    info->may_block = true;
    info->gain_error_rel = 0.03;
    info->offset_error_w = 0.3;
    info->max_power_w = PLUG_MAX_POWER_W;
    info->label = LABEL_MEASURED;
    info->n_channels = 1;
    info->channel[0] =
        (struct meter_channel){.name = "wall", .scale = 1, .is_counted = true, .parent = -1};
}

void plug_probe(const char *form, const char *fix, struct meter_verdict *out) {
    out->availability = METER_ON_REQUEST;
    out->scope = METER_SCOPE_WALL;
    out->label = LABEL_MEASURED;
    out->is_external = true;
    snprintf(out->reason, sizeof out->reason, "meters whatever is plugged in; name it: %s", form);
    str_copy(out->fix, sizeof out->fix, fix);
}
