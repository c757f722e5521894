#include "measure/study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "measure/idle.h"
#include "measure/study_store.h"
#include "measure/window.h"
#include "os/clock.h"
#include "os/process.h"
#include "store/store_record.h"
#include "store/store_study.h"

extern const char MEASURE_PROMPT_TEXT[]; // prompt.txt

enum { MAX_REPEATS = 100, MAX_CRASHES = 3, MAX_REQUESTS = 200 };
// A prompt token costs about a quarter of a generated one or less: only for the time left.
static const double PROMPT_WEIGHT = 0.1;

struct cell_times {
    double seconds[MAX_REPEATS];
    double joules[MAX_REPEATS]; // gross, of the primary source
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
    bool has_no_template; // llama.cpp cannot apply the model's own: texts go in as they are
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
    uint32_t next_seq;
    double spent_s;
    double rested_s;      // around the windows, for slow meters
    int64_t window_t0_ns; // of the window that runs now; 0 between windows
    char what[160];       // what the progress line says
    size_t n_crashes;     // in a row
};

static void warn(const struct study *study, const char *message) {
    if (study->events->on_warning) {
        study->events->on_warning(study->events->context, message);
    }
}

static double cell_weight(const struct schedule_cell *cell) {
    return cell->prompt_tokens * PROMPT_WEIGHT + cell->generated_tokens;
}

// Expected seconds of one window, from those measured so far; 0 before the first.
static double expected_s(const struct side *side, const struct study *study, size_t cell) {
    const struct cell_times *times = &side->cells[cell];
    if (times->n) {
        return times->seconds[times->n - 1];
    }
    return side->tokens_weighted > 0
               ? side->seconds_total / side->tokens_weighted * cell_weight(&study->cells[cell])
               : 0;
}

static const struct meter_info *primary_info(const struct side *side) {
    return side->subject.meters.n ? meter_info(side->subject.meters.meter[0]) : NULL;
}

// A model computes energy from the time: it scatters no more than that does.
static bool has_measured_energy(const struct side *side) {
    const struct meter_info *info = primary_info(side);
    return info && info->kind != METER_MODEL;
}

static bool is_cell_done(const struct study *study, size_t cell) {
    const struct schedule_rule *rule = &study->options->rule;
    for (size_t i = 0; i < study->options->n_models; i++) {
        const struct side *side = &study->sides[i];
        const struct cell_times *times = &side->cells[cell];
        if (!schedule_is_enough(rule, times->seconds, times->n) ||
            (has_measured_energy(side) && !schedule_is_enough(rule, times->joules, times->n))) {
            return false;
        }
    }
    return true;
}

// How many equal requests make a window that the primary meter resolves; 1 where that would eat the
// budget of the other cells (many short windows together still give the law).
static uint32_t n_requests(const struct study *study, const struct side *side, size_t cell) {
    double seconds = expected_s(side, study, cell);
    if (!has_measured_energy(side) || seconds <= 0) {
        return 1;
    }
    const struct meter_info *info = primary_info(side);
    double power_w =
        side->idle.n_powers && side->idle.power[0].is_valid ? side->idle.power[0].watts.level : 0;
    double wanted_s = (double)meter_min_window_ns(info, power_w) * 1e-9;
    double n_windows = (double)study->n_cells * (double)study->options->n_models *
                       study->options->rule.min_repeats;
    double allowed_s = study->options->budget_s / n_windows;
    double n = ceil(fmin(wanted_s, allowed_s) / seconds);
    return n > 1 ? (uint32_t)fmin(n, MAX_REQUESTS) : 1;
}

