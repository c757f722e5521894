// Frequency, temperature and throttling: slow quantities, read once a second. Each keeps its files
// open in a small set.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "meter/kept_file.h"
#include "meter/platform.h"
#include "sampler/parse_sensors.h"
#include "sampler/sampler_source.h"
#include "sampler/throttled.h"

enum { MAX_FILES = 64, MAX_ENTRIES = 4096, MAX_CPUINFO_BYTES = 1 << 20 };
static const int64_t SENSOR_PERIOD_NS = 1000000000;
static const double SENSOR_MAX_SHARE = 0.0003;

struct sensor_files {
    const char *root;
    size_t n;
    struct kept_file file[MAX_FILES];
    unsigned weight[MAX_FILES];
    double last_sum; // throttle count at the previous look
    bool has_last;
    bool is_cpuinfo; // frequency comes from /proc/cpuinfo
    size_t n_counts; // throttle: the first n_counts files are counts, the rest alarms
    struct throttled throttled;
    bool has_throttled;
    char cpuinfo_path[OS_PATH_BYTES];
};

static struct sensor_files *new_files(const struct sampler_env *env) {
    struct sensor_files *files = calloc(1, sizeof *files);
    if (files) {
        files->root = env->root;
        files->throttled = (struct throttled)THROTTLED_INIT;
        for (size_t i = 0; i < MAX_FILES; i++) {
            files->file[i] = (struct kept_file)KEPT_FILE_INIT;
        }
    }
    return files;
}

static void close_files(void *state_) {
    struct sensor_files *files = state_;
    for (size_t i = 0; i < files->n; i++) {
        kept_file_release(&files->file[i]);
    }
    throttled_close(&files->throttled);
    free(files);
}

static void *files_or_null(struct sensor_files *files) {
    if (files && files->n == 0 && !files->is_cpuinfo && !files->has_throttled) {
        close_files(files);
        return NULL;
    }
    return files;
}

static bool add_file(struct sensor_files *files, const char *inner, unsigned weight) {
    char path[OS_PATH_BYTES];
    if (files->n == MAX_FILES || platform_path(path, files->root, inner, NULL) != WL_OK ||
        kept_file_open(&files->file[files->n], path, NULL) != WL_OK) {
        return false;
    }
    files->weight[files->n++] = weight;
    return true;
}

static void list(struct sensor_files *files, const char *inner,
                 bool (*visit)(void *context, const char *name)) {
    char path[OS_PATH_BYTES];
    if (platform_path(path, files->root, inner, NULL) == WL_OK) {
        os_list_dir(path, MAX_ENTRIES, visit, files, NULL);
    }
}

static bool read_file(struct sensor_files *files, size_t i, char *text, size_t size) {
    size_t len;
    return kept_file_read(&files->file[i], text, size, &len) == 0;
}

// --- frequency ----------------------------------------------------------------------------------

static unsigned count_words(const char *text) {
    unsigned n = 0;
    for (; *text; text += strcspn(text, " ")) {
        text += strspn(text, " ");
        n += *text != '\0';
    }
    return n;
}

// A policy is a set of cores that share one clock: it weighs as many as it has.
static bool visit_policy(void *context, const char *name) {
    char inner[320], cpus[256];
    if (!str_starts_with(name, "policy")) {
        return true;
    }
    snprintf(inner, sizeof inner, "/sys/devices/system/cpu/cpufreq/%.64s/affected_cpus", name);
    struct sensor_files *files = context;
    unsigned n_cpus = platform_line(files->root, inner, cpus, sizeof cpus) ? count_words(cpus) : 1;
    snprintf(inner, sizeof inner, "/sys/devices/system/cpu/cpufreq/%.64s/scaling_cur_freq", name);
    add_file(files, inner, n_cpus > 0 ? n_cpus : 1);
    return files->n < MAX_FILES;
}

