#include "measure/study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "measure/eval_run.h"
#include "measure/study_state.h"
#include "measure/study_store.h"
#include "os/process.h"
#include "store/store_fit.h"
#include "store/store_record.h"
#include "store/store_study.h"

// The first window after a load pays for page faults and repacking: run one and leave it out.
static enum wl_status warm_up(struct study *study, size_t index, struct wl_err *err) {
    struct side *side = &study->sides[index];
    uint32_t cell = (uint32_t)(study->n_cells / 2);
    enum wl_status status = WL_BUSY;
    while (status == WL_BUSY) {
        struct window_options options = study_window_options(study, side, &study->cells[cell]);
        status = study_run_window(study, index, cell, &options, RECORD_WARMUP, err);
    }
    side->is_warm = status == WL_OK;
    return status;
}

static enum wl_status measure_idle(struct study *study, size_t index, const char *when,
                                   struct wl_err *err) {
    struct side *side = &study->sides[index];
    study_say(study, "idle baseline");
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
        study_warn(study, message);
    }
    return study_store_idle(study->store, study->id, &idle, study->options->label[index], when,
                            err);
}

static enum wl_status prepare_side(struct study *study, size_t index, struct wl_err *err) {
    struct side *side = &study->sides[index];
    enum wl_status status = study_open_side(study, index, err);
    if (status == WL_OK && side->idle.t1_ns == 0) {
        status = measure_idle(study, index, "before", err);
    }
    if (status == WL_OK && !side->is_warm) {
        study_say(study, "warm-up");
        status = warm_up(study, index, err);
    }
    return status;
}

static void say_cell(struct study *study, size_t index, const struct schedule_cell *cell,
                     uint32_t repeat) {
    char what[128];
    const char *label = study->options->label[index];
    if (cell->has_image) {
        const struct engine_image_size *size = &study->options->images.sizes[cell->image_size];
        snprintf(
            what, sizeof what, "%.40s: image %ux%u, %u tokens, repeat %u", label, size->width,
            size->height,
            study->sides[index].counts.count[cell->image_budget][cell->image_size].image_tokens,
            repeat);
    } else {
        snprintf(what, sizeof what, "%.40s: %u + %u tokens, repeat %u", label, cell->prompt_tokens,
                 cell->generated_tokens, repeat);
    }
    study_say(study, what);
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
        say_cell(study, index, at, round + 1);
        struct window_options options = study_window_options(study, side, at);
        options.n_requests = study_n_requests(study, side, cell);
        status = study_run_window(study, index, cell, &options, 0, err);
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
    schedule_group_by_budget(study->cells, study->options->images.n_budgets, round, order,
                             study->n_cells);
    bool by_model = study->one_at_a_time && study->options->n_models > 1;
    enum wl_status status = WL_OK;
    for (size_t k = 0; !by_model && k < study->n_cells && status == WL_OK; k++) {
        if (!study_is_cell_done(study, order[k]) && !is_spent(study, round)) {
            status = run_pair(study, order[k], round, err);
        }
    }
    for (size_t i = 0; by_model && i < study->options->n_models; i++) {
        for (size_t k = 0; k < study->n_cells && status == WL_OK; k++) {
            if (!study_is_cell_done(study, order[k])) {
                status = run_cell(study, i, order[k], round, err);
            }
        }
    }
    return status;
}

static bool is_all_done(const struct study *study) {
    for (size_t c = 0; c < study->n_cells; c++) {
        if (!study_is_cell_done(study, c)) {
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
        study_say(study, "exact against paper mode");
        double rate = side->tokens_weighted / side->seconds_total;
        uint32_t room = side->subject.model.n_ctx > 96 ? side->subject.model.n_ctx - 80 : 16;
        double wanted = study->options->paper_s * rate;
        struct schedule_cell cell = {.prompt_tokens = 64,
                                     .generated_tokens = (uint32_t)fmin(wanted, room)};
        if (cell.generated_tokens == 0) {
            cell.generated_tokens = 1;
        }
        struct window_options options = study_window_options(study, side, &cell);
        options.pad_s = 2.5;
        status = study_run_window(study, index, SCHEDULE_PAPER_CELL, &options, RECORD_PAPER, err);
    }
    return status;
}

static enum wl_status load_done(struct study *study, size_t *n_done, struct wl_err *err) {
    struct record *records;
    size_t n;
    enum wl_status status = store_record_list_study(study->store, study->id, &records, &n, err);
    for (size_t r = 0; r < n && status == WL_OK; r++) {
        for (size_t i = 0; i < study->options->n_models; i++) {
            if (records[r].model_id == study->sides[i].model_id) {
                study_count_window(study, &study->sides[i], &records[r]);
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

// What the sweep's images will be in tokens, exactly: for the time left and for the report.
static enum wl_status count_images(struct study *study, size_t index, struct wl_err *err) {
    struct side *side = &study->sides[index];
    const struct study_image_options *images = &study->options->images;
    if (images->n_sizes == 0) {
        return WL_OK;
    }
    if (!side->subject.model.has_vision) {
        return wl_err_set(err, WL_INPUT, "'%s' came without an image encoder: give --mmproj",
                          study->options->label[index]);
    }
    study_say(study, "counting image tokens");
    side->has_budget = false;
    enum wl_status status = study_counts_fill(&side->subject, images, &side->counts, err);
    char *text = status == WL_OK ? json_dumps(side->counts.json, JSON_COMPACT) : NULL;
    if (status == WL_OK) {
        status =
            store_fit_put(study->store, study->id, side->model_id, STUDY_IMAGE_TOKENS, text, err);
    }
    free(text);
    return status;
}

static enum wl_status begin(struct study *study, int64_t *study_id, struct wl_err *err) {
    const struct study_options *o = study->options;
    bool is_new;
    enum wl_status status = study_store_begin(study->store, o, &study->id, &is_new, err);
    *study_id = study->id;
    for (size_t i = 0; i < o->n_models && status == WL_OK; i++) {
        status = study_open_side(study, i, err);
        if (status == WL_MEMORY && i > 0) { // together they do not fit: one after the other
            study->one_at_a_time = true;
            status = study_open_side(study, i, err);
        }
        if (status == WL_OK) {
            status = study_store_model(study->store, study->id, o, i, &study->sides[i].subject,
                                       &study->sides[i].model_id, err);
        }
        if (status == WL_OK && i == 0) {
            status = study_store_facts(study->store, study->id, &study->sides[0].subject, err);
        }
        if (status == WL_OK) {
            status = count_images(study, i, err);
        }
    }
    if (status == WL_OK) {
        status = study_pictures_open(&o->images, &study->pictures, err);
    }
    if (status == WL_OK && o->score.tasks) { // a missing picture is found now, not after the sweep
        status = eval_check(o->score.tasks, o->score.folder, true, err);
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
        status = prepare_side(study, i, err);
        if (status == WL_OK) {
            status = study_score(study, i, err);
        }
        if (status == WL_OK) {
            status = run_paper(study, i, err);
        }
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
    study_make_cells(&study);
    if (with_context.rule.max_repeats > STUDY_MAX_REPEATS) {
        with_context.rule.max_repeats = STUDY_MAX_REPEATS;
    }
    if (with_context.subject.n_ctx == 0 && options->n_prompt_texts == 0) {
        with_context.subject.n_ctx = study_needed_context(&study);
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
        study_counts_release(&study.sides[i].counts);
    }
    study_pictures_release(&study.pictures);
    free(study.sides);
    return status;
}
