// The result model: everything a report shows, computed once from the records, so that text, JSON,
// CSV and HTML cannot disagree. PURE: no file, no clock, no randomness of its own.
#ifndef WATTLAW_REPORT_RESULT_H
#define WATTLAW_REPORT_RESULT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "plan/roi.h"
#include "record/record.h"
#include "report/vision.h"
#include "stats/describe.h"
#include "stats/law.h"

enum {
    REPORT_MAX_MODELS = 2, // a model, or a base and the one compared with it
    REPORT_MAX_RECORDS = 1000000,
    REPORT_MAX_CELLS = 4096,
    REPORT_N_FLAGS = 32,
};

// ---- what the caller gives; everything is borrowed and copied ----

struct report_model_input {
    const char *name; // from a GGUF: hostile until escaped
    const char *path;
    const char *hash;          // "" when unknown
    uint64_t file_bytes;       // 0 when unknown
    const char *describe_json; // the engine's facts about it (an object); NULL counts as {}
    bool is_synthetic;         // weights are random: cost is real, answers mean nothing
    const struct record *records;
    size_t n_records;
    const char *image_tokens_json;       // struct study_counts, json; NULL without images
    const struct report_answer *answers; // of the records flagged as scored
    size_t n_answers;
};

struct report_idle_power {
    char source[RECORD_NAME_BYTES];
    double mean_w, sd_w;
};

struct report_idle {
    int64_t wall_ns;
    double duration_s;
    double cpu_pct_mean, cpu_pct_sd;
    uint32_t flags; // enum record_flag
    struct report_idle_power power[RECORD_MAX_ENERGIES];
    uint32_t n_powers;
};

struct report_input {
    const char *title;
    const char *study_uuid;
    const char *state; // "running", "done", "interrupted"
    int64_t created_wall_ns;
    int64_t now_wall_ns; // printed as the time of the report
    const char *wattlaw_version;
    const char *engine_version;
    const char *command_line; // that repeats the study
    const char *machine_json; // object: shown as name and value
    const char
        *meters_json; // array of objects {name, scope, label, verdict, ...}: shown as a table
    const char *options_json; // object: the study's options and method
    uint64_t seed;
    struct report_model_input model[REPORT_MAX_MODELS]; // base first
    size_t n_models;                                    // 1 or 2
    const struct report_idle *idles;
    size_t n_idles;
    struct roi_rates rates; // defaults of the calculator (roi_rates_init)
};

// ---- what is computed ----

// The metrics that laws are fitted to, in the order of the report.
enum report_law {
    REPORT_LAW_TIME,
    REPORT_LAW_CPU,
    REPORT_LAW_RAM,
    REPORT_LAW_ENERGY_GROSS,
    REPORT_LAW_ENERGY_NET,
    REPORT_LAW_PREFILL,
    REPORT_LAW_DECODE,
    REPORT_N_LAWS,
};
enum metric_id report_law_metric(enum report_law law);

// A mean over the study's prompts: the mean of the cells' means, each cell counting the same.
struct report_mean {
    size_t n;       // records
    size_t n_cells; // 0: not measured, the rest is NaN
    double value;
    struct stats_interval
        ci95;         // from the scatter within cells; for energy also the systematic part
    bool is_resolved; // the interval is not wider than the value; only energy can be unresolved
};

struct report_metric {
    struct report_mean all;       // over all cells
    struct report_mean reference; // the reference cell only
    struct stats_summary summary; // of the reference cell's records; n = 0 when none
};

// vs against base over the cells that both have, pair by pair (same cell, same repeat).
struct report_change {
    size_t n_pairs;
    size_t n_cells;             // 0: not comparable, the rest is NaN
    double ratio;               // sum of cell means, vs / base
    struct stats_interval ci95; // of the ratio; from pairs within cells, so drift and cells cancel
    bool is_resolved;           // both sides are, or the change is bounded
    bool is_bounded;            // of estimated energies: the interval is that of bounds.h
};

struct report_cell {
    uint32_t cell;
    uint32_t prompt_tokens;
    uint32_t generated_tokens;
    size_t n; // records, warm-ups left out
};

// What is known of one energy source over a model's records.
struct report_source {
    char source[RECORD_NAME_BYTES];
    char scope[RECORD_NAME_BYTES];
    enum record_label label;         // the weakest of its records, or unresolved when their mean is
    size_t n, n_unresolved;          // windows; those that say nothing by themselves
    double mean_gross_j, mean_net_j; // plain means over the records
    double systematic_rel;           // largest
    double mean_coverage;
};

// Paper mode against exact mode, per record (paper / exact - 1), in %.
struct report_paper_mode {
    size_t n;
    double median_pct, min_pct, max_pct;
};

struct report_model {
    char *name;
    char *path;
    char *hash;
    uint64_t file_bytes;
    json_t *describe;
    bool is_synthetic;
    struct record *records; // all of them, in the order they ran
    size_t n_records;
    size_t n_used;                     // without warm-ups
    size_t n_clean;                    // used, and no flag says that it was distorted
    size_t flag_count[REPORT_N_FLAGS]; // by bit, of the used records
    struct report_cell *cells;         // ascending by prompt, then generated tokens
    size_t n_cells;
    struct report_metric metric[METRIC_COUNT];
    bool has_law[REPORT_N_LAWS];
    struct law_fit law[REPORT_N_LAWS];
    char *law_reason[REPORT_N_LAWS];                  // why there is none; NULL when there is one
    struct report_source source[RECORD_MAX_ENERGIES]; // [0] is the primary one
    size_t n_sources;
    struct report_paper_mode paper;
    struct report_vision vision; // no budgets and no accuracies: text alone, nothing scored
};

struct report_result {
    char *title;
    char *study_uuid;
    char *state;
    int64_t created_wall_ns;
    int64_t now_wall_ns;
    char *wattlaw_version;
    char *engine_version;
    char *command_line;
    json_t *machine;
    json_t *meters;
    json_t *options;
    uint64_t seed;
    struct report_model model[REPORT_MAX_MODELS];
    size_t n_models;
    struct report_cell reference; // the median cell of the base model; n = 0 without records
    struct report_change change[METRIC_COUNT];           // two models: over all cells
    struct report_change change_reference[METRIC_COUNT]; // and at the reference cell
    bool has_comparison[REPORT_N_LAWS];
    struct law_comparison comparison[REPORT_N_LAWS]; // laws, at the reference cell
    struct report_right_change right_change;         // two models: of the scored answers
    struct report_idle *idles;
    size_t n_idles;
    struct roi_rates rates;
    struct roi_request request[REPORT_MAX_MODELS]; // per request at the mean over cells
};

// INPUT: n_models not 1 or 2, JSON that does not parse (the message says which); LIMIT; MEMORY.
// No records, one record, and NaN figures are legal. *out is NULL on failure.
enum wl_status report_result_build(const struct report_input *input, struct report_result **out,
                                   struct wl_err *err);
void report_result_free(struct report_result *result); // NULL is legal

#endif
