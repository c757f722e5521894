// What the gateway adds to the time of an answer: each turn asks the model server itself, through a
// gateway without a ledger and through one with a ledger, in an order that goes round, one request
// at a time, on connections that stay open. The model server computes nothing.
//
// With --against the gateway of another build stands beside them.
//
//   gateway_latency [--turns N] [--against PROGRAM] [--json]
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "support/asker.h"
#include "support/contrast.h"
#include "support/figures.h"
#include "support/options.h"
#include "support/question.h"
#include "support/stage.h"

enum { MAX_WAYS = 4, N_WARM_UP = 50, PICTURE_BYTES = 400000 };
enum { DIRECT, WITHOUT_LEDGER, WITH_LEDGER, OTHER_BUILD };

static const char *const WAYS[MAX_WAYS] = {"direct", "gateway, no ledger", "gateway, ledger",
                                           "other build, ledger"};

struct kind {
    const char *name;
    bool is_stream, has_picture;
};

static const struct kind KINDS[] = {
    {"whole answer, 200 B", false, false},
    {"whole answer, 400 KB picture", false, true},
    {"stream, 200 B", true, false},
    {"stream, 400 KB picture", true, true},
};

struct ways {
    struct asker asker[MAX_WAYS];
    size_t n;
};

struct times {
    double *first_s[MAX_WAYS], *whole_s[MAX_WAYS];
    size_t n;
};

// ---- measuring ----

static char *request_of(const struct kind *kind, size_t *n) {
    const char *text = kind->is_stream ? "tokens=6 delay=2" : "tokens=6";
    char *body = kind->has_picture ? question_picture(text, kind->is_stream, PICTURE_BYTES)
                                   : question_small(text, kind->is_stream);
    char *request = wire_request("/v1/chat/completions", body, strlen(body), n);
    free(body);
    if (!request) {
        stage_fail("no memory");
    }
    return request;
}

static void take_turn(struct ways *ways, const char *request, size_t n, size_t number,
                      struct times *out) {
    for (size_t i = 0; i < ways->n; i++) {
        size_t way = (number + i) % ways->n;
        struct asked asked = asker_ask(&ways->asker[way], request, n);
        if (asked.status != 200) {
            stage_fail("%s answers with status %d", WAYS[way], asked.status);
        }
        if (out) {
            out->first_s[way][number] = asked.first_s;
            out->whole_s[way][number] = asked.whole_s;
        }
    }
}

static void times_alloc(struct times *times, size_t n) {
    times->n = n;
    for (int way = 0; way < MAX_WAYS; way++) {
        times->first_s[way] = calloc(n, sizeof(double));
        times->whole_s[way] = calloc(n, sizeof(double));
        if (!times->first_s[way] || !times->whole_s[way]) {
            stage_fail("no memory");
        }
    }
}

static void times_free(struct times *times) {
    for (int way = 0; way < MAX_WAYS; way++) {
        free(times->first_s[way]);
        free(times->whole_s[way]);
    }
}

// ---- telling ----

static void print_ms(const struct stats_estimate *e) {
    printf("  %7.3f [%.3f, %.3f]", e->value * 1e3, e->ci95.low * 1e3, e->ci95.high * 1e3);
}

static void print_row(const char *what, const char *way, const struct contrast *c) {
    printf("    %-6s p%-3.0f %-20s", what, c->share * 100, way);
    print_ms(&c->of[CONTRAST_FIRST]);
    print_ms(&c->of[CONTRAST_SECOND]);
    print_ms(&c->of[CONTRAST_SHIFT]);
    print_ms(&c->of[CONTRAST_PAIRED]);
    putchar('\n');
}

static void compare(const char *what, double *const values[MAX_WAYS], size_t n_ways, size_t n,
                    bool is_json, json_t *rows) {
    static const double SHARES[] = {0.5, 0.99};
    for (size_t way = WITHOUT_LEDGER; way < n_ways; way++) {
        for (size_t i = 0; i < 2; i++) {
            struct contrast contrast;
            contrast_make(values[DIRECT], values[way], n, SHARES[i], &contrast);
            if (!is_json) {
                print_row(what, WAYS[way], &contrast);
            }
            json_array_append_new(rows, json_pack("{s:s, s:s, s:o}", "time", what, "way", WAYS[way],
                                                  "seconds", contrast_json(&contrast)));
        }
    }
}

