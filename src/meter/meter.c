#include "meter/meter.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "meter/calibration.h"
#include "meter/meter_thread.h"
#include "meter/source.h"
#include "series/counter.h"

static const struct meter_source *const SOURCES[] = {
#define METER_SOURCE(name) &meter_source_##name,
#include "meter/sources.def"
#undef METER_SOURCE
};
enum { N_SOURCES = sizeof SOURCES / sizeof SOURCES[0] };
_Static_assert((int)N_SOURCES <= (int)METER_MAX_SOURCES, "raise METER_MAX_SOURCES");

struct meter {
    const struct meter_source *source;
    struct meter_info info;
    void *state;
    struct meter_thread *thread; // NULL: read on the caller's thread
};

const char *meter_kind_name(enum meter_kind kind) {
    static const char *const NAMES[] = {"counter", "gauge", "averaged gauge", "model"};
    return kind <= METER_MODEL ? NAMES[kind] : "unknown";
}

const char *meter_scope_name(enum meter_scope scope) {
    static const char *const NAMES[] = {"cpu", "soc", "board", "wall"};
    return scope <= METER_SCOPE_WALL ? NAMES[scope] : "unknown";
}

const char *meter_availability_name(enum meter_availability availability) {
    static const char *const NAMES[] = {"available",      "missing", "permission",
                                        "wrong hardware", "busy",    "on request"};
    return availability <= METER_ON_REQUEST ? NAMES[availability] : "unknown";
}

static void probe_one(const struct meter_source *source, const struct meter_env *env,
                      struct meter_verdict *out) {
    *out = (struct meter_verdict){.availability = METER_MISSING};
    str_copy(out->name, sizeof out->name, source->name);
    str_copy(out->title, sizeof out->title, source->title);
    source->probe(env, out);
}

static bool is_listed(const struct meter_source *source, const struct meter_env *env) {
    return source != &meter_source_synthetic || env->synthetic;
}

void meter_probe_all(const struct meter_env *env, struct meter_verdict *verdicts, size_t *n) {
    *n = 0;
    for (size_t i = 0; i < N_SOURCES; i++) {
        if (is_listed(SOURCES[i], env)) {
            probe_one(SOURCES[i], env, &verdicts[(*n)++]);
        }
    }
}

bool meter_verdict_is_certain(const struct meter_verdict *verdict) {
    return verdict->availability == METER_AVAILABLE && !verdict->is_external && !verdict->is_slow;
}

static const struct meter_source *first_available(const struct meter_env *env) {
    for (size_t i = 0; i < N_SOURCES; i++) {
        struct meter_verdict verdict;
        if (is_listed(SOURCES[i], env)) {
            probe_one(SOURCES[i], env, &verdict);
            if (meter_verdict_is_certain(&verdict)) {
                return SOURCES[i];
            }
        }
    }
    return NULL;
}

static void say_unknown(const char *name, struct wl_err *err) {
    const char *names[N_SOURCES + 2] = {"auto"};
    for (size_t i = 0; i < N_SOURCES; i++) {
        names[i + 1] = SOURCES[i]->name;
    }
    const char *nearest = str_nearest(name, names);
    wl_err_set(err, WL_NOT_FOUND,
               "no energy source is named '%.64s'%s%s%s; 'wattlaw doctor' lists them", name,
               nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

// "powercap:psys" -> the source, and the argument behind the colon. NULL when there is none.
static const struct meter_source *find_source(const struct meter_env *env, const char *name,
                                              const char **argument, struct wl_err *err) {
    const char *colon = strchr(name, ':');
    size_t len = colon ? (size_t)(colon - name) : strlen(name);
    *argument = colon ? colon + 1 : NULL;
    if (strcmp(name, "auto") == 0) {
        const struct meter_source *source = first_available(env);
        if (!source) {
            wl_err_set(err, WL_NOT_FOUND, "no energy source is available");
        }
        return source;
    }
    for (size_t i = 0; i < N_SOURCES; i++) {
        if (strlen(SOURCES[i]->name) == len && memcmp(SOURCES[i]->name, name, len) == 0) {
            return SOURCES[i];
        }
    }
    say_unknown(name, err);
    return NULL;
}

enum wl_status meter_open(const struct meter_env *env, const char *name, struct meter **out,
                          struct wl_err *err) {
    const char *argument;
    const struct meter_source *source = find_source(env, name, &argument, err);
    if (!source) {
        return WL_NOT_FOUND;
    }
    struct meter *meter = calloc(1, sizeof *meter);
    if (!meter) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    meter->source = source;
    str_copy(meter->info.name, sizeof meter->info.name, source->name);
    str_copy(meter->info.title, sizeof meter->info.title, source->title);
    enum wl_status status = source->open(env, argument, &meter->info, &meter->state, err);
    if (status != WL_OK) {
        free(meter);
        wl_err_prefix(err, "cannot open energy source '%.64s'", name);
        return status;
    }
    const struct meter_calibration *calibration =
        meter_calibration_find(env->calibrations, source->name);
    if (calibration && !calibration->is_model) {
        meter_calibration_apply(calibration, &meter->info);
    }
    if (meter->info.may_block && !env->has_no_threads) {
        status = meter_thread_start(source, meter->state, &meter->info, meter_env_clock(env),
                                    &meter->thread, err);
    }
    if (status != WL_OK) {
        meter_close(meter);
        return status;
    }
    *out = meter;
    return WL_OK;
}

const struct meter_info *meter_info(const struct meter *meter) {
    return &meter->info;
}

enum wl_status meter_read(struct meter *meter, struct meter_reading *out, struct wl_err *err) {
    *out = (struct meter_reading){0};
    if (meter->thread) {
        return meter_thread_read(meter->thread, out, err);
    }
    return meter->source->read(meter->state, out, err);
}

void meter_set_pid(struct meter *meter, pid_t pid) {
    if (meter->source->set_pid && !meter->thread) {
        meter->source->set_pid(meter->state, pid);
    }
}

void meter_close(struct meter *meter) {
    if (meter) {
        meter_thread_stop(meter->thread);
        meter->source->close(meter->state);
        free(meter);
    }
}

int64_t meter_max_poll_ns(const struct meter_info *info) {
    int64_t poll_ns = INT64_MAX;
    for (size_t i = 0; i < info->n_channels && meter_kind_is_counter(info->kind); i++) {
        const struct meter_channel *channel = &info->channel[i];
        int64_t channel_ns =
            series_counter_max_poll_ns(channel->range, info->max_power_w / channel->scale);
        poll_ns = channel_ns < poll_ns ? channel_ns : poll_ns;
    }
    return poll_ns;
}
