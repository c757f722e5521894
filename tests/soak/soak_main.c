// gateway_soak [OPTION VALUE]...: many clients and faults against a gateway, in rounds; see soak.h.
//
//   --events N     clients of all rounds together (4000)     --minutes M   at most (no limit)
//   --rounds N     gateways one after the other (4)          --clients N   at once (32)
//   --seed N       (1)                                       --dir DIR     for its files (.)
//   --fault-ms N   mean time between faults (2500; 0: none)  --json FILE   the figures
//   --per-second N new clients (60)
//   --growth X     memory may grow so much from a round's first third to its last (0: not checked)
//
// WATTLAW_GATEWAY and WATTLAW_FAKE_MODEL_SERVER name the programs. Exit code 1: a check has failed.
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "os/file.h"
#include "os/process.h"
#include "soak.h"

static struct {
    uint64_t n_events, n_rounds, n_clients, seed, fault_ms, per_second;
    double minutes, growth;
    const char *dir, *json;
} options = {.n_events = 4000,
             .n_rounds = 4,
             .n_clients = 32,
             .seed = 1,
             .fault_ms = 2500,
             .per_second = 60,
             .minutes = 1e6,
             .dir = "."};

// ---- one round ----

static void set_up_round(struct soak *soak, uint64_t round) {
    snprintf(soak->ledger, sizeof soak->ledger, "%s/ledger-%llu.db", soak->dir,
             (unsigned long long)round);
    soak->has_keys = round & 1;
    soak->is_limited = round & 2;
    soak->has_fifo = (round ^ round >> 1) & 1;
    soak->is_accounted = true;
    soak->n_answers = soak->n_last_ids = soak->n_resident = 0;
    soak->calm_since_ms = 0;
    soak->fifo_fd = -1;
    soak_write_keys(soak, true);
    soak_write_profile(soak, true);
}

// Refusals are quick: a pace keeps them from taking the place of all else while something is wrong.
static bool is_time(struct soak *soak) {
    int64_t now_ms = soak_now_ms();
    if (now_ms < soak->next_client_ms) {
        return false;
    }
    int64_t step_ms = 1000 / (int64_t)(options.per_second ? options.per_second : 1);
    bool is_late = now_ms > soak->next_client_ms + 1000; // what was missed stays so
    soak->next_client_ms = (is_late ? now_ms : soak->next_client_ms) + step_ms;
    return true;
}

static void begin_clients(struct soak *soak, uint64_t *n_left) {
    for (size_t i = 0; i<options.n_clients && * n_left> 0; i++) {
        if (soak->clients[i] || soak->gateway.pid == 0) {
            continue;
        }
        if (!is_time(soak)) {
            return;
        }
        enum soak_kind kind = soak_plan_choose(soak);
        int64_t now_ms = soak_now_ms();
        if (kind == KIND_server_exits && now_ms - soak->server_start_ms < 15000) {
            kind = KIND_chat; // it is to be there most of the time
        }
        if (kind == KIND_server_exits) {
            soak->calm_since_ms = now_ms + 12000;
        }
        struct soak_plan plan;
        soak_plan_make(soak, kind, &plan);
        soak->clients[i] = soak_client_begin(soak, &plan);
        soak->n_events++;
        --*n_left;
    }
}

static bool step_clients(struct soak *soak) {
    struct pollfd fds[SOAK_MAX_CLIENTS];
    size_t of[SOAK_MAX_CLIENTS];
    nfds_t n = 0;
    int64_t now_ms = soak_now_ms();
    for (size_t i = 0; i < options.n_clients; i++) {
        if (soak->clients[i]) {
            of[n] = i;
            fds[n++] = (struct pollfd){.fd = soak_client_fd(soak->clients[i]),
                                       .events = soak_client_events(soak->clients[i], now_ms)};
        }
    }
    poll(fds, n, 3);
    now_ms = soak_now_ms();
    for (nfds_t k = 0; k < n; k++) {
        if (!soak_client_step(soak->clients[of[k]], fds[k].revents, now_ms)) {
            soak->clients[of[k]] = NULL;
        }
    }
    return n > 0;
}

static void note_memory(struct soak *soak) {
    int64_t now_ms = soak_now_ms();
    if (now_ms < soak->resident_next_ms || soak->n_resident >= 100000) {
        return;
    }
    soak->resident_mib[soak->n_resident++] = (float)soak_resident_mib(soak->gateway.pid);
    soak->resident_next_ms = now_ms + 100;
}

