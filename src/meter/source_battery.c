// A laptop's own battery: all the machine draws (screen included) while nothing else feeds it. On
// mains a battery says nothing about the machine, so a reading then is a gap. The figure is new
// every 1 to 30 s only: windows of minutes, not of single answers.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "meter/battery_supply.h"
#include "meter/kept_file.h"
#include "meter/platform.h"
#include "meter/source.h"

// Gauge chips are of the 1 % class; firmware averages, rounds and interpolates on top.
static const double GAIN_ERROR = 0.05;
static const double NOISE_SD_W = 0.1;
static const double QUANTUM_W = 0.01;
static const double MAX_POWER_W = 500;
// A stated compromise: firmware refreshes every 1 to 30 s and does not say how often.
static const int64_t NATIVE_PERIOD_NS = 10000000000, POLL_PERIOD_NS = 1000000000;
static const int64_t LAG_SD_NS = 2000000000;

enum battery_file { FILE_STATUS, FILE_A, FILE_B, N_FILES }; // A: power_now or current_now

struct reader {
    bool has_power;
    struct kept_file file[N_FILES];
};

struct state {
    const struct os_clock *clock;
    size_t n, n_mains;
    struct reader reader[BATTERY_MAX];
    struct kept_file mains[BATTERY_MAX_MAINS];
};

// --- files --------------------------------------------------------------------------------------

static bool read_text(struct kept_file *file, char *out, size_t size) {
    size_t len;
    if (kept_file_read(file, out, size, &len) != 0) {
        return false;
    }
    out[strcspn(out, "\n")] = '\0';
    return true;
}

static bool read_number(struct kept_file *file, int64_t *out) {
    char text[64];
    return read_text(file, text, sizeof text) && str_parse_i64(text, out);
}

static void release(struct state *state) {
    for (size_t i = 0; i < BATTERY_MAX; i++) {
        for (size_t k = 0; k < N_FILES; k++) {
            kept_file_release(&state->reader[i].file[k]);
        }
    }
    for (size_t i = 0; i < BATTERY_MAX_MAINS; i++) {
        kept_file_release(&state->mains[i]);
    }
}

static void prepare(struct state *state) {
    *state = (struct state){0};
    for (size_t i = 0; i < BATTERY_MAX; i++) {
        for (size_t k = 0; k < N_FILES; k++) {
            state->reader[i].file[k] = (struct kept_file)KEPT_FILE_INIT;
        }
    }
    for (size_t i = 0; i < BATTERY_MAX_MAINS; i++) {
        state->mains[i] = (struct kept_file)KEPT_FILE_INIT;
    }
}

static enum wl_status open_file(const char *root, const char *name, const char *file,
                                struct kept_file *out, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = battery_path(path, root, name, file, err);
    return status == WL_OK ? kept_file_open(out, path, err) : status;
}

static enum wl_status open_files(const char *root, const struct battery_supplies *supplies,
                                 struct state *state, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < supplies->n && status == WL_OK; i++) {
        const struct battery *battery = &supplies->battery[i];
        struct reader *reader = &state->reader[i];
        reader->has_power = battery->has_power;
        status = open_file(root, battery->name, "status", &reader->file[FILE_STATUS], err);
        if (status == WL_OK) {
            status =
                open_file(root, battery->name, battery->has_power ? "power_now" : "current_now",
                          &reader->file[FILE_A], err);
        }
        if (status == WL_OK && !battery->has_power) {
            status = open_file(root, battery->name, "voltage_now", &reader->file[FILE_B], err);
        }
        state->n++;
    }
    for (size_t i = 0; i < supplies->n_mains && status == WL_OK; i++) {
        status = open_file(root, supplies->mains[i], "online", &state->mains[i], err);
        state->n_mains++;
    }
    return status;
}

// --- probe --------------------------------------------------------------------------------------

static void say(struct meter_verdict *out, enum meter_availability availability, const char *reason,
                const char *fix) {
    out->availability = availability;
    str_copy(out->reason, sizeof out->reason, reason);
    str_copy(out->fix, sizeof out->fix, fix);
}

// The name of a supply that is online, or NULL.
static const char *online_supply(const char *root, const struct battery_supplies *supplies) {
    for (size_t i = 0; i < supplies->n_mains; i++) {
        char inner[96], line[16];
        snprintf(inner, sizeof inner, "/sys/class/power_supply/%.40s/online", supplies->mains[i]);
        if (platform_line(root, inner, line, sizeof line) && strcmp(line, "0") != 0) {
            return supplies->mains[i];
        }
    }
    return NULL;
}

static bool is_discharging(const char *root, const struct battery_supplies *supplies, char *status,
                           size_t size) {
    for (size_t i = 0; i < supplies->n; i++) {
        char inner[96];
        snprintf(inner, sizeof inner, "/sys/class/power_supply/%.40s/status",
                 supplies->battery[i].name);
        if (platform_line(root, inner, status, size) &&
            battery_state_of(status) == BATTERY_DISCHARGING) {
            return true;
        }
    }
    return false;
}

