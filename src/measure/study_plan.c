// What a study runs, and how long that takes.
#include <math.h>
#include <string.h>

#include "measure/study_state.h"

// A prompt token costs about a quarter of a generated one or less: only for the time left.
static const double PROMPT_WEIGHT = 0.1;
// An image's cost is the point: few answer tokens. The largest families make 4096 tokens of one.
enum {
    IMAGE_GENERATE = 8,
    IMAGE_CONTEXT = 4608, // of one picture at most, in most models
    FRAME_TOKENS = 64,    // what a chat template adds
    LONG_PROMPT_BYTES = 2048,
};

double study_weight(uint32_t prompt_tokens, uint32_t generated_tokens) {
    return prompt_tokens * PROMPT_WEIGHT + generated_tokens;
}

// Tokens of the cell's image for this model; 0 where there is none.
static uint32_t image_tokens(const struct side *side, const struct schedule_cell *cell) {
    return cell->has_image ? side->counts.count[cell->image_budget][cell->image_size].image_tokens
                           : 0;
}

// Expected seconds of one window, from those measured so far; 0 before the first.
double study_expected_s(const struct side *side, const struct study *study, size_t cell) {
    const struct cell_times *times = &side->cells[cell];
    const struct schedule_cell *at = &study->cells[cell];
    if (times->n) {
        return times->seconds[times->n - 1];
    }
    return side->tokens_weighted > 0
               ? side->seconds_total / side->tokens_weighted *
                     study_weight(at->prompt_tokens + image_tokens(side, at), at->generated_tokens)
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

bool study_is_cell_done(const struct study *study, size_t cell) {
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
uint32_t study_n_requests(const struct study *study, const struct side *side, size_t cell) {
    double seconds = study_expected_s(side, study, cell);
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
    return n > 1 ? (uint32_t)fmin(n, STUDY_MAX_REQUESTS) : 1;
}

static void add_image_cells(struct study *study) {
    const struct study_options *o = study->options;
    study->n_cells = schedule_images(o->images.n_sizes, o->images.n_budgets, IMAGE_GENERATE,
                                     study->cells, study->n_cells);
}

void study_make_cells(struct study *study) {
    const struct study_options *o = study->options;
    if (o->n_prompt_texts == 0) {
        study->n_cells = schedule_grid(o->prompt_tokens, o->n_prompts, o->generate, study->cells);
    }
    for (size_t i = 0; i < o->n_prompt_texts && i < SCHEDULE_MAX_CELLS; i++) {
        study->cells[study->n_cells++] =
            (struct schedule_cell){.generated_tokens = o->generate, .prompt_index = (uint32_t)i};
    }
    add_image_cells(study);
}

// Of the questions; a token is at least a byte, in long texts rather two or more.
static uint32_t needed_by_tasks(const struct study *study) {
    const struct task_set *tasks = study->options->score.tasks;
    size_t longest = 0;
    for (size_t i = 0; tasks && i < tasks->n; i++) {
        const struct task_item *item = &tasks->items[i];
        size_t bytes = strlen(item->prompt);
        size_t tokens = bytes <= LONG_PROMPT_BYTES ? bytes : (LONG_PROMPT_BYTES + bytes) / 2;
        tokens += FRAME_TOKENS + item->max_tokens + IMAGE_CONTEXT * item->n_images;
        longest = tokens > longest ? tokens : longest;
    }
    return (uint32_t)longest;
}

// The context must hold the longest cell and question; asked for once, so that all windows share
// one setting.
uint32_t study_needed_context(const struct study *study) {
    uint32_t longest = 0;
    for (size_t i = 0; i < study->n_cells; i++) {
        uint32_t tokens = study->cells[i].prompt_tokens + study->cells[i].generated_tokens;
        longest = tokens > longest ? tokens : longest;
    }
    if (study->options->images.n_sizes > 0 && longest < IMAGE_CONTEXT) {
        longest = IMAGE_CONTEXT;
    }
    uint32_t by_tasks = needed_by_tasks(study);
    longest = by_tasks > longest ? by_tasks : longest;
    return (longest + 8 + 255) / 256 * 256;
}