static enum soak_fault choose_fault(struct soak *soak) {
    enum soak_fault fault = (enum soak_fault)rng_below(&soak->fault_rng, FAULT_N);
    // A kill while rows wait for a disk that is full loses them, as is told.
    bool is_killable = soak_now_ms() > soak->calm_since_ms;
    return fault != FAULT_gateway_killed || is_killable ? fault : FAULT_server_killed;
}

// Quick storms, then a rest in which everything has to go well.
static void begin_faults(struct soak *soak, int64_t *next_ms) {
    int64_t now_ms = soak_now_ms();
    if (options.fault_ms == 0 || now_ms < *next_ms) {
        return;
    }
    soak_fault_begin(soak, choose_fault(soak));
    double mean_ms = (double)options.fault_ms * (rng_below(&soak->fault_rng, 4) ? 0.4 : 2.8);
    *next_ms = now_ms + (int64_t)(mean_ms * (0.5 + rng_uniform(&soak->fault_rng)));
}

static void watch_gateway(struct soak *soak) {
    int wait_status;
    char how[128];
    soak_read_log(&soak->gateway);
    soak_read_log(&soak->server);
    if (soak_has_ended(&soak->gateway, &wait_status)) {
        soak_problem(soak, "the gateway %s", os_describe_exit(how, sizeof how, wait_status));
    }
}

static bool run_clients(struct soak *soak, uint64_t n_events, int64_t end_ms) {
    int64_t next_fault_ms = soak_now_ms() + 1500;
    while (soak->gateway.pid) {
        if (soak_now_ms() >= end_ms) {
            n_events = 0;
        }
        if (n_events > 0) {
            begin_clients(soak, &n_events);
            begin_faults(soak, &next_fault_ms);
        }
        bool are_there = step_clients(soak);
        soak_faults_tick(soak);
        watch_gateway(soak);
        note_memory(soak);
        if (!are_there && n_events == 0) {
            break;
        }
    }
    for (size_t i = 0; i < options.n_clients; i++) { // of a gateway that has died
        soak_client_end(soak->clients[i]);
        soak->clients[i] = NULL;
    }
    soak->is_accounted = soak->is_accounted && soak->gateway.pid != 0;
    return soak->gateway.pid != 0;
}

// Nothing is wrong any more and nobody is there: what was under way comes to its end.
static void settle(struct soak *soak) {
    int64_t begin_ms = soak_now_ms(), look_ms = begin_ms + 1000;
    soak_faults_end(soak);
    while (soak->gateway.pid && soak_now_ms() < begin_ms + 12000) {
        soak_faults_tick(soak);
        watch_gateway(soak);
        poll(NULL, 0, 20);
        if (soak_now_ms() >= look_ms && soak_is_at_rest(soak)) {
            break;
        }
        look_ms = soak_now_ms() >= look_ms ? soak_now_ms() + 250 : look_ms;
    }
}

static double mean(const float *values, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)values[i];
    }
    return n ? sum / (double)n : 0;
}

static void check_memory(struct soak *soak) {
    size_t third = soak->n_resident / 3, tenth = soak->n_resident / 10;
    soak->first_mib = mean(soak->resident_mib, third);
    soak->last_mib = mean(soak->resident_mib + soak->n_resident - third, third);
    printf("  memory (MiB), a tenth of the time each:");
    for (size_t i = 0; i < 10; i++) {
        printf(" %.1f", mean(soak->resident_mib + i * tenth, tenth));
    }
    printf("\n");
    if (options.growth > 0 && soak->last_mib > soak->first_mib * (1 + options.growth)) {
        soak_problem(soak, "memory has grown from %.1f to %.1f MiB", soak->first_mib,
                     soak->last_mib);
    }
}

// The world goes on meanwhile: what is under way waits for the meter.
static int end_gateway(struct soak *soak) {
    int wait_status = 0;
    pid_t pid = soak->gateway.pid;
    if (pid > 0) {
        kill(pid, SIGTERM);
    }
    for (int64_t until_ms = soak_now_ms() + 60000; pid > 0 && soak_now_ms() < until_ms;) {
        soak_read_log(&soak->gateway);
        soak_faults_tick(soak);
        poll(NULL, 0, 20);
        if (soak_has_ended(&soak->gateway, &wait_status)) {
            return wait_status;
        }
    }
    return pid > 0 ? soak_stop(&soak->gateway, SIGKILL, 0) : 0;
}