static void *open_freq(const struct sampler_env *env) {
    struct sensor_files *files = new_files(env);
    if (!files) {
        return NULL;
    }
    list(files, "/sys/devices/system/cpu/cpufreq", visit_policy);
    files->is_cpuinfo = files->n == 0 && platform_path(files->cpuinfo_path, env->root,
                                                       "/proc/cpuinfo", NULL) == WL_OK;
    return files_or_null(files);
}

static bool cpuinfo_mhz(const char *path, double *out) {
    struct buf text;
    buf_init(&text, MAX_CPUINFO_BYTES);
    os_slurp(path, &text, NULL);
    bool is_read = parse_cpuinfo_mhz(buf_text(&text), text.len, out);
    buf_release(&text);
    return is_read;
}

static void read_freq(void *state_, struct sampler_row *row) {
    struct sensor_files *files = state_;
    double sum = 0, weight = 0, mhz;
    char text[64];
    if (files->is_cpuinfo) {
        if (cpuinfo_mhz(files->cpuinfo_path, &mhz)) {
            sum = mhz;
            weight = 1;
        }
    }
    for (size_t i = 0; i < files->n; i++) {
        if (read_file(files, i, text, sizeof text) && parse_freq_mhz(text, &mhz)) {
            sum += mhz * files->weight[i];
            weight += files->weight[i];
        }
    }
    if (weight > 0) {
        row->freq_mhz = (float)(sum / weight);
        row->flags |= SAMPLER_HAS_FREQ;
    }
}

const struct sampler_source sampler_source_freq = {.name = "freq",
                                                   .period_ns = SENSOR_PERIOD_NS,
                                                   .max_share = SENSOR_MAX_SHARE,
                                                   .open = open_freq,
                                                   .read = read_freq,
                                                   .close = close_files};

// --- temperature --------------------------------------------------------------------------------

static void add_zone(struct sensor_files *files, const char *name, bool only_cpu) {
    char inner[320], type[64];
    if (!str_starts_with(name, "thermal_zone")) {
        return;
    }
    snprintf(inner, sizeof inner, "/sys/class/thermal/%.64s/type", name);
    bool has_type = platform_line(files->root, inner, type, sizeof type);
    if (!only_cpu || (has_type && is_cpu_zone_type(type))) {
        snprintf(inner, sizeof inner, "/sys/class/thermal/%.64s/temp", name);
        add_file(files, inner, 1);
    }
}

static bool visit_cpu_zone(void *context, const char *name) {
    add_zone(context, name, true);
    return true;
}

static bool visit_any_zone(void *context, const char *name) {
    add_zone(context, name, false);
    return true;
}

static bool visit_temp_hwmon(void *context, const char *name) {
    struct sensor_files *files = context;
    char inner[320], chip[64];
    snprintf(inner, sizeof inner, "/sys/class/hwmon/%.64s/name", name);
    if (platform_line(files->root, inner, chip, sizeof chip) && is_cpu_hwmon_name(chip)) {
        snprintf(inner, sizeof inner, "/sys/class/hwmon/%.64s/temp1_input", name);
        add_file(files, inner, 1);
    }
    return true;
}

// CPU zones; else the CPU's own sensor chip (AMD has no zone); else any zone there is.
static void *open_temp(const struct sampler_env *env) {
    struct sensor_files *files = new_files(env);
    if (!files) {
        return NULL;
    }
    list(files, "/sys/class/thermal", visit_cpu_zone);
    if (files->n == 0) {
        list(files, "/sys/class/hwmon", visit_temp_hwmon);
    }
    if (files->n == 0) {
        list(files, "/sys/class/thermal", visit_any_zone);
    }
    return files_or_null(files);
}

static void read_temp(void *state_, struct sampler_row *row) {
    struct sensor_files *files = state_;
    for (size_t i = 0; i < files->n; i++) {
        char text[64];
        double temp_c;
        if (!read_file(files, i, text, sizeof text) || !parse_temp_c(text, &temp_c)) {
            continue;
        }
        if (!(row->flags & SAMPLER_HAS_TEMP) || temp_c > (double)row->temp_c) {
            row->temp_c = (float)temp_c;
        }
        row->flags |= SAMPLER_HAS_TEMP;
    }
}

