// FNIRSI USB power meters (FNB48, FNB48S, FNB58, C1) over hidraw: 100 samples a second of what
// flows through the meter. "fnirsi" takes the one that is plugged in, "fnirsi:/dev/hidraw3" a
// certain one. The meter has no energy register: its samples are integrated.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/device.h"
#include "meter/fnirsi_find.h"
#include "meter/fnirsi_pace.h"
#include "meter/fnirsi_report.h"
#include "meter/platform.h"
#include "meter/source.h"

enum {
    MAX_REPORTS = 64, // as many as the kernel keeps
    // Commands in quicker succession crash the meter.
    COMMAND_PAUSE_MS = 25,
    MAX_WAIT_MS = 100,
    // The older models want to hear from us every 3 ms; once after every report is enough for them
    // (the known loggers do no more), and a report is at most this late.
    MIN_WAIT_MS = 40,
    DRAIN_QUIET_MS = 100,
    MAX_DRAIN_MS = 1500,
};
static const int64_t SILENCE_NS = 250000000;   // six reports missed: a gap
static const int64_t RESTART_NS = 1000000000;  // of silence: start the meter again
static const int64_t REOPEN_NS = 1000000000;   // between attempts to open a meter that vanished
static const int64_t GAP_EVERY_NS = 250000000; // how often a lasting gap is said

struct sample {
    int64_t t_ns;
    double power_w;
    bool is_valid;
};

struct fnirsi {
    struct meter_env env; // a copy; what it points to is the owner's
    const struct os_clock *clock;
    const struct meter_device_ops *devices;
    const struct fnirsi_model *model;
    char path[FNIRSI_PATH_BYTES];
    bool is_named; // by the user: the same node again after it vanished, not another meter
    int fd;        // -1: vanished
    bool is_first; // the first report after a start holds garbage
    int64_t stay_t_ns, report_t_ns, start_t_ns, gap_t_ns; // when it last happened
    struct fnirsi_pace pace;
    int64_t out_t_ns; // of the newest sample handed on: time never runs backwards
    size_t n, next;
    struct sample queue[MAX_REPORTS * FNIRSI_SAMPLES + 1];
};

// --- probe --------------------------------------------------------------------------------------

static void say_permission(const struct fnirsi_model *model, const char *path,
                           struct meter_verdict *out) {
    out->availability = METER_PERMISSION;
    snprintf(out->reason, sizeof out->reason,
             "a FNIRSI %s is plugged in (%.64s), but this user may not talk to it", model->name,
             path);
    snprintf(
        out->fix, sizeof out->fix,
        "until it is unplugged, for every user:\n"
        "  sudo chmod a+rw %.64s\n"
        "for good, for one group (log in again and plug the meter in again afterwards):\n"
        "  sudo groupadd -f energy && sudo usermod -aG energy \"$USER\"\n"
        "  echo 'SUBSYSTEM==\"hidraw\", ATTRS{idVendor}==\"%04x\", ATTRS{idProduct}==\"%04x\", "
        "GROUP=\"energy\", MODE=\"0660\"' | sudo tee /etc/udev/rules.d/70-wattlaw-fnirsi.rules\n"
        "  sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=hidraw",
        path, model->vendor, model->product);
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    out->scope = METER_SCOPE_BOARD;
    out->label = LABEL_MEASURED;
    out->is_external = true;
    struct fnirsi_found found;
    fnirsi_find(env->root, &found);
    if (!found.model) {
        out->availability = METER_MISSING;
        str_copy(out->reason, sizeof out->reason,
                 "no FNIRSI meter (FNB48, FNB48S, FNB58, C1) is plugged in by its data port");
        return;
    }
    char node[OS_PATH_BYTES];
    bool is_denied = platform_path(node, env->root, found.path, NULL) == WL_OK &&
                     faccessat(AT_FDCWD, node, R_OK | W_OK, AT_EACCESS) != 0 &&
                     (errno == EACCES || errno == EPERM);
    if (is_denied) {
        say_permission(found.model, found.path, out);
        return;
    }
    out->availability = METER_AVAILABLE;
    snprintf(out->reason, sizeof out->reason,
             "FNIRSI %s at %.64s%s meters whatever draws its power through it; its data port must "
             "not hang on the very board it meters, or the two form a loop",
             found.model->name, found.path,
             found.n > 1 ? " (one of several: name it as fnirsi:/dev/hidrawN)" : "");
}

