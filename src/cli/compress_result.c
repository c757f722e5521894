#include "cli/compress_result.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "cli/compress_request.h"
#include "cli/term.h"

#define Z95 1.96
static const double DOUBTFUL_RESIDUAL = 0.2; // of the fit of costs on this machine

// 0 where there is no error to tell: one sequence of text gives none.
static double half_width(double sem) {
    return isfinite(sem) ? Z95 * sem : 0;
}

static double number(const json_t *object, const char *key) {
    return wl_json_opt_double(object, key, NAN);
}

const char *compress_grade(const json_t *verdict) {
    double high = number(verdict, "kl_mean") + half_width(number(verdict, "kl_sem"));
    return high <= COMPRESS_TRANSPARENT_KL ? "transparent"
           : high <= COMPRESS_GOOD_KL      ? "good"
                                           : "degraded";
}

// ---- plan ----

static void print_sizes(FILE *stream, const json_t *plan, double out_bytes, const char *about) {
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], change[UNITS_TEXT_BYTES];
    double in_bytes = number(plan, "in_bytes");
    double weights = number(plan, "block_weights_before"),
           left = number(plan, "block_weights_after");
    fprintf(stream, "  file            %s -> %s%s (%s)\n", units_bytes(before, in_bytes), about,
            units_bytes(after, out_bytes), units_signed_pct(change, out_bytes / in_bytes));
    fprintf(stream, "  block weights   %s -> %s (%s)\n", units_params(before, weights),
            units_params(after, left), units_signed_pct(change, left / weights));
}

struct spread { // of a size over the blocks that stay
    int64_t low, high;
    uint32_t n_removed;
};

static struct spread spread_of(const json_t *layers, const char *key) {
    struct spread spread = {INT64_MAX, 0, 0};
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *layer = json_array_get(layers, i);
        if (wl_json_opt_bool(layer, "is_removed", false)) {
            spread.n_removed++;
            continue;
        }
        int64_t value = wl_json_opt_i64(layer, key, 0);
        spread.low = value < spread.low ? value : spread.low;
        spread.high = value > spread.high ? value : spread.high;
    }
    return spread;
}

static void print_spread(FILE *stream, const char *what, int64_t before, struct spread spread) {
    if (before > 0) {
        fprintf(stream, "  %-15s %" PRId64 " -> ", what, before);
    } else {
        fprintf(stream, "  %-15s ", what);
    }
    if (spread.low == spread.high) {
        fprintf(stream, "%" PRId64 " in every block\n", spread.low);
    } else {
        fprintf(stream, "%" PRId64 " to %" PRId64 ", each block its own\n", spread.low,
                spread.high);
    }
}

static void print_shape(FILE *stream, const json_t *plan) {
    const json_t *layers = json_object_get(plan, "layers");
    struct spread neurons = spread_of(layers, "n_ff"), heads = spread_of(layers, "n_head_kv");
    int64_t n_layer = wl_json_opt_i64(plan, "n_layer", 0);
    print_spread(stream, "neurons", wl_json_opt_i64(plan, "n_ff_before", 0), neurons);
    print_spread(stream, "KV heads", wl_json_opt_i64(plan, "n_head_kv_before", 0), heads);
    if (neurons.n_removed > 0) {
        fprintf(stream, "  blocks          %" PRId64 " -> %" PRId64 "\n", n_layer,
                n_layer - neurons.n_removed);
    }
}

static void print_method(FILE *stream, const json_t *request) {
    char time[UNITS_TEXT_BYTES];
    const char *method = wl_json_opt_string(request, "method", "repair");
    double local_s = wl_json_opt_double(request, "local_seconds", 0);
    double lora_s = wl_json_opt_double(request, "lora_seconds", 0);
    if (strcmp(method, "repair") != 0) {
        fprintf(stream, "  method          %s, no repair\n",
                strcmp(method, "cut") == 0 ? "optimal brain surgeon" : method);
        return;
    }
    fputs("  method          optimal brain surgeon, least squares", stream);
    if (local_s > 0) {
        fprintf(stream, ", %s of healing block by block", units_seconds(time, local_s));
    }
    if (lora_s > 0) {
        fprintf(stream, ", %s of all blocks together", units_seconds(time, lora_s));
    }
    fputc('\n', stream);
}

