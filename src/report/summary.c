#include "report/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report/strata.h"

#define NORMAL_95 1.959963984540054

bool summary_is_used(const struct record *record) {
    return (record->flags & (RECORD_WARMUP | RECORD_PAPER | RECORD_SCORED)) == 0 &&
           record->vision.n_images == 0;
}

bool summary_is_energy(enum metric_id metric) {
    return metric == METRIC_energy_gross_j || metric == METRIC_energy_net_j ||
           metric == METRIC_prefill_net_j || metric == METRIC_decode_net_j ||
           metric == METRIC_image_net_j;
}

// ---- cells and counts ----

static struct report_cell *find_cell(struct report_model *model, uint32_t cell) {
    for (size_t i = 0; i < model->n_cells; i++) {
        if (model->cells[i].cell == cell) {
            return &model->cells[i];
        }
    }
    return NULL;
}

static int by_tokens(const void *a, const void *b) {
    const struct report_cell *x = a, *y = b;
    if (x->prompt_tokens != y->prompt_tokens) {
        return x->prompt_tokens < y->prompt_tokens ? -1 : 1;
    }
    if (x->generated_tokens != y->generated_tokens) {
        return x->generated_tokens < y->generated_tokens ? -1 : 1;
    }
    return (x->cell > y->cell) - (x->cell < y->cell);
}

static enum wl_status count_in_cell(struct report_model *model, const struct record *record,
                                    struct wl_err *err) {
    struct report_cell *cell = find_cell(model, record->cell);
    if (!cell) {
        if (model->n_cells == REPORT_MAX_CELLS) {
            return wl_err_set(err, WL_LIMIT, "the study has more than %d cells", REPORT_MAX_CELLS);
        }
        cell = &model->cells[model->n_cells++];
        *cell = (struct report_cell){.cell = record->cell,
                                     .prompt_tokens = record->prompt_tokens,
                                     .generated_tokens = record->generated_tokens};
    }
    cell->n++;
    return WL_OK;
}

static void count_flags(struct report_model *model, const struct record *record) {
    model->n_used++;
    // A handled wrap, and a window that a slow meter needed help with, are no distortion.
    model->n_clean += (record->flags & ~(uint32_t)(RECORD_WRAP | RECORD_SHORT)) == 0;
    for (unsigned bit = 0; bit < REPORT_N_FLAGS; bit++) {
        model->flag_count[bit] += record->flags >> bit & 1u;
    }
}

enum wl_status summary_count(struct report_model *model, struct wl_err *err) {
    size_t room = model->n_records < REPORT_MAX_CELLS ? model->n_records : REPORT_MAX_CELLS;
    model->cells = calloc(room + 1, sizeof *model->cells);
    if (!model->cells) {
        return wl_err_set(err, WL_MEMORY, "no memory for the report");
    }
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        if (!summary_is_used(record)) {
            continue;
        }
        count_flags(model, record);
        enum wl_status status = count_in_cell(model, record, err);
        if (status != WL_OK) {
            return status;
        }
    }
    qsort(model->cells, model->n_cells, sizeof *model->cells, by_tokens);
    return WL_OK;
}

// ---- energy sources ----

static struct report_source *find_source(struct report_model *model,
                                         const struct record_energy *energy) {
    for (size_t i = 0; i < model->n_sources; i++) {
        if (strcmp(model->source[i].source, energy->source) == 0 &&
            strcmp(model->source[i].scope, energy->scope) == 0) {
            return &model->source[i];
        }
    }
    if (model->n_sources == RECORD_MAX_ENERGIES) {
        return NULL;
    }
    struct report_source *source = &model->source[model->n_sources++];
    *source = (struct report_source){.label = LABEL_MEASURED};
    memcpy(source->source, energy->source, sizeof source->source);
    memcpy(source->scope, energy->scope, sizeof source->scope);
    return source;
}

struct source_sums {
    size_t n_gross, n_net, n_coverage;
    double variance_j2; // of the sum of gross energies
};

static void add_if_finite(double *sum, size_t *n, double value) {
    if (isfinite(value)) {
        *sum += value;
        ++*n;
    }
}

static void add_energy(struct report_source *source, struct source_sums *sums,
                       const struct record_energy *energy) {
    source->n++;
    source->n_unresolved += record_energy_label(energy) == LABEL_UNRESOLVED;
    if (energy->label > source->label) {
        source->label = energy->label;
    }
    sums->variance_j2 += isfinite(energy->gross_j) ? energy->gross_sd_j * energy->gross_sd_j : 0;
    add_if_finite(&source->mean_gross_j, &sums->n_gross, energy->gross_j);
    add_if_finite(&source->mean_net_j, &sums->n_net, energy->net_j);
    add_if_finite(&source->mean_coverage, &sums->n_coverage, energy->coverage);
    if (energy->systematic_rel > source->systematic_rel) {
        source->systematic_rel = energy->systematic_rel;
    }
}

