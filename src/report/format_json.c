// Everything that the result holds, for programs. Keys stay as they are within a schema version;
// new ones may be added.
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "report/fields.h"
#include "report/figures.h"
#include "report/formats.h"
#include "report/laws.h"
#include "stats/law_json.h"

static json_t *mean_json(const struct report_mean *mean) {
    json_t *o = json_object();
    report_field_count(o, "n", mean->n);
    report_field_count(o, "n_cells", mean->n_cells);
    report_field_real(o, "mean", mean->n_cells > 0 ? mean->value : (double)NAN);
    report_field_interval(o, "ci95", mean->ci95);
    report_field_flag(o, "is_resolved", mean->is_resolved);
    return o;
}

static json_t *reference_json(const struct report_metric *metric) {
    json_t *o = mean_json(&metric->reference);
    const struct stats_summary *s = &metric->summary;
    if (s->n > 0) {
        report_field_real(o, "median", s->median);
        report_field_real(o, "sd", s->sd);
        report_field_real(o, "min", s->min);
        report_field_real(o, "max", s->max);
        report_field_count(o, "n_outliers", s->n_outliers);
    }
    return o;
}

static json_t *metrics_json(const struct report_model *model) {
    json_t *o = json_object();
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        const struct report_metric *metric = &model->metric[i];
        json_t *row = json_object();
        report_field_set(row, "all", mean_json(&metric->all));
        report_field_set(row, "reference", reference_json(metric));
        report_field_set(o, metric_info((enum metric_id)i)->id, row);
    }
    return o;
}

static json_t *laws_json(const struct report_model *model) {
    json_t *o = json_object();
    for (unsigned i = 0; i < REPORT_N_LAWS; i++) {
        char words[LAW_TEXT_BYTES];
        enum metric_id metric = report_law_metric((enum report_law)i);
        json_t *law = model->has_law[i] ? law_to_json(&model->law[i]) : json_object();
        if (model->has_law[i]) {
            report_field_text(law, "equation", law_equation(words, &model->law[i], metric));
            report_field_text(law, "meaning", law_words(words, &model->law[i]));
        } else {
            report_field_text(law, "reason", model->law_reason[i] ? model->law_reason[i] : "");
        }
        report_field_set(o, metric_info(metric)->id, law);
    }
    return o;
}

static json_t *sources_json(const struct report_model *model) {
    json_t *array = json_array();
    for (size_t i = 0; i < model->n_sources; i++) {
        const struct report_source *source = &model->source[i];
        json_t *o = json_object();
        report_field_text(o, "source", source->source);
        report_field_text(o, "scope", source->scope);
        report_field_text(o, "label", record_label_name(source->label));
        report_field_flag(o, "is_primary", i == 0);
        report_field_count(o, "n", source->n);
        report_field_count(o, "n_unresolved", source->n_unresolved);
        report_field_real(o, "mean_gross_j", source->mean_gross_j);
        report_field_real(o, "mean_net_j", source->mean_net_j);
        report_field_real(o, "systematic_rel", source->systematic_rel);
        report_field_real(o, "mean_coverage", source->mean_coverage);
        json_array_append_new(array, o);
    }
    return array;
}

static json_t *cell_json(const struct report_cell *cell) {
    return json_pack("{s:I, s:I, s:I, s:I}", "cell", (json_int_t)cell->cell, "prompt_tokens",
                     (json_int_t)cell->prompt_tokens, "generated_tokens",
                     (json_int_t)cell->generated_tokens, "n", (json_int_t)cell->n);
}

static json_t *counts_json(const struct report_model *model) {
    json_t *o = json_object();
    json_t *flags = json_object();
    report_field_count(o, "records", model->n_records);
    report_field_count(o, "used", model->n_used);
    report_field_count(o, "clean", model->n_clean);
    for (unsigned bit = 0; bit < REPORT_N_FLAGS; bit++) {
        char name[64];
        if (model->flag_count[bit] > 0) {
            report_field_count(flags, record_flags_text(name, sizeof name, 1u << bit),
                               model->flag_count[bit]);
        }
    }
    report_field_set(o, "flags", flags);
    return o;
}

