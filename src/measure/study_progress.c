#include <math.h>
#include <stdio.h>

#include "base/units.h"
#include "measure/study_state.h"
#include "os/clock.h"
#include "os/process.h"

void study_warn(const struct study *study, const char *message) {
    if (study->events->on_warning) {
        study->events->on_warning(study->events->context, message);
    }
}

void study_show_progress(struct study *study) {
    double needed_s = 0, possible_s = 0;
    for (size_t i = 0; i < study->options->n_models; i++) {
        for (size_t c = 0; c < study->n_cells; c++) {
            const struct side *side = &study->sides[i];
            size_t n = side->cells[c].n;
            const struct schedule_rule *rule = &study->options->rule;
            double seconds = study_expected_s(side, study, c);
            needed_s += n == 0 ? seconds : 0;
            possible_s += study_is_cell_done(study, c) || n >= rule->max_repeats
                              ? 0
                              : seconds * (double)(rule->max_repeats - n);
        }
    }
    double now_s = study->window_t0_ns ? (double)(os_now_ns() - study->window_t0_ns) * 1e-9 : 0;
    // Rests go on as they did so far.
    double slower = study->spent_s > 0 ? 1 + study->rested_s / study->spent_s : 1;
    double spent_s = slower * study->spent_s + now_s;
    double left_s = fmax(needed_s, fmin(possible_s, study->options->budget_s - study->spent_s));
    left_s = fmax(slower * left_s - now_s, 0);
    double overhead_s =
        (study->options->paper_s + 5 + study->options->idle_s) * (double)study->options->n_models;
    double total_s = spent_s + left_s + overhead_s;
    if (study->events->on_progress) {
        study->events->on_progress(study->events->context, spent_s / total_s,
                                   study->spent_s > 0 ? left_s + overhead_s : -1, study->what);
    }
}

void study_say(struct study *study, const char *what) {
    snprintf(study->what, sizeof study->what, "%s", what);
    study_show_progress(study);
}

// The client asks this some ten times a second while it waits for the engine.
bool study_on_wait(void *study) {
    study_show_progress(study);
    return os_is_interrupted();
}
