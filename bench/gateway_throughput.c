// Requests per second of the gateway against those of nginx's proxy_pass, which reads no request
// and counts nothing, in front of the same model server (nginx again, with one fixed answer).
// Rounds in turns; figures are medians, ratios are those of one round. On a small machine client,
// proxy and model server share the cores, so the CPU time per request of the proxy alone says more.
//
// With --against the gateway of another build stands beside them.
//
//   gateway_throughput [--rounds N] [--seconds S] [--against PROGRAM] [--wrk] [--json]
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "support/contrast.h"
#include "support/figures.h"
#include "support/load.h"
#include "support/nginx.h"
#include "support/options.h"
#include "support/question.h"
#include "support/wire.h"

enum { MAX_ROUNDS = 64, MAX_WAYS = 7 };
enum { DIRECT, NGINX_1, NGINX_AS_MANY, WITHOUT_LEDGER, WITH_LEDGER, OTHER_WITHOUT, OTHER_WITH };

static const unsigned N_CLIENTS[] = {16, 64};

struct way {
    char name[48];
    uint16_t port;
    pid_t pid;
    unsigned n_threads;
    double per_s[MAX_ROUNDS], cpu_us[MAX_ROUNDS], p50_ms[MAX_ROUNDS], p99_ms[MAX_ROUNDS];
};

struct bench {
    struct stage stage;
    struct way way[MAX_WAYS];
    size_t n_ways;
    char *body, *request;
    size_t n_request, n_rounds;
    double seconds;
    bool is_json;
};

// ---- the stage ----

static void start_gateway(struct bench *b, int number, const char *name, const char *program,
                          const char *ledger) {
    struct way *way = &b->way[number];
    char path[128];
    bool has_ledger = strcmp(ledger, "--ledger") == 0;
    snprintf(path, sizeof path, "%s/ledger-%d.db", b->stage.folder, number);
    const char *const more[] = {"--concurrency",          "256", "--queue", "1024", ledger,
                                has_ledger ? path : NULL, NULL};
    snprintf(way->name, sizeof way->name, "%s, %s", name, has_ledger ? "ledger" : "no ledger");
    way->pid =
        stage_start_gateway(&b->stage, way->name, program, b->way[DIRECT].port, more, &way->port);
    way->n_threads = figures_n_threads(way->pid);
}

static void start_nginx(struct bench *b, int number, unsigned n_workers) {
    struct way *way = &b->way[number];
    char name[32];
    snprintf(name, sizeof name, "nginx-%d", number);
    way->pid = nginx_start_proxy(&b->stage, name, n_workers, b->way[DIRECT].port, &way->port);
    way->n_threads = n_workers;
    snprintf(way->name, sizeof way->name, "nginx, %u worker%s", n_workers,
             n_workers == 1 ? "" : "s");
}

static void open_stage(struct bench *b, const char *other_build) {
    stage_open(&b->stage);
    if (!nginx_find()) {
        stage_fail("needs nginx");
    }
    b->way[DIRECT].pid = nginx_start_model_server(&b->stage, &b->way[DIRECT].port);
    b->way[DIRECT].n_threads = 1;
    snprintf(b->way[DIRECT].name, sizeof b->way[DIRECT].name, "direct");
    start_gateway(b, WITHOUT_LEDGER, "gateway", NULL, "--no-ledger");
    start_gateway(b, WITH_LEDGER, "gateway", NULL, "--ledger");
    if (other_build) {
        start_gateway(b, OTHER_WITHOUT, "other", other_build, "--no-ledger");
        start_gateway(b, OTHER_WITH, "other", other_build, "--ledger");
    }
    b->n_ways = other_build ? MAX_WAYS : MAX_WAYS - 2;
    start_nginx(b, NGINX_1, 1);
    start_nginx(b, NGINX_AS_MANY, b->way[WITH_LEDGER].n_threads);
}

// ---- measuring ----

static void measure(struct bench *b, struct way *way, unsigned n_clients, size_t round) {
    struct load load = {.port = way->port,
                        .request = b->request,
                        .n_request = b->n_request,
                        .n_clients = n_clients,
                        .seconds = 0.3};
    load_run(&load); // connections of the proxy to the model server are made
    load.seconds = b->seconds;
    double cpu_s = figures_cpu_s(way->pid, 1);
    struct load_result result = load_run(&load);
    cpu_s = figures_cpu_s(way->pid, 1) - cpu_s;
    if (result.n_failures > 0 || result.n_answers == 0) {
        stage_fail("%s: %llu of %llu requests failed", way->name,
                   (unsigned long long)result.n_failures,
                   (unsigned long long)(result.n_answers + result.n_failures));
    }
    way->per_s[round] = (double)result.n_answers / result.seconds;
    way->cpu_us[round] = cpu_s / (double)result.n_answers * 1e6;
    way->p50_ms[round] = result.p50_s * 1e3;
    way->p99_ms[round] = result.p99_s * 1e3;
}

static void take_round(struct bench *b, unsigned n_clients, size_t round) {
    for (size_t i = 0; i < b->n_ways; i++) {
        measure(b, &b->way[(round + i) % b->n_ways], n_clients, round);
    }
}

// ---- telling ----

static struct stats_estimate ratio(const double *a, const double *b, size_t n) {
    double values[MAX_ROUNDS];
    for (size_t i = 0; i < n; i++) {
        values[i] = a[i] / b[i];
    }
    return contrast_median(values, n);
}

static double median(const double *values, size_t n) {
    return contrast_median(values, n).value;
}

