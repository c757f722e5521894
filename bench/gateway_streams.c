// Very many answers at once, a token each 100 ms, straight from a model server that computes
// nothing and through the gateway, in turns: memory (Pss) of the gateway while all of them are
// open, CPU time for each piece that it passes on, and how late a piece comes (each carries the
// time at which it was made).
//
//   gateway_streams [--streams N] [--rounds N] [--seconds S] [--json]
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/json.h"
#include "os/clock.h"
#include "support/asker.h"
#include "support/contrast.h"
#include "support/figures.h"
#include "support/options.h"
#include "support/question.h"
#include "support/stage.h"

enum { MAX_EVENTS = 256, MAX_ROUNDS = 32, N_WAYS = 2, DELAY_MS = 100 };
enum { DIRECT, PROXIED };

static const char *const WAYS[N_WAYS] = {"direct", "gateway"};
// Of a stream's opening after the one before: all together would make one burst each 100 ms.
static const double OPENING_S = 2;

struct reader {
    int fd;
    struct wire wire;
    struct flow *flow;
    uint64_t stamp; // that is being read
    enum { OUTSIDE, IN_STAMP } state;
};

// One round of one way.
struct flow {
    int epoll;
    struct reader *readers;
    size_t n;
    bool counts;
    double *delay_s;
    size_t n_delays, room;
    uint64_t n_pieces, n_broken;
};

struct round {
    double p50_ms, p99_ms, cpu_us, pss_mib, pieces_per_s;
};

struct bench {
    struct stage stage;
    pid_t pid[N_WAYS];
    uint16_t port[N_WAYS];
    size_t n_streams, n_rounds;
    double seconds, empty_mib;
    char *request;
    size_t n_request;
    struct round round[N_WAYS][MAX_ROUNDS];
};

// ---- pieces ----

static void note_piece(struct flow *flow, uint64_t stamp_ns) {
    if (!flow->counts) {
        return;
    }
    flow->n_pieces++;
    if (flow->n_delays < flow->room) {
        flow->delay_s[flow->n_delays++] = (double)(os_now_ns() - (int64_t)stamp_ns) * 1e-9;
    }
}

// A stamp is "@" and digits; it may come in two parts.
static void on_body(void *context, const char *bytes, size_t n) {
    struct reader *r = context;
    for (size_t i = 0; i < n; i++) {
        if (r->state == IN_STAMP && bytes[i] >= '0' && bytes[i] <= '9') {
            r->stamp = r->stamp * 10 + (uint64_t)(bytes[i] - '0');
        } else if (r->state == IN_STAMP) {
            r->state = OUTSIDE;
            note_piece(r->flow, r->stamp);
        } else if (bytes[i] == '@') {
            r->state = IN_STAMP;
            r->stamp = 0;
        }
    }
}

static void on_readable(struct reader *r) {
    char bytes[8192];
    ssize_t n = recv(r->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n > 0) {
        wire_feed(&r->wire, bytes, (size_t)n);
    }
    if (n <= 0 || r->wire.state >= WIRE_WHOLE) { // they last longer than is measured
        r->flow->n_broken++;
        epoll_ctl(r->flow->epoll, EPOLL_CTL_DEL, r->fd, NULL);
    }
}

static void read_until(struct flow *flow, int64_t until_ns) {
    struct epoll_event events[MAX_EVENTS];
    for (int64_t now_ns; (now_ns = os_now_ns()) < until_ns;) {
        int n =
            epoll_wait(flow->epoll, events, MAX_EVENTS, (int)((until_ns - now_ns) / 1000000) + 1);
        for (int i = 0; i < n; i++) {
            on_readable(events[i].data.ptr);
        }
    }
}

// ---- streams ----

static void open_stream(const struct bench *b, int way, struct flow *flow, struct reader *r) {
    r->flow = flow;
    r->fd = asker_connect(b->port[way]);
    wire_begin(&r->wire, on_body, r);
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = r}};
    if (r->fd < 0 || send(r->fd, b->request, b->n_request, MSG_NOSIGNAL) != (ssize_t)b->n_request ||
        fcntl(r->fd, F_SETFL, O_NONBLOCK) != 0 ||
        epoll_ctl(flow->epoll, EPOLL_CTL_ADD, r->fd, &event) != 0) {
        stage_fail("stream %zu of %s: %s", (size_t)(r - flow->readers), WAYS[way], strerror(errno));
    }
}

