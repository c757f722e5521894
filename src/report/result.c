#include "report/result.h"
#include "report/bounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "report/clean.h"
#include "report/summary.h"
#include "report/vision_parts.h"

static const enum metric_id LAW_METRICS[REPORT_N_LAWS] = {
    [REPORT_LAW_TIME] = METRIC_time_s,
    [REPORT_LAW_CPU] = METRIC_cpu_auc_pct_s,
    [REPORT_LAW_RAM] = METRIC_ram_auc_mib_s,
    [REPORT_LAW_ENERGY_GROSS] = METRIC_energy_gross_j,
    [REPORT_LAW_ENERGY_NET] = METRIC_energy_net_j,
    [REPORT_LAW_PREFILL] = METRIC_prefill_s,
    [REPORT_LAW_DECODE] = METRIC_decode_s,
};

enum metric_id report_law_metric(enum report_law law) {
    return law < REPORT_N_LAWS ? LAW_METRICS[law] : METRIC_COUNT;
}

// ---- copying what the caller gave ----

static enum wl_status no_memory(struct wl_err *err) {
    return wl_err_set(err, WL_MEMORY, "no memory for the report");
}

static enum wl_status copy_text(char **out, const char *text, struct wl_err *err) {
    *out = strdup(text ? text : "");
    if (!*out) {
        return no_memory(err);
    }
    clean_text(*out);
    return WL_OK;
}

struct text_row {
    char **to;
    const char *from;
};

static enum wl_status copy_texts(const struct text_row *rows, size_t n, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        status = copy_text(rows[i].to, rows[i].from, err);
    }
    return status;
}

static enum wl_status copy_json(json_t **out, const char *text, const char *empty, const char *what,
                                struct wl_err *err) {
    const char *given = text && text[0] ? text : empty;
    enum wl_status status = wl_json_parse(given, strlen(given), out, err);
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "cannot report: %s", what);
}

static void clean_record(struct record *record) {
    if (record->n_energies > RECORD_MAX_ENERGIES) {
        record->n_energies = RECORD_MAX_ENERGIES;
    }
    if (record->n_phases > RECORD_MAX_PHASES) {
        record->n_phases = RECORD_MAX_PHASES;
    }
    for (uint32_t i = 0; i < record->n_energies; i++) {
        clean_text(record->energy[i].source);
        clean_text(record->energy[i].scope);
    }
    for (uint32_t i = 0; i < record->n_phases; i++) {
        clean_text(record->phase[i].name);
    }
}

static enum wl_status copy_records(struct report_model *model,
                                   const struct report_model_input *input, struct wl_err *err) {
    if (input->n_records > REPORT_MAX_RECORDS) {
        return wl_err_set(err, WL_LIMIT, "a report takes at most %d records, found %zu",
                          REPORT_MAX_RECORDS, input->n_records);
    }
    model->records = calloc(input->n_records + 1, sizeof *model->records);
    if (!model->records) {
        return no_memory(err);
    }
    if (input->n_records > 0) {
        memcpy(model->records, input->records, input->n_records * sizeof *model->records);
    }
    model->n_records = input->n_records;
    for (size_t i = 0; i < model->n_records; i++) {
        clean_record(&model->records[i]);
    }
    return WL_OK;
}

static enum wl_status copy_model(struct report_model *model, const struct report_model_input *input,
                                 struct wl_err *err) {
    const struct text_row texts[] = {
        {&model->name, input->name}, {&model->path, input->path}, {&model->hash, input->hash}};
    model->file_bytes = input->file_bytes;
    model->is_synthetic = input->is_synthetic;
    enum wl_status status = copy_texts(texts, sizeof texts / sizeof texts[0], err);
    if (status == WL_OK) {
        status = copy_json(&model->describe, input->describe_json, "{}", "model facts", err);
    }
    return status == WL_OK ? copy_records(model, input, err) : status;
}

static enum wl_status copy_idles(struct report_result *result, const struct report_input *input,
                                 struct wl_err *err) {
    result->idles = calloc(input->n_idles + 1, sizeof *result->idles);
    if (!result->idles) {
        return no_memory(err);
    }
    if (input->n_idles > 0) {
        memcpy(result->idles, input->idles, input->n_idles * sizeof *result->idles);
    }
    result->n_idles = input->n_idles;
    for (size_t i = 0; i < result->n_idles; i++) {
        struct report_idle *idle = &result->idles[i];
        idle->n_powers =
            idle->n_powers < RECORD_MAX_ENERGIES ? idle->n_powers : RECORD_MAX_ENERGIES;
        for (uint32_t k = 0; k < idle->n_powers; k++) {
            clean_text(idle->power[k].source);
        }
    }
    return WL_OK;
}