// --- talking to the meter -----------------------------------------------------------------------

static int64_t now_ns(const struct fnirsi *state) {
    return state->clock->now_ns(state->clock->context);
}

// False when the meter is gone. One that is merely busy is asked again later.
static bool send_command(struct fnirsi *state, enum fnirsi_command command) {
    uint8_t message[1 + FNIRSI_REPORT_BYTES]; // hidraw: the report's number first, 0 for none
    message[0] = 0;
    fnirsi_command_write(message + 1, command);
    ssize_t n = write(state->fd, message, sizeof message);
    return n >= 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT;
}

static bool start(struct fnirsi *state) {
    bool is_there = true;
    for (size_t i = 0; i < sizeof state->model->start / sizeof state->model->start[0]; i++) {
        is_there = is_there && send_command(state, state->model->start[i]);
        poll(NULL, 0, COMMAND_PAUSE_MS);
    }
    state->start_t_ns = state->stay_t_ns = now_ns(state);
    state->pace = (struct fnirsi_pace)FNIRSI_PACE_INIT;
    state->is_first = true;
    return is_there;
}

static void disconnect(struct fnirsi *state) {
    if (state->fd >= 0) {
        close(state->fd);
    }
    state->fd = -1;
    state->start_t_ns = now_ns(state);
}

static enum wl_status connect_to(struct fnirsi *state, struct wl_err *err) {
    int fd =
        state->devices->open(state->devices->context, state->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        bool is_denied = errno == EACCES || errno == EPERM;
        return wl_err_errno(err, errno, "cannot open '%s'%s", state->path,
                            is_denied ? " ('wattlaw doctor' shows the udev rule that helps)" : "");
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        return wl_err_set(err, WL_BUSY, "'%s' (FNIRSI %s) is in use by another program",
                          state->path, state->model->name);
    }
    state->fd = fd;
    if (!start(state)) {
        disconnect(state);
        return wl_err_set(err, WL_IO, "'%s' (FNIRSI %s) takes no commands; plug it in again",
                          state->path, state->model->name);
    }
    state->report_t_ns = now_ns(state);
    return WL_OK;
}

// The meter may come back under another number, or as another model.
static void reconnect(struct fnirsi *state) {
    if (now_ns(state) - state->start_t_ns < REOPEN_NS) {
        return;
    }
    state->start_t_ns = now_ns(state);
    struct fnirsi_found found = {0};
    if (state->is_named) {
        found.model = fnirsi_model_at(state->env.root, state->path);
        str_copy(found.path, sizeof found.path, state->path);
    } else {
        fnirsi_find(state->env.root, &found);
    }
    if (found.model) {
        state->model = found.model;
        str_copy(state->path, sizeof state->path, found.path);
        connect_to(state, NULL);
    }
}

// --- samples ------------------------------------------------------------------------------------

static void push(struct fnirsi *state, int64_t t_ns, double power_w, bool is_valid) {
    if (state->n < sizeof state->queue / sizeof state->queue[0]) {
        state->out_t_ns = t_ns > state->out_t_ns ? t_ns : state->out_t_ns + 1;
        state->queue[state->n++] = (struct sample){state->out_t_ns, power_w, is_valid};
    }
}

// Stamped a little in the past, so that reports on their way are not later than it.
static void push_gap(struct fnirsi *state) {
    int64_t t_ns = now_ns(state);
    if (t_ns - state->gap_t_ns >= GAP_EVERY_NS) {
        push(state, t_ns - FNIRSI_REPORT_NS, 0, false);
        state->gap_t_ns = t_ns;
    }
}

struct batch {
    size_t n;
    int64_t arrival_ns;
    double power_w[MAX_REPORTS][FNIRSI_SAMPLES];
    bool is_valid[MAX_REPORTS];
};

