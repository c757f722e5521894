// One window of a study: opened, run, stored, and repeated when the engine died.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "measure/study_state.h"
#include "measure/study_store.h"
#include "os/clock.h"

extern const char MEASURE_PROMPT_TEXT[]; // prompt.txt

enum { MAX_CRASHES = 3 };
static const uint32_t IMAGE_SLOT = 0;
static const char IMAGE_PROMPT[] = "What does the picture show?";

enum wl_status study_open_side(struct study *study, size_t index, struct wl_err *err) {
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
    options.mmproj_path = study->options->mmproj_path[index];
    side->has_budget = false;
    char what[128];
    snprintf(what, sizeof what, "loading %.100s", study->options->label[index]);
    study_say(study, what);
    enum wl_status status = subject_open(&side->subject, &options, err);
    side->is_open = status == WL_OK;
    if (status != WL_OK) {
        wl_err_prefix(err, "cannot measure '%.200s'", options.model_path);
    }
    return status;
}

struct window_options study_window_options(struct study *study, const struct side *side,
                                           const struct schedule_cell *cell) {
    const struct study_options *o = study->options;
    struct window_options options = {.run = {.prompt = MEASURE_PROMPT_TEXT,
                                             .n_prompt = cell->prompt_tokens,
                                             .n_predict = cell->generated_tokens,
                                             .ignore_eos = true}};
    if (cell->has_image) {
        options.run.prompt = o->images.prompt ? o->images.prompt : IMAGE_PROMPT;
        options.run.is_template = side->subject.model.has_chat_template && !side->has_no_template;
        options.run.images = &IMAGE_SLOT;
        options.run.n_images = 1;
    } else if (cell->prompt_tokens == 0) { // a text of the user's, as it would really be asked
        options.run.prompt = o->prompt_texts[cell->prompt_index];
        options.run.is_template = side->subject.model.has_chat_template && !side->has_no_template;
    }
    return options;
}

void study_count_window(struct study *study, struct side *side, const struct record *record) {
    double seconds = record->value[METRIC_time_s];
    if (record->flags & RECORD_SCORED) {
        study->scored_s += seconds;
        return;
    }
    study->spent_s += seconds * record->n_requests;
    if (record->flags & RECORD_PAPER) {
        side->has_paper = true;
        return;
    }
    side->seconds_total += seconds;
    side->tokens_weighted += study_weight(record->prompt_tokens, record->generated_tokens);
    if (!(record->flags & RECORD_WARMUP) && record->cell < study->n_cells) {
        struct cell_times *times = &side->cells[record->cell];
        if (times->n < STUDY_MAX_REPEATS) {
            double joules = record->value[METRIC_energy_gross_j];
            times->joules[times->n] = isfinite(joules) ? joules : 0;
            times->seconds[times->n++] = seconds;
        }
    }
}

enum wl_status study_recover(struct study *study, struct side *side, enum wl_status status,
                             struct wl_err *err) {
    if (status == WL_UNSUPPORTED && !side->has_no_template) {
        side->has_no_template = true;
        study_warn(study, err->message);
        return WL_OK;
    }
    bool is_engine = status == WL_CRASHED || status == WL_TIMEOUT || status == WL_PROTOCOL;
    if (!is_engine || ++study->n_crashes > MAX_CRASHES) {
        return status;
    }
    char message[WL_ERR_MESSAGE_BYTES];
    snprintf(message, sizeof message, "%.600s; started it again", err->message);
    study_warn(study, message);
    side->is_warm = side->has_budget = false;
    return subject_reopen(&side->subject, err);
}

enum wl_status study_use_budget(struct side *side, uint32_t image_max_tokens, struct wl_err *err) {
    if (side->has_budget && side->image_budget == image_max_tokens) {
        return WL_OK;
    }
    struct engine_vision_options options = {.image_min_tokens =
                                                side->subject.options.image_min_tokens,
                                            .image_max_tokens = (int32_t)image_max_tokens};
    enum wl_status status =
        engine_load_vision(side->subject.engine, &options, &side->subject.model.vision, NULL, err);
    side->has_budget = status == WL_OK;
    side->image_budget = image_max_tokens;
    side->subject.options.image_max_tokens = (int32_t)image_max_tokens; // also after a restart
    return status;
}

// Budget and picture of an image cell, before its window begins.
static enum wl_status prepare_image(struct study *study, struct side *side, uint32_t cell_index,
                                    struct wl_err *err) {
    const struct schedule_cell *cell = &study->cells[cell_index];
    const struct study_image_options *images = &study->options->images;
    const struct study_picture *picture;
    enum wl_status status = study_use_budget(side, images->budgets[cell->image_budget], err);
    if (status == WL_OK) {
        status = study_pictures_get(&study->pictures, images, cell->image_size,
                                    (uint32_t)side->cells[cell_index].n, &picture, err);
    }
    return status == WL_OK ? engine_put_image(side->subject.engine, IMAGE_SLOT, picture->bytes,
                                              picture->n, NULL, err)
                           : status;
}

static enum wl_status prepare_and_run(struct study *study, struct side *side, uint32_t cell_index,
                                      const struct window_options *options, struct window *window,
                                      struct wl_err *err) {
    if (cell_index < study->n_cells && study->cells[cell_index].has_image) {
        enum wl_status status = prepare_image(study, side, cell_index, err);
        if (status != WL_OK) {
            return status;
        }
    }
    return window_run(&side->subject, options, &side->idle, window, err);
}

enum wl_status study_run_window(struct study *study, size_t index, uint32_t cell_index,
                                const struct window_options *options, uint32_t flags,
                                struct wl_err *err) {
    struct side *side = &study->sides[index];
    struct window window;
    struct window_options watched = *options;
    watched.run.wait.is_cancelled = study_on_wait;
    watched.run.wait.cancel_context = study;
    study->window_t0_ns = os_now_ns();
    enum wl_status status = prepare_and_run(study, side, cell_index, &watched, &window, err);
    double wall_s = (double)(os_now_ns() - study->window_t0_ns) * 1e-9;
    study->window_t0_ns = 0;
    if (status != WL_OK) {
        enum wl_status after = study_recover(study, side, status, err);
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
        study_count_window(study, side, &window.record);
        if (study->events->on_record) {
            study->events->on_record(study->events->context, &window.record);
        }
    }
    window_release(&window);
    return status;
}
