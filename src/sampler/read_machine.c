// How busy the whole machine was: the first line of /proc/stat.
#include <stdlib.h>

#include "meter/cpu_time.h"
#include "meter/kept_file.h"
#include "meter/platform.h"
#include "sampler/sampler_source.h"

static void *open_machine(const struct sampler_env *env) {
    char path[OS_PATH_BYTES];
    struct kept_file *file = calloc(1, sizeof *file);
    if (file && (platform_path(path, env->root, "/proc/stat", NULL) != WL_OK ||
                 kept_file_open(file, path, NULL) != WL_OK)) {
        free(file);
        return NULL;
    }
    return file;
}

static void read_machine(void *state, struct sampler_row *row) {
    char text[256]; // the first line is enough
    size_t len;
    struct cpu_ticks ticks;
    if (kept_file_read(state, text, sizeof text, &len) != 0 ||
        !cpu_time_parse_machine(text, len, &ticks)) {
        return;
    }
    row->machine_busy_s = cpu_ticks_busy_s(&ticks);
    row->machine_idle_s = cpu_ticks_idle_s(&ticks);
    row->machine_steal_s = cpu_ticks_steal_s(&ticks);
    row->flags |= SAMPLER_HAS_MACHINE;
}

static void close_machine(void *state) {
    kept_file_release(state);
    free(state);
}

const struct sampler_source sampler_source_machine = {.name = "machine",
                                                      .is_fast = true,
                                                      .open = open_machine,
                                                      .read = read_machine,
                                                      .close = close_machine};
