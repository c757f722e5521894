// What reading every energy source at once costs: CPU of one sampler at 10 Hz with all sources that
// can stand on files and pipes (RAPL, INA226, INA228, battery, CSV, FIFO, the model), in turns with
// a poller that opens, reads and closes each file at every tick, as scripts do.
//
//   meters_cost [seconds per turn] [turns]
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "meter/meter.h"
#include "os/clock.h"
#include "os/file.h"
#include "sampler/sampler.h"

static const int64_t PERIOD_NS = 100000000;
enum { MAX_METERS = 8, PATH_BYTES = 512 };

struct file {
    const char *name, *text;
};

static const struct file FILES[] = {
    {"sys/class/powercap/intel-rapl:0/name", "package-0\n"},
    {"sys/class/powercap/intel-rapl:0/energy_uj", "123456789012\n"},
    {"sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n"},
    {"sys/class/powercap/intel-rapl:0:0/name", "dram\n"},
    {"sys/class/powercap/intel-rapl:0:0/energy_uj", "23456789012\n"},
    {"sys/class/powercap/intel-rapl:0:0/max_energy_range_uj", "65712999613\n"},
    {"sys/class/hwmon/hwmon0/name", "ina226\n"},
    {"sys/class/hwmon/hwmon0/power1_input", "7350000\n"},
    {"sys/class/hwmon/hwmon1/name", "ina228\n"},
    {"sys/class/hwmon/hwmon1/energy1_input", "735000000\n"},
    {"sys/class/power_supply/BAT0/type", "Battery\n"},
    {"sys/class/power_supply/BAT0/present", "1\n"},
    {"sys/class/power_supply/BAT0/status", "Discharging\n"},
    {"sys/class/power_supply/BAT0/power_now", "8120000\n"},
    {"sys/class/power_supply/BAT0/energy_now", "41230000\n"},
    {"watts.csv", "1,7.5\n"},
};
// What a poller reads at every tick.
static const char *const POLLED[] = {
    "sys/class/powercap/intel-rapl:0/energy_uj",
    "sys/class/powercap/intel-rapl:0:0/energy_uj",
    "sys/class/hwmon/hwmon0/power1_input",
    "sys/class/hwmon/hwmon1/energy1_input",
    "sys/class/power_supply/BAT0/status",
    "sys/class/power_supply/BAT0/power_now",
    "watts.csv",
};

static bool make_tree(const char *folder) {
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        char path[PATH_BYTES], parent[PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i].name);
        snprintf(parent, sizeof parent, "%s", path);
        *strrchr(parent, '/') = '\0';
        if (os_make_dirs(parent, NULL) != WL_OK ||
            os_write_atomic(path, FILES[i].text, strlen(FILES[i].text), NULL) != WL_OK) {
            return false;
        }
    }
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/watts.fifo", folder);
    return mkfifo(path, 0600) == 0;
}

// A meter's logger: a line a second into the CSV file and the pipe, in a process of its own.
static pid_t start_logger(const char *folder) {
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    char csv[PATH_BYTES], fifo[PATH_BYTES];
    snprintf(csv, sizeof csv, "%s/watts.csv", folder);
    snprintf(fifo, sizeof fifo, "%s/watts.fifo", folder);
    int csv_fd = open(csv, O_WRONLY | O_APPEND), fifo_fd = open(fifo, O_RDWR);
    for (int t = 2; csv_fd >= 0 && fifo_fd >= 0; t++) {
        char line[64];
        int n = snprintf(line, sizeof line, "%d,7.%d\n", t, t % 10);
        if (write(csv_fd, line, (size_t)n) != n || write(fifo_fd, line, (size_t)n) != n) {
            break;
        }
        sleep(1);
    }
    _exit(1);
}