static enum wl_status copy_input(struct report_result *result, const struct report_input *input,
                                 struct wl_err *err) {
    const struct text_row texts[] = {{&result->title, input->title},
                                     {&result->study_uuid, input->study_uuid},
                                     {&result->state, input->state},
                                     {&result->wattlaw_version, input->wattlaw_version},
                                     {&result->engine_version, input->engine_version},
                                     {&result->command_line, input->command_line}};
    result->created_wall_ns = input->created_wall_ns;
    result->now_wall_ns = input->now_wall_ns;
    result->seed = input->seed;
    result->rates = input->rates;
    result->rates.currency[sizeof result->rates.currency - 1] = '\0';
    clean_text(result->rates.currency);
    enum wl_status status = copy_texts(texts, sizeof texts / sizeof texts[0], err);
    if (status == WL_OK) {
        status = copy_json(&result->machine, input->machine_json, "{}", "machine", err);
    }
    if (status == WL_OK) {
        status = copy_json(&result->meters, input->meters_json, "[]", "meters", err);
    }
    if (status == WL_OK) {
        status = copy_json(&result->options, input->options_json, "{}", "options", err);
    }
    if (status == WL_OK) {
        status = copy_idles(result, input, err);
    }
    for (size_t i = 0; i < input->n_models && status == WL_OK; i++) {
        result->n_models = i + 1;
        status = copy_model(&result->model[i], &input->model[i], err);
    }
    return status;
}

// ---- computing ----

static size_t collect_points(const struct report_model *model, enum metric_id metric,
                             struct law_point *out) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_records; i++) {
        const struct record *record = &model->records[i];
        if (summary_is_used(record) && isfinite(record->value[metric])) {
            out[n++] = (struct law_point){record->prompt_tokens, record->generated_tokens,
                                          record->value[metric]};
        }
    }
    return n;
}

// A law that cannot be fitted is a finding to show, not a failure of the report.
static enum wl_status fit_laws(struct report_model *model, struct wl_err *err) {
    struct law_point *points = calloc(model->n_records + 1, sizeof *points);
    if (!points) {
        return no_memory(err);
    }
    enum wl_status status = WL_OK;
    for (unsigned i = 0; i < REPORT_N_LAWS && status == WL_OK; i++) {
        struct wl_err reason = {0};
        size_t n = collect_points(model, LAW_METRICS[i], points);
        if (n == 0) {
            status = copy_text(&model->law_reason[i], "not measured", err);
            continue;
        }
        if (!model->metric[LAW_METRICS[i]].all.is_resolved) {
            status = copy_text(&model->law_reason[i],
                               "unresolved: the interval is wider than the value", err);
            continue;
        }
        enum wl_status fitted = law_fit(points, n, &model->law[i], &reason);
        model->has_law[i] = fitted == WL_OK;
        if (fitted == WL_MEMORY) {
            status = no_memory(err);
        } else if (fitted != WL_OK) {
            status = copy_text(&model->law_reason[i], reason.message, err);
        }
    }
    free(points);
    return status;
}

static enum wl_status compute_model(struct report_model *model, uint64_t reference_cell,
                                    struct wl_err *err) {
    summary_sources(model);
    enum wl_status status = summary_means(model, reference_cell, err);
    if (status == WL_OK) {
        status = summary_paper_mode(model, err);
    }
    return status == WL_OK ? fit_laws(model, err) : status;
}

// Two laws of one metric are compared with the same terms.
static enum wl_status align_laws(struct report_model *model, const struct report_model *other,
                                 struct wl_err *err) {
    struct law_point *points = calloc(model->n_records + 1, sizeof *points);
    if (!points) {
        return no_memory(err);
    }
    for (unsigned i = 0; i < REPORT_N_LAWS; i++) {
        if (model->has_law[i] && other->has_law[i]) {
            struct law_fit aligned = model->law[i];
            size_t n = collect_points(model, LAW_METRICS[i], points);
            if (law_fit_like(points, n, &other->law[i], &aligned, NULL) == WL_OK) {
                model->law[i] = aligned; // else too few points for the term: compared as it is
            }
        }
    }
    free(points);
    return WL_OK;
}

