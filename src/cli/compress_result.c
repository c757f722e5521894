#include "cli/compress_result.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "cli/term.h"

#define Z95 1.96

// 0 where there is no error to tell: one sequence of text gives none.
static double half_width(double sem) {
    return isfinite(sem) ? Z95 * sem : 0;
}

const char *compress_grade(const struct engine_compress_verdict *verdict) {
    double high = verdict->kl_mean + half_width(verdict->kl_sem);
    return high <= COMPRESS_TRANSPARENT_KL ? "transparent"
           : high <= COMPRESS_GOOD_KL      ? "good"
                                           : "degraded";
}

// ---- text ----

static void print_sizes(FILE *stream, const struct engine_compress_plan *plan, int64_t out_bytes,
                        const char *about) {
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], change[UNITS_TEXT_BYTES];
    fprintf(stream, "  file            %s -> %s%s (%s)\n",
            units_bytes(before, (double)plan->in_bytes), about,
            units_bytes(after, (double)out_bytes),
            units_signed_pct(change, (double)out_bytes / (double)plan->in_bytes));
    fprintf(stream, "  block weights   %s -> %s (%s)\n",
            units_params(before, (double)plan->block_weights_before),
            units_params(after, (double)plan->block_weights_after),
            units_signed_pct(change, (double)plan->block_weights_after /
                                         (double)plan->block_weights_before));
}

static void print_method(FILE *stream, const struct engine_compress_options *o) {
    char time[UNITS_TEXT_BYTES];
    if (strcmp(o->method, "repair") != 0) {
        fprintf(stream, "  method          %s, no repair\n",
                strcmp(o->method, "cut") == 0 ? "optimal brain surgeon" : o->method);
    } else if (o->heal_seconds > 0) {
        fprintf(stream,
                "  method          optimal brain surgeon, least squares, healing of at most %s a "
                "block\n",
                units_seconds(time, o->heal_seconds));
    } else {
        fputs("  method          optimal brain surgeon, least squares\n", stream);
    }
}

void compress_plan_print(FILE *stream, const struct compress_view *view) {
    const struct engine_compress_options *o = view->options;
    const struct engine_compress_plan *plan = &view->result->plan;
    fprintf(stream, "%splan%s  %s (%s, %" PRIu32 " blocks) -> %s\n", term_bold(stream),
            term_reset(stream), o->path, plan->arch, plan->n_layer, o->out);
    fprintf(stream, "  neurons         %" PRIu32 " -> %" PRIu32 " in every block (feed-forward)\n",
            plan->n_ff_before, plan->n_ff);
    print_sizes(stream, plan, plan->out_bytes, "about ");
    fprintf(stream, "  feed-forward    %.0f %% of the block weights, the part that is cut\n",
            100 * (double)plan->ffn_weights_before / (double)plan->block_weights_before);
    print_method(stream, o);
    fprintf(stream, "  calibration     %" PRId64 " tokens: %s%s%s%swhat the model writes itself\n",
            plan->n_tokens, o->text ? o->text : "", o->text ? ", " : "", o->tasks ? o->tasks : "",
            o->tasks ? ", " : "");
    if (o->floor_kl > 0) {
        fprintf(stream, "  floor           KL at most %g nats per token (95 %%), else no file\n",
                o->floor_kl);
    } else {
        fputs("  floor           none\n", stream);
    }
}

static void print_error(double error) {
    if (isfinite(error)) {
        printf(" %10.5f", error);
    } else {
        printf(" %10s", "-");
    }
}

static void print_layers(const struct engine_compress_result *r) {
    char time[UNITS_TEXT_BYTES];
    printf("%s%5s %15s %10s %10s %10s %10s%s\n", term_bold(stdout), "BLOCK", "NEURONS", "CHOICE",
           "REPAIRED", "HEALED", "TIME", term_reset(stdout));
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct engine_compress_layer *layer = &r->layers[i];
        printf("%5" PRIu32 " %6" PRIu32 " -> %5" PRIu32, layer->layer, r->plan.n_ff_before,
               layer->n_ff);
        print_error(layer->error_cut);
        print_error(layer->error_repaired);
        print_error(layer->error_healed);
        printf(" %10s\n", units_seconds(time, layer->seconds));
    }
    puts("Error of the block's output on held-out text, as a share of its size.\n");
}

