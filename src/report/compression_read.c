// A compression from JSON. It may come from a process that misbehaves or from a file that somebody
// sent: every number is within bounds or unknown, every list has an end.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "report/clean.h"
#include "report/compression_parts.h"

static const double MOST = 1e15;       // of counts and bytes
static const double MOST_FIGURE = 1e6; // of errors, divergences, milliseconds
static const double LEAST_FIGURE = 0;  // none of them can be below
static const double MOST_LOGARITHM = 50;
#define Z95 1.96

double compression_figure(const json_t *object, const char *key, double low, double high) {
    double value = wl_json_opt_double(object, key, NAN);
    return value >= low && value <= high ? value : NAN;
}

static double count(const json_t *object, const char *key) {
    return compression_figure(object, key, 0, MOST);
}

static double figure(const json_t *object, const char *key) {
    return compression_figure(object, key, LEAST_FIGURE, MOST_FIGURE);
}

void compression_name(char out[COMPRESSION_NAME_BYTES], const char *text) {
    size_t used = 0, len;
    while ((len = str_utf8_len(text)) > 0 && used + len < COMPRESSION_NAME_BYTES) {
        memcpy(out + used, text, len);
        used += len;
        text += len;
    }
    out[used] = '\0';
    clean_text(out);
}

// ---- files ----

static void take_range(const json_t *json, struct compression_range *out) {
    *out = (struct compression_range){figure(json, "median"), figure(json, "low"),
                                      figure(json, "high")};
    if (!(out->low <= out->median && out->median <= out->high)) {
        out->low = out->high = NAN;
    }
}

static void take_speed(const json_t *json, struct compression_speed *out) {
    out->n = count(json, "n");
    out->n_prompt = count(json, "n_prompt");
    out->n_decode = count(json, "n_decode");
    take_range(json_object_get(json, "prompt_ms"), &out->prompt_ms);
    take_range(json_object_get(json, "decode_ms"), &out->decode_ms);
    take_range(json_object_get(json, "prompt_ratio"), &out->prompt_ratio);
    take_range(json_object_get(json, "decode_ratio"), &out->decode_ratio);
}

static void take_verdict(const json_t *json, struct compression_verdict *out) {
    double sem = figure(json, "kl_sem");
    out->kl = figure(json, "kl_mean");
    out->is_there = isfinite(out->kl);
    out->kl_low = fmax(out->kl - Z95 * sem, isfinite(sem) ? 0 : NAN);
    out->kl_high = out->kl + Z95 * sem;
    out->n = count(json, "n");
    out->kl_median = figure(json, "kl_median");
    out->kl_p99 = figure(json, "kl_p99");
    out->n_image = count(json, "n_image");
    out->kl_image = figure(json, "kl_image");
    out->top1_share = compression_figure(json, "top1_share", 0, 1);
    out->n_answers = count(json, "n_answers");
    out->exact_share = compression_figure(json, "exact_share", 0, 1);
    out->same_share = compression_figure(json, "same_share", 0, 1);
    out->lost_mass = compression_figure(json, "lost_mass", 0, 1);
    out->log_ppl_ratio = compression_figure(json, "log_ppl_ratio", -MOST_LOGARITHM, MOST_LOGARITHM);
    out->log_ppl_ratio_sem = compression_figure(json, "log_ppl_ratio_sem", 0, MOST_LOGARITHM);
    out->perplexity_before = count(json_object_get(json, "original"), "perplexity");
    out->perplexity_after = count(json_object_get(json, "changed"), "perplexity");
}

static void name_rival(const json_t *json, struct compression_file *out) {
    const char *type = wl_json_opt_string(json, "type", "");
    const char *name = wl_json_opt_string(json, "name", "");
    char made[COMPRESSION_NAME_BYTES + 16] = "another model";
    if (type[0]) {
        char clean[COMPRESSION_NAME_BYTES];
        compression_name(clean, type);
        snprintf(made, sizeof made, "the original in %s", clean);
    }
    compression_name(out->name, name[0] ? name : made);
    compression_name(out->label, type[0] ? type : out->name);
}

static void take_rival(const json_t *json, struct compression_file *out) {
    name_rival(json, out);
    out->is_model = wl_json_opt_bool(json, "is_file", false);
    out->refusal = wl_json_opt_string(json, "refusal", NULL);
    out->bytes = count(json, "bytes");
    take_verdict(json_object_get(json, "verdict"), &out->verdict);
    take_speed(json_object_get(json, "speed"), &out->speed);
}

static enum wl_status check_length(const json_t *list, const char *key, size_t most,
                                   struct wl_err *err) {
    return json_array_size(list) <= most
               ? WL_OK
               : wl_err_set(err, WL_INPUT, "key '%s': expected at most %zu entries, found %zu", key,
                            most, json_array_size(list));
}

