#include "compressor/distill.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compressor/distill_parts.h"
#include "os/clock.h"
#include "os/file.h"

static const double DEFAULT_RATE = 0.001;
enum { CHECK_AFTER = 3 }; // times the tokens that a check takes, in tokens learnt from
#define KEEP_EVERY_NS 60000000000

struct distill {
    const char *original, *made;
    const struct distill_options *options;
    struct distill_text text;
    struct distill_teacher teacher;
    struct distill_model model;
    struct distill_pass pass;
    struct text_watch watch;
    struct distill_progress progress;
    uint32_t *order; // [n_sequences] in the order of use, then those held out
    char state_path[OS_PATH_BYTES], teacher_path[OS_PATH_BYTES];
    uint64_t text_mark, mark;
    int64_t begin_ns, step_ns, kept_ns; // of all, of the step, of the last state that was kept
    double learn_seconds;               // that there are; INFINITY: no limit
    size_t check_every;                 // steps
};

// ---- time ----

static double seconds_since(int64_t begin_ns) {
    return (double)(os_now_ns() - begin_ns) * 1e-9;
}

// Of learning, 0 to 1.
static double share_done(const struct distill *d) {
    size_t max_steps = d->options->max_steps;
    double by_time = d->progress.seconds / d->learn_seconds;
    double by_steps = max_steps ? (double)d->progress.n_steps / (double)max_steps : 0;
    return fmax(by_time, by_steps);
}

// ---- what is given ----

static enum wl_status check_options(const struct distill_options *o, struct wl_err *err) {
    bool has_end = o->max_steps > 0 || (o->seconds > 0 && isfinite(o->seconds));
    if (has_end && o->seconds >= 0 && o->batch_tokens > 0 && o->rate >= 0 && isfinite(o->rate) &&
        o->scratch_dir) {
        return WL_OK;
    }
    return wl_err_set(err, WL_INPUT,
                      "batches of %zu tokens at rate %g for %g seconds or %zu steps, expected at "
                      "least a token, no negative rate, and an end",
                      o->batch_tokens, o->rate, o->seconds, o->max_steps);
}

static enum wl_status check_original(const struct distill *d, const struct compress_source *source,
                                     const struct compress_text *text, struct wl_err *err) {
    const struct compress_source *made = &d->model.source;
    bool is_same_vocab = d->options->new_ids || source->n_vocab == made->n_vocab;
    if (!is_same_vocab) {
        return wl_err_set(err, WL_INPUT,
                          "'%s' has %" PRIu32 " tokens, expected %" PRIu32
                          "; it does not come from '%s'",
                          d->made, made->n_vocab, source->n_vocab, d->original);
    }
    if (text->n_image_tokens && (made->arch->has_windows || source->n_embd != made->n_embd)) {
        return wl_err_set(err, WL_UNSUPPORTED, "images cannot be learnt from with '%s': %s",
                          d->made,
                          source->n_embd != made->n_embd
                              ? "its states have another width than the original's"
                              : "their tokens see those after them in this architecture");
    }
    return WL_OK;
}

static uint64_t mark_text(const struct compress_text *text, const struct distill_options *options,
                          uint32_t n_vocab, uint32_t n_embd) {
    uint64_t mark = distill_mark(1, text->tokens, text->n_tokens * sizeof *text->tokens);
    mark = distill_mark(mark, text->lengths, text->n_sequences * sizeof *text->lengths);
    if (text->positions) {
        mark = distill_mark(mark, text->positions, 4 * text->n_tokens * sizeof *text->positions);
    }
    if (text->n_image_tokens) {
        mark = distill_mark(mark, text->embeddings,
                            text->n_image_tokens * n_embd * sizeof *text->embeddings);
    }
    if (options->new_ids) {
        mark = distill_mark(mark, options->new_ids, n_vocab * sizeof *options->new_ids);
    }
    return mark;
}