static json_t *run_kind(const struct kind *kind, struct ways *ways, size_t n_turns, bool is_json) {
    struct times times;
    json_t *rows = json_array();
    size_t n;
    char *request = request_of(kind, &n);
    times_alloc(&times, n_turns);
    for (size_t i = 0; i < N_WARM_UP; i++) {
        take_turn(ways, request, n, i, NULL);
    }
    for (size_t i = 0; i < n_turns; i++) {
        take_turn(ways, request, n, i, &times);
    }
    if (!is_json) {
        printf("%s (n=%zu turns, request of %zu bytes)\n", kind->name, n_turns, n);
    }
    if (kind->is_stream) {
        compare("first", times.first_s, ways->n, n_turns, is_json, rows);
    }
    compare("whole", times.whole_s, ways->n, n_turns, is_json, rows);
    times_free(&times);
    free(request);
    return json_pack("{s:s, s:i, s:o}", "kind", kind->name, "request_bytes", (int)n, "rows", rows);
}

// ---- the stage ----

static void start(struct stage *stage, const char *name, const char *program, const char *ledger,
                  uint16_t upstream, struct ways *ways) {
    char path[128];
    uint16_t port;
    snprintf(path, sizeof path, "%s/%s.db", stage->folder, name);
    bool has_ledger = strcmp(ledger, "--ledger") == 0;
    const char *const more[] = {ledger, has_ledger ? path : NULL, NULL};
    stage_start_gateway(stage, name, program, upstream, more, &port);
    if (!asker_open(&ways->asker[ways->n++], port)) {
        stage_fail("cannot connect");
    }
}

static void open_ways(struct stage *stage, const char *other_build, struct ways *ways) {
    uint16_t stub;
    stage_start_stub(stage, &stub);
    ways->n = 1;
    if (!asker_open(&ways->asker[DIRECT], stub)) {
        stage_fail("cannot connect");
    }
    start(stage, "without", NULL, "--no-ledger", stub, ways);
    start(stage, "with", NULL, "--ledger", stub, ways);
    if (other_build) {
        start(stage, "other", other_build, "--ledger", stub, ways);
    }
}

int main(int argc, char **argv) {
    static const char *const NAMES[] = {"--turns=", "--against=", "--json", NULL};
    option_check(argc, argv, NAMES,
                 "usage: gateway_latency [--turns N] [--against PROGRAM] [--json]");
    size_t n_turns = (size_t)option_number(argc, argv, "--turns", 2000);
    bool is_json = option_flag(argc, argv, "--json");
    struct stage stage;
    struct ways ways;
    json_t *kinds = json_array();
    stage_open(&stage);
    open_ways(&stage, option_text(argc, argv, "--against"), &ways);
    double load_before = figures_load_1();
    if (!is_json) {
        printf(
            "milliseconds with 95 %% intervals; targets: added p50 < 0.3, p99 < 2, first piece of "
            "a stream < 1\n    %-32s  %-23s  %-23s  %-23s  %s\n",
            "", "direct", "through the gateway", "gateway less direct",
            "of the turns' differences");
    }
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        json_array_append_new(kinds, run_kind(&KINDS[i], &ways, n_turns, is_json));
    }
    json_t *all = json_pack("{s:s, s:o, s:o, s:o}", "benchmark", "gateway_latency", "load_before",
                            wl_json_real(load_before), "load_after", wl_json_real(figures_load_1()),
                            "kinds", kinds);
    if (is_json) {
        option_print_json(all);
    } else {
        printf("load of the machine: %.2f before, %.2f after\n", load_before, figures_load_1());
        json_decref(all);
    }
    for (size_t way = 0; way < ways.n; way++) {
        asker_close(&ways.asker[way]);
    }
    stage_close(&stage);
    return 0;
}
