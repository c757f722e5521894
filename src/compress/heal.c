#include "compress/heal.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "compress/heal_adam.h"
#include "compress/heal_grad.h"

enum { NORM, GATE, UP, DOWN, N_TENSORS };

struct task {
    struct heal_ffn *ffn;
    const struct heal_options *options;
    const float *mid, *target;
    size_t n, n_learnt, n_batch;           // rows; those learnt from come first
    double learnt_spread, held_out_spread; // sum |target - mean|^2
    double loss_scale;                     // of a batch's sum |y - target|^2
};

struct learner {
    struct rng rng;
    uint32_t *rows; // numbers: [n_learnt] in the order of use, then the others
    size_t n_used;  // of those learnt from, in this round
    struct heal_pass pass;
    struct heal_tensor tensors[N_TENSORS];
    bool is_best; // the weights are the best ones seen
    double sum;   // of |y - target|^2 since the last check, over n_summed rows
    size_t n_summed;
};

static bool is_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return false;
        }
    }
    return true;
}

static enum wl_status check_sizes(const struct heal_ffn *ffn, size_t n, size_t n_held_out,
                                  const struct heal_options *options, struct wl_err *err) {
    if (ffn->n_embd < 1 || ffn->n_ff < 1 || ffn->n_embd > INT_MAX || ffn->n_ff > INT_MAX) {
        return wl_err_set(err, WL_INPUT,
                          "a feed-forward part of widths %zu and %zu, expected 1 to %d",
                          ffn->n_embd, ffn->n_ff, INT_MAX);
    }
    if (n > INT_MAX || n_held_out < 2 || n_held_out >= n) {
        return wl_err_set(err, WL_INPUT,
                          "%zu rows to learn from with %zu held out, expected at most %d, at least "
                          "2 of them and not all of them held out",
                          n, n_held_out, INT_MAX);
    }
    if (options->batch_tokens < 1 || !(options->rate > 0) || !isfinite(options->rate) ||
        !(options->decay >= 0) || !isfinite(options->decay)) {
        return wl_err_set(
            err, WL_INPUT,
            "batches of %zu rows at rate %g with decay %g, expected at least one row, "
            "a positive rate and a decay of 0 or more",
            options->batch_tokens, (double)options->rate, (double)options->decay);
    }
    return WL_OK;
}

static enum wl_status check_figures(const struct heal_ffn *ffn, const float *mid,
                                    const float *target, size_t n, struct wl_err *err) {
    size_t size = ffn->n_ff * ffn->n_embd;
    if (!is_finite(ffn->norm, ffn->n_embd) || !is_finite(ffn->gate, size) ||
        !is_finite(ffn->up, size) || !is_finite(ffn->down, size)) {
        return wl_err_set(err, WL_INPUT,
                          "the feed-forward part has a weight that is not a finite number");
    }
    for (size_t row = 0; row < n; row++) {
        bool is_mid_good = is_finite(mid + row * ffn->n_embd, ffn->n_embd);
        if (!is_mid_good || !is_finite(target + row * ffn->n_embd, ffn->n_embd)) {
            return wl_err_set(err, WL_INPUT,
                              "row %zu of %zu of the %s states has a value that is not a finite "
                              "number",
                              row, n, is_mid_good ? "target" : "mid");
        }
    }
    return WL_OK;
}

// Sum of |x - mean|^2 over n rows; `mean` is room for [width].
static double spread(const float *x, size_t n, size_t width, double *mean) {
    double sum = 0;
    for (size_t i = 0; i < width; i++) {
        mean[i] = 0;
    }
    for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < width; i++) {
            mean[i] += x[row * width + i];
        }
    }
    for (size_t i = 0; i < width; i++) {
        mean[i] /= (double)n;
    }
    for (size_t row = 0; row < n; row++) {
        for (size_t i = 0; i < width; i++) {
            double off = x[row * width + i] - mean[i];
            sum += off * off;
        }
    }
    return sum;
}

static enum wl_status measure_scales(struct task *task, struct wl_err *err) {
    size_t width = task->ffn->n_embd, n_held_out = task->n - task->n_learnt;
    double *mean = calloc(width, sizeof *mean), work = 0;
    if (!mean) {
        return wl_err_set(err, WL_MEMORY, "no memory for the mean of %zu figures", width);
    }
    task->learnt_spread = spread(task->target, task->n_learnt, width, mean);
    task->held_out_spread = spread(task->target + task->n_learnt * width, n_held_out, width, mean);
    free(mean);
    for (size_t i = 0; i < task->n_learnt * width; i++) {
        double asked = (double)task->target[i] - (double)task->mid[i];
        work += asked * asked;
    }
    if (!(task->learnt_spread > 0) || !(task->held_out_spread > 0) || !(work > 0)) {
        return wl_err_set(err, WL_INPUT, "there is nothing to learn: the target states are %s",
                          work > 0 ? "all the same" : "the mid states");
    }
    task->loss_scale = (double)task->n_learnt / work / (double)task->n_batch;
    return WL_OK;
}