static void print_perplexity(const struct engine_compress_verdict *v) {
    char mean[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    double half = half_width(v->log_ppl_ratio_sem);
    printf("  perplexity      %.4g -> %.4g (%s; 95 %% %s to %s)\n", v->original.perplexity,
           v->changed.perplexity, units_signed_pct(mean, exp(v->log_ppl_ratio)),
           units_signed_pct(low, exp(v->log_ppl_ratio - half)),
           units_signed_pct(high, exp(v->log_ppl_ratio + half)));
}

void compress_result_print(const struct compress_view *view) {
    const struct engine_compress_result *r = view->result;
    const struct engine_compress_verdict *v = &r->verdict;
    char time[UNITS_TEXT_BYTES];
    double half = half_width(v->kl_sem);
    print_layers(r);
    printf("%s%s%s: %s\n", term_bold(stdout), compress_grade(v), term_reset(stdout),
           r->is_written ? view->options->out : "the floor was missed, no file was written");
    printf("  KL divergence   %.4g nats per token (95 %% %.4g to %.4g), median %.3g, 99 %% %.3g\n",
           v->kl_mean, fmax(v->kl_mean - half, 0), v->kl_mean + half, v->kl_median, v->kl_p99);
    print_perplexity(v);
    printf("  same token      %.1f %% of the likeliest next tokens, of %" PRId64
           " on held-out text\n",
           100 * v->top1_share, v->n);
    print_sizes(stdout, &r->plan, r->out_bytes, "");
    printf("  time            %s\n",
           units_seconds(time, r->text_seconds + r->blocks_seconds + r->writing_seconds +
                                   r->verifying_seconds));
}

// ---- JSON ----

static json_t *plan_json(const struct engine_compress_plan *p) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "arch", p->arch,
                     "n_layer", (json_int_t)p->n_layer, "n_ff_before", (json_int_t)p->n_ff_before,
                     "n_ff", (json_int_t)p->n_ff, "step", (json_int_t)p->step, "in_bytes",
                     (json_int_t)p->in_bytes, "out_bytes_about", (json_int_t)p->out_bytes,
                     "block_weights_before", (json_int_t)p->block_weights_before,
                     "block_weights_after", (json_int_t)p->block_weights_after,
                     "ffn_weights_before", (json_int_t)p->ffn_weights_before, "n_tokens",
                     (json_int_t)p->n_tokens);
}

static json_t *layers_json(const struct engine_compress_result *r) {
    json_t *layers = json_array();
    for (size_t i = 0; i < r->n_layers; i++) {
        const struct engine_compress_layer *l = &r->layers[i];
        json_array_append_new(
            layers, json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "layer", (json_int_t)l->layer,
                              "n_ff", (json_int_t)l->n_ff, "error_cut", wl_json_real(l->error_cut),
                              "error_repaired", wl_json_real(l->error_repaired), "error_healed",
                              wl_json_real(l->error_healed), "seconds", wl_json_real(l->seconds)));
    }
    return layers;
}

static json_t *side_json(const struct engine_compress_side *side) {
    return json_pack("{s:o, s:o, s:o}", "perplexity", wl_json_real(side->perplexity), "nll_mean",
                     wl_json_real(side->nll_mean), "nll_sem", wl_json_real(side->nll_sem));
}

static json_t *verdict_json(const struct engine_compress_verdict *v) {
    return json_pack("{s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "grade",
                     compress_grade(v), "n", (json_int_t)v->n, "original", side_json(&v->original),
                     "changed", side_json(&v->changed), "kl_mean", wl_json_real(v->kl_mean),
                     "kl_sem", wl_json_real(v->kl_sem), "kl_median", wl_json_real(v->kl_median),
                     "kl_p99", wl_json_real(v->kl_p99), "kl_max", wl_json_real(v->kl_max),
                     "top1_share", wl_json_real(v->top1_share), "log_ppl_ratio",
                     wl_json_real(v->log_ppl_ratio), "log_ppl_ratio_sem",
                     wl_json_real(v->log_ppl_ratio_sem));
}

static json_t *outcome_json(const struct engine_compress_result *r) {
    return json_pack("{s:b, s:s?, s:I, s:o, s:o, s:o, s:{s:o, s:o, s:o, s:o}}", "is_written",
                     r->is_written, "refusal", r->is_written ? NULL : r->refusal, "out_bytes",
                     (json_int_t)r->out_bytes, "stream_error", wl_json_real(r->stream_error),
                     "layers", layers_json(r), "verdict", verdict_json(&r->verdict), "seconds",
                     "text", wl_json_real(r->text_seconds), "blocks",
                     wl_json_real(r->blocks_seconds), "writing", wl_json_real(r->writing_seconds),
                     "verifying", wl_json_real(r->verifying_seconds));
}

static json_t *document_json(const struct compress_view *view) {
    const struct engine_compress_options *o = view->options;
    json_t *document = json_pack(
        "{s:i, s:s, s:s, s:s, s:f, s:s?, s:s?, s:o, s:I, s:b, s:o}", "schema_version", 1, "path",
        o->path, "out", o->out, "method", o->method, "heal_seconds", o->heal_seconds, "calib",
        o->text, "tasks", o->tasks, "floor_kl", wl_json_real(o->floor_kl > 0 ? o->floor_kl : NAN),
        "seed", (json_int_t)(o->seed & INT64_MAX), "is_dry_run", o->is_dry_run, "plan",
        plan_json(&view->result->plan));
    json_t *outcome = o->is_dry_run ? json_object() : outcome_json(view->result);
    bool is_whole = document && outcome && json_object_update(document, outcome) == 0;
    json_decref(outcome);
    if (!is_whole) {
        json_decref(document);
        return NULL;
    }
    return document;
}

bool compress_result_print_json(const struct compress_view *view) {
    struct buf text;
    buf_init(&text, 64 << 20);
    json_t *document = document_json(view);
    bool is_written = document && wl_json_write_pretty(&text, document);
    if (is_written) {
        printf("%s\n", buf_text(&text));
    }
    json_decref(document);
    buf_release(&text);
    return is_written;
}
