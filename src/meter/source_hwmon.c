// Power sensors behind the kernel's hwmon class: INA chips on boards, HATs and Jetson modules, the
// POWER-Z USB meters, the processor's own telemetry (amdgpu, zenpower), and by name any other
// driver. An energy counter is preferred to power, power to voltage x current.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "meter/hwmon_choice.h"
#include "meter/kept_file.h"
#include "meter/platform.h"
#include "meter/source.h"

// Above what any rail carries: such a figure is in another unit, or no figure at all.
static const double MAX_POWER_W = 2000;
static const int64_t NS_PER_MS = 1000000, MAX_UPDATE_MS = 60000;

struct reader {
    size_t device; // in struct hwmon
    struct hwmon_rail rail;
    struct kept_file file[2]; // fixed: a path with a number in it may lead to another sensor later
    bool is_counted;
    double direction; // +1 or -1 once it is known; 0 before
};

struct source {
    char name[METER_NAME_BYTES], id[METER_NAME_BYTES], dir[METER_NAME_BYTES];
    bool is_gone; // its files failed as those of a device that was unplugged
};

struct hwmon {
    const struct os_clock *clock;
    const char *root;
    bool is_either_way;
    double noise_w; // a negative power within this is zero
    size_t n, n_devices;
    struct reader reader[METER_MAX_CHANNELS];
    struct source device[HWMON_MAX_DEVICES];
};

// --- probe --------------------------------------------------------------------------------------

static bool is_jetson(const char *root) {
    char line[PLATFORM_TEXT_BYTES];
    return (platform_line(root, "/proc/device-tree/model", line, sizeof line) &&
            (strstr(line, "Jetson") || strstr(line, "NVIDIA"))) ||
           (platform_line(root, "/proc/device-tree/compatible", line, sizeof line) &&
            str_starts_with(line, "nvidia,"));
}

static void list_counted(const struct hwmon_tree *tree, const struct hwmon_choice *choice,
                         char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < choice->n && choice->pick[i].is_counted; i++) {
        const struct hwmon_device *device = &tree->device[choice->pick[i].device];
        const struct hwmon_rail *rail = &device->rail[choice->pick[i].rail];
        int n = used < size ? snprintf(out + used, size - used, "%s%s", used ? " + " : "",
                                       rail->label[0] ? rail->label : rail->stem)
                            : 0;
        used += n > 0 ? (size_t)n : 0;
    }
}

static void describe_choice(const struct hwmon_tree *tree, const struct hwmon_choice *choice,
                            struct meter_verdict *out) {
    char names[160];
    const struct hwmon_device *device = &tree->device[choice->pick[0].device];
    list_counted(tree, choice, names, sizeof names);
    out->availability = METER_AVAILABLE;
    out->scope = choice->scope;
    out->is_external = choice->is_external;
    snprintf(out->reason, sizeof out->reason, "counts %s of sensor %s%s%s%s", names, device->name,
             device->id[0] ? " at " : "", device->id,
             choice->is_external ? "; whether it is wired to this machine only you know" : "");
}

static void describe_refusal(enum wl_status status, const struct wl_err *err,
                             struct meter_verdict *out) {
    static const char READ_FIX[] =
        "until the next boot: sudo chmod a+r /sys/class/hwmon/hwmon*/energy*_input";
    static const char MISSING_FIX[] =
        "for an INA chip (here an INA226 at 0x40 of bus 1), until the next boot:\n"
        "  sudo modprobe i2c-dev && sudo modprobe ina2xx\n"
        "  echo ina226 0x40 | sudo tee /sys/bus/i2c/devices/i2c-1/new_device\n"
        "  and its shunt, in microohms, into shunt_resistor of the new /sys/class/hwmon folder\n"
        "for a POWER-Z KM002C or KM003C: Linux 6.7 or newer, and sudo modprobe powerz";
    out->availability = status == WL_PERMISSION ? METER_PERMISSION
                        : status == WL_USAGE    ? METER_ON_REQUEST
                                                : METER_MISSING;
    str_copy(out->reason, sizeof out->reason, err->message);
    str_copy(out->fix, sizeof out->fix,
             status == WL_PERMISSION  ? READ_FIX
             : status == WL_NOT_FOUND ? MISSING_FIX
                                      : "");
}

static void probe(const struct meter_env *env, struct meter_verdict *out) {
    out->scope = METER_SCOPE_BOARD;
    out->label = LABEL_MEASURED;
    struct hwmon_tree *tree = malloc(sizeof *tree);
    if (!tree) {
        str_copy(out->reason, sizeof out->reason, "out of memory");
        return;
    }
    struct hwmon_choice choice;
    struct wl_err err = {0};
    hwmon_tree_read(env->root, tree);
    enum wl_status status = hwmon_choose(tree, is_jetson(env->root), NULL, &choice, &err);
    if (status == WL_OK) {
        describe_choice(tree, &choice, out);
    } else {
        describe_refusal(status, &err, out);
    }
    free(tree);
}

// --- open ---------------------------------------------------------------------------------------

