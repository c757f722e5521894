// The power chip (DA9091) of a Raspberry Pi 5: current and voltage of each regulator it feeds the
// board with, read through the firmware's mailbox. Their sum leaves out what the regulators
// themselves lose. A public fit against an inline meter on one board (jfikar/RPi5-power, 50 means
// of 1 s) gives the power that enters the board at its USB-C socket with nothing else connected:
//   board power = 1.1451 * sum of the rails + 0.5879 W
// It is what "pmic" shows, with the error of one board's fit on another; `wattlaw calibrate`
// replaces it. What hangs directly on the 5 V (USB devices, fan, HATs, NVMe) is in neither.
// "pmic:rails" shows the bare sum (as other tools do), "pmic:core" and "pmic:dram" those rails
// alone.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "meter/platform.h"
#include "meter/pmic_parse.h"
#include "meter/source.h"
#include "meter/vcio.h"

static const char COMMAND[] = "pmic_read_adc";
enum { FULL_RAILS = 12, OPEN_ATTEMPTS = 3, MAX_NAMED_RAILS = 2 };

static const int64_t POLL_PERIOD_NS = 100000000;
// Nobody documents how often the chip converts; this is assumed, and its whole length is doubted.
static const int64_t ASSUMED_PERIOD_NS = 10000000;
// Currents step by 1 to 6 mA, by rail.
static const double CURRENT_STEP_A = 0.006;
static const double MAX_POWER_W = 40; // the supply gives 25 W
// Rail names and numbers of rails differ between firmwares: a sum of fewer was not what was fitted.
static const double FEWER_RAILS_GAIN_ERROR = 0.15;

// What is added up. Gain errors are 1 sigma: 8 % (and 0.4 W) for the fit on another board, the
// losses left out for the bare sum, the chip's converter for single rails.
struct choice {
    const char *argument, *title;
    enum meter_scope scope;
    bool includes_dram;
    double gain, offset_w, gain_error_rel, offset_error_w;
    const char *rail[MAX_NAMED_RAILS]; // NULL: all
};
static const struct choice CHOICES[] = {
    {.argument = "board",
     .title = "Raspberry Pi 5 power chip, as at the USB-C socket",
     .scope = METER_SCOPE_BOARD,
     .includes_dram = true,
     .gain = 1.1451,
     .offset_w = 0.5879,
     .gain_error_rel = 0.08,
     .offset_error_w = 0.4},
    {.argument = "rails",
     .title = "Raspberry Pi 5 power chip, sum of its rails",
     .scope = METER_SCOPE_BOARD,
     .includes_dram = true,
     .gain = 1,
     .gain_error_rel = 0.15,
     .offset_error_w = 0.6},
    {.argument = "core",
     .title = "Raspberry Pi 5 power chip, processor cores (VDD_CORE)",
     .scope = METER_SCOPE_SOC,
     .gain = 1,
     .gain_error_rel = 0.05,
     .offset_error_w = 0.05,
     .rail = {"VDD_CORE"}},
    // 1V1_SYS feeds the memory too, but not it alone.
    {.argument = "dram",
     .title = "Raspberry Pi 5 power chip, memory (DDR_VDD2, DDR_VDDQ)",
     .scope = METER_SCOPE_SOC,
     .includes_dram = true,
     .gain = 1,
     .gain_error_rel = 0.05,
     .offset_error_w = 0.05,
     .rail = {"DDR_VDD2", "DDR_VDDQ"}},
};
enum { N_CHOICES = sizeof CHOICES / sizeof CHOICES[0] };

struct pmic {
    const struct os_clock *clock;
    const struct meter_device_ops *devices;
    char *root;
    const struct choice *choice;
    struct vcio vcio;
    size_t n; // rails with current and voltage; channel i + 1 is rail i, channel 0 the sum
    char name[PMIC_MAX_RAILS][PMIC_NAME_BYTES];
};

_Static_assert(PMIC_MAX_RAILS + 1 <= METER_MAX_CHANNELS, "each rail is a channel");

// --- probe --------------------------------------------------------------------------------------

