// What sampling costs: CPU per row and share of one core at 10 Hz, for a target process of 150 MB,
// with RAPL files being read too (a tree in a temporary folder stands for them where there are
// none). In the same run, in turns, a naive poller does what monitoring scripts do: open, read and
// parse smaps_rollup, stat, /proc/stat and energy_uj anew at every tick.
//
//   sampler_cost [seconds per turn] [turns] [target MB]
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "meter/meter.h"
#include "os/clock.h"
#include "os/file.h"
#include "sampler/sampler.h"

static const int64_t PERIOD_NS = 100000000;

struct result {
    double cpu_s; // of the whole process, from its CPU clock: thread wake-ups included
    double wall_s;
    double rows;
    double own_pct; // what the sampler says of itself; 0 for the naive poller
    double pss_period_s, pss_cost_ms;
};

// --- the target ---------------------------------------------------------------------------------

// Half anonymous, half a mapped file, as a model runner is.
static pid_t start_target(size_t bytes, const char *folder) {
    char path[512];
    snprintf(path, sizeof path, "%s/weights", folder);
    int ready[2];
    if (pipe(ready) != 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid != 0) {
        char byte;
        close(ready[1]);
        bool is_ready = pid > 0 && read(ready[0], &byte, 1) == 1;
        close(ready[0]);
        return is_ready ? pid : -1;
    }
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    size_t half = bytes / 2;
    if (fd < 0 || ftruncate(fd, (off_t)half) != 0) {
        _exit(1);
    }
    char *file = mmap(NULL, half, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *heap = malloc(half);
    if (file == MAP_FAILED || !heap) {
        _exit(1);
    }
    memset(file, 1, half);
    memset(heap, 1, half);
    if (write(ready[1], "r", 1) != 1) {
        _exit(1);
    }
    for (;;) {
        pause();
    }
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[1024];
    snprintf(path, sizeof path, "%s/sys/class/powercap/%s", folder, name);
    char parent[1024];
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = '\0';
    os_make_dirs(parent, NULL);
    os_write_atomic(path, text, strlen(text), NULL);
}

static void make_rapl(const char *folder) {
    write_text(folder, "intel-rapl:0/name", "package-0\n");
    write_text(folder, "intel-rapl:0/energy_uj", "123456789012\n");
    write_text(folder, "intel-rapl:0/max_energy_range_uj", "262143328850\n");
    write_text(folder, "intel-rapl:0:0/name", "dram\n");
    write_text(folder, "intel-rapl:0:0/energy_uj", "23456789012\n");
    write_text(folder, "intel-rapl:0:0/max_energy_range_uj", "65712999613\n");
}

// --- ours ---------------------------------------------------------------------------------------

static bool run_sampler(pid_t pid, const char *folder, double seconds, struct result *out) {
    struct meter_env env = {.root = folder};
    struct meter *meter;
    struct wl_err err;
    if (meter_open(&env, "powercap", &meter, &err) != WL_OK) {
        fprintf(stderr, "%s\n", err.message);
        return false;
    }
    struct sampler_options options = {
        .pid = pid, .period_ns = PERIOD_NS, .meters = &meter, .n_meters = 1};
    struct sampler *sampler;
    int64_t cpu_ns = os_own_cpu_ns(), t_ns = os_now_ns();
    if (sampler_start(&options, &sampler, &err) != WL_OK) {
        fprintf(stderr, "%s\n", err.message);
        return false;
    }
    os_sleep_until_ns(t_ns + (int64_t)(seconds * 1e9));
    sampler_stop(sampler);
    out->wall_s += (double)(os_now_ns() - t_ns) * 1e-9;
    out->cpu_s += (double)(os_own_cpu_ns() - cpu_ns) * 1e-9;
    struct sampler_cost cost;
    sampler_cost(sampler, &cost);
    out->rows += (double)cost.n_rows;
    out->own_pct = cost.pct;
    out->pss_period_s = (double)cost.pss_period_ns * 1e-9;
    out->pss_cost_ms = (double)cost.pss_cost_ns * 1e-6;
    sampler_free(sampler);
    meter_close(meter);
    return true;
}

// --- naive --------------------------------------------------------------------------------------

static double read_key(const char *path, const char *key) {
    FILE *file = fopen(path, "r");
    char line[256];
    double value = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            value = strtod(line + strlen(key), NULL);
        }
    }
    if (file) {
        fclose(file);
    }
    return value;
}