static void show_progress(struct study *study) {
    double needed_s = 0, possible_s = 0;
    for (size_t i = 0; i < study->options->n_models; i++) {
        for (size_t c = 0; c < study->n_cells; c++) {
            const struct side *side = &study->sides[i];
            size_t n = side->cells[c].n;
            const struct schedule_rule *rule = &study->options->rule;
            double seconds = expected_s(side, study, c);
            needed_s += n == 0 ? seconds : 0;
            possible_s += is_cell_done(study, c) || n >= rule->max_repeats
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

static void report_progress(struct study *study, const char *what) {
    snprintf(study->what, sizeof study->what, "%s", what);
    show_progress(study);
}

// The client asks this some ten times a second while it waits for the engine.
static bool on_wait(void *context) {
    show_progress(context);
    return os_is_interrupted();
}

static enum wl_status open_side(struct study *study, size_t index, struct wl_err *err) {
    struct side *side = &study->sides[index];
    if (side->is_open) {
        return WL_OK;
    }
    for (size_t i = 0; study->one_at_a_time && i < study->options->n_models; i++) {
        subject_close(&study->sides[i].subject);
        study->sides[i].is_open = study->sides[i].is_warm = false;
    }
    struct subject_options options = study->options->subject;
    options.model_path = study->options->model_path[index];
    char what[128];
    snprintf(what, sizeof what, "loading %.100s", study->options->label[index]);
    report_progress(study, what);
    enum wl_status status = subject_open(&side->subject, &options, err);
    side->is_open = status == WL_OK;
    if (status != WL_OK) {
        wl_err_prefix(err, "cannot measure '%.200s'", options.model_path);
    }
    return status;
}

static struct window_options window_options(const struct study *study, const struct side *side,
                                            const struct schedule_cell *cell) {
    const struct study_options *o = study->options;
    struct window_options options = {.run = {.prompt = MEASURE_PROMPT_TEXT,
                                             .n_prompt = cell->prompt_tokens,
                                             .n_predict = cell->generated_tokens,
                                             .ignore_eos = true}};
    if (cell->prompt_tokens == 0) { // a text of the user's, as it would really be asked
        options.run.prompt = o->prompt_texts[cell->prompt_index];
        options.run.is_template = side->subject.model.has_chat_template && !side->has_no_template;
    }
    return options;
}

static void count_window(struct study *study, struct side *side, const struct record *record) {
    double seconds = record->value[METRIC_time_s];
    study->spent_s += seconds * record->n_requests;
    if (record->flags & RECORD_PAPER) {
        side->has_paper = true;
        return;
    }
    side->seconds_total += seconds;
    side->tokens_weighted += record->prompt_tokens * PROMPT_WEIGHT + record->generated_tokens;
    if (!(record->flags & RECORD_WARMUP) && record->cell < study->n_cells) {
        struct cell_times *times = &side->cells[record->cell];
        if (times->n < MAX_REPEATS) {
            double joules = record->value[METRIC_energy_gross_j];
            times->joules[times->n] = isfinite(joules) ? joules : 0;
            times->seconds[times->n++] = seconds;
        }
    }
}

// A dead engine is started again and its window repeated; not for ever. OK: try again.
static enum wl_status recover(struct study *study, struct side *side, enum wl_status status,
                              struct wl_err *err) {
    if (status == WL_UNSUPPORTED && !side->has_no_template) {
        side->has_no_template = true;
        warn(study, err->message);
        return WL_OK;
    }
    bool is_engine = status == WL_CRASHED || status == WL_TIMEOUT || status == WL_PROTOCOL;
    if (!is_engine || ++study->n_crashes > MAX_CRASHES) {
        return status;
    }
    char message[WL_ERR_MESSAGE_BYTES];
    snprintf(message, sizeof message, "%.600s; started it again", err->message);
    warn(study, message);
    side->is_warm = false;
    return subject_reopen(&side->subject, err);
}

// Runs one window and stores it; WL_BUSY when the engine died and was restarted: try again.
static enum wl_status run_window(struct study *study, size_t index, uint32_t cell_index,
                                 const struct window_options *options, uint32_t flags,
                                 struct wl_err *err) {
    struct side *side = &study->sides[index];
    struct window window;
    struct window_options watched = *options;
    watched.run.wait.is_cancelled = on_wait;
    watched.run.wait.cancel_context = study;
    study->window_t0_ns = os_now_ns();
    enum wl_status status = window_run(&side->subject, &watched, &side->idle, &window, err);
    double wall_s = (double)(os_now_ns() - study->window_t0_ns) * 1e-9;
    study->window_t0_ns = 0;
    if (status != WL_OK) {
        enum wl_status after = recover(study, side, status, err);
        return after == WL_OK ? WL_BUSY : after;
    }
    study->n_crashes = 0;
    study->rested_s += wall_s - window.record.value[METRIC_time_s] * window.record.n_requests;
    window.record.model_id = side->model_id;
    window.record.seq = study->next_seq++;
    window.record.cell = cell_index;
    window.record.repeat = cell_index < study->n_cells ? (uint32_t)side->cells[cell_index].n : 0;
    window.record.flags |= flags;
    status = study_store_window(study->store, &window, err);
    if (status == WL_OK) {
        count_window(study, side, &window.record);
        if (study->events->on_record) {
            study->events->on_record(study->events->context, &window.record);
        }
    }
    window_release(&window);
    return status;
}

// The first window after a load pays for page faults and repacking: run one and leave it out.
static enum wl_status warm_up(struct study *study, size_t index, struct wl_err *err) {
    struct side *side = &study->sides[index];
    uint32_t cell = (uint32_t)(study->n_cells / 2);
    enum wl_status status = WL_BUSY;
    while (status == WL_BUSY) {
        struct window_options options = window_options(study, side, &study->cells[cell]);
        status = run_window(study, index, cell, &options, RECORD_WARMUP, err);
    }
    side->is_warm = status == WL_OK;
    return status;
}

static enum wl_status measure_idle(struct study *study, size_t index, const char *when,
                                   struct wl_err *err) {
    struct side *side = &study->sides[index];
    report_progress(study, "idle baseline");
    struct idle idle;
    enum wl_status status = idle_measure(&side->subject, study->options->idle_s, &idle, err);
    if (status != WL_OK) {
        return status;
    }
    if (strcmp(when, "after") == 0) {
        for (size_t i = 0; i < idle.n_powers; i++) {
            struct series_baseline_level level =
                idle_power_at(&side->subject, i, &side->idle, &idle, idle.t0_ns);
            idle.flags |= level.has_moved ? RECORD_IDLE_DRIFT : 0u;
        }
        status = study_store_renew_net(study->store, side->model_id, &side->subject, &side->idle,
                                       &idle, err);
        if (status != WL_OK) {
            return status;
        }
    } else {
        side->idle = idle;
    }
    if (idle.flags & RECORD_BUSY) {
        char message[160];
        snprintf(message, sizeof message,
                 "the machine is not idle (%.0f %% CPU in the baseline %s the runs): stop other "
                 "programs for trustworthy figures",
                 idle.cpu_pct.mean, when);
        warn(study, message);
    }
    return study_store_idle(study->store, study->id, &idle, study->options->label[index], when,
                            err);
}

static enum wl_status prepare_side(struct study *study, size_t index, struct wl_err *err) {
    struct side *side = &study->sides[index];
    enum wl_status status = open_side(study, index, err);
    if (status == WL_OK && side->idle.t1_ns == 0) {
        status = measure_idle(study, index, "before", err);
    }
    if (status == WL_OK && !side->is_warm) {
        report_progress(study, "warm-up");
        status = warm_up(study, index, err);
    }
    return status;
}

static enum wl_status run_cell(struct study *study, size_t index, uint32_t cell, uint32_t round,
                               struct wl_err *err) {
    struct side *side = &study->sides[index];
    const struct schedule_cell *at = &study->cells[cell];
    while (side->cells[cell].n <= round) {
        enum wl_status status = prepare_side(study, index, err);
        if (status == WL_OK && os_is_interrupted()) {
            status = wl_err_set(err, WL_INTERRUPTED, "interrupted");
        }
        if (status != WL_OK) {
            return status;
        }
        char what[128];
        snprintf(what, sizeof what, "%.40s: %u + %u tokens, repeat %u",
                 study->options->label[index], at->prompt_tokens, at->generated_tokens, round + 1);
        report_progress(study, what);
        struct window_options options = window_options(study, side, at);
        options.n_requests = n_requests(study, side, cell);
        status = run_window(study, index, cell, &options, 0, err);
        if (status != WL_OK && status != WL_BUSY) {
            return status;
        }
    }
    return WL_OK;
}

static enum wl_status run_pair(struct study *study, uint32_t cell, uint32_t round,
                               struct wl_err *err) {
    size_t n = study->options->n_models;
    bool is_swapped = n == 2 && schedule_is_swapped(study->options->seed, round, cell);
    enum wl_status status = WL_OK;
    for (size_t k = 0; k < n && status == WL_OK; k++) {
        status = run_cell(study, is_swapped ? n - 1 - k : k, cell, round, err);
    }
    return status;
}

static bool is_spent(const struct study *study, uint32_t round) {
    return round > 0 && study->spent_s >= study->options->budget_s;
}

// Interleaved: both models of a cell follow each other. Where they cannot be loaded together, a
// round is done with one model and then with the other.
static enum wl_status run_round(struct study *study, uint32_t round, struct wl_err *err) {
    uint32_t order[SCHEDULE_MAX_CELLS];
    schedule_order(study->options->seed, round, study->n_cells, order);
    bool by_model = study->one_at_a_time && study->options->n_models > 1;
    enum wl_status status = WL_OK;
    for (size_t k = 0; !by_model && k < study->n_cells && status == WL_OK; k++) {
        if (!is_cell_done(study, order[k]) && !is_spent(study, round)) {
            status = run_pair(study, order[k], round, err);
        }
    }
    for (size_t i = 0; by_model && i < study->options->n_models; i++) {
        for (size_t k = 0; k < study->n_cells && status == WL_OK; k++) {
            if (!is_cell_done(study, order[k])) {
                status = run_cell(study, i, order[k], round, err);
            }
        }
    }
    return status;
}

static bool is_all_done(const struct study *study) {
    for (size_t c = 0; c < study->n_cells; c++) {
        if (!is_cell_done(study, c)) {
            return false;
        }
    }
    return true;
}

static enum wl_status run_rounds(struct study *study, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (uint32_t round = 0; round < study->options->rule.max_repeats && status == WL_OK; round++) {
        if (is_all_done(study) || is_spent(study, round)) {
            break;
        }
        status = run_round(study, round, err);
    }
    return status;
}

// One long window with idle pads, so that the paper's method can be compared with the exact one on
// the same run. Its length comes from the generation rate seen so far.
static enum wl_status run_paper(struct study *study, size_t index, struct wl_err *err) {
    struct side *side = &study->sides[index];
    if (study->options->paper_s <= 0 || side->has_paper || side->seconds_total <= 0) {
        return WL_OK;
    }
    enum wl_status status = WL_BUSY;
    while (status == WL_BUSY) {
        status = prepare_side(study, index, err);
        if (status != WL_OK) {
            break;
        }
        report_progress(study, "exact against paper mode");
        double rate = side->tokens_weighted / side->seconds_total;
        uint32_t room = side->subject.model.n_ctx > 96 ? side->subject.model.n_ctx - 80 : 16;
        double wanted = study->options->paper_s * rate;
        struct schedule_cell cell = {.prompt_tokens = 64,
                                     .generated_tokens = (uint32_t)fmin(wanted, room)};
        if (cell.generated_tokens == 0) {
            cell.generated_tokens = 1;
        }
        struct window_options options = window_options(study, side, &cell);
        options.pad_s = 2.5;
        status = run_window(study, index, SCHEDULE_PAPER_CELL, &options, RECORD_PAPER, err);
    }
    return status;
}

static void make_cells(struct study *study) {
    const struct study_options *o = study->options;
    if (o->n_prompt_texts == 0) {
        study->n_cells = schedule_grid(o->prompt_tokens, o->n_prompts, o->generate, study->cells);
        return;
    }
    for (size_t i = 0; i < o->n_prompt_texts && i < SCHEDULE_MAX_CELLS; i++) {
        study->cells[study->n_cells++] =
            (struct schedule_cell){.generated_tokens = o->generate, .prompt_index = (uint32_t)i};
    }
}

// The context must hold the longest cell; asked for once, so that all windows share one setting.
static uint32_t needed_context(const struct study *study) {
    uint32_t longest = 0;
    for (size_t i = 0; i < study->n_cells; i++) {
        uint32_t tokens = study->cells[i].prompt_tokens + study->cells[i].generated_tokens;
        longest = tokens > longest ? tokens : longest;
    }
    return (longest + 8 + 255) / 256 * 256;
}

static enum wl_status load_done(struct study *study, size_t *n_done, struct wl_err *err) {
    struct record *records;
    size_t n;
    enum wl_status status = store_record_list_study(study->store, study->id, &records, &n, err);
    for (size_t r = 0; r < n && status == WL_OK; r++) {
        for (size_t i = 0; i < study->options->n_models; i++) {
            if (records[r].model_id == study->sides[i].model_id) {
                count_window(study, &study->sides[i], &records[r]);
            }
        }
    }
    if (status == WL_OK) {
        free(records);
        *n_done = n;
        status = store_record_next_seq(study->store, study->id, &study->next_seq, err);
    }
    return status;
}

static enum wl_status begin(struct study *study, int64_t *study_id, struct wl_err *err) {
    const struct study_options *o = study->options;
    bool is_new;
    enum wl_status status = study_store_begin(study->store, o, &study->id, &is_new, err);
    *study_id = study->id;
    for (size_t i = 0; i < o->n_models && status == WL_OK; i++) {
        status = open_side(study, i, err);
        if (status == WL_MEMORY && i > 0) { // together they do not fit: one after the other
            study->one_at_a_time = true;
            status = open_side(study, i, err);
        }
        if (status == WL_OK) {
            status = study_store_model(study->store, study->id, o, i, &study->sides[i].subject,
                                       &study->sides[i].model_id, err);
        }
        if (status == WL_OK && i == 0) {
            status = study_store_facts(study->store, study->id, &study->sides[0].subject, err);
        }
    }
    size_t n_done = 0;
    if (status == WL_OK) {
        status = load_done(study, &n_done, err);
    }
    if (status == WL_OK && study->events->on_start) {
        study->events->on_start(study->events->context, study->id, n_done);
    }
    return status;
}

static enum wl_status run_all(struct study *study, struct wl_err *err) {
    size_t n_models = study->options->n_models;
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n_models && status == WL_OK && !study->one_at_a_time; i++) {
        status = prepare_side(study, i, err);
    }
    if (status == WL_OK) {
        status = run_rounds(study, err);
    }
    for (size_t i = 0; i < n_models && status == WL_OK; i++) {
        status = run_paper(study, i, err);
        if (status == WL_OK) {
            status = prepare_side(study, i, err); // it may have been closed for the other
        }
        if (status == WL_OK) {
            status = measure_idle(study, i, "after", err);
        }
    }
    return status;
}

enum wl_status study_run(struct store *store, const struct study_options *options,
                         const struct study_events *events, int64_t *study_id, struct wl_err *err) {
    struct study_options with_context = *options;
    struct study study = {.store = store, .options = &with_context, .events = events};
    *study_id = 0;
    study.sides = calloc(options->n_models, sizeof *study.sides);
    if (!study.sides) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    make_cells(&study);
    if (with_context.rule.max_repeats > MAX_REPEATS) {
        with_context.rule.max_repeats = MAX_REPEATS;
    }
    if (with_context.subject.n_ctx == 0 && options->n_prompt_texts == 0) {
        with_context.subject.n_ctx = needed_context(&study);
    }
    enum wl_status status = begin(&study, study_id, err);
    if (status == WL_OK) {
        status = run_all(&study, err);
    }
    if (study.id && (status == WL_OK || status == WL_INTERRUPTED)) {
        enum wl_status stored = store_study_set_state(
            store, study.id, status == WL_OK ? STORE_STUDY_DONE : STORE_STUDY_INTERRUPTED,
            status == WL_OK ? err : NULL);
        status = status == WL_OK ? stored : status;
    }
    for (size_t i = 0; i < options->n_models; i++) {
        subject_close(&study.sides[i].subject);
    }
    free(study.sides);
    return status;
}