static const char PERMISSION_FIX[] =
    "for good (log in again afterwards):\n"
    "  sudo usermod -aG video \"$USER\"\n"
    "where the node belongs to root alone (Ubuntu), also:\n"
    "  echo 'KERNEL==\"vcio*\", GROUP=\"video\", MODE=\"0660\"' | "
    "sudo tee /etc/udev/rules.d/70-wattlaw-vcio.rules\n"
    "  sudo udevadm control --reload && sudo udevadm trigger --name-match=vcio "
    "--name-match=vcio_gencmd";
static const char MISSING_FIX[] =
    "run Raspberry Pi's own kernel (Raspberry Pi OS, or Ubuntu's linux-raspi); "
    "into a container pass the node: --device /dev/vcio";

static void say(struct meter_verdict *out, enum meter_availability availability, const char *reason,
                const char *fix) {
    out->availability = availability;
    str_copy(out->reason, sizeof out->reason, reason);
    str_copy(out->fix, sizeof out->fix, fix);
}

// Pi 5, Pi 500, Compute Module 5: the boards with this power chip.
static bool has_power_chip(const struct platform *platform) {
    return str_starts_with(platform->board, "Raspberry Pi 5") ||
           str_starts_with(platform->board, "Raspberry Pi Compute Module 5");
}

static bool judge_board(const struct meter_env *env, struct meter_verdict *out) {
    struct platform platform;
    platform_read(env->root, &platform);
    if (has_power_chip(&platform)) {
        return true;
    }
    if (str_starts_with(platform.board, "Raspberry Pi")) {
        say(out, METER_WRONG_HARDWARE, "",
            "use an inline USB-C meter or a smart plug, or the energy model");
        snprintf(out->reason, sizeof out->reason,
                 "'%s' has no current sensing at all (only the Raspberry Pi 5's power chip has; "
                 "the MXL7704 of the Pi 4 shows voltages)",
                 platform.board);
    } else {
        say(out, METER_WRONG_HARDWARE, "this is no Raspberry Pi 5", "");
    }
    return false;
}

static void judge(const struct meter_env *env, struct meter_verdict *out) {
    if (!judge_board(env, out)) {
        return;
    }
    struct vcio vcio;
    struct wl_err err = {0};
    enum wl_status status = vcio_open(&vcio, env->root, env->devices, &err);
    vcio_close(&vcio); // opening a node asks the device nothing
    if (status == WL_OK) {
        say(out, METER_AVAILABLE, "", "");
        snprintf(out->reason, sizeof out->reason,
                 "adds up the regulators (%s), corrected to the board's input; USB devices, fan, "
                 "HATs and NVMe are not in it",
                 vcio.path);
    } else if (status == WL_PERMISSION) {
        say(out, METER_PERMISSION, "", PERMISSION_FIX);
        snprintf(out->reason, sizeof out->reason,
                 "%s is there, but only its group (video) may open it", vcio.path);
    } else {
        bool is_here = env->devices || platform_is_machine_root(env->root);
        say(out, METER_MISSING, err.message, is_here ? MISSING_FIX : "");
    }
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    out->scope = METER_SCOPE_BOARD;
    out->label = LABEL_MEASURED;
    judge(env, out);
}

// --- open ---------------------------------------------------------------------------------------

static bool is_chosen(const struct choice *choice, const char *rail) {
    bool is_named = false;
    for (size_t i = 0; i < MAX_NAMED_RAILS && choice->rail[i]; i++) {
        is_named |= strcmp(choice->rail[i], rail) == 0;
    }
    return is_named || !choice->rail[0];
}

static enum wl_status read_adc(const struct vcio *vcio, struct pmic_adc *adc, struct wl_err *err) {
    char text[VCIO_TEXT_BYTES];
    enum wl_status status = vcio_gencmd(vcio, COMMAND, text, sizeof text, err);
    if (status == WL_OK) {
        pmic_parse(text, strlen(text), adc);
    }
    return status;
}

