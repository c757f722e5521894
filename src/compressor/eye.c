#include "compressor/eye.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "compressor/eye_fit.h"
#include "compressor/eye_judge.h"
#include "os/file.h"

struct eye {
    const char *in, *out;
    const struct eye_options *options;
    struct eye_result *result;
    struct eye_source source;
    struct text_watch watch;
    struct text_model model; // its vocabulary
    struct eye_text text;
    struct eye_record record;
    struct eye_walk walk;
    struct eye_plan plan;
    struct eye_made made;
    struct eye_last last;
    char unfitted[OS_PATH_BYTES]; // the new encoder with the old last matrix; "": none
};

void eye_result_release(struct eye_result *result) {
    free(result->layers);
    *result = (struct eye_result){0};
}

static bool changes_blocks(const struct eye_options *options) {
    return options->cut > 0 || options->n_drop > 0;
}

static enum wl_status check_options(const struct eye_options *o, struct wl_err *err) {
    if (!(o->cut >= 0) || o->cut >= 1 || !(o->heal_seconds >= 0)) {
        return wl_err_set(err, WL_INPUT,
                          "a cut of %g and %g s of healing, expected 0 to below 1 "
                          "and no negative time",
                          o->cut, o->heal_seconds);
    }
    if (!changes_blocks(o) && o->type == GGML_TYPE_COUNT) {
        return wl_err_set(err, WL_INPUT, "nothing to do: no cut, no block to take out, no type");
    }
    if (o->n_held_out > o->n_pictures || (changes_blocks(o) && o->n_held_out == o->n_pictures)) {
        return wl_err_set(err, WL_INPUT,
                          "%zu of %zu pictures are held out: none is left to learn "
                          "from",
                          o->n_held_out, o->n_pictures);
    }
    return WL_OK;
}

// ---- the result ----

static enum wl_status list_layers(struct eye *e, struct wl_err *err) {
    uint32_t n_layer = e->source.facts.n_layer;
    e->result->layers = calloc(n_layer ? n_layer : 1, sizeof *e->result->layers);
    if (!e->result->layers) {
        return wl_err_set(err, WL_MEMORY, "no memory for the result");
    }
    e->result->n_layers = n_layer;
    for (uint32_t i = 0; i < n_layer; i++) {
        uint32_t n_ff = eye_source_n_ff(&e->source, i);
        e->result->layers[i] = (struct eye_layer){.layer = i,
                                                  .n_ff_before = n_ff,
                                                  .n_ff = n_ff,
                                                  .influence = NAN,
                                                  .error_cut = NAN,
                                                  .error_repaired = NAN,
                                                  .error_healed = NAN};
    }
    e->result->block_weights_before = eye_plan_weights_before(&e->source);
    e->result->block_weights_after = e->result->block_weights_before;
    return WL_OK;
}

static void tell_layers(struct eye *e) {
    for (uint32_t i = 0; i < e->made.n_layer; i++) {
        const struct eye_made_layer *made = &e->made.layers[i];
        struct eye_layer *out = &e->result->layers[i];
        out->is_removed = made->is_removed;
        out->n_ff = made->is_removed ? 0 : made->n_ff;
        out->influence = e->plan.layers[i].influence;
        out->error_cut = made->error_cut;
        out->error_repaired = made->error_repaired;
        out->error_healed = made->error_healed;
    }
    e->result->block_weights_after = eye_plan_weights(&e->plan, &e->source);
}

// ---- steps ----

static enum wl_status make_blocks(struct eye *e, struct wl_err *err) {
    enum wl_status status = eye_source_check(&e->source, err);
    if (status == WL_OK) {
        status =
            eye_record_make(&e->record, &e->source, e->in, &e->text, e->options, &e->watch, err);
    }
    if (status == WL_OK) {
        status = eye_walk_open(&e->walk, &e->source, &e->record, e->options, &e->watch, err);
    }
    if (status == WL_OK) {
        status = eye_plan_make(&e->plan, &e->walk, err);
    }
    if (status == WL_OK) {
        status = eye_narrow_all(&e->made, &e->walk, &e->plan, err);
    }
    eye_walk_close(&e->walk);
    if (status == WL_OK) {
        tell_layers(e);
    }
    return status;
}

// The matrix is fitted to what the very file gives it, its types included.
static enum wl_status fit_last(struct eye *e, struct wl_err *err) {
    char name[64];
    snprintf(name, sizeof name, "wattlaw-eye-%ld.gguf", (long)getpid());
    enum wl_status status = os_path_join(e->unfitted, e->options->scratch_dir, name, err);
    if (status == WL_OK) {
        status =
            eye_write(&e->source, &e->made, NULL, e->options->type, e->unfitted, &e->watch, err);
    }
    return status == WL_OK ? eye_fit(&e->last, &e->source, e->unfitted, &e->record, &e->text,
                                     e->options, &e->watch, err)
                           : status;
}

static enum wl_status run(struct eye *e, struct wl_err *err) {
    bool has_blocks = changes_blocks(e->options);
    enum wl_status status =
        text_model_load(&e->model, e->options->text_path, TEXT_MODEL_VOCABULARY, &e->watch, err);
    e->text.vocabulary = e->model.model;
    if (status == WL_OK) {
        status = eye_text_width(e->options->text_path, &e->text.n_embd_in, err);
    }
    if (status == WL_OK) {
        status = list_layers(e, err);
    }
    if (status == WL_OK && has_blocks) {
        status = make_blocks(e, err);
    }
    if (status == WL_OK && has_blocks) {
        e->watch.share_done = 0.75;
        status = fit_last(e, err);
    }
    if (status == WL_OK) {
        e->watch.share_done = 0.85;
        status = eye_write(&e->source, has_blocks ? &e->made : NULL, &e->last, e->options->type,
                           e->out, &e->watch, err);
    }
    if (status == WL_OK) {
        e->watch.share_done = 0.9;
        status = eye_judge(e->result, e->in, e->out, &e->text, e->options, &e->watch, err);
    }
    if (status == WL_OK) {
        e->result->in_bytes = e->source.file.file_bytes;
        status = os_file_size(e->out, &e->result->out_bytes, err);
    }
    return status;
}

static void close_all(struct eye *e) {
    if (*e->unfitted) {
        unlink(e->unfitted);
    }
    eye_last_release(&e->last);
    eye_made_release(&e->made);
    eye_plan_release(&e->plan);
    eye_walk_close(&e->walk);
    eye_record_release(&e->record);
    text_model_unload(&e->model);
    eye_source_close(&e->source);
}

enum wl_status eye_run(const char *in, const char *out, const struct eye_options *options,
                       struct eye_result *result, struct wl_err *err) {
    struct eye e = {.in = in,
                    .out = out,
                    .options = options,
                    .result = result,
                    .watch = {.go_on = options->go_on, .context = options->context}};
    *result = (struct eye_result){0};
    enum wl_status status = check_options(options, err);
    if (status == WL_OK) {
        status = eye_source_open(&e.source, in, err);
    }
    if (status == WL_OK) {
        status = run(&e, err);
        close_all(&e);
        if (status != WL_OK && status != WL_INTERRUPTED) {
            wl_err_prefix(err, "image encoder '%.200s'", in);
        }
    }
    if (status != WL_OK) {
        eye_result_release(result);
    }
    return status;
}