static size_t open_all(const struct meter_env *env, const char *folder, struct meter **meter) {
    char csv[PATH_BYTES], fifo[PATH_BYTES];
    snprintf(csv, sizeof csv, "csv:%s/watts.csv", folder);
    snprintf(fifo, sizeof fifo, "fifo:%s/watts.fifo", folder);
    const char *names[MAX_METERS] = {"powercap", "hwmon:ina226", "hwmon:ina228", "battery",
                                     csv,        fifo,           "estimate"};
    size_t n = 0;
    for (size_t i = 0; i < MAX_METERS && names[i] && n < SAMPLER_MAX_METERS; i++) {
        struct wl_err err;
        if (meter_open(env, names[i], &meter[n], &err) == WL_OK) {
            printf("  %s\n", meter_info(meter[n])->title);
            n++;
        } else {
            printf("  left out: %s\n", err.message);
        }
    }
    return n;
}

struct cost {
    double cpu_s, wall_s;
};

static bool run_sampler(struct meter **meter, size_t n, double seconds, struct cost *out) {
    struct sampler_options options = {.period_ns = PERIOD_NS, .meters = meter, .n_meters = n};
    struct sampler *sampler;
    struct wl_err err;
    int64_t cpu_ns = os_own_cpu_ns(), t_ns = os_now_ns();
    if (sampler_start(&options, &sampler, &err) != WL_OK) {
        fprintf(stderr, "%s\n", err.message);
        return false;
    }
    os_sleep_until_ns(t_ns + (int64_t)(seconds * 1e9));
    sampler_stop(sampler);
    out->wall_s += (double)(os_now_ns() - t_ns) * 1e-9;
    out->cpu_s += (double)(os_own_cpu_ns() - cpu_ns) * 1e-9;
    sampler_free(sampler);
    return true;
}

static double poll_once(const char *folder) {
    double sum = 0;
    for (size_t i = 0; i < sizeof POLLED / sizeof POLLED[0]; i++) {
        char path[PATH_BYTES], line[256];
        snprintf(path, sizeof path, "%s/%s", folder, POLLED[i]);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file)) {
            sum += strtod(line, NULL);
        }
        if (file) {
            fclose(file);
        }
    }
    return sum;
}

static void run_poller(const char *folder, double seconds, struct cost *out) {
    int64_t cpu_ns = os_own_cpu_ns(), t_ns = os_now_ns(), next_ns = t_ns;
    static volatile double sink;
    while (next_ns < t_ns + (int64_t)(seconds * 1e9)) {
        sink += poll_once(folder);
        next_ns += PERIOD_NS;
        os_sleep_until_ns(next_ns);
    }
    out->wall_s += (double)(os_now_ns() - t_ns) * 1e-9;
    out->cpu_s += (double)(os_own_cpu_ns() - cpu_ns) * 1e-9;
}

static double pct(const struct cost *cost) {
    return 100 * cost->cpu_s / cost->wall_s;
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 20;
    int turns = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1;
    char folder[] = "/tmp/wattlaw-bench-XXXXXX";
    if (!mkdtemp(folder) || !make_tree(folder)) {
        perror("cannot make the tree of files");
        return 1;
    }
    pid_t logger = start_logger(folder);
    struct meter_env env = {.root = folder};
    struct meter *meter[MAX_METERS];
    printf("sources:\n");
    size_t n = open_all(&env, folder, meter);
    struct cost ours = {0}, polled = {0};
    bool is_done = n > 0;
    for (int i = 0; i < turns && is_done; i++) {
        is_done = run_sampler(meter, n, seconds, &ours);
        run_poller(folder, seconds, &polled);
    }
    printf("wattlaw, %zu sources at 10 Hz, rows of CPU and memory included: %.3f %% of a core\n", n,
           pct(&ours));
    printf("poller that opens, reads and closes each file, in C:            %.3f %% of a core\n",
           pct(&polled));
    for (size_t i = 0; i < n; i++) {
        meter_close(meter[i]);
    }
    kill(logger, SIGKILL);
    waitpid(logger, NULL, 0);
    char command[PATH_BYTES];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return is_done && system(command) == 0 ? 0 : 1;
}