static void open_all(const struct bench *b, int way, struct flow *flow) {
    int64_t begin_ns = os_now_ns(), step_ns = (int64_t)(OPENING_S * 1e9 / (double)flow->n);
    for (size_t i = 0; i < flow->n; i++) {
        read_until(flow, begin_ns + (int64_t)i * step_ns);
        open_stream(b, way, flow, &flow->readers[i]);
    }
    read_until(flow, os_now_ns() + INT64_C(1000000000));
}

static void flow_open(const struct bench *b, struct flow *flow) {
    *flow = (struct flow){.epoll = epoll_create1(EPOLL_CLOEXEC), .n = b->n_streams};
    flow->room = (size_t)((double)b->n_streams * b->seconds * 1500 / DELAY_MS) + 1000;
    flow->readers = calloc(flow->n, sizeof *flow->readers);
    flow->delay_s = malloc(flow->room * sizeof *flow->delay_s);
    if (flow->epoll < 0 || !flow->readers || !flow->delay_s) {
        stage_fail("no memory for %zu streams", flow->n);
    }
}

static void flow_close(struct flow *flow) {
    for (size_t i = 0; i < flow->n; i++) {
        close(flow->readers[i].fd);
    }
    close(flow->epoll);
    free(flow->readers);
    free(flow->delay_s);
}

static void measure(struct bench *b, int way, size_t number) {
    struct flow flow;
    struct round *out = &b->round[way][number];
    flow_open(b, &flow);
    open_all(b, way, &flow);
    int64_t begin_ns = os_now_ns();
    double cpu_s = figures_cpu_s(b->pid[way], 0);
    flow.counts = true;
    read_until(&flow, begin_ns + (int64_t)(b->seconds * 1e9));
    cpu_s = figures_cpu_s(b->pid[way], 0) - cpu_s;
    double seconds = (double)(os_now_ns() - begin_ns) * 1e-9;
    if (flow.n_broken > 0 || flow.n_pieces == 0) {
        stage_fail("%s: %llu of %zu streams ended early", WAYS[way],
                   (unsigned long long)flow.n_broken, flow.n);
    }
    stats_sort(flow.delay_s, flow.n_delays);
    *out = (struct round){.p50_ms = stats_quantile_sorted(flow.delay_s, flow.n_delays, 0.5) * 1e3,
                          .p99_ms = stats_quantile_sorted(flow.delay_s, flow.n_delays, 0.99) * 1e3,
                          .cpu_us = cpu_s / (double)flow.n_pieces * 1e6,
                          .pss_mib = figures_pss_mib(b->pid[way]),
                          .pieces_per_s = (double)flow.n_pieces / seconds};
    flow_close(&flow);
    os_sleep_until_ns(os_now_ns() + INT64_C(1000000000)); // their ends are not of the next round
}

// ---- the stage ----

// One stream has three descriptors: ours, and two of the gateway, which inherits the limit.
static void raise_limit(size_t n_streams) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    rlim_t wanted = (rlim_t)n_streams * 2 + 256;
    limit.rlim_cur = limit.rlim_cur > wanted ? limit.rlim_cur : wanted;
    limit.rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        stage_fail("needs %zu open files: %s", (size_t)wanted, strerror(errno));
    }
}

static void open_stage(struct bench *b) {
    char n[24], ledger[128];
    snprintf(n, sizeof n, "%zu", b->n_streams + 16);
    raise_limit(b->n_streams);
    stage_open(&b->stage);
    snprintf(ledger, sizeof ledger, "%s/ledger.db", b->stage.folder);
    const char *const more[] = {"--concurrency", n, "--connections", n, "--ledger", ledger, NULL};
    b->pid[DIRECT] = stage_start_stub(&b->stage, &b->port[DIRECT]);
    b->pid[PROXIED] =
        stage_start_gateway(&b->stage, "gateway", NULL, b->port[DIRECT], more, &b->port[PROXIED]);
    b->empty_mib = figures_pss_mib(b->pid[PROXIED]);
    char text[64];
    snprintf(text, sizeof text, "tokens=100000 delay=%d stamps", DELAY_MS);
    char *body = question_small(text, true);
    b->request = wire_request("/v1/chat/completions", body, strlen(body), &b->n_request);
    free(body);
}

// ---- telling ----

static struct stats_estimate of_rounds(const struct bench *b,
                                       double (*value)(const struct bench *b, size_t i)) {
    double values[MAX_ROUNDS];
    for (size_t i = 0; i < b->n_rounds; i++) {
        values[i] = value(b, i);
    }
    return contrast_median(values, b->n_rounds);
}

