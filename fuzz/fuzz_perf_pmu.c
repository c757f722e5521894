// What the `power` PMU says of itself: first line a list of CPUs, second an event, third its
// format. Lists come out ascending and within their bounds; a code never leaves its bits.
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "meter/perf_pmu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true) {
    if (!is_true) {
        abort();
    }
}

static const char *take_line(char **text) {
    char *line = *text;
    char *newline = strchr(line, '\n');
    if (newline) {
        *newline = '\0';
    }
    *text = newline ? newline + 1 : line + strlen(line);
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (!text) {
        return 0;
    }
    if (size) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    char *at = text;
    unsigned cpu[PERF_PMU_MAX_CPUS];
    size_t n = 0;
    if (perf_parse_cpu_list(take_line(&at), cpu, PERF_PMU_MAX_CPUS, &n)) {
        require(n >= 1 && n <= PERF_PMU_MAX_CPUS);
        for (size_t i = 1; i < n; i++) {
            require(cpu[i] > cpu[i - 1]);
        }
    }
    const char *event = take_line(&at);
    uint64_t config;
    if (perf_parse_config(event, take_line(&at), &config)) {
        require(config == 0 || (config >> __builtin_ctzll(config)) <= 0xff);
    }
    free(text);
    return 0;
}
