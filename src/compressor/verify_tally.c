#include "compressor/verify_tally.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>

#include "compressor/quantile.h"

enum wl_status verify_tally_init(struct verify_tally *tally, size_t n_sequences, size_t n_tokens,
                                 struct wl_err *err) {
    *tally = (struct verify_tally){
        .sequences = calloc(n_sequences, sizeof *tally->sequences),
        .kl = calloc(n_tokens, sizeof *tally->kl),
    };
    if (!tally->sequences || !tally->kl) {
        verify_tally_release(tally);
        return wl_err_set(err, WL_MEMORY, "no memory for the figures of %zu tokens", n_tokens);
    }
    return WL_OK;
}

void verify_tally_release(struct verify_tally *tally) {
    free(tally->sequences);
    free(tally->kl);
    *tally = (struct verify_tally){0};
}

void verify_tally_begin(struct verify_tally *tally, bool has_image) {
    tally->sequences[tally->n_sequences++].has_image = has_image;
}

void verify_tally_add(struct verify_tally *tally, const struct verify_record *record,
                      const struct verify_difference *difference) {
    struct verify_sums *sums = &tally->sequences[tally->n_sequences - 1];
    sums->n++;
    sums->nll_original += record->nll;
    sums->nll_changed += difference->nll;
    sums->kl += difference->kl;
    tally->kl[tally->n++] = difference->kl;
    tally->rest_mass += record->rest_mass;
    tally->lost_mass += record->lost_mass;
    tally->n_same_top += difference->is_same_top;
}

struct mean {
    double mean, sem;
};

// Mean per token of sums per sequence, and its standard error: tokens of one sequence depend on
// each other, sequences do not (the error of a ratio of sums).
static struct mean mean_of(const struct verify_tally *tally,
                           double (*value)(const struct verify_sums *)) {
    double n = 0;
    double sum = 0;
    for (size_t i = 0; i < tally->n_sequences; i++) {
        n += tally->sequences[i].n;
        sum += value(&tally->sequences[i]);
    }
    struct mean out = {.mean = sum / n};
    double squares = 0;
    for (size_t i = 0; i < tally->n_sequences; i++) {
        double off = value(&tally->sequences[i]) - out.mean * tally->sequences[i].n;
        squares += off * off;
    }
    double s = (double)tally->n_sequences;
    out.sem = s > 1 ? sqrt(squares * s / (s - 1)) / n : NAN;
    return out;
}

static double original(const struct verify_sums *sums) {
    return sums->nll_original;
}

static double changed(const struct verify_sums *sums) {
    return sums->nll_changed;
}

static double both(const struct verify_sums *sums) {
    return changed(sums) - original(sums);
}

static double divergence(const struct verify_sums *sums) {
    return sums->kl;
}

static void add_images(const struct verify_tally *tally, struct verify_result *out) {
    double n = 0;
    double kl = 0;
    for (size_t i = 0; i < tally->n_sequences; i++) {
        n += tally->sequences[i].has_image ? tally->sequences[i].n : 0;
        kl += tally->sequences[i].has_image ? tally->sequences[i].kl : 0;
    }
    out->n_image = (size_t)n;
    out->kl_image = n > 0 ? kl / n : NAN;
}

void verify_tally_result(struct verify_tally *tally, struct verify_result *out) {
    struct mean nll_original = mean_of(tally, original);
    struct mean nll_changed = mean_of(tally, changed);
    struct mean kl = mean_of(tally, divergence);
    struct mean ratio = mean_of(tally, both);
    double n = (double)tally->n;
    double kl_median = quantile_in_place(tally->kl, tally->n, 0.5);
    *out = (struct verify_result){
        .n = tally->n,
        .original = {nll_original.mean, nll_original.sem},
        .changed = {nll_changed.mean, nll_changed.sem},
        .kl_mean = kl.mean,
        .kl_sem = kl.sem,
        .kl_median = kl_median,
        .kl_p99 = quantile_in_place(tally->kl, tally->n, 0.99),
        .kl_max = tally->kl[tally->n - 1],
        .top1_share = (double)tally->n_same_top / n,
        .rest_mass = tally->rest_mass / n,
        .lost_mass = tally->lost_mass / n,
        .log_ppl_ratio = ratio.mean,
        .log_ppl_ratio_sem = ratio.sem,
    };
    add_images(tally, out);
}