static double naive_row(pid_t pid, const char *folder) {
    char path[1024];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    double sum = read_key(path, "Pss:");
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    sum += read_key(path, "");
    sum += read_key("/proc/stat", "cpu ");
    snprintf(path, sizeof path, "%s/sys/class/powercap/intel-rapl:0/energy_uj", folder);
    sum += read_key(path, "");
    snprintf(path, sizeof path, "%s/sys/class/powercap/intel-rapl:0:0/energy_uj", folder);
    return sum + read_key(path, "");
}

static void run_naive(pid_t pid, const char *folder, double seconds, struct result *out) {
    int64_t cpu_ns = os_own_cpu_ns(), t_ns = os_now_ns(), next_ns = t_ns;
    int64_t end_ns = t_ns + (int64_t)(seconds * 1e9);
    static volatile double sink;
    while (next_ns < end_ns) {
        sink += naive_row(pid, folder);
        out->rows++;
        next_ns += PERIOD_NS;
        os_sleep_until_ns(next_ns);
    }
    out->wall_s += (double)(os_now_ns() - t_ns) * 1e-9;
    out->cpu_s += (double)(os_own_cpu_ns() - cpu_ns) * 1e-9;
}

// --- report -------------------------------------------------------------------------------------

static void print_result(const char *name, const struct result *result) {
    printf("%-10s %8.1f us/row  %7.4f %% of a core at 10 Hz  (%.0f rows in %.0f s)\n", name,
           result->cpu_s / result->rows * 1e6, 100 * result->cpu_s / result->wall_s, result->rows,
           result->wall_s);
}

static double own_rss_mib(void) {
    char line[128];
    unsigned long size, rss;
    if (os_slurp_line("/proc/self/statm", line, sizeof line, NULL) != WL_OK ||
        sscanf(line, "%lu %lu", &size, &rss) != 2) {
        return 0;
    }
    return (double)rss * (double)sysconf(_SC_PAGESIZE) / 1048576;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 10;
    int turns = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
    size_t bytes = (size_t)(argc > 3 ? strtod(argv[3], NULL) : 150) * 1000000;
    char folder[] = "/tmp/wattlaw-bench-XXXXXX";
    if (!mkdtemp(folder)) {
        perror("mkdtemp");
        return 1;
    }
    make_rapl(folder);
    pid_t pid = start_target(bytes, folder);
    if (pid < 0) {
        fprintf(stderr, "cannot start the target\n");
        return 1;
    }
    struct result ours = {0}, naive = {0};
    double rss_before_mib = own_rss_mib();
    bool is_done = true;
    for (int i = 0; i < turns && is_done; i++) {
        is_done = run_sampler(pid, folder, seconds, &ours);
        run_naive(pid, folder, seconds, &naive);
    }
    printf("target %.0f MB, RAPL package and DRAM, %d turns each\n", (double)bytes / 1e6, turns);
    print_result("wattlaw", &ours);
    print_result("naive", &naive);
    printf("ratio      %.3f\n", (ours.cpu_s / ours.wall_s) / (naive.cpu_s / naive.wall_s));
    printf(
        "wattlaw's own figure: %.4f %%; Pss costs %.3f ms and is read every %.2f s; RSS %.1f MiB "
        "(%.1f before)\n",
        ours.own_pct, ours.pss_cost_ms, ours.pss_period_s, own_rss_mib(), rss_before_mib);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return is_done && system(command) == 0 ? 0 : 1;
}