static enum wl_status take_files(const json_t *document, struct compression *out,
                                 struct wl_err *err) {
    const json_t *plan = json_object_get(document, "plan");
    const json_t *rivals = json_object_get(document, "rivals");
    enum wl_status status = check_length(rivals, "rivals", COMPRESSION_RIVALS, err);
    compression_name(out->own.name, "this file");
    compression_name(out->own.label, "this file");
    compression_name(out->original.name, "the original");
    compression_name(out->original.label, "the original");
    out->own.bytes = count(document, "out_bytes");
    out->original.bytes = count(plan, "in_bytes");
    take_verdict(json_object_get(document, "verdict"), &out->own.verdict);
    take_verdict(NULL, &out->original.verdict);
    take_speed(json_object_get(document, "speed"), &out->own.speed);
    take_speed(json_object_get(document, "speed_original"), &out->original.speed);
    for (size_t i = 0; i < json_array_size(rivals) && status == WL_OK; i++) {
        take_rival(json_array_get(rivals, i), &out->rivals[out->n_rivals++]);
    }
    return status;
}

// ---- blocks ----

static void take_block(const json_t *json, struct compression_block *out) {
    static const char *const ERRORS[COMPRESSION_STEPS] = {[COMPRESSION_CUT] = "error_cut",
                                                          [COMPRESSION_REPAIRED] = "error_repaired",
                                                          [COMPRESSION_BIAS] = "error_bias",
                                                          [COMPRESSION_HEALED] = "error_healed"};
    for (size_t i = 0; i < COMPRESSION_STEPS; i++) {
        out->error[i] = figure(json, ERRORS[i]);
    }
    out->error_image = figure(json, "error_image");
    out->attention_cut = figure(json, "attention_error_cut");
    out->attention_repaired = figure(json, "attention_error_repaired");
    out->influence = figure(json, "influence");
    out->seconds = figure(json, "seconds");
}

static void take_shape(const json_t *json, struct compression_block *out) {
    out->is_removed = wl_json_opt_bool(json, "is_removed", false);
    out->n_ff = count(json, "n_ff");
    out->n_head_kv = count(json, "n_head_kv");
}

static enum wl_status make_blocks(const json_t *shapes, const char *key,
                                  struct compression_blocks *out, struct wl_err *err) {
    enum wl_status status = check_length(shapes, key, COMPRESSION_BLOCKS, err);
    size_t n = status == WL_OK ? json_array_size(shapes) : 0;
    out->items = n > 0 ? calloc(n, sizeof *out->items) : NULL;
    if (n > 0 && !out->items) {
        return wl_err_set(err, WL_MEMORY, "no memory for %zu blocks", n);
    }
    out->n = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        struct compression_block *block = &out->items[i];
        take_shape(json_array_get(shapes, i), block);
        take_block(NULL, block); // nothing is known yet
        block->n_ff_before = block->n_head_kv_before = NAN;
    }
    return status;
}

// What was done to a block says its number: those that are not there were left as they are.
static void take_done(const json_t *layers, const struct compression_blocks *blocks) {
    size_t n = json_array_size(layers);
    for (size_t i = 0; i < n && i < COMPRESSION_BLOCKS; i++) {
        const json_t *layer = json_array_get(layers, i);
        int64_t number = wl_json_opt_i64(layer, "layer", -1);
        if (number >= 0 && number < blocks->n) {
            take_block(layer, &blocks->items[number]);
        }
    }
}

static enum wl_status take_blocks(const json_t *document, struct compression *out,
                                  struct wl_err *err) {
    const json_t *plan = json_object_get(document, "plan");
    enum wl_status status =
        make_blocks(json_object_get(plan, "layers"), "layers", &out->blocks, err);
    for (uint32_t i = 0; i < out->blocks.n; i++) {
        out->blocks.items[i].n_ff_before = count(plan, "n_ff_before");
        out->blocks.items[i].n_head_kv_before = count(plan, "n_head_kv_before");
    }
    take_done(json_object_get(document, "layers"), &out->blocks);
    return status;
}

static enum wl_status take_encoder(const json_t *json, struct compression *out,
                                   struct wl_err *err) {
    const json_t *layers = json_object_get(json, "layers");
    out->encoder.is_there = json_is_object(json);
    out->encoder.in_bytes = count(json, "in_bytes");
    out->encoder.out_bytes = count(json, "out_bytes");
    out->encoder.weights_before = count(json, "block_weights_before");
    out->encoder.weights_after = count(json, "block_weights_after");
    out->encoder.error_projected = figure(json, "error_projected");
    out->encoder.cosine = compression_figure(json, "cosine", -1, 1);
    out->encoder.seconds_before = figure(json, "encode_s_before");
    out->encoder.seconds_after = figure(json, "encode_s_after");
    enum wl_status status = make_blocks(layers, "encoder.layers", &out->encoder.blocks, err);
    for (uint32_t i = 0; i < out->encoder.blocks.n; i++) {
        out->encoder.blocks.items[i].n_ff_before = count(json_array_get(layers, i), "n_ff_before");
        take_block(json_array_get(layers, i), &out->encoder.blocks.items[i]);
    }
    return status;
}