static void add_report(struct fnirsi *state, const uint8_t *report, size_t len,
                       struct batch *batch) {
    enum fnirsi_content content = fnirsi_report_parse(report, len, batch->power_w[batch->n]);
    if (content == FNIRSI_OTHER) {
        return;
    }
    state->report_t_ns = batch->arrival_ns;
    if (state->is_first) {
        state->is_first = false;
        return;
    }
    batch->is_valid[batch->n++] = content == FNIRSI_DATA; // a damaged one still took its time
}

// Everything that waits in the queue. False when the meter is gone.
static bool collect(struct fnirsi *state, struct batch *batch) {
    for (size_t i = 0; i < MAX_REPORTS; i++) {
        struct pollfd ready = {.fd = state->fd, .events = POLLIN};
        if (poll(&ready, 1, 0) <= 0) {
            return true;
        }
        uint8_t report[FNIRSI_REPORT_BYTES + 1]; // one more shows a report that is too long
        ssize_t len = read(state->fd, report, sizeof report);
        if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
            return true;
        }
        if (len <= 0) {
            return false;
        }
        batch->arrival_ns = now_ns(state);
        add_report(state, report, (size_t)len, batch);
    }
    return true;
}

static void push_batch(struct fnirsi *state, const struct batch *batch) {
    if (fnirsi_pace_arrive(&state->pace, batch->n, batch->arrival_ns)) {
        push(state, fnirsi_pace_sample_ns(&state->pace, batch->n, 0, 0) - 1, 0, false);
    }
    for (size_t i = 0; i < batch->n; i++) {
        for (size_t k = 0; k < FNIRSI_SAMPLES; k++) {
            push(state, fnirsi_pace_sample_ns(&state->pace, batch->n, i, k), batch->power_w[i][k],
                 batch->is_valid[i]);
        }
    }
}

static int wait_ms(const struct fnirsi *state) {
    int64_t until_stay_ms = (state->stay_t_ns + state->model->stay_ns - now_ns(state)) / 1000000;
    return until_stay_ms < MIN_WAIT_MS   ? MIN_WAIT_MS
           : until_stay_ms > MAX_WAIT_MS ? MAX_WAIT_MS
                                         : (int)until_stay_ms;
}

static bool stay(struct fnirsi *state) {
    if (now_ns(state) - state->stay_t_ns < state->model->stay_ns) {
        return true;
    }
    state->stay_t_ns = now_ns(state);
    return send_command(state, FNIRSI_STAY);
}

static void listen_to(struct fnirsi *state) {
    struct pollfd ready = {.fd = state->fd, .events = POLLIN};
    struct batch batch = {0};
    poll(&ready, 1, wait_ms(state));
    bool is_there = collect(state, &batch);
    if (batch.n > 0) {
        push_batch(state, &batch);
    }
    int64_t silent_ns = now_ns(state) - state->report_t_ns;
    if (is_there && silent_ns > RESTART_NS && now_ns(state) - state->start_t_ns > RESTART_NS) {
        is_there = start(state);
    } else if (is_there) {
        is_there = stay(state);
    }
    if (!is_there) {
        disconnect(state);
    }
    if (!is_there || silent_ns > SILENCE_NS) {
        state->pace.is_running = false;
        push_gap(state);
    }
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err; // an unplugged meter is a gap until it is back
    struct fnirsi *state = state_;
    if (state->next == state->n) {
        state->next = state->n = 0;
        if (state->fd >= 0) {
            listen_to(state);
        } else {
            poll(NULL, 0, MAX_WAIT_MS);
            reconnect(state);
            push_gap(state);
        }
    }
    if (state->next == state->n) {
        out->is_empty = true;
        return WL_OK;
    }
    const struct sample *sample = &state->queue[state->next++];
    out->t_before_ns = out->t_after_ns = sample->t_ns;
    out->channel[0].value = sample->power_w;
    out->channel[0].is_valid = sample->is_valid;
    out->has_more = state->next < state->n;
    return WL_OK;
}

