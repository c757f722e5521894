#include "meter/hwmon_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "meter/platform.h"

static const char CLASS_DIR[] = "/sys/class/hwmon";
enum { MAX_ENTRIES = 4096 };

static const char *const PREFIXES[HWMON_N_KINDS] = {[HWMON_ENERGY] = "energy",
                                                    [HWMON_POWER] = "power",
                                                    [HWMON_VOLTAGE] = "in",
                                                    [HWMON_CURRENT] = "curr"};

const struct hwmon_driver *hwmon_driver_of(const char *name) {
    enum { AVERAGED = HWMON_AVERAGED, BLOCKS = HWMON_BLOCKS, EITHER_WAY = HWMON_EITHER_WAY };
#define HWMON_DRIVER(name_, rule_, place_, scope_, dram_, gain_, noise_, quantum_, period_,        \
                     traits_, rails_, offset_)                                                     \
    {.name = name_,                                                                                \
     .rule = HWMON_##rule_,                                                                        \
     .place = HWMON_##place_,                                                                      \
     .scope = METER_SCOPE_##scope_,                                                                \
     .has_dram = dram_,                                                                            \
     .gain_error_rel = gain_,                                                                      \
     .noise_sd_w = noise_,                                                                         \
     .quantum_w = quantum_,                                                                        \
     .period_ms = period_,                                                                         \
     .traits = traits_,                                                                            \
     .n_rails = rails_,                                                                            \
     .voltage_offset = offset_},
    static const struct hwmon_driver DRIVERS[] = {
#include "meter/hwmon_devices.def"
        HWMON_DRIVER("", ONLY, NAMED, BOARD, true, 0.05, 0.1, 0.1, 1000, 0, 0, 0)};
#undef HWMON_DRIVER
    size_t last = sizeof DRIVERS / sizeof DRIVERS[0] - 1;
    for (size_t i = 0; i < last; i++) {
        if (strcmp(DRIVERS[i].name, name) == 0) {
            return &DRIVERS[i];
        }
    }
    return &DRIVERS[last];
}

enum wl_status hwmon_path(char out[OS_PATH_BYTES], const char *root, const char *dir,
                          const char *file, struct wl_err *err) {
    char inner[256];
    int n = snprintf(inner, sizeof inner, "%s/%s/%s", CLASS_DIR, dir, file);
    if (n < 0 || (size_t)n >= sizeof inner) {
        return wl_err_set(err, WL_LIMIT, "path too long: '%.80s'", dir);
    }
    return platform_path(out, root, inner, err);
}

// --- one file -----------------------------------------------------------------------------------

static bool parse_suffix(const char *text, enum hwmon_suffix *out) {
    static const struct {
        const char *text;
        enum hwmon_suffix suffix;
    } SUFFIXES[] = {{"_input", HWMON_INPUT},
                    {"_average", HWMON_AVERAGE},
                    {"_label", HWMON_LABEL},
                    {"_enable", HWMON_ENABLE}};
    for (size_t i = 0; i < sizeof SUFFIXES / sizeof SUFFIXES[0]; i++) {
        if (strcmp(text, SUFFIXES[i].text) == 0) {
            *out = SUFFIXES[i].suffix;
            return true;
        }
    }
    return false;
}

bool hwmon_parse_file(const char *file, struct hwmon_file *out) {
    for (enum hwmon_kind kind = 0; kind < HWMON_N_KINDS; kind++) {
        if (!str_starts_with(file, PREFIXES[kind])) {
            continue;
        }
        const char *at = file + strlen(PREFIXES[kind]);
        unsigned index = 0;
        size_t n_digits = 0;
        for (; *at >= '0' && *at <= '9' && n_digits < 3; at++, n_digits++) {
            index = index * 10 + (unsigned)(*at - '0');
        }
        if (n_digits == 0 || index > HWMON_MAX_INDEX || !parse_suffix(at, &out->suffix)) {
            return false;
        }
        out->kind = kind;
        out->index = index;
        return true;
    }
    return false;
}

// --- one device ---------------------------------------------------------------------------------

// Which files there are: suffix bits by kind and index.
struct scan {
    const char *root;
    const struct hwmon_driver *driver;
    struct hwmon_device *device;
    unsigned has[HWMON_N_KINDS][HWMON_MAX_INDEX + 1];
};

static bool visit_file(void *context, const char *name) {
    struct scan *scan = context;
    struct hwmon_file file;
    if (hwmon_parse_file(name, &file)) {
        scan->has[file.kind][file.index] |= file.suffix;
    }
    return true;
}