static void stop_gateway(struct soak *soak) {
    char how[128];
    int wait_status = end_gateway(soak);
    if (wait_status == -1) {
        soak_problem(soak, "the gateway does not end within 60 s of SIGTERM");
    } else if (wait_status != 0) {
        soak_problem(soak, "the gateway %s", os_describe_exit(how, sizeof how, wait_status));
    }
    if (soak->gateway.n_reports > 0) {
        soak_problem(soak, "%zu lines of a sanitizer in gateway.log", soak->gateway.n_reports);
        soak->gateway.n_reports = 0;
    }
}

static void run_round(struct soak *soak, uint64_t round, uint64_t n_events, int64_t end_ms) {
    printf("round %llu: %s, %s, meter %s\n", (unsigned long long)round,
           round & 1 ? "keys" : "no keys", round & 2 ? "limits" : "no limits",
           (round ^ round >> 1) & 1 ? "from a pipe" : "of the machine");
    fflush(stdout);
    soak->n_rounds = round;
    set_up_round(soak, round);
    if (!soak_start_gateway(soak)) {
        soak_problem(soak, "the gateway does not start");
        soak_stop(&soak->gateway, SIGKILL, 1000);
        return;
    }
    soak->n_fds_at_begin = soak_count_fds(soak->gateway.pid);
    if (run_clients(soak, n_events, end_ms)) {
        settle(soak);
        soak_check_running(soak);
        check_memory(soak);
    }
    stop_gateway(soak);
    soak_check_ledger(soak);
}

// ---- the table ----

static json_t *counts_json(const struct soak *soak) {
    json_t *kinds = json_object();
    for (int i = 0; i < KIND_N; i++) {
        const struct soak_counts *c = &soak->counts[i];
        json_object_set_new(
            kinds, soak_kind_name((enum soak_kind)i),
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "begun", (json_int_t)c->n_begun, "whole",
                      (json_int_t)c->n_whole, "cut", (json_int_t)c->n_cut, "2xx",
                      (json_int_t)c->n_by_class[2], "4xx", (json_int_t)c->n_by_class[4], "5xx",
                      (json_int_t)c->n_by_class[5]));
    }
    return kinds;
}

static void write_json(const struct soak *soak, double minutes) {
    json_t *faults = json_object();
    for (int i = 0; i < FAULT_N; i++) {
        json_object_set_new(faults, soak_fault_name((enum soak_fault)i),
                            json_integer((json_int_t)soak->n_faults[i]));
    }
    json_t *all = json_pack("{s:I, s:I, s:I, s:f, s:I, s:o, s:o, s:f, s:f, s:O}", "seed",
                            (json_int_t)options.seed, "rounds", (json_int_t)options.n_rounds,
                            "events", (json_int_t)soak->n_events, "minutes", minutes, "ledger_rows",
                            (json_int_t)soak->n_rows, "clients", counts_json(soak), "faults",
                            faults, "first_third_mib", soak->first_mib, "last_third_mib",
                            soak->last_mib, "problems", soak->problems);
    json_dump_file(all, options.json, JSON_INDENT(1));
    json_decref(all);
}

static void print_table(const struct soak *soak, double minutes) {
    printf("\n%-18s %8s %8s %8s %8s %8s %8s\n", "client", "begun", "whole", "cut", "2xx", "4xx",
           "5xx");
    for (int i = 0; i < KIND_N; i++) {
        const struct soak_counts *c = &soak->counts[i];
        printf("%-18s %8llu %8llu %8llu %8llu %8llu %8llu\n", soak_kind_name((enum soak_kind)i),
               (unsigned long long)c->n_begun, (unsigned long long)c->n_whole,
               (unsigned long long)c->n_cut, (unsigned long long)c->n_by_class[2],
               (unsigned long long)c->n_by_class[4], (unsigned long long)c->n_by_class[5]);
    }
    printf("\n%-18s %8s\n", "fault", "times");
    for (int i = 0; i < FAULT_N; i++) {
        printf("%-18s %8llu\n", soak_fault_name((enum soak_fault)i),
               (unsigned long long)soak->n_faults[i]);
    }
    printf("\nseed %llu: %llu clients in %.1f min, %llu rows, %llu problems\n",
           (unsigned long long)options.seed, (unsigned long long)soak->n_events, minutes,
           (unsigned long long)soak->n_rows, (unsigned long long)soak->n_problems);
}

// ---- begin and end ----