static void mark_all(struct distill *d, const struct compress_source *original,
                     const struct compress_text *text) {
    const struct distill_options *o = d->options;
    uint64_t mark = mark_text(text, o, original->n_vocab, original->n_embd);
    d->text_mark = distill_mark_file(mark, &original->file);
    double figures[] = {(double)o->n_held_out, o->rank, o->rate, (double)o->batch_tokens};
    mark = distill_mark(d->text_mark, figures, sizeof figures);
    mark = distill_mark(mark, &o->seed, sizeof o->seed);
    d->mark = distill_mark_file(mark, &d->model.source.file);
}

static enum wl_status name_files(struct distill *d, struct wl_err *err) {
    const char *dir = d->options->checkpoint_dir;
    enum wl_status status = WL_OK;
    if (dir && (status = os_make_dirs(dir, err)) == WL_OK &&
        (status = os_path_join(d->state_path, dir, "distill.state", err)) == WL_OK) {
        status = os_path_join(d->teacher_path, dir, "distill.teacher", err);
    }
    return status;
}

static enum wl_status open_all(struct distill *d, const struct compress_text *text,
                               struct wl_err *err) {
    const struct distill_options *o = d->options;
    struct compress_source original;
    enum wl_status status = check_options(o, err);
    if (status != WL_OK || (status = name_files(d, err)) ||
        (status = distill_model_open(&d->model, d->made, o->rank, o->seed, err)) ||
        (status = compress_source_open(&original, d->original, COMPRESS_FORCE, err))) {
        return status;
    }
    status = check_original(d, &original, text, err);
    if (status == WL_OK) {
        status = distill_text_init(&d->text, text, o, original.n_vocab, err);
    }
    if (status == WL_OK && d->text.shape.n_new > d->model.source.n_vocab) {
        status =
            wl_err_set(err, WL_INPUT, "'%s' has %" PRIu32 " tokens, expected at least %" PRIu32,
                       d->made, d->model.source.n_vocab, d->text.shape.n_new);
    }
    if (status == WL_OK) {
        mark_all(d, &original, text);
    }
    compress_source_close(&original);
    return status;
}

static void close_all(struct distill *d) {
    distill_pass_close(&d->pass);
    distill_teacher_close(&d->teacher);
    distill_text_release(&d->text);
    distill_model_close(&d->model);
    free(d->order);
}

// ---- batches ----

static bool has_sections(const struct distill *d) {
    return d->model.source.arch->has_rope_sections;
}

static size_t most_tokens(const struct distill *d) {
    size_t wanted = d->options->batch_tokens;
    return wanted > d->text.longest ? wanted : d->text.longest;
}

// The order of a round follows from its number.
static void shuffle(struct distill *d) {
    struct rng rng;
    rng_seed(&rng, d->options->seed + 0x9e3779b97f4a7c15U * (d->progress.round + 1));
    for (size_t i = 0; i < d->text.n_sequences; i++) {
        d->order[i] = (uint32_t)i;
    }
    rng_shuffle_u32(&rng, d->order, d->text.n_learnt);
}

// What is left of a round and would be a small batch is not used in it.
static enum wl_status next_batch(struct distill *d, struct distill_batch *batch, size_t *n_taken,
                                 struct wl_err *err) {
    struct distill_progress *p = &d->progress;
    size_t n_tokens = 0;
    for (size_t i = p->n_used; i < d->text.n_learnt; i++) {
        n_tokens += d->text.sequences[d->order[i]].length;
    }
    if (p->n_used > 0 && n_tokens < d->options->batch_tokens / 2 + 1) {
        p->round++;
        p->n_used = 0;
        shuffle(d);
    }
    return distill_batch_init(batch, &d->text, d->order + p->n_used, d->text.n_learnt - p->n_used,
                              d->options->batch_tokens, has_sections(d), n_taken, err);
}