static double divided(double sum, size_t n) {
    return n > 0 ? sum / (double)n : (double)NAN;
}

static void finish_source(struct report_source *source, const struct source_sums *sums) {
    source->mean_gross_j = divided(source->mean_gross_j, sums->n_gross);
    source->mean_net_j = divided(source->mean_net_j, sums->n_net);
    source->mean_coverage = divided(source->mean_coverage, sums->n_coverage);
    // Many windows that say nothing each can say something together.
    double sd_j = divided(sqrt(sums->variance_j2), sums->n_gross);
    if (!record_is_resolved(source->mean_gross_j, sd_j, source->systematic_rel)) {
        source->label = LABEL_UNRESOLVED;
    }
}

void summary_sources(struct report_model *model) {
    struct source_sums sums[RECORD_MAX_ENERGIES] = {{0}};
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        for (uint32_t k = 0; summary_is_used(record) && k < record->n_energies; k++) {
            struct report_source *source = find_source(model, &record->energy[k]);
            if (source) {
                add_energy(source, &sums[source - model->source], &record->energy[k]);
            }
        }
    }
    for (size_t i = 0; i < model->n_sources; i++) {
        finish_source(&model->source[i], &sums[i]);
    }
}

// ---- means ----

static int by_cell(const void *a, const void *b) {
    const struct strata_pair *x = a, *y = b;
    return (x->cell > y->cell) - (x->cell < y->cell);
}

// The used records' finite values as pairs ascending by cell; returns their number.
static size_t collect(const struct report_model *model, enum metric_id metric, uint64_t only_cell,
                      struct strata_pair *out) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        bool is_wanted = only_cell == SUMMARY_NO_CELL || record->cell == only_cell;
        if (is_wanted && summary_is_used(record) && isfinite(record->value[metric])) {
            out[n++] =
                (struct strata_pair){record->cell, record->value[metric], record->value[metric]};
        }
    }
    qsort(out, n, sizeof *out, by_cell);
    return n;
}

// The source's gain error is the same in every run, so no number of repeats shrinks it.
static void widen(struct stats_interval *ci, double value, double systematic_rel) {
    double extra = NORMAL_95 * systematic_rel * fabs(value);
    ci->low = value - hypot(value - ci->low, extra);
    ci->high = value + hypot(ci->high - value, extra);
}

static void fill_mean(const struct report_model *model, enum metric_id metric,
                      const struct strata_pair *pairs, size_t n, struct report_mean *out) {
    struct strata_result mean;
    strata_mean(pairs, n, &mean);
    *out = (struct report_mean){mean.n, mean.n_cells, mean.value, mean.ci95, mean.n > 0};
    if (!summary_is_energy(metric) || model->n_sources == 0) {
        return;
    }
    const struct report_source *source = &model->source[0];
    widen(&out->ci95, out->value, source->systematic_rel);
    bool is_wide = out->ci95.high - out->ci95.low > fabs(out->value); // false for NaN
    out->is_resolved = n > 0 && source->label != LABEL_UNRESOLVED && !is_wide;
}

static enum wl_status describe(const struct strata_pair *pairs, size_t n, double *scratch,
                               struct stats_summary *out, struct wl_err *err) {
    memset(out, 0, sizeof *out);
    if (n == 0) {
        return WL_OK;
    }
    for (size_t i = 0; i < n; i++) {
        scratch[i] = pairs[i].base;
    }
    return stats_describe(scratch, n, out, err);
}

// `pairs` and `scratch` have room for every record.
static enum wl_status fill_metrics(struct report_model *model, uint64_t reference_cell,
                                   struct strata_pair *pairs, double *scratch, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (unsigned i = 0; i < METRIC_COUNT && status == WL_OK; i++) {
        enum metric_id id = (enum metric_id)i;
        struct report_metric *metric = &model->metric[i];
        size_t n = collect(model, id, SUMMARY_NO_CELL, pairs);
        fill_mean(model, id, pairs, n, &metric->all);
        n = reference_cell == SUMMARY_NO_CELL ? 0 : collect(model, id, reference_cell, pairs);
        fill_mean(model, id, pairs, n, &metric->reference);
        status = describe(pairs, n, scratch, &metric->summary, err);
    }
    return status;
}

enum wl_status summary_means(struct report_model *model, uint64_t reference_cell,
                             struct wl_err *err) {
    struct strata_pair *pairs = calloc(model->n_records + 1, sizeof *pairs);
    double *scratch = calloc(model->n_records + 1, sizeof *scratch);
    enum wl_status status = pairs && scratch
                                ? fill_metrics(model, reference_cell, pairs, scratch, err)
                                : wl_err_set(err, WL_MEMORY, "no memory for the report");
    free(pairs);
    free(scratch);
    return status;
}

