// Inside measure's study*.c only: a running study.
#ifndef WATTLAW_MEASURE_STUDY_STATE_H
#define WATTLAW_MEASURE_STUDY_STATE_H

#include "measure/idle.h"
#include "measure/study.h"
#include "measure/study_images.h"
#include "measure/window.h"

enum { STUDY_MAX_REPEATS = 100, STUDY_MAX_REQUESTS = 200 };

struct cell_times {
    double seconds[STUDY_MAX_REPEATS];
    double joules[STUDY_MAX_REPEATS]; // gross, of the primary source
    size_t n;
};

// One model of the study.
struct side {
    struct subject subject;
    bool is_open;
    bool is_warm;
    struct idle idle;
    int64_t model_id;
    bool has_paper;
    bool has_no_template;       // llama.cpp cannot apply the model's own: texts go in as they are
    uint32_t image_budget;      // image_max_tokens in force in the engine
    bool has_budget;            // it is known
    struct study_counts counts; // image tokens of the sweep's sizes under each budget
    struct cell_times cells[SCHEDULE_MAX_CELLS];
    double tokens_weighted, seconds_total; // what it measured so far, for the time left
};

struct study {
    struct store *store;
    const struct study_options *options;
    const struct study_events *events;
    int64_t id;
    struct side *sides; // n_models of them
    bool one_at_a_time; // both models do not fit in RAM together
    struct schedule_cell cells[SCHEDULE_MAX_CELLS];
    size_t n_cells;
    struct study_pictures pictures; // of the image cells
    uint32_t next_seq;
    double spent_s;
    double rested_s;      // around the windows, for slow meters
    int64_t window_t0_ns; // of the window that runs now; 0 between windows
    double scored_s;      // spent on scored answers
    double to_score_s;    // that are still to come, as far as known
    char what[160];       // what the progress line says
    size_t n_crashes;     // in a row
};

// study_plan.c: what to run, and for how long.
void study_make_cells(struct study *study);
uint32_t study_needed_context(const struct study *study);
double study_expected_s(const struct side *side, const struct study *study, size_t cell);
bool study_is_cell_done(const struct study *study, size_t cell);
uint32_t study_n_requests(const struct study *study, const struct side *side, size_t cell);
double study_weight(uint32_t prompt_tokens, uint32_t generated_tokens);

// study_progress.c
void study_show_progress(struct study *study);
void study_say(struct study *study, const char *what);
void study_warn(const struct study *study, const char *message);
// The client asks this some ten times a second while it waits for the engine.
bool study_on_wait(void *study);

// study_window.c
enum wl_status study_open_side(struct study *study, size_t index, struct wl_err *err);
struct window_options study_window_options(struct study *study, const struct side *side,
                                           const struct schedule_cell *cell);
// Runs one window and stores it; WL_BUSY when the engine died and was restarted: try again.
enum wl_status study_run_window(struct study *study, size_t index, uint32_t cell_index,
                                const struct window_options *options, uint32_t flags,
                                struct wl_err *err);
void study_count_window(struct study *study, struct side *side, const struct record *record);
// A dead engine is started again; not for ever. OK: try again.
enum wl_status study_recover(struct study *study, struct side *side, enum wl_status status,
                             struct wl_err *err);
// Brings the engine to the image budget; does nothing where it has it.
enum wl_status study_use_budget(struct side *side, uint32_t image_max_tokens, struct wl_err *err);

// study_score.c: asks the task file's questions, under each budget; stores answers.
enum wl_status study_score(struct study *study, size_t index, struct wl_err *err);

#endif