static json_t *tell_way(const struct bench *b, const struct way *way) {
    const struct way *peer = &b->way[NGINX_1], *as_many = &b->way[NGINX_AS_MANY];
    size_t n = b->n_rounds;
    struct stats_estimate rate = contrast_median(way->per_s, n),
                          cpu = contrast_median(way->cpu_us, n);
    struct stats_estimate to_1 = ratio(way->per_s, peer->per_s, n),
                          to_many = ratio(way->per_s, as_many->per_s, n),
                          cpu_to_1 = ratio(peer->cpu_us, way->cpu_us, n);
    if (!b->is_json) {
        printf("  %-20s %7.0f /s [%.0f, %.0f]  x%.2f [%.2f, %.2f]  x%.2f [%.2f, %.2f]  %6.1f us "
               "[%.1f, %.1f]  x%.2f [%.2f, %.2f]  %6.2f %6.2f ms\n",
               way->name, rate.value, rate.ci95.low, rate.ci95.high, to_1.value, to_1.ci95.low,
               to_1.ci95.high, to_many.value, to_many.ci95.low, to_many.ci95.high, cpu.value,
               cpu.ci95.low, cpu.ci95.high, cpu_to_1.value, cpu_to_1.ci95.low, cpu_to_1.ci95.high,
               median(way->p50_ms, n), median(way->p99_ms, n));
    }
    return json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:f, s:f}", "way", way->name, "threads",
                     (int)way->n_threads, "requests_per_s", contrast_estimate_json(&rate),
                     "of_nginx_1_worker", contrast_estimate_json(&to_1), "of_nginx_as_many",
                     contrast_estimate_json(&to_many), "cpu_us_per_request",
                     contrast_estimate_json(&cpu), "requests_per_cpu_of_nginx_1_worker",
                     contrast_estimate_json(&cpu_to_1), "p50_ms", median(way->p50_ms, n), "p99_ms",
                     median(way->p99_ms, n));
}

static json_t *run_clients(struct bench *b, unsigned n_clients) {
    json_t *rows = json_array();
    for (size_t round = 0; round < b->n_rounds; round++) {
        take_round(b, n_clients, round);
    }
    if (!b->is_json) {
        printf("%u clients, %zu rounds of %.1f s each\n  %-20s %-25s  %-18s  %-18s  %-22s  %-18s  "
               "%s\n",
               n_clients, b->n_rounds, b->seconds, "", "requests", "of nginx, 1", "of nginx, many",
               "CPU per request", "requests per CPU s", "p50, p99");
    }
    for (int i = 0; i < (int)b->n_ways; i++) {
        json_array_append_new(rows, tell_way(b, &b->way[i]));
    }
    return json_pack("{s:i, s:i, s:o}", "clients", (int)n_clients, "rounds", (int)b->n_rounds,
                     "ways", rows);
}

// ---- a second opinion ----

static double run_wrk(const struct bench *b, const struct way *way, unsigned n_clients) {
    char command[1024], line[256], *at;
    double per_s = (double)NAN;
    snprintf(command, sizeof command,
             "wrk -t1 -c%u -d%.0fs -s %s/post.lua http://127.0.0.1:%u/v1/chat/completions 2>&1",
             n_clients, fmax(b->seconds, 1), b->stage.folder, (unsigned)way->port);
    FILE *out = popen(command, "r");
    while (out && fgets(line, sizeof line, out)) {
        if ((at = strstr(line, "Requests/sec:"))) {
            per_s = strtod(at + 13, NULL);
        }
    }
    if (out) {
        pclose(out);
    }
    return per_s;
}

static void run_all_wrk(struct bench *b) {
    char path[128];
    snprintf(path, sizeof path, "%s/post.lua", b->stage.folder);
    FILE *file = fopen(path, "w");
    if (!file) {
        stage_fail("cannot write %s", path);
    }
    fprintf(file,
            "wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = "
            "[[%s]]\n",
            b->body);
    fclose(file);
    for (size_t i = 0; i < sizeof N_CLIENTS / sizeof N_CLIENTS[0]; i++) {
        printf("wrk, %u clients:", N_CLIENTS[i]);
        for (int way = 0; way < (int)b->n_ways; way++) {
            printf("%s %s %.0f /s", way ? "," : "", b->way[way].name,
                   run_wrk(b, &b->way[way], N_CLIENTS[i]));
        }
        putchar('\n');
    }
}

int main(int argc, char **argv) {
    static const char *const NAMES[] = {
        "--rounds=", "--seconds=", "--against=", "--wrk", "--json", NULL};
    static struct bench b;
    option_check(argc, argv, NAMES,
                 "usage: gateway_throughput [--rounds N] [--seconds S] [--against PROGRAM] [--wrk] "
                 "[--json]");
    b.n_rounds = (size_t)fmin(option_number(argc, argv, "--rounds", 11), MAX_ROUNDS);
    b.seconds = option_number(argc, argv, "--seconds", 1.5);
    b.is_json = option_flag(argc, argv, "--json");
    b.body = question_small("Which pump is hot?", false);
    b.request = wire_request("/v1/chat/completions", b.body, strlen(b.body), &b.n_request);
    open_stage(&b, option_text(argc, argv, "--against"));
    json_t *all = json_array();
    double load_before = figures_load_1();
    for (size_t i = 0; i < sizeof N_CLIENTS / sizeof N_CLIENTS[0]; i++) {
        json_array_append_new(all, run_clients(&b, N_CLIENTS[i]));
    }
    if (b.is_json) {
        option_print_json(json_pack("{s:s, s:o, s:o}", "benchmark", "gateway_throughput",
                                    "load_before", wl_json_real(load_before), "clients", all));
    } else {
        printf("load of the machine before: %.2f\n", load_before);
        json_decref(all);
        if (option_flag(argc, argv, "--wrk")) {
            run_all_wrk(&b);
        }
    }
    stage_close(&b.stage);
    free(b.body);
    free(b.request);
    return 0;
}