// ---- paper mode ----

// Long runs made for the purpose count alone where there are any: short windows hold too few
// samples at 5 Hz to say much.
enum wl_status summary_paper_mode(struct report_model *model, struct wl_err *err) {
    double *pct = calloc(model->n_records + 1, sizeof *pct);
    if (!pct) {
        return wl_err_set(err, WL_MEMORY, "no memory for the report");
    }
    size_t n = 0;
    for (int is_other = 0; is_other < 2 && n == 0; is_other++) {
        for (size_t i = 0; i < model->n_records; i++) {
            const struct record *record = &model->records[i];
            double exact = record->value[METRIC_cpu_auc_pct_s];
            double paper = record->value[METRIC_cpu_auc_paper_pct_s];
            bool is_check = (record->flags & RECORD_PAPER) != 0;
            bool is_wanted = is_other ? summary_is_used(record) : is_check;
            if (is_wanted && isfinite(exact) && isfinite(paper) && exact > 0) {
                pct[n++] = 100 * (paper / exact - 1);
            }
        }
    }
    stats_sort(pct, n);
    model->paper =
        (struct report_paper_mode){n, stats_quantile_sorted(pct, n, 0.5), n ? pct[0] : (double)NAN,
                                   n ? pct[n - 1] : (double)NAN};
    free(pct);
    return WL_OK;
}

// ---- change ----

struct keyed {
    uint32_t cell, repeat, seq;
    double value;
};

static int by_key(const void *a, const void *b) {
    const struct keyed *x = a, *y = b;
    if (x->cell != y->cell) {
        return x->cell < y->cell ? -1 : 1;
    }
    if (x->repeat != y->repeat) {
        return x->repeat < y->repeat ? -1 : 1;
    }
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static size_t collect_keyed(const struct report_model *model, enum metric_id metric,
                            uint64_t only_cell, struct keyed *out) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *r = &model->records[i];
        bool is_wanted = only_cell == SUMMARY_NO_CELL || r->cell == only_cell;
        if (is_wanted && summary_is_used(r) && isfinite(r->value[metric])) {
            out[n++] = (struct keyed){r->cell, r->repeat, r->seq, r->value[metric]};
        }
    }
    qsort(out, n, sizeof *out, by_key);
    return n;
}

// Same cell and same repeat were run next to each other.
static size_t match(const struct keyed *base, size_t n_base, const struct keyed *vs, size_t n_vs,
                    struct strata_pair *out) {
    size_t n = 0;
    for (size_t i = 0, k = 0; i < n_base && k < n_vs;) {
        bool is_pair = base[i].cell == vs[k].cell && base[i].repeat == vs[k].repeat;
        if (is_pair) {
            out[n++] = (struct strata_pair){base[i].cell, base[i].value, vs[k].value};
            i++;
            k++;
        } else if (base[i].cell < vs[k].cell ||
                   (base[i].cell == vs[k].cell && base[i].repeat < vs[k].repeat)) {
            i++;
        } else {
            k++;
        }
    }
    return n;
}

static bool is_comparable(const struct report_model *base, const struct report_model *vs,
                          enum metric_id metric, uint64_t only_cell) {
    const struct report_metric *b = &base->metric[metric], *v = &vs->metric[metric];
    return only_cell == SUMMARY_NO_CELL ? b->all.is_resolved && v->all.is_resolved
                                        : b->reference.is_resolved && v->reference.is_resolved;
}

enum wl_status summary_change(const struct report_model *base, const struct report_model *vs,
                              enum metric_id metric, uint64_t only_cell, struct report_change *out,
                              struct wl_err *err) {
    struct keyed *a = calloc(base->n_records + 1, sizeof *a);
    struct keyed *b = calloc(vs->n_records + 1, sizeof *b);
    struct strata_pair *pairs = calloc(base->n_records + 1, sizeof *pairs);
    struct strata_result ratio = {0};
    bool has_memory = a && b && pairs;
    if (has_memory) {
        size_t n_a = collect_keyed(base, metric, only_cell, a);
        size_t n_b = collect_keyed(vs, metric, only_cell, b);
        strata_ratio(pairs, match(a, n_a, b, n_b, pairs), &ratio);
        *out = (struct report_change){.n_pairs = ratio.n,
                                      .n_cells = ratio.n_cells,
                                      .ratio = ratio.value,
                                      .ci95 = ratio.ci95,
                                      .is_resolved = ratio.n > 0 &&
                                                     is_comparable(base, vs, metric, only_cell)};
    }
    free(a);
    free(b);
    free(pairs);
    return has_memory ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the report");
}