static enum wl_status open_file(const struct hwmon *state, const struct source *device,
                                const char *file, struct kept_file *out, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    kept_file_release(out);
    enum wl_status status = hwmon_path(path, state->root, device->dir, file, err);
    if (status == WL_OK) {
        status = kept_file_open(out, path, err);
    }
    out->is_fixed = true;
    return status;
}

static enum wl_status open_reader(const struct hwmon *state, struct reader *reader,
                                  struct wl_err *err) {
    const struct source *device = &state->device[reader->device];
    enum wl_status status = open_file(state, device, reader->rail.file[0], &reader->file[0], err);
    if (status == WL_OK && reader->rail.file[1][0]) {
        status = open_file(state, device, reader->rail.file[1], &reader->file[1], err);
    }
    return status;
}

static size_t device_of(struct hwmon *state, const struct hwmon_device *device) {
    for (size_t i = 0; i < state->n_devices; i++) {
        if (strcmp(state->device[i].dir, device->dir) == 0) {
            return i;
        }
    }
    struct source *out = &state->device[state->n_devices];
    str_copy(out->name, sizeof out->name, device->name);
    str_copy(out->id, sizeof out->id, device->id);
    str_copy(out->dir, sizeof out->dir, device->dir);
    return state->n_devices++;
}

static enum wl_status add_channel(struct hwmon *state, const struct hwmon_tree *tree,
                                  const struct hwmon_pick *pick, struct meter_info *info,
                                  struct wl_err *err) {
    const struct hwmon_device *device = &tree->device[pick->device];
    const struct hwmon_rail *rail = &device->rail[pick->rail];
    struct reader *reader = &state->reader[state->n];
    reader->device = device_of(state, device);
    reader->rail = *rail;
    reader->is_counted = pick->is_counted;
    enum wl_status status = open_reader(state, reader, err);
    if (status != WL_OK) {
        return pick->is_counted ? status : WL_OK; // what would only be shown is left out
    }
    struct meter_channel *channel = &info->channel[state->n++];
    *channel = (struct meter_channel){.scale = rail->kind == HWMON_ENERGY ? 1e-6 : 1,
                                      .is_counted = pick->is_counted,
                                      .parent = pick->parent};
    str_copy(channel->name, sizeof channel->name, rail->label[0] ? rail->label : rail->stem);
    info->n_channels = state->n;
    return WL_OK;
}

// What the driver says about its refresh, in ms; `otherwise` when it says nothing.
static int64_t period_ms(const char *root, const char *dir, const char *stem, int64_t otherwise) {
    char inner[128], line[32], interval[40];
    snprintf(interval, sizeof interval, "%s_average_interval", stem);
    const char *const files[] = {"update_interval", interval};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int64_t ms;
        snprintf(inner, sizeof inner, "/sys/class/hwmon/%s/%s", dir, files[i]);
        if (platform_line(root, inner, line, sizeof line) && str_parse_i64(line, &ms) && ms > 0 &&
            ms <= MAX_UPDATE_MS) {
            return ms;
        }
    }
    return otherwise;
}

static void describe(const struct meter_env *env, const struct hwmon_tree *tree,
                     const struct hwmon_choice *choice, struct meter_info *info) {
    const struct hwmon_driver *driver = choice->driver;
    const struct hwmon_device *device = &tree->device[choice->pick[0].device];
    const struct hwmon_rail *rail = &device->rail[choice->pick[0].rail];
    char names[64];
    list_counted(tree, choice, names, sizeof names);
    snprintf(info->title, sizeof info->title, "%.31s (%.56s)", device->name, names);
    bool is_averaged =
        (driver->traits & HWMON_AVERAGED) || str_ends_with(rail->file[0], "_average");
    info->kind = rail->kind == HWMON_ENERGY ? METER_COUNTER
                 : is_averaged              ? METER_GAUGE_AVERAGED
                                            : METER_GAUGE_INSTANT;
    info->scope = choice->scope;
    info->unit = rail->kind == HWMON_ENERGY ? "uJ" : "W";
    info->native_period_ns =
        NS_PER_MS * period_ms(env->root, device->dir, rail->stem, driver->period_ms);
    info->quantum = driver->quantum_w; // of an energy counter: joules of the same size
    info->noise_sd_w = info->kind == METER_COUNTER ? 0 : driver->noise_sd_w;
    info->gain_error_rel = driver->gain_error_rel;
    info->max_power_w = MAX_POWER_W;
    info->includes_dram = choice->includes_dram;
    info->may_block = driver->traits & HWMON_BLOCKS;
    info->label = LABEL_MEASURED;
}

static void close_state(void *state_) {
    struct hwmon *state = state_;
    if (state) {
        for (size_t i = 0; i < METER_MAX_CHANNELS; i++) {
            kept_file_release(&state->reader[i].file[0]);
            kept_file_release(&state->reader[i].file[1]);
        }
        free(state);
    }
}