static json_t *model_json(const struct report_model *model, const char *role) {
    json_t *o = json_object(), *cells = json_array(), *records = json_array();
    report_field_text(o, "role", role);
    report_field_text(o, "name", model->name);
    report_field_text(o, "path", model->path);
    report_field_text(o, "hash", model->hash);
    report_field_count(o, "file_bytes", model->file_bytes);
    report_field_flag(o, "is_synthetic", model->is_synthetic);
    report_field_set(o, "describe", json_incref(model->describe));
    report_field_set(o, "counts", counts_json(model));
    for (size_t i = 0; i < model->n_cells; i++) {
        json_array_append_new(cells, cell_json(&model->cells[i]));
    }
    report_field_set(o, "cells", cells);
    report_field_set(o, "metrics", metrics_json(model));
    report_field_set(o, "laws", laws_json(model));
    report_field_set(o, "sources", sources_json(model));
    json_t *paper = json_object();
    report_field_count(paper, "n", model->paper.n);
    report_field_real(paper, "median_pct", model->paper.median_pct);
    report_field_real(paper, "min_pct", model->paper.min_pct);
    report_field_real(paper, "max_pct", model->paper.max_pct);
    report_field_set(o, "paper_mode", paper);
    report_field_vision(o, &model->vision);
    for (size_t i = 0; i < model->n_records; i++) {
        json_array_append_new(records, record_to_json(&model->records[i]));
    }
    report_field_set(o, "records", records);
    return o;
}

static json_t *change_json(enum metric_id metric, const struct report_change *change) {
    static const char *const VERDICTS[] = {"worse", "unclear", "better"};
    json_t *o = json_object();
    report_field_count(o, "n_pairs", change->n_pairs);
    report_field_count(o, "n_cells", change->n_cells);
    report_field_real(o, "ratio", change->n_cells > 0 ? change->ratio : (double)NAN);
    report_field_interval(o, "ci95", change->ci95);
    report_field_flag(o, "is_resolved", change->is_resolved);
    report_field_flag(o, "is_bounded", change->is_bounded);
    report_field_text(o, "verdict", VERDICTS[figure_verdict(metric, change) + 1]);
    return o;
}

static json_t *changes_json(const struct report_change changes[METRIC_COUNT]) {
    json_t *o = json_object();
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        enum metric_id metric = (enum metric_id)i;
        report_field_set(o, metric_info(metric)->id, change_json(metric, &changes[i]));
    }
    return o;
}

static json_t *contrast_json(const struct law_contrast *contrast) {
    json_t *o = json_object();
    report_field_real(o, "difference", contrast->difference);
    report_field_interval(o, "difference_ci95", contrast->difference_ci95);
    report_field_real(o, "p_equal", contrast->p_equal);
    report_field_real(o, "ratio", contrast->ratio);
    report_field_interval(o, "ratio_ci95", contrast->ratio_ci95);
    return o;
}

static json_t *comparisons_json(const struct report_result *result) {
    json_t *all = json_object();
    for (unsigned i = 0; i < REPORT_N_LAWS; i++) {
        const struct law_comparison *c = &result->comparison[i];
        if (!result->has_comparison[i]) {
            continue;
        }
        json_t *o = json_object();
        for (unsigned term = 0; term < LAW_N_TERMS; term++) {
            if (c->term[term].is_valid) {
                report_field_set(o, law_term_name((enum law_term)term),
                                 contrast_json(&c->term[term]));
            }
        }
        report_field_set(o, "cost", contrast_json(&c->cost));
        report_field_real(o, "prompt_tokens", c->prompt_tokens);
        report_field_real(o, "generated_tokens", c->generated_tokens);
        report_field_set(all, metric_info(report_law_metric((enum report_law)i))->id, o);
    }
    return all;
}

static json_t *right_change_json(const struct report_right_change *change) {
    json_t *o = json_object();
    report_field_count(o, "n", change->n);
    report_field_real(o, "points", change->points);
    report_field_interval(o, "ci95", change->ci95);
    return o;
}

static json_t *idle_json(const struct report_idle *idle) {
    char flags[256];
    json_t *o = json_object(), *powers = json_array();
    report_field_set(o, "wall_ns", json_integer((json_int_t)idle->wall_ns));
    report_field_real(o, "duration_s", idle->duration_s);
    report_field_real(o, "cpu_pct_mean", idle->cpu_pct_mean);
    report_field_real(o, "cpu_pct_sd", idle->cpu_pct_sd);
    report_field_text(o, "flags", record_flags_text(flags, sizeof flags, idle->flags));
    for (uint32_t i = 0; i < idle->n_powers; i++) {
        json_array_append_new(powers, json_pack("{s:s, s:o, s:o}", "source", idle->power[i].source,
                                                "mean_w", wl_json_real(idle->power[i].mean_w),
                                                "sd_w", wl_json_real(idle->power[i].sd_w)));
    }
    report_field_set(o, "power", powers);
    return o;
}