static void print_calibration(FILE *stream, const struct compress_view *view, const json_t *plan) {
    const json_t *tasks = json_object_get(view->request, "tasks");
    const char *text = wl_json_opt_string(view->request, "text", "");
    fprintf(stream, "  calibration     %" PRId64 " tokens: ", wl_json_opt_i64(plan, "n_tokens", 0));
    if (text[0]) {
        fprintf(stream, "%s, ", text);
    }
    for (size_t i = 0; i < json_array_size(tasks); i++) {
        const char *path = json_string_value(json_array_get(tasks, i));
        const char *slash = path ? strrchr(path, '/') : NULL;
        fprintf(stream, "%s, ", slash ? slash + 1 : path ? path : "");
    }
    fputs("what the model writes itself\n", stream);
}

static void print_estimate(FILE *stream, const json_t *plan) {
    const json_t *estimate = json_object_get(plan, "estimate");
    char time[UNITS_TEXT_BYTES], ram[UNITS_TEXT_BYTES], disk[UNITS_TEXT_BYTES];
    if (estimate) {
        fprintf(stream, "  needs           about %s, %s of RAM, %s of disk\n",
                units_seconds(time, number(estimate, "seconds")),
                units_bytes(ram, number(estimate, "rss_bytes")),
                units_bytes(disk, number(estimate, "disk_bytes")));
    }
}

void compress_plan_print(FILE *stream, const struct compress_view *view) {
    const json_t *plan = json_object_get(view->result, "plan");
    double floor_kl = number(view->request, "floor");
    const char *budget = wl_json_opt_string(view->request, "budget", "");
    fprintf(stream, "%splan%s  %s (%s, %" PRId64 " blocks) -> %s\n", term_bold(stream),
            term_reset(stream), wl_json_opt_string(view->request, "path", ""),
            wl_json_opt_string(plan, "arch", ""), wl_json_opt_i64(plan, "n_layer", 0), view->out);
    if (budget[0]) {
        fprintf(stream, "  budget          %s%s\n", budget,
                json_object_get(view->result, "allocation")
                    ? ""
                    : "; where to cut is worked out, what follows is the least even cut");
    }
    print_shape(stream, plan);
    print_sizes(stream, plan, number(plan, "out_bytes"), "about ");
    print_method(stream, view->request);
    print_calibration(stream, view, plan);
    if (isfinite(floor_kl)) {
        fprintf(stream, "  floor           KL at most %g nats per token (95 %%), else no file\n",
                floor_kl);
    } else {
        fputs("  floor           none\n", stream);
    }
    print_estimate(stream, plan);
}

// ---- result ----

static void print_error(double error) {
    if (isfinite(error)) {
        printf(" %10.5f", error);
    } else {
        printf(" %10s", "-");
    }
}

static void print_layer(const json_t *plan, const json_t *layer) {
    char time[UNITS_TEXT_BYTES];
    printf("%5" PRId64, wl_json_opt_i64(layer, "layer", 0));
    if (wl_json_opt_bool(layer, "is_removed", false)) {
        puts("  taken out; the block before it does its work");
        return;
    }
    printf(" %6" PRId64 " -> %5" PRId64 " %4" PRId64, wl_json_opt_i64(plan, "n_ff_before", 0),
           wl_json_opt_i64(layer, "n_ff", 0), wl_json_opt_i64(layer, "n_head_kv", 0));
    print_error(number(layer, "error_cut"));
    print_error(number(layer, "error_repaired"));
    print_error(number(layer, "error_healed"));
    printf(" %9s\n", units_seconds(time, number(layer, "seconds")));
}

static void print_layers(const json_t *result) {
    const json_t *layers = json_object_get(result, "layers");
    const json_t *plan = json_object_get(result, "plan");
    if (json_array_size(layers) == 0) {
        return;
    }
    printf("%s%5s %15s %4s %10s %10s %10s %9s%s\n", term_bold(stdout), "BLOCK", "NEURONS", "KV",
           "CHOICE", "REPAIRED", "HEALED", "TIME", term_reset(stdout));
    for (size_t i = 0; i < json_array_size(layers); i++) {
        print_layer(plan, json_array_get(layers, i));
    }
    puts("Error of the block's output on held-out text, as a share of its size.\n");
}