static enum wl_status compute_changes(struct report_result *result, struct wl_err *err) {
    struct report_model *base = &result->model[0], *vs = &result->model[1];
    uint64_t reference = result->reference.n ? result->reference.cell : SUMMARY_NO_CELL;
    enum wl_status status = align_laws(base, vs, err);
    if (status == WL_OK) {
        status = align_laws(vs, base, err);
    }
    for (unsigned i = 0; i < METRIC_COUNT && status == WL_OK; i++) {
        enum metric_id metric = (enum metric_id)i;
        status = summary_change(base, vs, metric, SUMMARY_NO_CELL, &result->change[i], err);
        result->change_reference[i] = (struct report_change){.ratio = NAN, .ci95 = {NAN, NAN}};
        if (status == WL_OK && result->reference.n > 0) {
            status = summary_change(base, vs, metric, reference, &result->change_reference[i], err);
        }
    }
    bounds_of_estimates(result);
    for (unsigned i = 0; i < REPORT_N_LAWS; i++) {
        result->has_comparison[i] = base->has_law[i] && vs->has_law[i];
        if (result->has_comparison[i]) {
            law_compare(&base->law[i], &vs->law[i], result->reference.prompt_tokens,
                        result->reference.generated_tokens, &result->comparison[i]);
        }
    }
    return status;
}

static struct roi_value per_request(const struct report_mean *mean, double divisor) {
    if (!mean->is_resolved) {
        return (struct roi_value){NAN, {NAN, NAN}};
    }
    return (struct roi_value){mean->value / divisor,
                              {mean->ci95.low / divisor, mean->ci95.high / divisor}};
}

static void compute_request(const struct report_model *model, struct roi_request *out) {
    out->energy_wh = per_request(&model->metric[METRIC_energy_gross_j].all, UNITS_J_PER_WH);
    out->time_s = per_request(&model->metric[METRIC_time_s].all, 1);
}

static enum wl_status compute(struct report_result *result, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < result->n_models && status == WL_OK; i++) {
        status = summary_count(&result->model[i], err);
    }
    if (status == WL_OK && result->model[0].n_cells > 0) {
        result->reference = result->model[0].cells[(result->model[0].n_cells - 1) / 2];
    }
    uint64_t reference = result->reference.n ? result->reference.cell : SUMMARY_NO_CELL;
    for (size_t i = 0; i < result->n_models && status == WL_OK; i++) {
        status = compute_model(&result->model[i], reference, err);
        compute_request(&result->model[i], &result->request[i]);
    }
    if (status == WL_OK && result->n_models == 2) {
        status = compute_changes(result, err);
    }
    return status;
}

enum wl_status report_result_build(const struct report_input *input, struct report_result **out,
                                   struct wl_err *err) {
    *out = NULL;
    if (input->n_models < 1 || input->n_models > REPORT_MAX_MODELS) {
        return wl_err_set(err, WL_INPUT, "a report is about 1 or %d models, found %zu",
                          REPORT_MAX_MODELS, input->n_models);
    }
    struct report_result *result = calloc(1, sizeof *result);
    if (!result) {
        return no_memory(err);
    }
    enum wl_status status = copy_input(result, input, err);
    if (status == WL_OK) {
        status = compute(result, err);
    }
    if (status == WL_OK) {
        status = vision_compute(result, input, err);
    }
    if (status != WL_OK) {
        report_result_free(result);
        return status;
    }
    *out = result;
    return WL_OK;
}

static void release_model(struct report_model *model) {
    free(model->name);
    free(model->path);
    free(model->hash);
    json_decref(model->describe);
    free(model->records);
    free(model->cells);
    for (unsigned i = 0; i < REPORT_N_LAWS; i++) {
        free(model->law_reason[i]);
    }
    vision_release(&model->vision);
}

void report_result_free(struct report_result *result) {
    if (!result) {
        return;
    }
    for (size_t i = 0; i < result->n_models; i++) {
        release_model(&result->model[i]);
    }
    free(result->title);
    free(result->study_uuid);
    free(result->state);
    free(result->wattlaw_version);
    free(result->engine_version);
    free(result->command_line);
    json_decref(result->machine);
    json_decref(result->meters);
    json_decref(result->options);
    free(result->idles);
    free(result);
}
