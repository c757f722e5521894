#include "meter/meter_set.h"

#include <string.h>

enum { MAX_NAME_BYTES = 1024 }; // an argument may be a command line or a URL

static enum wl_status add(const struct meter_env *env, const char *name, struct meter_set *set,
                          struct wl_err *err) {
    if (set->n == RECORD_MAX_ENERGIES) {
        return wl_err_set(err, WL_LIMIT, "at most %d energy sources at once", RECORD_MAX_ENERGIES);
    }
    enum wl_status status = meter_open(env, name, &set->meter[set->n], err);
    set->n += status == WL_OK;
    return status;
}

// Takes the first name off `*names`, undoing "\,". False when it is too long.
static bool take_name(const char **names, char out[MAX_NAME_BYTES]) {
    size_t n = 0;
    const char *at = *names;
    for (; *at && *at != ','; at++) {
        at += at[0] == '\\' && at[1] == ',';
        if (n + 1 == MAX_NAME_BYTES) {
            return false;
        }
        out[n++] = *at;
    }
    out[n] = '\0';
    *names = at + (*at == ',');
    return true;
}

static enum wl_status open_named(const struct meter_env *env, const char *names,
                                 struct meter_set *set, struct wl_err *err) {
    enum wl_status status = WL_OK;
    while (*names && status == WL_OK) {
        char name[MAX_NAME_BYTES];
        status = take_name(&names, name)
                     ? add(env, name, set, err)
                     : wl_err_set(err, WL_USAGE, "energy source name too long: '%.40s...'", names);
    }
    return status;
}

static bool has_open(const struct meter_set *set, const char *source) {
    for (size_t i = 0; source && i < set->n; i++) {
        if (strcmp(meter_info(set->meter[i])->name, source) == 0) {
            return true;
        }
    }
    return false;
}

static void open_certain(const struct meter_env *env, struct meter_set *set) {
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        const struct meter_verdict *v = &verdicts[i];
        bool is_last = i + 1 == n;
        bool has_room = set->n + !is_last < RECORD_MAX_ENERGIES; // the model has its place
        if (meter_verdict_is_certain(v) && has_room && !has_open(set, v->same_as)) {
            add(env, v->name, set, NULL); // one that vanished meanwhile is no loss
        }
    }
}

enum wl_status meter_set_open(const struct meter_env *env, const char *names, struct meter_set *out,
                              struct wl_err *err) {
    *out = (struct meter_set){0};
    if (!names || strcmp(names, "auto") == 0) {
        open_certain(env, out);
        return out->n ? WL_OK : wl_err_set(err, WL_NOT_FOUND, "no energy source is available");
    }
    enum wl_status status = open_named(env, names, out, err);
    if (status == WL_OK && out->n == 0) {
        status =
            wl_err_set(err, WL_USAGE, "no energy source is named; 'wattlaw doctor' lists them");
    }
    if (status != WL_OK) {
        meter_set_close(out);
    }
    return status;
}

void meter_set_close(struct meter_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        meter_close(set->meter[i]);
    }
    set->n = 0;
}
