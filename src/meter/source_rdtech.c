// RuiDeng USB meters UM24C, UM25C and UM34C over Bluetooth serial: "rdtech:/dev/rfcomm0". They show
// about two values a second, several hundred milliseconds late: good for windows of a minute.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "meter/rdtech_port.h"
#include "meter/source.h"

enum { OPEN_TRIES = 4 }; // the radio link may take a few seconds to come up
static const int64_t REOPEN_NS = 1000000000;

struct rdtech {
    struct rdtech_port port;
    const struct rdtech_model *model; // a window must not mix the steps of two models
    int64_t tried_ns;                 // when the device was last opened, or lost
};

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    (void)env;
    out->availability = METER_ON_REQUEST;
    out->scope = METER_SCOPE_BOARD;
    out->label = LABEL_MEASURED;
    out->is_external = true;
    str_copy(out->reason, sizeof out->reason,
             "meters what flows through a UM24C, UM25C or UM34C, once its serial device is named: "
             "rdtech:/dev/rfcomm0");
    str_copy(
        out->fix, sizeof out->fix,
        "pair it once (the PIN is 1234) and give it a serial device:\n"
        "  bluetoothctl scan on          # shows the address of a device named UM25C or alike\n"
        "  bluetoothctl pair <address>\n"
        "  sudo rfcomm bind 0 <address>  # makes /dev/rfcomm0, until the next boot\n"
        "to use it without root (log in again afterwards):\n"
        "  sudo usermod -aG dialout \"$USER\"");
}

// --- open ---------------------------------------------------------------------------------------

static void describe(const struct rdtech *state, struct meter_info *info) {
    snprintf(info->title, sizeof info->title, "RuiDeng %s at %.48s", state->model->name,
             state->port.path);
    info->kind = METER_GAUGE_INSTANT;
    info->scope = METER_SCOPE_BOARD;
    info->unit = "W";
    info->native_period_ns = 500000000;
    info->poll_period_ns = 500000000; // above three a second it stops answering
    // Seen 0.3 to 0.8 s late: a fixed part of 0.3 s, and the half second for which a value stands.
    info->lag_ns = 300000000;
    info->lag_sd_ns = 150000000;
    info->quantum = state->model->quantum_w;
    info->noise_sd_w = 0.01;
    info->includes_dram = true;
    info->is_exclusive = true;
    info->may_block = true;
    info->gain_error_rel = 0.01;
    info->offset_error_w = 0.02; // a few digits of current, at 5 V
    info->max_power_w = 150;
    info->label = LABEL_MEASURED;
    info->n_channels = 1;
    info->channel[0] =
        (struct meter_channel){.name = "usb-in", .scale = 1, .is_counted = true, .parent = -1};
}

static enum wl_status say_no_answer(const struct rdtech_port *port, struct wl_err *err) {
    if (port->n >= 2) {
        return wl_err_set(err, WL_PROTOCOL,
                          "what answers at '%s' is no UM24C, UM25C or UM34C: expected 130 bytes "
                          "that begin with 09 63, 09 c9 or 0d 4c, found %zu that begin with %02x "
                          "%02x",
                          port->path, port->n, port->bytes[0], port->bytes[1]);
    }
    return wl_err_set(err, WL_TIMEOUT,
                      "nothing answers at '%s' within %d s; is the meter switched on, near, and "
                      "not connected to a telephone?",
                      port->path, (int)OPEN_TRIES);
}

// Asks until the meter says which model it is. An answer that makes no sense ends it: it will not
// make more of it later; but the first may be the rest of an old one.
static enum wl_status meet(struct rdtech *state, struct wl_err *err) {
    size_t n_strange = 0;
    for (int i = 0; i < OPEN_TRIES && n_strange < 2; i++) {
        struct rdtech_reply reply;
        state->port.is_owed = false;
        enum rdtech_answer answer = rdtech_port_ask(&state->port, &reply);
        if (answer == RDTECH_ANSWERED) {
            state->model = reply.frame.model;
            return WL_OK;
        }
        if (answer == RDTECH_GONE) {
            return wl_err_set(err, WL_IO, "'%s' hung up; is the meter switched on and near?",
                              state->port.path);
        }
        n_strange += state->port.n > 0;
    }
    return say_no_answer(&state->port, err);
}

static void close_state(void *state_) {
    struct rdtech *state = state_;
    rdtech_port_close(&state->port);
    free(state);
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    if (!argument || argument[0] != '/' || strlen(argument) >= RDTECH_PATH_BYTES) {
        return wl_err_set(err, WL_USAGE,
                          "expected the path of the meter's serial device, as in "
                          "'rdtech:/dev/rfcomm0', found '%.64s'",
                          argument ? argument : "");
    }
    struct rdtech *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    state->port.fd = -1;
    state->port.clock = meter_env_clock(env);
    state->port.devices = env->devices ? env->devices : &METER_DEVICE_REAL;
    str_copy(state->port.path, sizeof state->port.path, argument);
    enum wl_status status = rdtech_port_open(&state->port, err);
    if (status == WL_OK) {
        status = meet(state, err);
    }
    if (status != WL_OK) {
        close_state(state);
        return status;
    }
    describe(state, info);
    *out = state;
    return WL_OK;
}

// --- read ---------------------------------------------------------------------------------------

static int64_t now_ns(const struct rdtech *state) {
    return state->port.clock->now_ns(state->port.clock->context);
}

static void reopen(struct rdtech *state) {
    if (now_ns(state) - state->tried_ns >= REOPEN_NS) {
        state->tried_ns = now_ns(state);
        rdtech_port_open(&state->port, NULL);
    }
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err; // a meter that is out of reach is a gap until it is back
    struct rdtech *state = state_;
    struct rdtech_reply reply = {0};
    enum rdtech_answer answer = RDTECH_SILENT;
    if (state->port.fd < 0) {
        reopen(state);
    }
    if (state->port.fd >= 0) {
        answer = rdtech_port_ask(&state->port, &reply);
    }
    if (answer == RDTECH_GONE) {
        rdtech_port_close(&state->port);
        state->tried_ns = now_ns(state);
    }
    if (answer == RDTECH_ANSWERED && reply.frame.model == state->model) {
        out->t_before_ns = reply.t_before_ns;
        out->t_after_ns = reply.t_after_ns;
        out->channel[0].value = reply.frame.power_w;
        out->channel[0].is_valid = true;
    } else {
        out->t_before_ns = out->t_after_ns = now_ns(state);
    }
    return WL_OK;
}

const struct meter_source meter_source_rdtech = {.name = "rdtech",
                                                 .title = "RuiDeng UM24C, UM25C, UM34C",
                                                 .probe = probe,
                                                 .open = open_source,
                                                 .read = read_source,
                                                 .close = close_state};