// ---- the way there ----

static void take_stages(const json_t *json, struct compression *out) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value) {
        if (out->n_stages < COMPRESSION_STAGES) {
            struct compression_stage *stage = &out->stages[out->n_stages++];
            compression_name(stage->name, key);
            stage->seconds = count(json, key);
        }
    }
}

static enum wl_status take_rounds(const json_t *list, struct compression *out, struct wl_err *err) {
    enum wl_status status = check_length(list, "rounds", COMPRESSION_ROUNDS, err);
    for (size_t i = 0; i < json_array_size(list) && status == WL_OK; i++) {
        const json_t *round = json_array_get(list, i);
        out->rounds[out->n_rounds++] = (struct compression_round){
            .block_weights = count(json_object_get(round, "plan"), "block_weights_after"),
            .kl = figure(round, "kl_mean"),
            .eased = compression_figure(round, "eased", 0, 1)};
    }
    return status;
}

static void take_distilled(const json_t *json, struct compression *out) {
    out->distilled.is_there = json_is_object(json);
    out->distilled.is_kept = wl_json_opt_bool(json, "is_kept", false);
    out->distilled.kl_before = figure(json, "kl_before");
    out->distilled.kl_after = figure(json, "kl_after");
    out->distilled.n_tokens = count(json, "n_tokens");
    out->distilled.seconds = count(json, "seconds");
}

static void take_vocabulary(const json_t *json, struct compression *out) {
    out->vocabulary.is_there = json_is_object(json);
    out->vocabulary.n_before = count(json, "n_before");
    out->vocabulary.n_after = count(json, "n_after");
    out->vocabulary.growth = compression_figure(json, "growth", -1, MOST_FIGURE);
    out->vocabulary.coverage = compression_figure(json, "coverage", 0, 1);
    out->vocabulary.in_bytes = count(json, "in_bytes");
    out->vocabulary.out_bytes = count(json, "out_bytes");
}

static void take_plan(const json_t *document, struct compression *out) {
    const json_t *plan = json_object_get(document, "plan");
    const json_t *allocation = json_object_get(document, "allocation");
    const json_t *costs = json_object_get(document, "costs");
    compression_name(out->arch, wl_json_opt_string(plan, "arch", ""));
    out->is_mixed = wl_json_opt_bool(plan, "is_mixed", false);
    out->block_weights_before = count(plan, "block_weights_before");
    out->block_weights_after = count(plan, "block_weights_after");
    out->stream_error = figure(document, "stream_error");
    out->allocation.is_there = json_is_object(allocation);
    out->allocation.predicted_kl = figure(allocation, "predicted_kl");
    out->allocation.uniform_kl = figure(allocation, "uniform_kl");
    out->residual_share = fmax(figure(json_object_get(costs, "prompt"), "residual_share"),
                               figure(json_object_get(costs, "decode"), "residual_share"));
}

// ---- all of it ----

enum wl_status compression_read(const json_t *document, struct compression *out,
                                struct wl_err *err) {
    enum wl_status status;
    *out = (struct compression){.document = document};
    if (!json_is_object(document) || !json_is_object(json_object_get(document, "plan"))) {
        return wl_err_set(err, WL_INPUT, "it is no compression: expected an object with a 'plan'");
    }
    out->grade = wl_json_opt_string(document, "grade", "");
    out->refusal = wl_json_opt_string(document, "refusal", NULL);
    out->is_written = wl_json_opt_bool(document, "is_written", false);
    take_plan(document, out);
    take_stages(json_object_get(document, "seconds"), out);
    take_distilled(json_object_get(document, "distilled"), out);
    take_vocabulary(json_object_get(document, "vocabulary"), out);
    out->has_types = json_is_object(json_object_get(document, "types"));
    compression_types_read(json_object_get(document, "types"), &out->types);
    if ((status = take_files(document, out, err)) || (status = take_blocks(document, out, err)) ||
        (status = take_rounds(json_object_get(document, "rounds"), out, err)) ||
        (status = take_encoder(json_object_get(document, "encoder"), out, err))) {
        compression_release(out);
    }
    return status;
}

void compression_release(struct compression *c) {
    free(c->blocks.items);
    free(c->encoder.blocks.items);
    *c = (struct compression){0};
}
