// How well does the law predict prompts that it has not seen? Each round is one study over thirteen
// lengths, interleaved, because a shared machine changes its speed from minute to minute. The law
// is fitted without the windows of five of the lengths, and predicts them: the mean absolute error
// against their measured medians, and R2 of the law in its own points.
//   bench/predict MODEL [ROUNDS [BUDGET_S]]
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "measure/study.h"
#include "stats/describe.h"
#include "stats/law.h"
#include "store/store_record.h"

enum { N_UNSEEN = 5, MAX_REPEATS = 12, GENERATE = 32 };
static const uint32_t LENGTHS[] = {16, 24, 32, 64, 100, 128, 256, 300, 512, 700, 1024, 1500, 2048};
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
                                    .prompt_tokens = LENGTHS,
                                    .n_prompts = sizeof LENGTHS / sizeof LENGTHS[0],
                                    .generate = GENERATE,
                                    .seed = seed,
                                    .rule = {3, MAX_REPEATS, 0.02},
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

// Index of an unseen length, or -1.
static int unseen_index(const struct record *record) {
    for (int k = 0; k < N_UNSEEN; k++) {
        if (record->prompt_tokens == UNSEEN[k]) {
            return k;
        }
    }
    return -1;
}

static double measured_median(const struct record *records, size_t n, enum metric_id metric,
                              int k) {
    double values[MAX_REPEATS];
    size_t n_values = 0;
    for (size_t i = 0; i < n; i++) {
        if (unseen_index(&records[i]) == k && records[i].generated_tokens == GENERATE &&
            !(records[i].flags & RECORD_WARMUP) && n_values < MAX_REPEATS) {
            values[n_values++] = records[i].value[metric];
        }
    }
    return stats_median_in_place(values, n_values);
}

static void print_metric(enum metric_id metric, const struct record *records, size_t n) {
    struct law_point *points = calloc(n, sizeof *points);
    struct law_fit fit;
    struct wl_err err = {0};
    size_t n_points = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(records[i].flags & RECORD_WARMUP) && unseen_index(&records[i]) < 0 &&
            isfinite(records[i].value[metric])) {
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
        double median = measured_median(records, n, metric, k);
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
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("unseen lengths 24 100 300 700 1500, %d generated, %s\n", GENERATE, argv[1]);
    for (int round = 0; round < rounds; round++) {
        size_t n;
        struct record *records = study(argv[1], budget_s, (uint64_t)round + 1, &n);
        printf("round %d (%zu windows)\n", round + 1, n);
        for (int m = 0; m < N_METRICS; m++) {
            print_metric(METRICS[m], records, n);
        }
        free(records);
    }
    return 0;
}