static void print_perplexity(const json_t *v) {
    char mean[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    double half = half_width(number(v, "log_ppl_ratio_sem")),
           log_ratio = number(v, "log_ppl_ratio");
    printf("  perplexity      %.4g -> %.4g (%s; 95 %% %s to %s)\n",
           number(json_object_get(v, "original"), "perplexity"),
           number(json_object_get(v, "changed"), "perplexity"),
           units_signed_pct(mean, exp(log_ratio)), units_signed_pct(low, exp(log_ratio - half)),
           units_signed_pct(high, exp(log_ratio + half)));
}

static void print_vocabulary(const json_t *result) {
    const json_t *v = json_object_get(result, "vocabulary");
    char growth[UNITS_TEXT_BYTES];
    if (v) {
        printf("  vocabulary      %" PRId64 " -> %" PRId64 " tokens; held-out text %s in tokens\n",
               wl_json_opt_i64(v, "n_before", 0), wl_json_opt_i64(v, "n_after", 0),
               units_signed_pct(growth, 1 + number(v, "growth")));
    }
}

static void print_distilled(const json_t *result) {
    const json_t *d = json_object_get(result, "distilled");
    char time[UNITS_TEXT_BYTES];
    if (d) {
        printf("  distilled       KL %.4g -> %.4g in %s, %" PRId64 " tokens%s\n",
               number(d, "kl_before"), number(d, "kl_after"),
               units_seconds(time, number(d, "seconds")), wl_json_opt_i64(d, "n_tokens", 0),
               wl_json_opt_bool(d, "is_kept", false) ? "" : "; no better, not kept");
    }
}

static void print_rounds(const json_t *result) {
    size_t n = json_array_size(json_object_get(result, "rounds"));
    if (n > 1) {
        printf("  rounds          %zu: the floor was missed, less was cut\n", n);
    }
}

static void print_allocation(const json_t *result) {
    const json_t *a = json_object_get(result, "allocation"), *c = json_object_get(result, "costs");
    if (!a) {
        return;
    }
    printf("  foretold        KL %.3g; with the same sizes in all blocks %.3g\n",
           number(a, "predicted_kl"), number(a, "uniform_kl"));
    double worst = fmax(number(json_object_get(c, "prompt"), "residual_share"),
                        number(json_object_get(c, "decode"), "residual_share"));
    if (worst > DOUBTFUL_RESIDUAL) {
        printf(
            "  %sdoubtful%s        the parts' times do not add up to within %.0f %%: measure again "
            "on a quiet machine\n",
            term_bold(stdout), term_reset(stdout), 100 * worst);
    }
}

static void print_spread_cell(const json_t *speed, const char *key) {
    double ms = number(json_object_get(speed, key), "median");
    if (isfinite(ms)) {
        printf(" %9.4g", ms);
    } else {
        printf(" %9s", "-");
    }
}

static void print_rival(const char *name, double bytes, const json_t *verdict,
                        const json_t *speed) {
    char size[UNITS_TEXT_BYTES];
    printf("%-28.28s %10s", name, units_bytes(size, bytes));
    print_spread_cell(speed, "prompt_ms");
    print_spread_cell(speed, "decode_ms");
    if (json_is_object(verdict)) {
        printf(" %10.4g %6.1f %%\n", number(verdict, "kl_mean"),
               100 * number(verdict, "top1_share"));
    } else {
        printf(" %10s %8s\n", "-", "-");
    }
}

static void print_rivals(const json_t *result) {
    const json_t *rivals = json_object_get(result, "rivals");
    if (json_array_size(rivals) == 0) {
        return;
    }
    printf("\n%s%-28s %10s %9s %9s %10s %8s%s\n", term_bold(stdout), "BESIDE IT", "SIZE",
           "PROMPT ms", "DECODE ms", "KL", "SAME", term_reset(stdout));
    print_rival("this file", number(result, "out_bytes"), json_object_get(result, "verdict"),
                json_object_get(result, "speed"));
    print_rival("the original", number(json_object_get(result, "plan"), "in_bytes"), NULL,
                json_object_get(result, "speed_original"));
    for (size_t i = 0; i < json_array_size(rivals); i++) {
        const json_t *rival = json_array_get(rivals, i);
        print_rival(wl_json_opt_string(rival, "name", "?"), number(rival, "bytes"),
                    json_object_get(rival, "verdict"), json_object_get(rival, "speed"));
    }
    for (size_t i = 0; i < json_array_size(rivals); i++) {
        const char *refusal = wl_json_opt_string(json_array_get(rivals, i), "refusal", "");
        if (refusal[0]) {
            printf("  not compared: %s\n", refusal);
        }
    }
}

static void print_encoder(const struct compress_view *view) {
    const json_t *e = json_object_get(view->result, "encoder");
    char before[UNITS_TEXT_BYTES], after[UNITS_TEXT_BYTES], change[UNITS_TEXT_BYTES];
    if (!e || !view->mmproj_out) {
        return;
    }
    printf("\n%simage encoder%s: %s\n", term_bold(stdout), term_reset(stdout), view->mmproj_out);
    printf("  file            %s -> %s\n", units_bytes(before, number(e, "in_bytes")),
           units_bytes(after, number(e, "out_bytes")));
    printf("  block weights   %s -> %s (%s)\n",
           units_params(before, number(e, "block_weights_before")),
           units_params(after, number(e, "block_weights_after")),
           units_signed_pct(change,
                            number(e, "block_weights_after") / number(e, "block_weights_before")));
    printf("  image tokens    cosine %.4f to those of before, error %.4f, on held-out pictures\n",
           number(e, "cosine"), number(e, "error_projected"));
    printf("  encoding        %s -> %s a picture\n",
           units_seconds(before, number(e, "encode_s_before")),
           units_seconds(after, number(e, "encode_s_after")));
}

static double total_seconds(const json_t *result) {
    const char *key;
    json_t *value;
    double total = 0;
    json_object_foreach(json_object_get(result, "seconds"), key, value) {
        total += json_number_value(value);
    }
    return total;
}

void compress_result_print(const struct compress_view *view) {
    const json_t *r = view->result, *v = json_object_get(r, "verdict");
    const json_t *plan = json_object_get(r, "plan");
    char time[UNITS_TEXT_BYTES];
    double half = half_width(number(v, "kl_sem")), kl = number(v, "kl_mean");
    print_layers(r);
    printf("%s%s%s: %s\n", term_bold(stdout), compress_grade(v), term_reset(stdout),
           wl_json_opt_bool(r, "is_written", false) ? view->out
                                                    : "the floor was missed, no file was written");
    print_shape(stdout, plan);
    print_vocabulary(r);
    printf("  KL divergence   %.4g nats per token (95 %% %.4g to %.4g), median %.3g, 99 %% %.3g\n",
           kl, fmax(kl - half, 0), kl + half, number(v, "kl_median"), number(v, "kl_p99"));
    if (wl_json_opt_i64(v, "n_image", 0) > 0) {
        printf("  with pictures   %.4g nats per token\n", number(v, "kl_image"));
    }
    print_perplexity(v);
    printf("  same token      %.1f %% of the likeliest next tokens, of %" PRId64
           " on held-out text\n",
           100 * number(v, "top1_share"), wl_json_opt_i64(v, "n", 0));
    if (wl_json_opt_i64(v, "n_answers", 0) > 0) {
        printf("  same answer     %.1f %% of %" PRId64 " answers of up to 24 tokens, the likeliest "
               "at each step; %.1f %% of their tokens up to the first that differs\n",
               100 * number(v, "exact_share"), wl_json_opt_i64(v, "n_answers", 0),
               100 * number(v, "same_share"));
    }
    print_allocation(r);
    print_distilled(r);
    print_sizes(stdout, plan, number(r, "out_bytes"), "");
    print_rounds(r);
    printf("  time            %s\n", units_seconds(time, total_seconds(r)));
    print_encoder(view);
    print_rivals(r);
}

// ---- JSON ----

json_t *compress_result_json(const struct compress_view *view) {
    json_t *document = json_deep_copy(view->result);
    const json_t *verdict = json_object_get(view->result, "verdict");
    if (!document || json_object_update_missing_new(
                         document, json_pack("{s:i, s:s, s:O, s:s?}", "schema_version", 2, "out",
                                             view->out, "request", (json_t *)view->request,
                                             "mmproj_out", view->mmproj_out)) != 0) {
        json_decref(document);
        return NULL;
    }
    if (verdict) {
        json_object_set_new(document, "grade", json_string(compress_grade(verdict)));
    }
    return document;
}
