// The files that a gateway rests on and reads anew when it is told to: profile, keys, the secret
// for the model server.
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "gateway/gateway_parts.h"
#include "gateway/log.h"
#include "os/clock.h"

static enum wl_status slurp(const char *path, size_t max_bytes, struct buf *out,
                            struct wl_err *err) {
    buf_init(out, max_bytes);
    enum wl_status status = os_slurp(path, out, err);
    if (status != WL_OK) {
        buf_release(out);
    }
    return status;
}

// ---- profile ----

enum wl_status gateway_load_profile(const struct gateway_settings *settings,
                                    struct profile *profile, struct wl_err *err) {
    struct buf text;
    enum wl_status status = WL_OK;
    profile_init(profile);
    if (settings->profile[0]) {
        status = slurp(settings->profile, PROFILE_MAX_BYTES, &text, err);
        if (status == WL_OK) {
            status = profile_parse(buf_text(&text), text.len, profile, err);
            buf_release(&text);
        }
        if (status != WL_OK) {
            wl_err_prefix(err, "profile '%s'", settings->profile);
        }
    }
    if (status == WL_OK && settings->override) {
        status = profile_read(settings->override, profile, err);
    }
    if (status != WL_OK) {
        profile_release(profile);
    }
    return status;
}

void gateway_apply_profile(struct gateway *gateway) {
    const struct profile_images *images = &gateway->profile.images;
    struct pictures_policy *policy = &gateway->pictures_policy;
    *policy = (struct pictures_policy){.max_images = (size_t)images->max_images,
                                       .images_first = images->first,
                                       .allowed_hosts = gateway->allowed_hosts,
                                       .n_allowed_hosts = images->n_allowed_hosts};
    for (int i = 0; i < PROFILE_N_DETAILS; i++) {
        policy->detail[i].max_tokens = images->detail[i].tokens;
        policy->detail[i].max_pixels = (uint64_t)images->detail[i].pixels;
    }
    for (size_t i = 0; i < images->n_allowed_hosts; i++) {
        gateway->allowed_hosts[i] = images->allowed_hosts[i];
    }
}

// ---- keys ----

// What was used before this process began counts as well.
static enum wl_status restore(struct gateway *gateway, struct account *account,
                              struct store *ledger, struct wl_err *err) {
    int64_t now_s = os_wall_ns() / 1000000000;
    struct budget *budget = &account->budget;
    struct ledger_use use;
    budget_roll(budget, now_s, gateway_day_offset_s());
    enum wl_status status = ledger_use_since(ledger, account->key.name,
                                             budget->window_s[BUDGET_TOKENS] * 1000, &use, err);
    if (status == WL_OK) {
        budget->spent[BUDGET_TOKENS] += (double)use.tokens;
        budget->spent[BUDGET_WH] += use.gross_wh;
        status = ledger_use_since(ledger, account->key.name,
                                  budget->window_s[BUDGET_REQUESTS] * 1000, &use, err);
    }
    if (status == WL_OK) {
        budget->spent[BUDGET_REQUESTS] += (double)use.n_requests;
    }
    (void)gateway;
    return status;
}

static enum wl_status restore_new_ones(struct gateway *gateway, struct wl_err *err) {
    struct store *ledger = NULL;
    enum wl_status status = WL_OK;
    for (struct account *a = gateway->accounts.first; a && status == WL_OK; a = a->next) {
        if (a->is_restored || !gateway->settings.ledger[0]) {
            continue;
        }
        if (!ledger) {
            status = ledger_open(gateway->settings.ledger, STORE_READ_ONLY, &ledger, err);
        }
        if (status == WL_OK) {
            status = restore(gateway, a, ledger, err);
        }
        a->is_restored = status == WL_OK;
    }
    store_close(ledger);
    return status;
}

enum wl_status gateway_load_keys(struct gateway *gateway, struct wl_err *err) {
    struct buf text;
    if (!gateway->settings.keys[0]) {
        return WL_OK;
    }
    enum wl_status status = slurp(gateway->settings.keys, 4 << 20, &text, err);
    if (status == WL_OK) {
        status = accounts_load(&gateway->accounts, buf_text(&text), text.len, err);
        buf_release(&text);
    }
    if (status != WL_OK) {
        return wl_err_prefix(err, "keys '%s'", gateway->settings.keys);
    }
    return restore_new_ones(gateway, err);
}

enum wl_status gateway_load_upstream_key(struct gateway *gateway, struct wl_err *err) {
    struct buf text;
    if (!gateway->settings.upstream_key_file[0]) {
        return WL_OK;
    }
    enum wl_status status = slurp(gateway->settings.upstream_key_file, 4096, &text, err);
    if (status == WL_OK) {
        char *secret = buf_detach(&text);
        char *trimmed = secret ? strdup(str_trim(secret)) : NULL;
        free(secret);
        free(gateway->upstream_key);
        gateway->upstream_key = trimmed;
        status = trimmed ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for a key");
    }
    return status;
}

// ---- again ----

static enum wl_status change_server(struct gateway *gateway, const struct profile *profile,
                                    struct wl_err *err) {
    struct own_server server;
    enum wl_status status =
        own_server_set(&gateway->settings, profile, &gateway->own, &server, err);
    if (status == WL_OK) {
        struct upstream_server options = own_server_options(&server, &gateway->settings, profile);
        gateway->own = server;
        status = upstream_change(gateway->upstream, &options, err);
    }
    return status;
}

static void reload_profile(struct gateway *gateway) {
    struct wl_err err = {0};
    struct profile profile;
    enum wl_status status = gateway_load_profile(&gateway->settings, &profile, &err);
    if (status == WL_OK && !gateway->settings.upstream[0]) {
        status = change_server(gateway, &profile, &err);
    }
    if (status != WL_OK) {
        log_event(LOG_WARNING, "the old profile stays: %s", err.message);
        profile_release(&profile);
        return;
    }
    profile_release(&gateway->profile);
    gateway->profile = profile;
    gateway_apply_profile(gateway);
}

void gateway_reload(struct gateway *gateway) {
    struct wl_err err = {0};
    reload_profile(gateway);
    if (gateway_load_keys(gateway, &err) != WL_OK) {
        log_event(LOG_WARNING, "the old keys stay: %s", err.message);
    }
    log_event(LOG_INFO, "keys and profile read again");
}