// The set of rails is taken from this answer for good, so it must be whole: every current with its
// voltage, nothing garbled, and what the user wants among them. (A voltage alone is nothing
// unusual.)
static enum wl_status check_rails(const struct pmic_adc *adc, const struct choice *choice,
                                  struct wl_err *err) {
    if (adc->n_bad > 0) {
        return wl_err_set(err, WL_INPUT,
                          "the firmware's answer to %s has %zu lines that make no sense; expected "
                          "lines like 'VDD_CORE_A current(7)=3.21000000A'",
                          COMMAND, adc->n_bad);
    }
    for (size_t i = 0; i < adc->n; i++) {
        if (adc->rail[i].has_current && !adc->rail[i].has_voltage) {
            return wl_err_set(err, WL_INPUT,
                              "the firmware's answer to %s has a current of rail %s but no voltage",
                              COMMAND, adc->rail[i].name);
        }
    }
    for (size_t i = 0; i == 0 || (i < MAX_NAMED_RAILS && choice->rail[i]); i++) {
        const char *name = choice->rail[0] ? choice->rail[i] : "VDD_CORE";
        const struct pmic_rail *rail = pmic_find(adc, name);
        if (!rail || !pmic_is_complete(rail)) {
            return wl_err_set(err, WL_UNSUPPORTED,
                              "the firmware's answer to %s has no rail %s; bring the firmware up "
                              "to date: sudo rpi-eeprom-update -a && sudo reboot",
                              COMMAND, name);
        }
    }
    return WL_OK;
}

static void add_channels(const struct pmic_adc *adc, struct pmic *state, struct meter_info *info) {
    double widest_v = 0, step_variance = 0;
    info->channel[0] = (struct meter_channel){.scale = 1, .is_counted = true, .parent = -1};
    str_copy(info->channel[0].name, METER_NAME_BYTES, state->choice->argument);
    for (size_t i = 0; i < adc->n; i++) {
        const struct pmic_rail *rail = &adc->rail[i];
        if (!pmic_is_complete(rail)) {
            continue;
        }
        bool is_inside = is_chosen(state->choice, rail->name);
        struct meter_channel *channel = &info->channel[1 + state->n];
        *channel = (struct meter_channel){.scale = 1, .parent = is_inside ? 0 : -1};
        str_copy(channel->name, sizeof channel->name, rail->name);
        str_copy(state->name[state->n++], PMIC_NAME_BYTES, rail->name);
        if (is_inside) {
            double step_w = state->choice->gain * CURRENT_STEP_A * rail->voltage_v;
            widest_v = fmax(widest_v, rail->voltage_v);
            step_variance += step_w * step_w / 12;
        }
    }
    info->n_channels = state->n + 1;
    info->quantum = state->choice->gain * CURRENT_STEP_A * widest_v;
    info->noise_sd_w = sqrt(step_variance); // the load's own unrest is seen in the readings
}

static void describe(const struct choice *choice, size_t n_rails, struct meter_info *info) {
    str_copy(info->title, sizeof info->title, choice->title);
    info->kind = METER_GAUGE_INSTANT;
    info->scope = choice->scope;
    info->unit = "W";
    info->native_period_ns = ASSUMED_PERIOD_NS;
    info->lag_sd_ns = ASSUMED_PERIOD_NS;
    info->poll_period_ns = POLL_PERIOD_NS;
    info->includes_dram = choice->includes_dram;
    info->gain_error_rel = choice->gain_error_rel;
    if (!choice->rail[0] && n_rails < FULL_RAILS) {
        info->gain_error_rel = fmax(info->gain_error_rel, FEWER_RAILS_GAIN_ERROR);
    }
    info->offset_error_w = choice->offset_error_w;
    info->max_power_w = MAX_POWER_W;
    info->label = LABEL_MEASURED;
}

static const struct choice *find_choice(const char *argument, struct wl_err *err) {
    for (size_t i = 0; i < N_CHOICES; i++) {
        if (!argument || strcmp(argument, CHOICES[i].argument) == 0) {
            return &CHOICES[i];
        }
    }
    wl_err_set(err, WL_USAGE,
               "pmic has no '%s'; expected 'pmic', 'pmic:rails', 'pmic:core' or 'pmic:dram'",
               argument);
    return NULL;
}

