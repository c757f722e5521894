// Counting by engines of our own on the worker's thread: each has only a model's vocabulary and an
// image encoder's header.
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "gateway/counting_job.h"
#include "gateway/counting_parts.h"
#include "image/image.h"

enum { MAX_ENGINES = 2 };

// One engine and what is open in it.
struct kept_engine {
    struct engine *engine;
    char model[OS_PATH_BYTES], mmproj[OS_PATH_BYTES]; // "": nothing is open
    uint64_t last_use;
};

struct counting_engines {
    struct worker_order stop;
    struct gateway_worker *worker;
    // Of the worker's thread.
    struct kept_engine kept[MAX_ENGINES];
    uint64_t n_uses;
};

struct counting_job {
    struct worker_order order;
    struct counting_engines *engines;
    struct count_call *call; // NULL: cancelled
    char model[OS_PATH_BYTES], mmproj[OS_PATH_BYTES];
    struct counting_prompt prompt;
    enum wl_status status;
    bool is_bad_picture;
    int64_t n_tokens;
    struct wl_err err;
};

// ---- on the worker's thread: engines ----

static struct kept_engine *choose_engine(struct counting_engines *engines,
                                         const struct counting_job *job) {
    struct kept_engine *oldest = &engines->kept[0];
    for (size_t i = 0; i < MAX_ENGINES; i++) {
        struct kept_engine *kept = &engines->kept[i];
        if (strcmp(kept->model, job->model) == 0) { // one for each model
            return kept;
        }
        oldest = kept->last_use < oldest->last_use ? kept : oldest;
    }
    return oldest;
}

static enum wl_status run_engine(struct kept_engine *kept, struct wl_err *err) {
    if (kept->engine && engine_is_running(kept->engine)) {
        return WL_OK;
    }
    kept->model[0] = kept->mmproj[0] = '\0';
    struct engine_options options = {.omp_wait_policy = "passive"};
    return kept->engine ? engine_restart(kept->engine, err)
                        : engine_start(&options, &kept->engine, err);
}

static enum wl_status open_model(struct kept_engine *kept, const struct counting_job *job,
                                 struct wl_err *err) {
    enum wl_status status = run_engine(kept, err);
    bool has_mmproj = !*job->mmproj || strcmp(kept->mmproj, job->mmproj) == 0;
    if (status != WL_OK || (strcmp(kept->model, job->model) == 0 && has_mmproj)) {
        return status;
    }
    struct engine_counter_options options = {.model = job->model,
                                             .mmproj = *job->mmproj ? job->mmproj : NULL};
    kept->model[0] = kept->mmproj[0] = '\0';
    status = engine_open_counter(kept->engine, &options, NULL, err);
    if (status == WL_OK) {
        str_copy(kept->model, sizeof kept->model, job->model);
        str_copy(kept->mmproj, sizeof kept->mmproj, job->mmproj);
    }
    return status;
}

// ---- on the worker's thread: a job ----

static enum wl_status read_size(const struct counting_picture *picture,
                                struct engine_image_size *out, struct wl_err *err) {
    unsigned char *bytes = NULL;
    size_t n = 0;
    struct image_header header;
    enum wl_status status =
        image_from_data_uri(picture->uri, picture->n_uri, NULL, &bytes, &n, err);
    if (status == WL_OK) {
        status = image_probe(bytes, n, NULL, &header, err);
    }
    free(bytes);
    if (status == WL_OK) {
        *out = (struct engine_image_size){header.width, header.height};
    }
    return status;
}

static enum wl_status read_sizes(const struct counting_prompt *prompt,
                                 struct engine_image_size *sizes, struct wl_err *err) {
    for (size_t i = 0; i < prompt->n_pictures; i++) {
        if (read_size(&prompt->pictures[i], &sizes[i], err) != WL_OK) {
            wl_err_prefix(err, "picture %zu", i + 1);
            return err->status = WL_INPUT;
        }
    }
    return WL_OK;
}

static enum wl_status count_texts(struct engine *engine, struct counting_job *job) {
    enum wl_status status = WL_OK;
    job->n_tokens = job->prompt.n_ids;
    for (size_t i = 0; i < job->prompt.n_texts && status == WL_OK; i++) {
        struct engine_prompt prompt = {.text = job->prompt.texts[i]};
        int64_t n = 0;
        status = engine_count_prompt(engine, &prompt, &n, &job->err);
        job->n_tokens += n;
    }
    return status;
}

static enum wl_status count_once(struct counting_job *job, const struct engine_image_size *sizes) {
    struct counting_engines *engines = job->engines;
    struct kept_engine *kept = choose_engine(engines, job);
    kept->last_use = ++engines->n_uses;
    enum wl_status status = open_model(kept, job, &job->err);
    if (status != WL_OK) {
        return status;
    }
    if (job->prompt.n_messages == 0) {
        return count_texts(kept->engine, job);
    }
    struct engine_prompt prompt = {.messages = job->prompt.messages,
                                   .n_messages = job->prompt.n_messages,
                                   .images = sizes,
                                   .n_images = job->prompt.n_pictures};
    return engine_count_prompt(kept->engine, &prompt, &job->n_tokens, &job->err);
}