static bool device_line(const char *root, const char *dir, const char *file, char *out,
                        size_t size) {
    char inner[256];
    int n = snprintf(inner, sizeof inner, "%s/%s/%s", CLASS_DIR, dir, file);
    out[0] = '\0';
    return n > 0 && (size_t)n < sizeof inner && platform_line(root, inner, out, size);
}

static void read_label(const struct scan *scan, enum hwmon_kind kind, unsigned index,
                       char out[METER_NAME_BYTES]) {
    char file[24];
    out[0] = '\0';
    if (scan->has[kind][index] & HWMON_LABEL) {
        snprintf(file, sizeof file, "%s%u_label", PREFIXES[kind], index);
        device_line(scan->root, scan->device->dir, file, out, METER_NAME_BYTES);
    }
}

static int try_open(const struct scan *scan, const char *file) {
    char path[OS_PATH_BYTES];
    if (!file[0]) {
        return 0;
    }
    if (hwmon_path(path, scan->root, scan->device->dir, file, NULL) != WL_OK) {
        return ENAMETOOLONG;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

// The rail whose figure is `file_a` (times `file_b`); left out when it is off or not connected.
static void add_rail(struct scan *scan, enum hwmon_kind kind, unsigned index, const char *label,
                     const char *file_a, const char *file_b) {
    struct hwmon_device *device = scan->device;
    if (device->n == HWMON_MAX_RAILS || strcmp(label, "NC") == 0) {
        return;
    }
    struct hwmon_rail *rail = &device->rail[device->n++];
    *rail = (struct hwmon_rail){.kind = kind};
    snprintf(rail->stem, sizeof rail->stem, "%s%u", PREFIXES[kind], index);
    str_copy(rail->label, sizeof rail->label, label);
    str_copy(rail->file[0], sizeof rail->file[0], file_a);
    str_copy(rail->file[1], sizeof rail->file[1], file_b);
    int error = try_open(scan, file_a);
    rail->access_error = error ? error : try_open(scan, file_b);
}

static void add_single(struct scan *scan, enum hwmon_kind kind) {
    for (unsigned i = 0; i <= HWMON_MAX_INDEX; i++) {
        unsigned has = scan->has[kind][i];
        char file[24], label[METER_NAME_BYTES];
        if (!(has & (HWMON_INPUT | HWMON_AVERAGE))) {
            continue;
        }
        // A mean over the refresh misses nothing between two reads; a momentary value does.
        snprintf(file, sizeof file, "%s%u_%s", PREFIXES[kind], i,
                 has & HWMON_AVERAGE ? "average" : "input");
        read_label(scan, kind, i, label);
        add_rail(scan, kind, i, label, file, "");
    }
}

static bool has_equal_label(const struct scan *scan, unsigned voltage, const char *label) {
    char other[METER_NAME_BYTES];
    read_label(scan, HWMON_VOLTAGE, voltage, other);
    return label[0] && strcmp(other, label) == 0;
}

// The voltage that belongs to a current, or -1. Equal numbers alone prove nothing: in4 of an
// INA3221 is a shunt's voltage, and curr4 a sum.
static int voltage_of(const struct scan *scan, unsigned current, const char *label) {
    const struct hwmon_driver *driver = scan->driver;
    if (driver->n_rails) {
        int index = (int)current + driver->voltage_offset;
        bool is_there = current >= 1 && current <= driver->n_rails && index >= 0 &&
                        (scan->has[HWMON_VOLTAGE][index] & HWMON_INPUT);
        return is_there ? index : -1;
    }
    for (unsigned i = 0; i <= HWMON_MAX_INDEX; i++) {
        if ((scan->has[HWMON_VOLTAGE][i] & HWMON_INPUT) && has_equal_label(scan, i, label)) {
            return (int)i;
        }
    }
    return -1;
}

static bool is_enabled(const struct scan *scan, unsigned voltage) {
    char file[24], line[16];
    snprintf(file, sizeof file, "in%u_enable", voltage);
    return !(scan->has[HWMON_VOLTAGE][voltage] & HWMON_ENABLE) ||
           !device_line(scan->root, scan->device->dir, file, line, sizeof line) ||
           strcmp(line, "0") != 0;
}

static void add_products(struct scan *scan) {
    for (unsigned i = 0; i <= HWMON_MAX_INDEX; i++) {
        char label[METER_NAME_BYTES], current_file[24], voltage_file[24];
        if (!(scan->has[HWMON_CURRENT][i] & HWMON_INPUT)) {
            continue;
        }
        read_label(scan, HWMON_CURRENT, i, label);
        int voltage = voltage_of(scan, i, label);
        if (voltage < 0 || !is_enabled(scan, (unsigned)voltage)) {
            continue;
        }
        if (!label[0]) {
            read_label(scan, HWMON_VOLTAGE, (unsigned)voltage, label);
        }
        snprintf(current_file, sizeof current_file, "curr%u_input", i);
        snprintf(voltage_file, sizeof voltage_file, "in%d_input", voltage);
        add_rail(scan, HWMON_CURRENT, i, label, current_file, voltage_file);
    }
}

static bool is_any_readable(const struct hwmon_device *device) {
    for (size_t i = 0; i < device->n; i++) {
        if (!device->rail[i].access_error) {
            return true;
        }
    }
    return false;
}

// The best of the three that may be read; else the best there is, whose error then explains.
static void find_rails(struct scan *scan) {
    struct hwmon_device best = {0};
    for (int tier = 0; tier < 3; tier++) {
        scan->device->n = 0;
        if (tier < 2) {
            add_single(scan, tier == 0 ? HWMON_ENERGY : HWMON_POWER);
        } else {
            add_products(scan);
        }
        if (is_any_readable(scan->device)) {
            return;
        }
        if (best.n == 0) {
            best = *scan->device;
        }
    }
    *scan->device = best.n ? best : *scan->device;
}

static void find_apu(struct scan *scan) {
    // Only processors with graphics have the rail of the north bridge.
    char label[METER_NAME_BYTES];
    for (unsigned i = 0; i <= HWMON_MAX_INDEX; i++) {
        read_label(scan, HWMON_VOLTAGE, i, label);
        scan->device->is_apu |= strcmp(label, "vddnb") == 0;
    }
}

static void read_id(const char *root, const char *dir, char out[METER_NAME_BYTES]) {
    char path[OS_PATH_BYTES], target[512];
    out[0] = '\0';
    if (hwmon_path(path, root, dir, "device", NULL) != WL_OK) {
        return;
    }
    ssize_t n = readlink(path, target, sizeof target - 1);
    if (n > 0) {
        target[n] = '\0';
        const char *slash = strrchr(target, '/');
        str_copy(out, METER_NAME_BYTES, slash ? slash + 1 : target);
    }
}

// Name and id; false when the folder is no device.
static bool identify(const char *root, const char *dir, struct hwmon_device *out) {
    *out = (struct hwmon_device){0};
    if (!str_copy(out->dir, sizeof out->dir, dir) ||
        !device_line(root, dir, "name", out->name, sizeof out->name) || !out->name[0]) {
        return false;
    }
    read_id(root, dir, out->id);
    return true;
}

// --- the class ----------------------------------------------------------------------------------

struct visit {
    const char *root;
    struct hwmon_tree *out;
};

static bool visit_device(void *context, const char *dir) {
    struct visit *visit = context;
    struct hwmon_device *device = &visit->out->device[visit->out->n];
    char path[OS_PATH_BYTES];
    if (!identify(visit->root, dir, device) ||
        hwmon_path(path, visit->root, dir, ".", NULL) != WL_OK) {
        return true;
    }
    struct scan scan = {
        .root = visit->root, .driver = hwmon_driver_of(device->name), .device = device};
    os_list_dir(path, MAX_ENTRIES, visit_file, &scan, NULL);
    find_rails(&scan);
    find_apu(&scan);
    visit->out->n += device->n > 0;
    return visit->out->n < HWMON_MAX_DEVICES;
}

static int compare_devices(const void *a_, const void *b_) {
    const struct hwmon_device *a = a_, *b = b_;
    int order = strcmp(a->name, b->name);
    return order ? order : strcmp(a->id, b->id);
}

void hwmon_tree_read(const char *root, struct hwmon_tree *out) {
    char path[OS_PATH_BYTES];
    struct visit visit = {root, out};
    out->n = 0;
    if (platform_path(path, root, CLASS_DIR, NULL) == WL_OK) {
        os_list_dir(path, MAX_ENTRIES, visit_device, &visit, NULL);
        qsort(out->device, out->n, sizeof out->device[0], compare_devices);
    }
}

struct search {
    const char *root, *name, *id;
    size_t n;
    char *dir;
};

static bool visit_candidate(void *context, const char *dir) {
    struct search *search = context;
    struct hwmon_device device;
    if (identify(search->root, dir, &device) && strcmp(device.name, search->name) == 0 &&
        strcmp(device.id, search->id) == 0) {
        str_copy(search->dir, METER_NAME_BYTES, dir);
        search->n++;
    }
    return search->n < 2;
}

bool hwmon_find_dir(const char *root, const char *name, const char *id,
                    char out[METER_NAME_BYTES]) {
    char path[OS_PATH_BYTES];
    struct search search = {.root = root, .name = name, .id = id, .dir = out};
    return platform_path(path, root, CLASS_DIR, NULL) == WL_OK &&
           os_list_dir(path, MAX_ENTRIES, visit_candidate, &search, NULL) == WL_OK && search.n == 1;
}