static bool read_option(const char *name, const char *value) {
    static const struct {
        const char *name;
        uint64_t *out;
    } COUNTS[] = {{"--events", &options.n_events},       {"--rounds", &options.n_rounds},
                  {"--clients", &options.n_clients},     {"--seed", &options.seed},
                  {"--per-second", &options.per_second}, {"--fault-ms", &options.fault_ms}};
    for (size_t i = 0; i < sizeof COUNTS / sizeof COUNTS[0]; i++) {
        if (strcmp(name, COUNTS[i].name) == 0) {
            return str_parse_u64(value, COUNTS[i].out);
        }
    }
    if (strcmp(name, "--minutes") == 0) {
        return str_parse_double(value, &options.minutes);
    }
    if (strcmp(name, "--growth") == 0) {
        return str_parse_double(value, &options.growth);
    }
    *(strcmp(name, "--dir") == 0 ? &options.dir : &options.json) = value;
    return strcmp(name, "--dir") == 0 || strcmp(name, "--json") == 0;
}

static bool read_options(int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 >= argc || !read_option(argv[i], argv[i + 1])) {
            fprintf(stderr, "gateway_soak: option '%s': see tests/soak/soak_main.c\n", argv[i]);
            return false;
        }
    }
    options.n_clients = options.n_clients < SOAK_MAX_CLIENTS ? options.n_clients : SOAK_MAX_CLIENTS;
    return options.n_rounds > 0;
}

static void write_canaries(const struct soak *soak) {
    static const char TASKS[] =
        "{\"id\": \"right\", \"prompt\": \"tokens=2\", \"reference\": \"word0 word1\", \"scorer\": "
        "\"exact\"}\n"
        "{\"id\": \"wrong\", \"prompt\": \"tokens=3\", \"reference\": \"no\", \"scorer\": "
        "\"exact\"}\n";
    char path[1200];
    snprintf(path, sizeof path, "%s/canary.jsonl", soak->dir);
    os_write_atomic(path, TASKS, sizeof TASKS - 1, NULL);
}

static bool set_up(struct soak *soak) {
    char dir[OS_PATH_BYTES];
    soak->gateway_program = getenv("WATTLAW_GATEWAY");
    soak->server_program = getenv("WATTLAW_FAKE_MODEL_SERVER");
    if (!soak->gateway_program || !soak->server_program) {
        fputs("gateway_soak: WATTLAW_GATEWAY and WATTLAW_FAKE_MODEL_SERVER must name programs\n",
              stderr);
        return false;
    }
    if (os_make_dirs(options.dir, NULL) != WL_OK || !os_real_path(options.dir, dir) ||
        !str_copy(soak->dir, sizeof soak->dir, dir)) {
        fprintf(stderr, "gateway_soak: no folder '%s'\n", options.dir);
        return false;
    }
    snprintf(soak->keys, sizeof soak->keys, "%s/keys.json", soak->dir);
    snprintf(soak->profile, sizeof soak->profile, "%s/profile.json", soak->dir);
    snprintf(soak->fifo, sizeof soak->fifo, "%s/watts", soak->dir);
    mkfifo(soak->fifo, 0600);
    write_canaries(soak);
    rng_seed(&soak->rng, options.seed);
    rng_seed(&soak->fault_rng, options.seed + 1);
    soak->problems = json_array();
    soak->resident_mib = calloc(100000, sizeof *soak->resident_mib);
    soak->gateway.log_fd = soak->server.log_fd = -1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); // so does the gateway then: a full disk is no signal
    return soak_start_server(soak);
}

int main(int argc, char **argv) {
    static struct soak soak;
    if (!read_options(argc, argv) || !set_up(&soak)) {
        return 2;
    }
    int64_t begin_ms = soak_now_ms();
    for (uint64_t round = 0; round < options.n_rounds; round++) {
        double part = (double)(round + 1) / (double)options.n_rounds;
        int64_t end_ms = begin_ms + (int64_t)(options.minutes * 60000 * part);
        run_round(&soak, round, options.n_events / options.n_rounds, end_ms);
    }
    soak_stop(&soak.server, SIGKILL, 5000);
    double minutes = (double)(soak_now_ms() - begin_ms) / 60000;
    print_table(&soak, minutes);
    if (options.json) {
        write_json(&soak, minutes);
    }
    free(soak.answers);
    free(soak.resident_mib);
    json_decref(soak.problems);
    return soak.n_problems > 0;
}
