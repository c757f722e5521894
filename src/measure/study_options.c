#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "measure/fingerprint.h"
#include "measure/study.h"
#include "meter/calibration.h"

static json_t *models_json(const struct study_options *o, struct wl_err *err) {
    json_t *models = json_array();
    for (size_t i = 0; i < o->n_models; i++) {
        char fingerprint[FINGERPRINT_BYTES];
        if (fingerprint_file(o->model_path[i], fingerprint, err) != WL_OK) {
            json_decref(models);
            return NULL;
        }
        json_t *model = json_pack("{s:s, s:s, s:s}", "path", o->model_path[i], "fingerprint",
                                  fingerprint, "label", o->label[i]);
        if (o->mmproj_path[i]) {
            if (fingerprint_file(o->mmproj_path[i], fingerprint, err) != WL_OK) {
                json_decref(model);
                json_decref(models);
                return NULL;
            }
            json_object_set_new(model, "mmproj", json_string(o->mmproj_path[i]));
            json_object_set_new(model, "mmproj_fingerprint", json_string(fingerprint));
        }
        json_array_append_new(models, model);
    }
    return models;
}

static json_t *prompts_json(const struct study_options *o) {
    json_t *prompts = json_array();
    for (size_t i = 0; i < o->n_prompts; i++) {
        json_array_append_new(prompts, json_integer(o->prompt_tokens[i]));
    }
    for (size_t i = 0; i < o->n_prompt_texts; i++) {
        json_array_append_new(prompts, json_string(o->prompt_texts[i]));
    }
    return prompts;
}

// FNV-1a: tells one study's inputs from another's, no more.
#define HASH_START 2166136261u

static uint32_t hash_text(uint32_t hash, const char *text) {
    for (const char *at = text; *at; at++) {
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    }
    return hash;
}

static json_t *images_json(const struct study_image_options *images) {
    json_t *sizes = json_array(), *budgets = json_array(), *paths = json_array();
    for (size_t i = 0; i < images->n_sizes; i++) {
        json_array_append_new(sizes, json_pack("[I, I]", (json_int_t)images->sizes[i].width,
                                               (json_int_t)images->sizes[i].height));
    }
    for (size_t i = 0; i < images->n_budgets; i++) {
        json_array_append_new(budgets, json_integer(images->budgets[i]));
    }
    for (size_t i = 0; i < images->n_paths; i++) {
        json_array_append_new(paths, json_string(images->paths[i]));
    }
    return json_pack("{s:o, s:o, s:o, s:s?}", "sizes", sizes, "budgets", budgets, "paths", paths,
                     "prompt", images->prompt);
}

static json_t *score_json(const struct study_score_options *score) {
    json_t *budgets = json_array();
    for (size_t i = 0; i < score->n_budgets; i++) {
        json_array_append_new(budgets, json_integer(score->budgets[i]));
    }
    size_t n = score->tasks ? score->tasks->n : 0;
    uint32_t hash = HASH_START;
    for (size_t i = 0; i < n; i++) {
        const struct task_item *item = &score->tasks->items[i];
        hash = hash_text(hash_text(hash, item->id), item->prompt);
        for (size_t k = 0; k < item->n_references; k++) {
            hash = hash_text(hash, item->references[k]);
        }
    }
    char checksum[16];
    snprintf(checksum, sizeof checksum, "%08" PRIx32, hash);
    return json_pack("{s:o, s:I, s:s, s:I}", "budgets", budgets, "n_items", (json_int_t)n,
                     "items_checksum", checksum, "max_items", (json_int_t)score->max_items);
}

// When the sources were last calibrated; windows before and after must not be mixed. 0: never.
static int64_t calibrated_wall_ns(const struct meter_calibration_set *set) {
    int64_t latest_ns = 0;
    for (size_t i = 0; set && i < set->n; i++) {
        latest_ns = set->item[i].wall_ns > latest_ns ? set->item[i].wall_ns : latest_ns;
    }
    return latest_ns;
}

// The sources as they may be kept and shown: what a command is called with may hold a password, so
// only its program stays, and a checksum of the whole text tells one study from another.
static const char *public_meters(const char *names, char *out, size_t size) {
    const char *command = strstr(names, "exec:");
    if (!command) {
        return names;
    }
    uint32_t hash = hash_text(HASH_START, names);
    int shown = (int)(command - names) + (int)strcspn(command, " ");
    snprintf(out, size, "%.*s ... (checksum %08" PRIx32 ")", shown, names, hash);
    return out;
}

json_t *study_options_json(const struct study_options *o, struct wl_err *err) {
    json_t *models = models_json(o, err);
    if (!models) {
        return NULL;
    }
    const struct subject_options *s = &o->subject;
    char meters[512];
    json_t *engine = json_pack(
        "{s:I, s:I, s:I, s:I, s:s?, s:s?, s:s?, s:I}", "threads", (json_int_t)s->threads,
        "threads_batch", (json_int_t)s->threads_batch, "n_ctx", (json_int_t)s->n_ctx, "n_ubatch",
        (json_int_t)s->n_ubatch, "load_mode", s->load_mode, "wait_policy", s->wait_policy, "meters",
        s->meters ? public_meters(s->meters, meters, sizeof meters) : NULL, "calibrated_wall_ns",
        (json_int_t)calibrated_wall_ns(s->calibrations));
    json_t *options =
        json_pack("{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:o}", "title",
                  o->title ? o->title : "", "models", models, "prompts", prompts_json(o),
                  "generate", (json_int_t)o->generate, "seed", (json_int_t)o->seed, "min_repeats",
                  (json_int_t)o->rule.min_repeats, "max_repeats", (json_int_t)o->rule.max_repeats,
                  "target_rel_ci", o->rule.target_rel_ci, "budget_s", o->budget_s, "idle_s",
                  o->idle_s, "paper_s", o->paper_s, "engine", engine);
    if (o->images.n_sizes > 0) {
        json_object_set_new(options, "images", images_json(&o->images));
    }
    if (o->score.tasks) {
        json_object_set_new(options, "score", score_json(&o->score));
    }
    return options;
}