static enum wl_status refuse(const struct meter_env *env, struct wl_err *err) {
    struct meter_verdict verdict = {0};
    judge(env, &verdict);
    if (verdict.availability == METER_AVAILABLE) {
        return WL_OK;
    }
    bool is_permission = verdict.availability == METER_PERMISSION;
    const char *fix =
        is_permission ? "try: sudo usermod -aG video \"$USER\", and log in again ('wattlaw doctor' "
                        "shows what else)"
                      : verdict.fix;
    return wl_err_set(err, is_permission ? WL_PERMISSION : WL_NOT_FOUND, "%s%s%s", verdict.reason,
                      fix[0] ? "; " : "", fix);
}

static void close_state(void *state_) {
    struct pmic *state = state_;
    if (state) {
        vcio_close(&state->vcio);
        free(state->root);
        free(state);
    }
}

// One garbled answer is no reason to give up.
static enum wl_status open_rails(struct pmic *state, struct meter_info *info, struct wl_err *err) {
    struct pmic_adc adc = {0};
    enum wl_status status = vcio_open(&state->vcio, state->root, state->devices, err);
    if (status != WL_OK) {
        return status;
    }
    for (int attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
        status = read_adc(&state->vcio, &adc, err);
        status = status == WL_OK ? check_rails(&adc, state->choice, err) : status;
        if (status == WL_OK) {
            add_channels(&adc, state, info);
            describe(state->choice, state->n, info);
            return WL_OK;
        }
    }
    return status;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    const struct choice *choice = find_choice(argument, err);
    if (!choice) {
        return WL_USAGE;
    }
    enum wl_status status = refuse(env, err);
    if (status != WL_OK) {
        return status;
    }
    struct pmic *state = calloc(1, sizeof *state);
    char *root = strdup(env->root ? env->root : "");
    if (!state || !root) {
        free(state);
        free(root);
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    *state = (struct pmic){.clock = meter_env_clock(env),
                           .devices = env->devices,
                           .root = root,
                           .choice = choice,
                           .vcio = VCIO_INIT};
    status = open_rails(state, info, err);
    if (status != WL_OK) {
        close_state(state);
        return status;
    }
    *out = state;
    return WL_OK;
}

// --- read ---------------------------------------------------------------------------------------

// The sum is shown only when exactly the rails it began with were read: with one missing it would
// be too low, with one more it would mean something else.
static void fill(const struct pmic *state, const struct pmic_adc *adc, struct meter_reading *out) {
    double sum_w = 0;
    bool is_whole = true;
    size_t n_complete = 0;
    for (size_t i = 0; i < adc->n; i++) {
        n_complete += pmic_is_complete(&adc->rail[i]);
    }
    for (size_t i = 0; i < state->n; i++) {
        const struct pmic_rail *rail = pmic_find(adc, state->name[i]);
        bool is_valid = rail && pmic_is_complete(rail);
        bool is_inside = is_chosen(state->choice, state->name[i]);
        if (is_valid) {
            out->channel[i + 1].value = pmic_power_w(rail);
            out->channel[i + 1].is_valid = true;
            sum_w += is_inside ? pmic_power_w(rail) : 0;
        }
        is_whole &= is_valid || !is_inside;
    }
    if (is_whole && (state->choice->rail[0] || n_complete == state->n)) {
        out->channel[0].value = state->choice->gain * sum_w + state->choice->offset_w;
        out->channel[0].is_valid = true;
    }
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    struct pmic *state = state_;
    struct pmic_adc adc;
    struct wl_err why = {0};
    out->t_before_ns = state->clock->now_ns(state->clock->context);
    if (state->vcio.fd < 0) {
        vcio_open(&state->vcio, state->root, state->devices, NULL); // it may be back
    }
    enum wl_status status = read_adc(&state->vcio, &adc, &why);
    out->t_after_ns = state->clock->now_ns(state->clock->context);
    if (status == WL_OK) {
        fill(state, &adc, out);
    } else if (status == WL_PERMISSION) { // will not change by itself
        return wl_err_set(err, status, "%s", why.message);
    } else if (status == WL_IO) {
        vcio_close(&state->vcio); // the node may have been replaced
    }
    return WL_OK;
}

const struct meter_source meter_source_pmic = {.name = "pmic",
                                               .title = "Raspberry Pi 5 power chip (PMIC)",
                                               .probe = probe,
                                               .open = open_source,
                                               .read = read_source,
                                               .close = close_state};