static enum wl_status judge(struct distill *d, enum distill_face face, double *out,
                            struct wl_err *err) {
    enum wl_status status = WL_OK;
    double sum = 0;
    size_t n = 0;
    for (size_t i = d->text.n_learnt; i < d->text.n_sequences && status == WL_OK;) {
        struct distill_batch batch;
        size_t n_taken = 0;
        double kl = 0;
        status = distill_batch_init(&batch, &d->text, d->order + i, d->text.n_sequences - i,
                                    most_tokens(d), has_sections(d), &n_taken, err);
        if (status == WL_OK) {
            status = distill_teacher_read(&d->teacher, &d->text, &batch, err);
        }
        if (status == WL_OK) {
            status =
                distill_pass_judge(&d->pass, &d->text, &batch, face, d->teacher.targets, &kl, err);
        }
        sum += kl;
        n += batch.n_records;
        i += n_taken;
        distill_batch_release(&batch);
    }
    *out = n ? sum / (double)n : NAN;
    return status;
}

// ---- learning ----

static enum wl_status keep_state(struct distill *d, struct wl_err *err) {
    d->kept_ns = os_now_ns();
    return *d->state_path ? distill_keep(d->state_path, d->mark, &d->model, &d->progress, err)
                          : WL_OK;
}

static void restore_best(struct distill *d) {
    for (size_t i = 0; i < d->model.n_tensors; i++) {
        heal_tensor_restore(&d->model.tensors[i]);
    }
}

static enum wl_status check(struct distill *d, struct wl_err *err) {
    double kl;
    enum wl_status status = judge(d, DISTILL_LEARNT, &kl, err);
    if (status == WL_OK && kl < d->progress.kl_best) {
        d->progress.kl_best = kl;
        d->progress.is_better = 1;
        for (size_t i = 0; i < d->model.n_tensors; i++) {
            heal_tensor_keep(&d->model.tensors[i]);
        }
    }
    return status;
}

static enum wl_status step(struct distill *d, bool *is_finite, struct wl_err *err) {
    struct distill_batch batch;
    size_t n_taken;
    double kl;
    enum wl_status status = next_batch(d, &batch, &n_taken, err);
    if (status != WL_OK) {
        return status;
    }
    status = distill_teacher_read(&d->teacher, &d->text, &batch, err);
    if (status == WL_OK) {
        status = distill_pass_learn(&d->pass, &d->text, &batch, d->teacher.targets, &kl, err);
    }
    if (status == WL_OK) {
        double peak = d->options->rate > 0 ? d->options->rate : DEFAULT_RATE;
        *is_finite = heal_adam_step(d->model.tensors, d->model.n_tensors, d->progress.n_steps,
                                    peak * lora_schedule(share_done(d)), 0);
        d->progress.n_steps++;
        d->progress.n_used += n_taken;
        d->progress.n_tokens += batch.n_tokens;
    }
    distill_batch_release(&batch);
    return status;
}

// Adds the time since it was called last.
static void count_time(struct distill *d) {
    int64_t now_ns = os_now_ns();
    d->progress.seconds += (double)(now_ns - d->step_ns) * 1e-9;
    d->step_ns = now_ns;
    d->watch.share_done = fmin(share_done(d), 1);
}

static enum wl_status learn_on(struct distill *d, struct wl_err *err) {
    bool is_finite = true;
    enum wl_status status = WL_OK;
    while (status == WL_OK && is_finite && share_done(d) < 1) {
        status = step(d, &is_finite, err);
        if (status == WL_INPUT && d->progress.n_steps > 0) {
            is_finite = false; // the best weights are still there
            status = WL_OK;
        }
        count_time(d);
        bool is_due = share_done(d) >= 1 || d->progress.n_steps % d->check_every == 0;
        if (status == WL_OK && is_finite && is_due) {
            status = check(d, err);
            count_time(d);
        }
        if (status == WL_OK && is_finite && os_now_ns() - d->kept_ns > KEEP_EVERY_NS) {
            status = keep_state(d, err);
        }
    }
    return status;
}

