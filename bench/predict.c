// How well does the law predict prompts that were not measured? For each round: a study of the
// model, then windows of five other lengths; the mean absolute error of predicted against measured
// medians, and R2 of the law in its own points.
//   bench/predict MODEL [ROUNDS [BUDGET_S]]
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "measure/study.h"
#include "measure/window.h"
#include "stats/describe.h"
#include "stats/law.h"
#include "store/store_record.h"

extern const char MEASURE_PROMPT_TEXT[];

enum { N_UNSEEN = 5, REPEATS = 5, GENERATE = 32 };
static const uint32_t SEEN[] = {16, 32, 64, 128, 256, 512, 1024, 2048};
static const uint32_t UNSEEN[N_UNSEEN] = {24, 100, 300, 700, 1500};
static const enum metric_id METRICS[] = {METRIC_time_s, METRIC_cpu_auc_pct_s, METRIC_ram_auc_mib_s,
                                         METRIC_energy_gross_j};
enum { N_METRICS = sizeof METRICS / sizeof METRICS[0] };

static void fail(const struct wl_err *err) {
    fprintf(stderr, "predict: %s\n", err->message);
    exit(1);
}

static struct record *study(const char *model, double budget_s, uint64_t seed, size_t *n) {
    struct wl_err err = {0};
    char path[] = "/tmp/wattlaw-bench-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    struct store *store;
    struct study_options options = {.model_path = {model},
                                    .label = {"model"},
                                    .n_models = 1,
                                    .prompt_tokens = SEEN,
                                    .n_prompts = sizeof SEEN / sizeof SEEN[0],
                                    .generate = GENERATE,
                                    .seed = seed,
                                    .rule = {3, 12, 0.02},
                                    .budget_s = budget_s,
                                    .idle_s = 2};
    struct study_events events = {0};
    int64_t id;
    struct record *records;
    if (store_open(path, STORE_READ_WRITE_CREATE, &store, &err) ||
        study_run(store, &options, &events, &id, &err) ||
        store_record_list_study(store, id, &records, n, &err)) {
        fail(&err);
    }
    store_close(store);
    unlink(path);
    return records;
}

static void measure_unseen(const char *model, uint64_t seed,
                           double out[N_METRICS][N_UNSEEN][REPEATS]) {
    struct wl_err err = {0};
    struct subject subject;
    struct subject_options options = {.model_path = model, .n_ctx = 2304};
    if (subject_open(&subject, &options, &err)) {
        fail(&err);
    }
    for (int repeat = -1; repeat < REPEATS; repeat++) { // -1 warms up
        uint32_t order[N_UNSEEN] = {0, 1, 2, 3, 4};
        struct rng rng;
        rng_seed(&rng, seed + (uint64_t)(repeat + 1));
        rng_shuffle_u32(&rng, order, N_UNSEEN);
        for (int k = 0; k < N_UNSEEN; k++) {
            struct window_options run = {.run = {.prompt = MEASURE_PROMPT_TEXT,
                                                 .n_prompt = UNSEEN[order[k]],
                                                 .n_predict = GENERATE,
                                                 .ignore_eos = true}};
            struct window window;
            if (window_run(&subject, &run, NULL, &window, &err)) {
                fail(&err);
            }
            for (int m = 0; m < N_METRICS && repeat >= 0; m++) {
                out[m][order[k]][repeat] = window.record.value[METRICS[m]];
            }
            window_release(&window);
        }
    }
    subject_close(&subject);
}

static void print_metric(enum metric_id metric, const struct record *records, size_t n,
                         double measured[N_UNSEEN][REPEATS]) {
    struct law_point *points = calloc(n, sizeof *points);
    struct law_fit fit;
    struct wl_err err = {0};
    size_t n_points = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(records[i].flags & RECORD_WARMUP) && isfinite(records[i].value[metric])) {
            points[n_points++] = (struct law_point){
                records[i].prompt_tokens, records[i].generated_tokens, records[i].value[metric]};
        }
    }
    if (law_fit(points, n_points, &fit, &err)) {
        fail(&err);
    }
    double error = 0;
    printf("  %-22s R2 %.5f  q %s  errors", metric_info(metric)->id, fit.r2,
           fit.has_term[LAW_QUADRATIC] ? "used" : "not needed");
    for (int k = 0; k < N_UNSEEN; k++) {
        struct law_prediction p;
        law_predict(&fit, UNSEEN[k], GENERATE, &p);
        double median = stats_median_in_place(measured[k], REPEATS);
        double pct = 100 * (p.value - median) / median;
        error += fabs(pct) / N_UNSEEN;
        printf(" %+.1f", pct);
    }
    printf(" %%  mean absolute %.2f %%\n", error);
    free(points);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs("usage: predict MODEL [ROUNDS [BUDGET_S]]\n", stderr);
        return 2;
    }
    int rounds = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
    double budget_s = argc > 3 ? strtod(argv[3], NULL) : 60;
    printf("unseen lengths 24 100 300 700 1500, %d generated, %s\n", GENERATE, argv[1]);
    for (int round = 0; round < rounds; round++) {
        size_t n;
        static double measured[N_METRICS][N_UNSEEN][REPEATS];
        struct record *records = study(argv[1], budget_s, (uint64_t)round + 1, &n);
        measure_unseen(argv[1], (uint64_t)round * 100, measured);
        printf("round %d (%zu windows)\n", round + 1, n);
        for (int m = 0; m < N_METRICS; m++) {
            print_metric(METRICS[m], records, n, measured[m]);
        }
        fflush(stdout);
        free(records);
    }
    return 0;
}
