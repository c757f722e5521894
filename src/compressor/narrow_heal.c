#include <math.h>
#include <stdlib.h>

#include "compress/heal.h"
#include "compressor/narrow_unit.h"
#include "os/clock.h"

enum { HEAL_BATCH = 1024, HEAL_CHECK_EVERY = 20, HEAL_MAX_STEPS = 100000, HEAL_FIRST_GUESS = 1000 };
static const float HEAL_RATE = 0.05F;      // in the units of heal.h
static const double SLOW_FLOPS = 2e10;     // of a slow machine: checks come every second even there
static const double STEP_PRODUCTS = 2 * 7; // flops of a step, per token and weight of one matrix

// What is learnt from and judged on: one row per token, but for the first of each sequence.
struct lesson {
    struct states mid, target;
    float *mid_rows, *target_rows; // mapped
    size_t n, n_held_out;
};

struct clock {
    struct narrow_unit *unit;
    int64_t begin_ns, end_ns;
    struct heal_options *options;
    enum wl_status status; // not OK: interrupted
    struct wl_err *err;
};

// The rate rises and falls over as many steps as there will be time for, going by those so far.
static bool goes_on(void *context, size_t step, double train_error, double held_out_error) {
    struct clock *clock = context;
    struct narrow_walk *walk = clock->unit->walk;
    int64_t now_ns = os_now_ns();
    (void)train_error;
    (void)held_out_error;
    double done = (double)(now_ns - clock->begin_ns) / (double)(clock->end_ns - clock->begin_ns);
    double n_steps = done > 0 ? (double)step / done : HEAL_MAX_STEPS;
    clock->options->n_steps = n_steps < HEAL_MAX_STEPS ? (size_t)n_steps + 1 : HEAL_MAX_STEPS;
    walk->share = walk->share_begin + (walk->share_end - walk->share_begin) * fmin(done, 1);
    clock->status = narrow_look(walk, clock->err);
    return clock->status == WL_OK && now_ns < clock->end_ns;
}

// Rows of a stream, less the bias behind `down`, which is not learnt.
static enum wl_status take_rows(struct narrow_unit *unit, const struct states *stream,
                                const float *bias, float *out, struct wl_err *err) {
    const struct compress_text *text = unit->walk->text;
    size_t at = 0, n_rows = 0, n_embd = unit->was.n_embd;
    enum wl_status status = WL_OK;
    for (size_t s = 0; s < text->n_sequences && status == WL_OK; s++) {
        size_t n = text->lengths[s] - 1;
        float *rows = out + n_rows * n_embd;
        status = states_read(stream, at + 1, n, rows, err);
        for (size_t i = 0; bias && i < n * n_embd && status == WL_OK; i++) {
            rows[i] -= bias[i % n_embd];
        }
        n_rows += n;
        at += text->lengths[s];
    }
    return status;
}

static enum wl_status open_lesson(struct narrow_unit *unit, struct lesson *lesson,
                                  struct wl_err *err) {
    const struct narrow_walk *walk = unit->walk;
    const char *dir = walk->options->scratch_dir;
    size_t n_learnt = walk->text->n_sequences - walk->options->n_held_out;
    for (size_t s = 0; s < walk->text->n_sequences; s++) {
        lesson->n += walk->text->lengths[s] - 1;
        lesson->n_held_out += s >= n_learnt ? walk->text->lengths[s] - 1 : 0;
    }
    enum wl_status status;
    if ((status = states_open(&lesson->mid, dir, lesson->n, unit->was.n_embd, err)) ||
        (status = states_open(&lesson->target, dir, lesson->n, unit->was.n_embd, err)) ||
        (status = states_map(&lesson->mid, &lesson->mid_rows, err)) ||
        (status = states_map(&lesson->target, &lesson->target_rows, err)) ||
        (status = take_rows(unit, &walk->next.made, NULL, lesson->mid_rows, err))) {
        return status;
    }
    return take_rows(unit, &walk->next.original, unit->weights.down_bias, lesson->target_rows, err);
}

static void close_lesson(struct lesson *lesson) {
    states_unmap(&lesson->mid, lesson->mid_rows);
    states_unmap(&lesson->target, lesson->target_rows);
    states_close(&lesson->mid);
    states_close(&lesson->target);
}

static size_t steps_between_checks(const struct narrow_unit *unit) {
    double flops =
        STEP_PRODUCTS * HEAL_BATCH * (double)unit->shape.n_embd * (double)unit->shape.n_ff;
    double n = SLOW_FLOPS / flops;
    return n < 1 ? 1 : n > HEAL_CHECK_EVERY ? HEAL_CHECK_EVERY : (size_t)n;
}

static enum wl_status learn(struct narrow_unit *unit, const struct lesson *lesson,
                            struct wl_err *err) {
    const struct narrow_options *o = unit->walk->options;
    struct clock clock = {.unit = unit, .begin_ns = os_now_ns(), .err = err};
    clock.end_ns = clock.begin_ns + (int64_t)(o->heal_seconds * 1e9);
    struct heal_ffn ffn = {.n_embd = unit->shape.n_embd,
                           .n_ff = unit->shape.n_ff,
                           .rms_eps = unit->shape.rms_eps,
                           .is_gelu = unit->shape.is_gelu,
                           .norm = unit->norm,
                           .gate = unit->gate,
                           .up = unit->up,
                           .down = unit->down};
    struct heal_options options = {.rate = HEAL_RATE,
                                   .batch_tokens = HEAL_BATCH,
                                   .n_steps = HEAL_FIRST_GUESS,
                                   .seed = o->seed + unit->layer,
                                   .check_every = steps_between_checks(unit),
                                   .go_on = goes_on,
                                   .context = &clock};
    clock.options = &options;
    struct heal_result healed;
    enum wl_status status = heal_ffn_train(&ffn, lesson->mid_rows, lesson->target_rows, lesson->n,
                                           lesson->n_held_out, &options, &healed, err);
    status = status == WL_OK ? clock.status : status;
    unit->is_healed = status == WL_OK && healed.is_kept;
    return status;
}

// A part with a norm behind it is not healed: heal.h knows no such norm.
static bool can_heal(const struct narrow_unit *unit) {
    const struct narrow_options *o = unit->walk->options;
    return o->heal_seconds > 0 && o->method == NARROW_REPAIR && o->n_held_out > 0 &&
           !unit->weights.ffn_post_norm;
}

enum wl_status narrow_heal(struct narrow_unit *unit, struct wl_err *err) {
    if (!can_heal(unit)) {
        return WL_OK;
    }
    struct lesson lesson = {.mid.fd = -1, .target.fd = -1};
    enum wl_status status = open_lesson(unit, &lesson, err);
    if (status == WL_OK) {
        status = learn(unit, &lesson, err);
    }
    close_lesson(&lesson);
    if (status == WL_OK) {
        struct narrow_layer *result = &unit->result;
        status = narrow_judge_ffn(unit, &result->error_healed, &result->error_image, err);
    }
    return status;
}
