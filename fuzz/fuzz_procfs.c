// Every parser of /proc and /sys text on arbitrary bytes: no crash, and what it accepts is sane.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "meter/cpu_time.h"
#include "meter/platform.h"
#include "sampler/parse_memory.h"
#include "sampler/parse_sensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

static void check_cpu(const char *text, size_t size) {
    struct cpu_ticks ticks, cores[4];
    struct cpu_process process;
    if (cpu_time_parse_machine(text, size, &ticks)) {
        require(cpu_ticks_busy_s(&ticks) >= 0 && isfinite(cpu_ticks_idle_s(&ticks)));
    }
    require(cpu_time_parse_cores(text, size, cores, 4) <= 4);
    if (cpu_time_parse_process(text, size, &process)) {
        require(process.user_ticks <= INT64_MAX && process.system_ticks <= INT64_MAX);
    }
}

static void check_memory(const char *text, size_t size) {
    struct memory_rollup rollup;
    struct memory_statm statm;
    struct memory_info info;
    if (parse_smaps_rollup(text, size, &rollup)) {
        require(rollup.pss_bytes >= 0 && rollup.rss_bytes >= 0 && rollup.pss_anon_bytes >= 0);
    }
    parse_statm(text, size, &statm);
    parse_meminfo(text, size, &info);
}

// These take terminated text, as the readers give it.
static void check_sensors(const char *text, size_t size) {
    double value;
    uint32_t bits;
    struct load_average load;
    if (parse_freq_mhz(text, &value)) {
        require(value > 0 && value <= 20000);
    }
    if (parse_temp_c(text, &value)) {
        require(value >= -40 && value <= 200);
    }
    if (parse_cpuinfo_mhz(text, size, &value)) {
        require(value > 0 && value <= 20000);
    }
    parse_throttled(text, &bits);
    parse_loadavg(text, &load);
    is_cpu_zone_type(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    // A copy of exactly this size, so that one byte too far is seen.
    char *bytes = malloc(size ? size : 1), *text = malloc(size + 1);
    if (bytes && text) {
        if (size) {
            memcpy(bytes, data, size);
            memcpy(text, data, size);
        }
        text[size] = '\0';
        check_cpu(bytes, size);
        check_memory(bytes, size);
        check_sensors(text, strlen(text));
        struct platform platform = {0};
        platform_parse_cpuinfo(bytes, size, &platform);
        platform_is_virtual(&platform);
        require(strlen(platform.cpu_model) < sizeof platform.cpu_model);
    }
    free(bytes);
    free(text);
    return 0;
}