static enum wl_status open_choice(const struct meter_env *env, const struct hwmon_tree *tree,
                                  const struct hwmon_choice *choice, struct meter_info *info,
                                  void **out, struct wl_err *err) {
    struct hwmon *state = calloc(1, sizeof *state);
    if (!state) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    state->clock = meter_env_clock(env);
    state->root = env->root;
    state->is_either_way = choice->driver->traits & HWMON_EITHER_WAY;
    state->noise_w = fmax(3 * choice->driver->noise_sd_w, choice->driver->quantum_w);
    for (size_t i = 0; i < METER_MAX_CHANNELS; i++) {
        state->reader[i].file[0] = state->reader[i].file[1] = (struct kept_file)KEPT_FILE_INIT;
    }
    describe(env, tree, choice, info);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < choice->n && status == WL_OK; i++) {
        status = add_channel(state, tree, &choice->pick[i], info, err);
    }
    if (status != WL_OK) {
        close_state(state);
        return status;
    }
    *out = state;
    return WL_OK;
}

static enum wl_status open_source(const struct meter_env *env, const char *argument,
                                  struct meter_info *info, void **state, struct wl_err *err) {
    struct hwmon_tree *tree = malloc(sizeof *tree);
    if (!tree) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    struct hwmon_choice choice;
    hwmon_tree_read(env->root, tree);
    enum wl_status status = hwmon_choose(tree, is_jetson(env->root), argument, &choice, err);
    if (status == WL_OK) {
        status = open_choice(env, tree, &choice, info, state, err);
    }
    free(tree);
    return status;
}

// --- read ---------------------------------------------------------------------------------------

// The device was unplugged and perhaps plugged in again, under another number.
static void look_again(struct hwmon *state, size_t index) {
    struct source *device = &state->device[index];
    device->is_gone = !hwmon_find_dir(state->root, device->name, device->id, device->dir);
    for (size_t i = 0; i < state->n && !device->is_gone; i++) {
        struct reader *reader = &state->reader[i];
        if (reader->device == index && open_reader(state, reader, NULL) != WL_OK) {
            device->is_gone = reader->is_counted;
        }
    }
}

static bool is_unlinked(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

static bool read_text(struct hwmon *state, struct reader *reader, size_t which, char *out,
                      size_t size) {
    struct kept_file *file = &reader->file[which];
    size_t len;
    if (file->fd < 0) {
        return false;
    }
    int error = is_unlinked(file->fd) ? ENODEV : kept_file_read(file, out, size, &len);
    if (error == ENODEV || error == ENOENT || error == ENXIO || error == ESTALE) {
        state->device[reader->device].is_gone = true;
    }
    return error == 0; // ENODATA (switched off), EAGAIN, EIO: a gap, the device is still there
}

static bool read_number(struct hwmon *state, struct reader *reader, size_t which, double *out) {
    char text[64];
    int64_t value;
    if (!read_text(state, reader, which, text, sizeof text) || !str_parse_i64(text, &value)) {
        return false;
    }
    *out = (double)value;
    return true;
}

// The sign of a meter that may be plugged in either way is what it first clearly showed.
static double directed(const struct hwmon *state, struct reader *reader, double power_w) {
    if (!state->is_either_way) {
        return power_w;
    }
    if (reader->direction == 0 && fabs(power_w) > state->noise_w) {
        reader->direction = power_w < 0 ? -1 : 1;
    }
    return reader->direction < 0 ? -power_w : power_w;
}

static bool read_power(struct hwmon *state, struct reader *reader, double *out) {
    double a, b = 1; // uW; or mA and mV, whose product is uW
    if (!read_number(state, reader, 0, &a) ||
        (reader->rail.file[1][0] && (!read_number(state, reader, 1, &b) || b < 0))) {
        return false;
    }
    double power_w = directed(state, reader, a * b * 1e-6);
    *out = fmax(power_w, 0);
    return power_w >= -state->noise_w && power_w <= MAX_POWER_W;
}

static enum wl_status read_source(void *state_, struct meter_reading *out, struct wl_err *err) {
    (void)err;
    struct hwmon *state = state_;
    for (size_t i = 0; i < state->n_devices; i++) {
        if (state->device[i].is_gone) {
            look_again(state, i);
        }
    }
    out->t_before_ns = state->clock->now_ns(state->clock->context);
    for (size_t i = 0; i < state->n; i++) {
        struct reader *reader = &state->reader[i];
        struct meter_channel_reading *reading = &out->channel[i];
        char text[64];
        if (state->device[reader->device].is_gone) {
            continue;
        }
        reading->is_valid = reader->rail.kind == HWMON_ENERGY
                                ? read_text(state, reader, 0, text, sizeof text) &&
                                      str_parse_u64(text, &reading->raw)
                                : read_power(state, reader, &reading->value);
    }
    out->t_after_ns = state->clock->now_ns(state->clock->context);
    return WL_OK;
}

const struct meter_source meter_source_hwmon = {.name = "hwmon",
                                                .title = "power sensors (hwmon)",
                                                .probe = probe,
                                                .open = open_source,
                                                .read = read_source,
                                                .close = close_state};
