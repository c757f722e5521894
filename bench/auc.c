// CPU AUC against a load of known CPU time (tests/fake_engine burns it): the exact mode, and the
// paper's 5 Hz mode on the same run.
//   WATTLAW_ENGINE=.../fake_engine bench/auc [WINDOWS]
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "measure/window.h"
#include "os/file.h"
#include "os/machine.h"
#include "stats/describe.h"

enum { MAX_WINDOWS = 100, PROMPT = 100, GENERATE = 50 };

// What the settings below burn: 5 s and more. The first token belongs to the prompt's work.
static double burnt_s(int window) {
    return (PROMPT * 20.0 + (GENERATE - 1) * (60.0 + 10.0 * (window % 5))) * 1e-3;
}

static void set_load(int window) {
    char text[32];
    snprintf(text, sizeof text, "%d", 60 + 10 * (window % 5));
    setenv("FAKE_ENGINE_DECODE_MS_PER_TOKEN", text, 1);
    setenv("FAKE_ENGINE_PREFILL_MS_PER_TOKEN", "20", 1);
}

static void print_errors(const char *name, double *errors, int n, double limit_pct) {
    int n_within = 0;
    double worst = 0;
    for (int i = 0; i < n; i++) {
        n_within += fabs(errors[i]) <= limit_pct;
        worst = fmax(worst, fabs(errors[i]));
    }
    stats_sort(errors, (size_t)n);
    printf(
        "%-6s n %d  median %+.3f %%  from %+.3f to %+.3f %%  worst %.3f %%  within %.1f %%: %d\n",
        name, n, stats_quantile_sorted(errors, (size_t)n, 0.5), errors[0], errors[n - 1], worst,
        limit_pct, n_within);
}

int main(int argc, char **argv) {
    int n = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 10;
    n = n < 1 ? 1 : n > MAX_WINDOWS ? MAX_WINDOWS : n;
    double exact[MAX_WINDOWS], paper[MAX_WINDOWS];
    int n_paper = 0;
    struct wl_err err = {0};
    char model[] = "/tmp/wattlaw-auc-XXXXXX";
    int fd = mkstemp(model);
    if (fd < 0 || os_write_atomic(model, "GGUF", 4, &err)) {
        fprintf(stderr, "auc: %s\n", err.message);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        struct subject subject;
        struct subject_options options = {.model_path = model, .meters = "estimate"};
        struct window_options run = {
            .run = {.prompt = "x", .n_prompt = PROMPT, .n_predict = GENERATE}, .pad_s = 3};
        struct window window;
        set_load(i);
        if (subject_open(&subject, &options, &err) ||
            window_run(&subject, &run, NULL, &window, &err)) {
            fprintf(stderr, "auc: %s\n", err.message);
            return 1;
        }
        const double *v = window.record.value;
        double known = 100 * burnt_s(i) / os_n_cores();
        exact[i] = 100 * (v[METRIC_cpu_auc_pct_s] / known - 1);
        if (isfinite(v[METRIC_cpu_auc_paper_pct_s])) {
            paper[n_paper++] = 100 * (v[METRIC_cpu_auc_paper_pct_s] / known - 1);
        }
        window_release(&window);
        subject_close(&subject);
    }
    print_errors("exact", exact, n, 0.5);
    print_errors("paper", paper, n_paper, 5);
    if (n_paper < n) {
        printf("paper mode found no window in %d of %d runs\n", n - n_paper, n);
    }
    remove(model);
    return 0;
}