static bool is_death(enum wl_status status) {
    return status == WL_CRASHED || status == WL_PROTOCOL || status == WL_TIMEOUT;
}

static void work(struct worker_order *order) {
    struct counting_job *job = (struct counting_job *)order;
    struct engine_image_size sizes[OPENAI_MAX_IMAGES];
    job->status = read_sizes(&job->prompt, sizes, &job->err);
    job->is_bad_picture = job->status != WL_OK;
    if (job->status == WL_OK) {
        job->status = count_once(job, sizes);
        if (is_death(job->status)) { // it may have died long ago, while nobody asked
            job->status = count_once(job, sizes);
        }
    }
}

// ---- on the loop ----

static void release_job(struct counting_job *job) {
    counting_prompt_release(&job->prompt);
    free(job);
}

// What is wrong with the model's file is no fault of the request.
static enum wl_status status_for_caller(const struct counting_job *job) {
    switch (job->status) {
    case WL_OK:
    case WL_TIMEOUT:
    case WL_CRASHED:
    case WL_MEMORY:
    case WL_IO: return job->status;
    case WL_PROTOCOL: return WL_CRASHED;
    case WL_INPUT: return job->is_bad_picture ? WL_INPUT : WL_UNSUPPORTED;
    default: return WL_UNSUPPORTED;
    }
}

static void on_done(struct worker_order *order) {
    struct counting_job *job = (struct counting_job *)order;
    struct count_call *call = job->call;
    if (!call) {
        release_job(job);
        return;
    }
    call->job = NULL;
    if (order->is_cancelled) {
        job->status = wl_err_set(&job->err, WL_IO, "the count was stopped");
    }
    enum wl_status status = status_for_caller(job);
    struct wl_err err = job->err;
    call->n_tokens = job->n_tokens;
    release_job(job);
    count_finish(call, status, status == WL_INPUT ? 400 : 0, status == WL_OK ? "" : err.message);
}

void count_engine_start(struct count_call *call, struct counting_engines *engines,
                        const char *model, const char *mmproj) {
    struct counting_job *job = calloc(1, sizeof *job);
    struct wl_err err = {0};
    if (!job) {
        count_finish_later(call, WL_MEMORY, "no memory to count tokens");
        return;
    }
    bool fits = str_copy(job->model, sizeof job->model, model) &&
                str_copy(job->mmproj, sizeof job->mmproj, mmproj);
    enum wl_status status =
        fits ? counting_prompt_make(call->request, call->kind, &job->prompt, &err)
             : wl_err_set(&err, WL_UNSUPPORTED, "the path of the model's file is too long");
    if (status == WL_OK && job->prompt.n_pictures > 0 && !*mmproj) {
        status = wl_err_set(&err, WL_UNSUPPORTED,
                            "the tokens of pictures cannot be counted: no file of the model's "
                            "image encoder (mmproj) is known");
    }
    if (status != WL_OK) {
        release_job(job);
        count_finish_later(call, status, err.message);
        return;
    }
    if (job->prompt.n_pictures == 0) {
        job->mmproj[0] = '\0'; // opening it would take time for nothing
    }
    job->order.work = work;
    job->order.on_done = on_done;
    job->engines = engines;
    job->call = call;
    call->job = job;
    worker_submit(engines->worker, &job->order);
}

void count_engine_cancel(struct count_call *call) {
    if (call->job) {
        call->job->call = NULL;
        worker_cancel(call->counting->engines->worker, &call->job->order);
        call->job = NULL;
    }
}

// ---- open and close ----

static void stop_engines(struct counting_engines *engines) {
    for (size_t i = 0; i < MAX_ENGINES; i++) {
        engine_stop(engines->kept[i].engine);
        engines->kept[i].engine = NULL;
    }
}

static void on_stop(struct worker_order *order) {
    stop_engines((struct counting_engines *)order);
}

// When the worker was closed before it came to that, the engines died with its thread.
static void on_stopped(struct worker_order *order) {
    struct counting_engines *engines = (struct counting_engines *)order;
    stop_engines(engines);
    free(engines);
}

enum wl_status counting_engines_open(struct gateway_worker *worker, struct counting_engines **out,
                                     struct wl_err *err) {
    char path[OS_PATH_BYTES];
    *out = NULL;
    enum wl_status status = engine_find(path, err);
    if (status != WL_OK) {
        return status;
    }
    struct counting_engines *engines = calloc(1, sizeof *engines);
    if (!engines) {
        return wl_err_set(err, WL_MEMORY, "no memory to count tokens");
    }
    engines->worker = worker;
    *out = engines;
    return WL_OK;
}

void counting_engines_close(struct counting_engines *engines) {
    if (engines) {
        engines->stop.work = on_stop;
        engines->stop.on_done = on_stopped;
        worker_submit(engines->worker, &engines->stop);
    }
}
