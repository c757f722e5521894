// The engine's CPU time and memory.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/units.h"
#include "meter/cpu_time.h"
#include "meter/kept_file.h"
#include "meter/platform.h"
#include "sampler/parse_memory.h"
#include "sampler/sampler_source.h"

struct process {
    pid_t pid;
    bool is_machine_root;
    int64_t page_bytes;
    struct kept_file statm;
    struct kept_file stat; // only under a foreign root
};

static bool open_file(const struct sampler_env *env, const char *name, struct kept_file *file) {
    char inner[64], path[OS_PATH_BYTES];
    snprintf(inner, sizeof inner, "/proc/%ld/%s", (long)env->pid, name);
    bool is_open = platform_path(path, env->root, inner, NULL) == WL_OK &&
                   kept_file_open(file, path, NULL) == WL_OK;
    file->is_fixed = env->is_machine_root;
    return is_open;
}

static void close_process(void *state_) {
    struct process *state = state_;
    kept_file_release(&state->statm);
    kept_file_release(&state->stat);
    free(state);
}

static void *open_process(const struct sampler_env *env) {
    struct process *state = env->pid != 0 ? calloc(1, sizeof *state) : NULL;
    if (!state) {
        return NULL;
    }
    *state = (struct process){.pid = env->pid,
                              .is_machine_root = env->is_machine_root,
                              .page_bytes = (int64_t)sysconf(_SC_PAGESIZE),
                              .statm = KEPT_FILE_INIT,
                              .stat = KEPT_FILE_INIT};
    if (!env->is_machine_root) {
        state->page_bytes = 4096; // a recorded tree means the same on every machine
        open_file(env, "stat", &state->stat);
    }
    open_file(env, "statm", &state->statm); // where this fails every row says that it is gone
    return state;
}

static bool read_cpu_ns(struct process *state, int64_t *out) {
    if (state->is_machine_root) {
        return os_process_cpu_ns(state->pid, out, NULL) == WL_OK;
    }
    char text[1024];
    size_t len;
    struct cpu_process process;
    if (kept_file_read(&state->stat, text, sizeof text, &len) != 0 ||
        !cpu_time_parse_process(text, len, &process) || process.state == 'Z') {
        return false;
    }
    *out = (int64_t)((process.user_ticks + process.system_ticks) *
                     (uint64_t)(UNITS_NS_PER_S / CPU_TIME_USER_HZ));
    return true;
}

// The open statm file belongs to this very process: when it has ended the read fails, even if its
// number was given to another. A zombie's sizes are 0.
static bool read_rss(struct process *state, int64_t *out) {
    char text[128];
    size_t len;
    struct memory_statm statm;
    if (kept_file_read(&state->statm, text, sizeof text, &len) != 0 ||
        !parse_statm(text, len, &statm) || statm.size_pages == 0 ||
        statm.rss_pages > (uint64_t)(INT64_MAX / state->page_bytes)) {
        return false;
    }
    *out = (int64_t)statm.rss_pages * state->page_bytes;
    return true;
}

static void read_process(void *state_, struct sampler_row *row) {
    struct process *state = state_;
    int64_t cpu_ns, rss_bytes;
    if (read_cpu_ns(state, &cpu_ns) && read_rss(state, &rss_bytes)) {
        row->process_cpu_ns = cpu_ns;
        row->rss_bytes = rss_bytes;
        row->flags |= SAMPLER_HAS_PROCESS;
    } else {
        row->flags |= SAMPLER_IS_GONE;
    }
}

const struct sampler_source sampler_source_process = {.name = "process",
                                                      .is_fast = true,
                                                      .open = open_process,
                                                      .read = read_process,
                                                      .close = close_process,
                                                      .follows_pid = true};

// --- Pss: the kernel walks the page tables, so a large model makes it slow ----------------------

static void *open_pss(const struct sampler_env *env) {
    struct kept_file *file = env->pid != 0 ? calloc(1, sizeof *file) : NULL;
    if (file && !open_file(env, "smaps_rollup", file)) {
        free(file);
        return NULL;
    }
    return file;
}

static void read_pss(void *state, struct sampler_row *row) {
    char text[2048];
    size_t len;
    struct memory_rollup rollup;
    if (kept_file_read(state, text, sizeof text, &len) != 0 ||
        !parse_smaps_rollup(text, len, &rollup)) {
        return;
    }
    row->pss_bytes = rollup.pss_bytes;
    row->pss_anon_bytes = rollup.pss_anon_bytes;
    row->pss_file_bytes = rollup.pss_file_bytes;
    row->swap_pss_bytes = rollup.swap_pss_bytes;
    row->flags |= SAMPLER_HAS_PSS;
}

static void close_pss(void *state) {
    kept_file_release(state);
    free(state);
}

const struct sampler_source sampler_source_pss = {.name = "pss",
                                                  .max_share = 0.0015,
                                                  .open = open_pss,
                                                  .read = read_pss,
                                                  .close = close_pss,
                                                  .follows_pid = true};