static enum wl_status learn(struct distill *d, struct wl_err *err) {
    if (*d->state_path) {
        distill_take_up(d->state_path, d->mark, &d->model, &d->progress);
    }
    shuffle(d);
    d->kept_ns = d->step_ns = os_now_ns();
    enum wl_status status = learn_on(d, err);
    if (status == WL_INTERRUPTED) {
        keep_state(d, NULL);
    }
    return status;
}

// So that learning, and the last check after it, end in time.
static void plan_time(struct distill *d, double judge_seconds) {
    const struct distill_options *o = d->options;
    size_t n_held_out = 0;
    for (size_t i = d->text.n_learnt; i < d->text.n_sequences; i++) {
        n_held_out += d->text.sequences[i].length;
    }
    d->check_every = (CHECK_AFTER * n_held_out + o->batch_tokens - 1) / o->batch_tokens;
    double left = o->seconds - seconds_since(d->begin_ns) - 2 * judge_seconds;
    d->learn_seconds = o->seconds > 0 ? fmax(left, 1e-9) : INFINITY;
}

static enum wl_status prepare(struct distill *d, struct wl_err *err) {
    const char *path = *d->teacher_path ? d->teacher_path : NULL;
    double kl = NAN;
    d->order = calloc(d->text.n_sequences, sizeof *d->order);
    if (!d->order) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu sequences", d->text.n_sequences);
    }
    shuffle(d);
    enum wl_status status = distill_teacher_open(&d->teacher, &d->text, d->original, path,
                                                 d->text_mark, d->options, &d->watch, err);
    if (status == WL_OK) {
        status = distill_pass_open(&d->pass, &d->model, most_tokens(d), err);
    }
    int64_t begin_ns = os_now_ns();
    if (status == WL_OK) {
        status = judge(d, DISTILL_AS_MADE, &kl, err);
    }
    plan_time(d, seconds_since(begin_ns));
    d->progress.kl_before = d->progress.kl_best = kl;
    return status;
}

static enum wl_status finish(struct distill *d, const char *out, struct distill_result *result,
                             struct wl_err *err) {
    enum wl_status status = WL_OK;
    result->kl_before = result->kl_after = d->progress.kl_before;
    result->n_steps = (size_t)d->progress.n_steps;
    result->n_tokens = (size_t)d->progress.n_tokens;
    if (d->progress.is_better) {
        double kl;
        restore_best(d);
        status = judge(d, DISTILL_ROUNDED, &kl, err);
        result->is_kept = status == WL_OK && kl < result->kl_before;
        result->kl_after = result->is_kept ? kl : result->kl_before;
    }
    if (result->is_kept) {
        status = distill_write(&d->model, out, &d->watch, err);
    }
    if (status == WL_OK && *d->state_path) {
        unlink(d->state_path);
        unlink(d->teacher_path);
    }
    result->is_kept = result->is_kept && status == WL_OK;
    return status;
}

enum wl_status distill_run(const char *original, const char *made, const char *out,
                           const struct compress_text *text, const struct distill_options *options,
                           struct distill_result *result, struct wl_err *err) {
    struct distill d = {.original = original,
                        .made = made,
                        .options = options,
                        .watch = {.go_on = options->go_on, .context = options->context},
                        .begin_ns = os_now_ns()};
    *result = (struct distill_result){.kl_before = NAN, .kl_after = NAN};
    d.pass.watch = &d.watch;
    d.pass.scratch_dir = options->scratch_dir;
    enum wl_status status = open_all(&d, text, err);
    if (status == WL_OK) {
        status = prepare(&d, err);
    }
    if (status == WL_OK) {
        status = learn(&d, err);
    }
    if (status == WL_OK) {
        status = finish(&d, out, result, err);
    }
    result->seconds = seconds_since(d.begin_ns);
    close_all(&d);
    return d.watch.is_stopped ? distill_stopped(err) : status;
}
