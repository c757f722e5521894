// Does measuring disturb the measured? Decode speed of the same prompt with the sampler at 10 Hz
// and all energy sources, and without any sampling, alternating in one run.
//   bench/disturbance MODEL [PAIRS [TOKENS]]
#include <stdio.h>
#include <stdlib.h>

#include "engine/client.h"
#include "measure/window.h"
#include "stats/ratio.h"

extern const char MEASURE_PROMPT_TEXT[];

enum { MAX_PAIRS = 200 };

static double decode_rate(const struct engine_run_result *result) {
    const struct engine_phase *decode = engine_result_phase(result, "decode");
    return decode ? (result->n_generated - 1) * 1e9 / (double)(decode->t1_ns - decode->t0_ns) : 0;
}

static enum wl_status run_plain(struct subject *subject, const struct engine_run_options *options,
                                double *rate, struct wl_err *err) {
    struct engine_run_result result;
    enum wl_status status = engine_run(subject->engine, options, NULL, &result, err);
    *rate = status == WL_OK ? decode_rate(&result) : 0;
    engine_run_result_release(&result);
    return status;
}

static enum wl_status run_measured(struct subject *subject,
                                   const struct engine_run_options *options, double *rate,
                                   double *sampler_pct, struct wl_err *err) {
    struct window_options window_options = {.run = *options};
    struct window window;
    enum wl_status status = window_run(subject, &window_options, NULL, &window, err);
    if (status == WL_OK) {
        *rate = decode_rate(&window.result);
        *sampler_pct = window.record.value[METRIC_sampler_pct];
        window_release(&window);
    }
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs("usage: disturbance MODEL [PAIRS [TOKENS]]\n", stderr);
        return 2;
    }
    int n_pairs = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 30;
    int n_tokens = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 100;
    n_pairs = n_pairs < 3 ? 3 : n_pairs > MAX_PAIRS ? MAX_PAIRS : n_pairs;
    double plain[MAX_PAIRS], measured[MAX_PAIRS], pct[MAX_PAIRS];
    struct wl_err err = {0};
    struct subject subject;
    struct subject_options options = {.model_path = argv[1], .n_ctx = 1024};
    struct engine_run_options run = {.prompt = MEASURE_PROMPT_TEXT,
                                     .n_prompt = 32,
                                     .n_predict = (uint32_t)n_tokens,
                                     .ignore_eos = true};
    enum wl_status status = subject_open(&subject, &options, &err);
    double ignored;
    status = status ? status : run_plain(&subject, &run, &ignored, &err); // warm-up
    for (int i = 0; i < n_pairs && status == WL_OK; i++) {
        // The order alternates so that a drift hits both alike.
        status = i % 2 ? run_measured(&subject, &run, &measured[i], &pct[i], &err)
                       : run_plain(&subject, &run, &plain[i], &err);
        status = status  ? status
                 : i % 2 ? run_plain(&subject, &run, &plain[i], &err)
                         : run_measured(&subject, &run, &measured[i], &pct[i], &err);
    }
    struct stats_ratio ratio;
    status =
        status ? status : stats_paired_ratio(plain, measured, (size_t)n_pairs, 1, &ratio, &err);
    if (status) {
        fprintf(stderr, "disturbance: %s\n", err.message);
        return 1;
    }
    printf("decode with sampler / without: mean %.4f (95 %% %.4f to %.4f), median %.4f (%.4f to "
           "%.4f), %d pairs of %d tokens\n",
           ratio.mean_ratio, ratio.mean_ci95.low, ratio.mean_ci95.high, ratio.median_ratio,
           ratio.median_ci95.low, ratio.median_ci95.high, n_pairs, n_tokens);
    printf("sampler at 10 Hz: %.3f %% of one core (median over the windows)\n",
           stats_median_in_place(pct, (size_t)n_pairs));
    subject_close(&subject);
    return 0;
}