static void judge(const char *root, const struct battery_supplies *supplies,
                  struct meter_verdict *out) {
    static const char UNPLUG[] = "unplug the charger, leave the screen's brightness as it is, wait "
                                 "20 s and measure again";
    char status[32] = "";
    if (supplies->n == 0) {
        say(out, METER_MISSING, "this machine has no battery", "");
        return;
    }
    const char *name = supplies->battery[0].name;
    for (size_t i = 0; i < supplies->n; i++) {
        const struct battery *battery = &supplies->battery[i];
        if (!battery->has_power && !battery->has_current) {
            say(out, METER_WRONG_HARDWARE, "", "");
            snprintf(out->reason, sizeof out->reason,
                     "battery %s shows neither power_now nor current_now with voltage_now",
                     battery->name);
            return;
        }
    }
    const char *mains = online_supply(root, supplies);
    bool is_draining = is_discharging(root, supplies, status, sizeof status);
    if (mains || !is_draining) {
        say(out, METER_MISSING, "", UNPLUG);
        snprintf(out->reason, sizeof out->reason,
                 "on mains: %s is '%s'; a battery shows what the machine draws only while it alone "
                 "feeds it",
                 mains ? mains : name, mains ? "online" : status);
    } else {
        say(out, METER_AVAILABLE, "", "");
        snprintf(out->reason, sizeof out->reason,
                 "%s%s discharges; its figure is new every 1 to 30 s, so windows must take minutes",
                 name, supplies->n > 1 ? " and others" : "");
    }
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    struct battery_supplies supplies;
    out->is_slow = true;
    out->scope = METER_SCOPE_BOARD;
    out->label = LABEL_MEASURED;
    battery_list(env->root, &supplies);
    judge(env->root, &supplies, out);
}

// --- open ---------------------------------------------------------------------------------------

static void describe(const struct battery_supplies *supplies, struct meter_info *info) {
    snprintf(info->title, sizeof info->title, "battery (%s%s)", supplies->battery[0].name,
             supplies->n > 1 ? " and others" : "");
    info->kind = METER_GAUGE_AVERAGED;
    info->scope = METER_SCOPE_BOARD;
    info->unit = "W";
    info->native_period_ns = NATIVE_PERIOD_NS;
    info->poll_period_ns = POLL_PERIOD_NS;
    info->lag_sd_ns = LAG_SD_NS;
    info->quantum = QUANTUM_W;
    info->noise_sd_w = NOISE_SD_W;
    info->gain_error_rel = GAIN_ERROR;
    info->max_power_w = MAX_POWER_W;
    info->includes_dram = true;
    info->may_block = true; // the firmware's controller may take tens of milliseconds
    info->label = LABEL_MEASURED;
    info->n_channels = supplies->n;
    for (size_t i = 0; i < supplies->n; i++) {
        info->channel[i] = (struct meter_channel){.scale = 1, .is_counted = true, .parent = -1};
        str_copy(info->channel[i].name, METER_NAME_BYTES, supplies->battery[i].name);
    }
}

static void close_state(void *state_) {
    struct state *state = state_;
    if (state) {
        release(state);
        free(state);
    }
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    struct battery_supplies supplies;
    struct meter_verdict verdict = {0};
    if (argument) {
        return wl_err_set(err, WL_USAGE, "battery takes no argument, found '%.64s'", argument);
    }
    battery_list(env->root, &supplies);
    judge(env->root, &supplies, &verdict);
    if (verdict.availability != METER_AVAILABLE) {
        return wl_err_set(err, WL_NOT_FOUND, "%s%s%s", verdict.reason, verdict.fix[0] ? "; " : "",
                          verdict.fix);
    }
    struct state *state = malloc(sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    prepare(state);
    state->clock = meter_env_clock(env);
    enum wl_status status = open_files(env->root, &supplies, state, err);
    if (status != WL_OK) {
        close_state(state);
        return status;
    }
    describe(&supplies, info);
    *out = state;
    return WL_OK;
}

// --- read ---------------------------------------------------------------------------------------

// A supply that was unplugged together with its port feeds nothing. One that cannot be read counts
// as online: then nothing is known.
static bool is_on_mains(struct state *state) {
    for (size_t i = 0; i < state->n_mains; i++) {
        char text[16];
        size_t len;
        int error = kept_file_read(&state->mains[i], text, sizeof text, &len);
        uint64_t online;
        bool is_absent = error == ENOENT || error == ENODEV;
        if (!is_absent && (error || !str_parse_u64(text, &online) || online != 0)) {
            return true;
        }
    }
    return false;
}

static bool read_battery(struct reader *reader, enum battery_state *state, double *power_w) {
    char status[32];
    if (!read_text(&reader->file[FILE_STATUS], status, sizeof status)) {
        return false;
    }
    struct battery_figures figures = {.state = battery_state_of(status),
                                      .has_power = reader->has_power};
    bool is_read = reader->has_power ? read_number(&reader->file[FILE_A], &figures.power_uw)
                                     : read_number(&reader->file[FILE_A], &figures.current_ua) &&
                                           read_number(&reader->file[FILE_B], &figures.voltage_uv);
    *state = figures.state;
    return is_read && battery_power_w(&figures, power_w);
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err;
    struct state *state = state_;
    out->t_before_ns = state->clock->now_ns(state->clock->context);
    bool is_valid = !is_on_mains(state), is_any_discharging = false;
    for (size_t i = 0; i < state->n && is_valid; i++) {
        enum battery_state battery_state;
        is_valid = read_battery(&state->reader[i], &battery_state, &out->channel[i].value);
        is_any_discharging |= is_valid && battery_state == BATTERY_DISCHARGING;
    }
    // A battery that rests while no other one discharges rests because of a charger.
    for (size_t i = 0; i < state->n; i++) {
        out->channel[i].is_valid = is_valid && is_any_discharging;
    }
    out->t_after_ns = state->clock->now_ns(state->clock->context);
    return WL_OK;
}

const struct meter_source meter_source_battery = {.name = "battery",
                                                  .title = "battery of this machine",
                                                  .probe = probe,
                                                  .open = open_source,
                                                  .read = read_source,
                                                  .close = close_state};