static double direct_p50(const struct bench *b, size_t i) {
    return b->round[DIRECT][i].p50_ms;
}
static double direct_p99(const struct bench *b, size_t i) {
    return b->round[DIRECT][i].p99_ms;
}
static double proxied_p50(const struct bench *b, size_t i) {
    return b->round[PROXIED][i].p50_ms;
}
static double proxied_p99(const struct bench *b, size_t i) {
    return b->round[PROXIED][i].p99_ms;
}
static double added_p50(const struct bench *b, size_t i) {
    return proxied_p50(b, i) - direct_p50(b, i);
}
static double added_p99(const struct bench *b, size_t i) {
    return proxied_p99(b, i) - direct_p99(b, i);
}
static double cpu(const struct bench *b, size_t i) {
    return b->round[PROXIED][i].cpu_us;
}
static double stub_cpu(const struct bench *b, size_t i) {
    return b->round[DIRECT][i].cpu_us;
}
static double pss(const struct bench *b, size_t i) {
    return b->round[PROXIED][i].pss_mib;
}
static double pieces(const struct bench *b, size_t i) {
    return b->round[PROXIED][i].pieces_per_s;
}

static const struct row {
    const char *name, *unit, *title;
    double (*value)(const struct bench *b, size_t i);
} ROWS[] = {
    {"pss_mib", "MiB", "memory of the gateway (Pss), target < 64", pss},
    {"cpu_us_per_piece", "us", "CPU of the gateway for each piece", cpu},
    {"stub_cpu_us_per_piece", "us", "CPU of the model server for each piece", stub_cpu},
    {"pieces_per_s", "/s", "pieces through the gateway", pieces},
    {"direct_p50_ms", "ms", "delay of a piece, direct, p50", direct_p50},
    {"gateway_p50_ms", "ms", "delay of a piece, gateway, p50", proxied_p50},
    {"added_p50_ms", "ms", "difference of the two", added_p50},
    {"direct_p99_ms", "ms", "delay of a piece, direct, p99", direct_p99},
    {"gateway_p99_ms", "ms", "delay of a piece, gateway, p99", proxied_p99},
    {"added_p99_ms", "ms", "difference of the two", added_p99},
};

static void tell(const struct bench *b, bool is_json) {
    json_t *all = json_pack("{s:s, s:I, s:I, s:f, s:o, s:o}", "benchmark", "gateway_streams",
                            "streams", (json_int_t)b->n_streams, "rounds", (json_int_t)b->n_rounds,
                            "seconds", b->seconds, "empty_pss_mib", wl_json_real(b->empty_mib),
                            "load", wl_json_real(figures_load_1()));
    if (!is_json) {
        printf("%zu streams at once, a piece each %d ms; %zu rounds of %.0f s each way in turns\n",
               b->n_streams, DELAY_MS, b->n_rounds, b->seconds);
        printf("  %-44s %9.2f MiB\n", "memory of the gateway before", b->empty_mib);
    }
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        struct stats_estimate e = of_rounds(b, ROWS[i].value);
        json_object_set_new(all, ROWS[i].name, contrast_estimate_json(&e));
        if (!is_json) {
            printf("  %-44s %9.2f %-3s [%.2f, %.2f]\n", ROWS[i].title, e.value, ROWS[i].unit,
                   e.ci95.low, e.ci95.high);
        }
    }
    if (is_json) {
        option_print_json(all);
    } else {
        printf("load of the machine: %.2f\n", figures_load_1());
        json_decref(all);
    }
}

int main(int argc, char **argv) {
    static const char *const NAMES[] = {"--streams=", "--rounds=", "--seconds=", "--json", NULL};
    static struct bench b;
    option_check(argc, argv, NAMES,
                 "usage: gateway_streams [--streams N] [--rounds N] [--seconds S] [--json]");
    b.n_streams = (size_t)option_number(argc, argv, "--streams", 1000);
    b.n_rounds = (size_t)fmin(option_number(argc, argv, "--rounds", 5), MAX_ROUNDS);
    b.seconds = option_number(argc, argv, "--seconds", 5);
    open_stage(&b);
    for (size_t i = 0; i < b.n_rounds; i++) {
        measure(&b, i % 2 ? PROXIED : DIRECT, i);
        measure(&b, i % 2 ? DIRECT : PROXIED, i);
    }
    tell(&b, option_flag(argc, argv, "--json"));
    free(b.request);
    stage_close(&b.stage);
    return 0;
}