// --- open and close -----------------------------------------------------------------------------

static void describe(const struct fnirsi *state, struct meter_info *info) {
    snprintf(info->title, sizeof info->title, "FNIRSI %s at %.48s", state->model->name,
             state->path);
    info->kind = METER_GAUGE_INSTANT;
    info->scope = METER_SCOPE_BOARD;
    info->unit = "W";
    info->native_period_ns = FNIRSI_REPORT_NS / FNIRSI_SAMPLES;
    info->poll_period_ns = 1000000; // the thread listens all the time
    info->lag_ns = 1000000;         // USB, and the wait for the fourth sample is in the stamps
    info->lag_sd_ns = 5000000;      // what the meter does inside is not documented
    info->quantum = 1e-4;           // 10 uA at 10 V
    info->noise_sd_w = 0.005;
    info->includes_dram = true;
    info->is_exclusive = true;
    info->may_block = true;
    info->gain_error_rel = 0.005; // the maker's figure, 0.5 %
    info->offset_error_w = 0.005; // about 1 mA at 5 V
    info->max_power_w = 150;
    info->label = LABEL_MEASURED;
    info->n_channels = 1;
    info->channel[0] =
        (struct meter_channel){.name = "usb-in", .scale = 1, .is_counted = true, .parent = -1};
}

static enum wl_status choose(struct fnirsi *state, const char *argument, struct wl_err *err) {
    if (argument) {
        if (argument[0] != '/' || !str_copy(state->path, sizeof state->path, argument)) {
            return wl_err_set(err, WL_USAGE,
                              "expected the path of a node, as in 'fnirsi:/dev/hidraw3', found "
                              "'%.64s'",
                              argument);
        }
        state->is_named = true;
        state->model = fnirsi_model_at(state->env.root, argument);
        return state->model ? WL_OK
                            : wl_err_set(err, WL_NOT_FOUND,
                                         "'%s' is not a hidraw node of a FNIRSI meter (FNB48, "
                                         "FNB48S, FNB58, C1)",
                                         argument);
    }
    struct fnirsi_found found;
    fnirsi_find(state->env.root, &found);
    state->model = found.model;
    str_copy(state->path, sizeof state->path, found.path);
    return found.model ? WL_OK
                       : wl_err_set(err, WL_NOT_FOUND,
                                    "no FNIRSI meter (FNB48, FNB48S, FNB58, C1) is plugged in by "
                                    "its data port");
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **out, struct wl_err *err) {
    struct fnirsi *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    state->env = *env;
    state->clock = meter_env_clock(env);
    state->devices = env->devices ? env->devices : &METER_DEVICE_REAL;
    state->fd = -1;
    state->out_t_ns = INT64_MIN;
    state->gap_t_ns = -GAP_EVERY_NS;
    enum wl_status status = choose(state, argument, err);
    if (status == WL_OK) {
        status = connect_to(state, err);
    }
    if (status != WL_OK) {
        free(state);
        return status;
    }
    describe(state, info);
    *out = state;
    return WL_OK;
}

// A meter that is left with reports nobody took may hang until it is plugged in anew. Without a
// 'stay' it falls silent by itself, after a second at most.
static void drain(struct fnirsi *state) {
    int64_t end_ns = os_now_ns() + (int64_t)MAX_DRAIN_MS * 1000000;
    struct pollfd ready = {.fd = state->fd, .events = POLLIN};
    while (os_now_ns() < end_ns && poll(&ready, 1, DRAIN_QUIET_MS) > 0) {
        uint8_t report[FNIRSI_REPORT_BYTES];
        if (read(state->fd, report, sizeof report) <= 0) {
            return;
        }
    }
}

static void close_state(void *state_) {
    struct fnirsi *state = state_;
    if (state->fd >= 0) {
        drain(state);
        close(state->fd);
    }
    free(state);
}

const struct meter_source meter_source_fnirsi = {.name = "fnirsi",
                                                 .title = "FNIRSI USB power meter",
                                                 .probe = probe,
                                                 .open = open_source,
                                                 .read = read_source,
                                                 .close = close_state};