static enum wl_status open_learner(struct learner *learner, const struct task *task,
                                   struct wl_err *err) {
    struct heal_ffn *ffn = task->ffn;
    rng_seed(&learner->rng, task->options->seed);
    learner->n_used = task->n_learnt; // the first batch shuffles
    learner->is_best = true;
    struct heal_tensor *tensors = learner->tensors;
    learner->rows = calloc(task->n, sizeof *learner->rows);
    if (!learner->rows || !heal_tensor_init(&tensors[NORM], ffn->norm, 1, ffn->n_embd) ||
        !heal_tensor_init(&tensors[GATE], ffn->gate, ffn->n_ff, ffn->n_embd) ||
        !heal_tensor_init(&tensors[UP], ffn->up, ffn->n_ff, ffn->n_embd) ||
        !heal_tensor_init(&tensors[DOWN], ffn->down, ffn->n_embd, ffn->n_ff)) {
        return wl_err_set(err, WL_MEMORY,
                          "no memory to train a feed-forward part of widths %zu and %zu: it takes "
                          "16 bytes a weight",
                          ffn->n_embd, ffn->n_ff);
    }
    for (size_t i = 0; i < task->n; i++) {
        learner->rows[i] = (uint32_t)i;
    }
    return heal_pass_init(&learner->pass, ffn, task->mid, task->target, task->n_batch, err);
}

static void close_learner(struct learner *learner) {
    free(learner->rows);
    for (size_t i = 0; i < N_TENSORS; i++) {
        heal_tensor_release(&learner->tensors[i]);
    }
    heal_pass_release(&learner->pass);
}

// Rows for a step. What is left of a round and fills no batch is not used in it.
static const uint32_t *next_batch(struct learner *learner, const struct task *task) {
    if (task->n_learnt - learner->n_used < task->n_batch) {
        rng_shuffle_u32(&learner->rng, learner->rows, task->n_learnt);
        learner->n_used = 0;
    }
    const uint32_t *batch = learner->rows + learner->n_used;
    learner->n_used += task->n_batch;
    return batch;
}

static double held_out_error(struct learner *learner, const struct task *task) {
    double sum = 0;
    for (size_t from = task->n_learnt, n; from < task->n; from += n) {
        n = task->n - from < task->n_batch ? task->n - from : task->n_batch;
        sum += heal_pass_error(&learner->pass, learner->rows + from, n);
    }
    return sum / task->held_out_spread;
}

// false: the weights have left the range of finite numbers.
static bool learn(struct learner *learner, const struct task *task, size_t step) {
    struct heal_tensor *tensors = learner->tensors;
    struct heal_gradient gradient = {tensors[NORM].gradient, tensors[GATE].gradient,
                                     tensors[UP].gradient, tensors[DOWN].gradient};
    const uint32_t *batch = next_batch(learner, task);
    learner->sum +=
        heal_pass_gradient(&learner->pass, batch, task->n_batch, task->loss_scale, &gradient);
    learner->n_summed += task->n_batch;
    learner->is_best = false;
    double rate = (double)task->options->rate * heal_schedule(step, task->options->n_steps);
    return heal_adam_step(tensors, N_TENSORS, step, rate, (double)task->options->decay);
}

// Keeps the weights if they are the best so far. false: the caller wants no more.
static bool check(struct learner *learner, const struct task *task, struct heal_result *out) {
    double error = held_out_error(learner, task);
    if (error < out->held_out_after) {
        out->held_out_after = error;
        out->is_kept = learner->is_best = true;
        for (size_t i = 0; i < N_TENSORS; i++) {
            heal_tensor_keep(&learner->tensors[i]);
        }
    }
    double share = (double)task->n_learnt / (double)learner->n_summed;
    double train_error = learner->sum * share / task->learnt_spread;
    learner->sum = 0;
    learner->n_summed = 0;
    const struct heal_options *options = task->options;
    return !options->go_on || options->go_on(options->context, out->n_steps, train_error, error);
}

static enum wl_status train(struct learner *learner, const struct task *task,
                            struct heal_result *out, struct wl_err *err) {
    const struct heal_options *options = task->options;
    out->held_out_before = out->held_out_after = held_out_error(learner, task);
    if (!isfinite(out->held_out_before)) {
        return wl_err_set(err, WL_INPUT,
                          "the feed-forward part's output is not finite: its weights or states are "
                          "too large");
    }
    bool is_wanted = true;
    while (is_wanted && out->n_steps < options->n_steps) {
        is_wanted = learn(learner, task, out->n_steps++);
        bool is_due = out->n_steps == options->n_steps ||
                      (options->check_every > 0 && out->n_steps % options->check_every == 0);
        if (is_wanted && is_due) {
            is_wanted = check(learner, task, out);
        }
    }
    for (size_t i = 0; i < N_TENSORS && !learner->is_best; i++) {
        heal_tensor_restore(&learner->tensors[i]);
    }
    return WL_OK;
}

enum wl_status heal_ffn_train(struct heal_ffn *ffn, const float *mid, const float *target, size_t n,
                              size_t n_held_out, const struct heal_options *options,
                              struct heal_result *out, struct wl_err *err) {
    *out = (struct heal_result){0};
    enum wl_status status = check_sizes(ffn, n, n_held_out, options, err);
    if (status == WL_OK) {
        status = check_figures(ffn, mid, target, n, err);
    }
    if (status != WL_OK) {
        return status;
    }
    struct task task = {.ffn = ffn, .options = options, .mid = mid, .target = target, .n = n};
    task.n_learnt = n - n_held_out;
    task.n_batch = options->batch_tokens < task.n_learnt ? options->batch_tokens : task.n_learnt;
    status = measure_scales(&task, err);
    if (status != WL_OK) {
        return status;
    }
    struct learner learner = {0};
    status = open_learner(&learner, &task, err);
    if (status == WL_OK) {
        status = train(&learner, &task, out, err);
    }
    close_learner(&learner);
    return status;
}