static json_t *roi_value_json(const struct roi_value *value) {
    json_t *o = json_object();
    report_field_real(o, "value", value->value);
    report_field_interval(o, "ci95", value->ci95);
    return o;
}

static json_t *year_json(const struct roi_year *year) {
    json_t *o = json_object();
    report_field_set(o, "kwh", roi_value_json(&year->kwh));
    report_field_set(o, "cost", roi_value_json(&year->cost));
    report_field_set(o, "co2_kg", roi_value_json(&year->co2_kg));
    report_field_set(o, "wait_hours", roi_value_json(&year->wait_hours));
    return o;
}

static json_t *roi_json(const struct report_result *result) {
    static const char *const NAMES[] = {"base_year", "vs_year"};
    const struct roi_rates *rates = &result->rates;
    json_t *o = json_pack(
        "{s:o, s:o, s:o, s:o}", "requests_per_day", wl_json_real(rates->requests_per_day),
        "tariff_per_kwh", wl_json_real(rates->tariff_per_kwh), "carbon_g_per_kwh",
        wl_json_real(rates->carbon_g_per_kwh), "wage_per_hour", wl_json_real(rates->wage_per_hour));
    report_field_text(o, "currency", rates->currency);
    for (size_t i = 0; i < result->n_models; i++) {
        struct roi_year year;
        roi_year(&result->request[i], rates, &year);
        report_field_set(o, NAMES[i], year_json(&year));
    }
    if (result->n_models == 2) {
        struct roi_saving saving;
        roi_saving(&result->request[0], &result->request[1], rates, &saving);
        json_t *saved = year_json(&saving.saved);
        report_field_set(saved, "hours_value", roi_value_json(&saving.hours_value));
        report_field_set(saved, "total", roi_value_json(&saving.total));
        report_field_set(o, "saved_year", saved);
    }
    return o;
}

static json_t *definitions_json(void) {
    json_t *o = json_object();
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        const struct metric_info *info = metric_info((enum metric_id)i);
        report_field_set(o, info->id,
                         json_pack("{s:s, s:i, s:s, s:s}", "unit", info->unit, "better",
                                   info->better, "title", info->title, "meaning", info->meaning));
    }
    return o;
}

static json_t *head_json(const struct report_result *result) {
    char text[FIGURE_BYTES];
    json_t *o = json_object();
    report_field_count(o, "schema_version", REPORT_SCHEMA_VERSION);
    report_field_text(o, "kind", "wattlaw.study");
    report_field_text(o, "title", result->title);
    report_field_text(o, "study", result->study_uuid);
    report_field_text(o, "state", result->state);
    report_field_text(o, "created", figure_date(text, result->created_wall_ns));
    report_field_set(o, "created_wall_ns", json_integer((json_int_t)result->created_wall_ns));
    report_field_set(o, "reported_wall_ns", json_integer((json_int_t)result->now_wall_ns));
    report_field_text(o, "wattlaw_version", result->wattlaw_version);
    report_field_text(o, "engine_version", result->engine_version);
    report_field_text(o, "command", result->command_line);
    snprintf(text, sizeof text, "%llu", (unsigned long long)result->seed);
    report_field_text(o, "seed", text); // 64 bits do not fit in every reader's number
    report_field_set(o, "machine", json_incref(result->machine));
    report_field_set(o, "meters", json_incref(result->meters));
    report_field_set(o, "options", json_incref(result->options));
    return o;
}

bool report_format_json(const struct report_result *result, const struct report_options *options,
                        struct buf *out) {
    static const char *const ROLES[] = {"base", "vs"};
    (void)options;
    json_t *o = head_json(result), *models = json_array(), *idles = json_array();
    report_field_set(o, "reference", cell_json(&result->reference));
    for (size_t i = 0; i < result->n_models; i++) {
        json_array_append_new(models, model_json(&result->model[i], ROLES[i]));
    }
    report_field_set(o, "models", models);
    if (result->n_models == 2) {
        report_field_set(o, "change", changes_json(result->change));
        report_field_set(o, "change_reference", changes_json(result->change_reference));
        report_field_set(o, "comparison", comparisons_json(result));
        if (result->right_change.n > 0) {
            report_field_set(o, "right_change", right_change_json(&result->right_change));
        }
    }
    for (size_t i = 0; i < result->n_idles; i++) {
        json_array_append_new(idles, idle_json(&result->idles[i]));
    }
    report_field_set(o, "idle", idles);
    report_field_set(o, "roi", roi_json(result));
    report_field_set(o, "metrics", definitions_json());
    bool is_written = wl_json_write_pretty(out, o) && buf_puts(out, "\n");
    json_decref(o);
    return is_written;
}