const struct sampler_source sampler_source_temp = {.name = "temp",
                                                   .period_ns = SENSOR_PERIOD_NS,
                                                   .max_share = SENSOR_MAX_SHARE,
                                                   .open = open_temp,
                                                   .read = read_temp,
                                                   .close = close_files};

// --- throttling ---------------------------------------------------------------------------------

static bool visit_throttle_cpu(void *context, const char *name) {
    struct sensor_files *files = context;
    char inner[320];
    if (!str_starts_with(name, "cpu") || name[3] < '0' || name[3] > '9') {
        return true;
    }
    if (files->n == 0) { // every core of a package repeats the package's count
        snprintf(inner, sizeof inner,
                 "/sys/devices/system/cpu/%.32s/thermal_throttle/package_throttle_count", name);
        add_file(files, inner, 1);
    }
    snprintf(inner, sizeof inner,
             "/sys/devices/system/cpu/%.32s/thermal_throttle/core_throttle_count", name);
    add_file(files, inner, 1);
    return files->n < MAX_FILES - 4;
}

static bool visit_alarm_hwmon(void *context, const char *name) {
    struct sensor_files *files = context;
    char inner[320], chip[64];
    snprintf(inner, sizeof inner, "/sys/class/hwmon/%.64s/name", name);
    if (platform_line(files->root, inner, chip, sizeof chip) && strcmp(chip, "rpi_volt") == 0) {
        snprintf(inner, sizeof inner, "/sys/class/hwmon/%.64s/in0_lcrit_alarm", name);
        add_file(files, inner, 1);
    }
    return files->n < MAX_FILES;
}

static void *open_throttle(const struct sampler_env *env) {
    struct sensor_files *files = new_files(env);
    if (!files) {
        return NULL;
    }
    list(files, "/sys/devices/system/cpu", visit_throttle_cpu);
    files->n_counts = files->n;
    files->has_throttled = throttled_open(&files->throttled, env->root, env->devices);
    list(files, "/sys/class/hwmon", visit_alarm_hwmon);
    return files_or_null(files);
}

static void read_counts(struct sensor_files *files, struct sampler_row *row) {
    double sum = 0;
    char text[64];
    for (size_t i = 0; i < files->n_counts; i++) {
        uint64_t count;
        if (read_file(files, i, text, sizeof text) && str_parse_u64(text, &count)) {
            sum += (double)count;
        }
    }
    if (files->has_last && sum > files->last_sum) {
        row->flags |= SAMPLER_IS_THROTTLED;
    }
    files->last_sum = sum;
    files->has_last = true;
    row->throttle_count = sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
    row->flags |= SAMPLER_HAS_THROTTLE;
}

static void read_throttle(void *state_, struct sampler_row *row) {
    struct sensor_files *files = state_;
    char text[64];
    uint32_t bits;
    if (files->n_counts) {
        read_counts(files, row);
    }
    if (files->has_throttled && throttled_read(&files->throttled, &bits)) {
        row->flags |= SAMPLER_HAS_THROTTLE;
        row->flags |= bits & THROTTLED_UNDERVOLT ? (uint32_t)SAMPLER_IS_UNDERVOLT : 0;
        row->flags |= bits & (THROTTLED_FREQ_CAPPED | THROTTLED_NOW | THROTTLED_SOFT_LIMIT)
                          ? (uint32_t)SAMPLER_IS_THROTTLED
                          : 0;
    }
    for (size_t i = files->n_counts; i < files->n; i++) {
        if (read_file(files, i, text, sizeof text) && text[0] == '1') {
            row->flags |= SAMPLER_IS_UNDERVOLT;
        }
    }
}

const struct sampler_source sampler_source_throttle = {.name = "throttle",
                                                       .period_ns = SENSOR_PERIOD_NS,
                                                       .max_share = SENSOR_MAX_SHARE,
                                                       .open = open_throttle,
                                                       .read = read_throttle,
                                                       .close = close_files};
