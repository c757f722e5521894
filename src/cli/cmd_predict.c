// What a prompt that was not measured would cost, from the laws that a study fitted.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/study_result.h"
#include "engine/client.h"
#include "os/process.h"
#include "record/record.h"
#include "stats/law_json.h"
#include "store/store_fit.h"
#include "store/store_record.h"

static struct {
    const char *study, *prompt;
    int prompt_tokens, generate;
} given = {.generate = 32};

static const struct poptOption OPTIONS[] = {
    {"prompt-tokens", 'n', POPT_ARG_INT, &given.prompt_tokens, 0, "length of the prompt", "N"},
    {"prompt", 'p', POPT_ARG_STRING, &given.prompt, 0,
     "instead: a text, counted with the model's own tokenizer", "TEXT"},
    {"generate", 'g', POPT_ARG_INT, &given.generate, 0, "tokens of the answer (default: 32)", "N"},
    {"study", 0, POPT_ARG_STRING, &given.study, 0,
     "whose laws: a number, a uuid's beginning, or latest (default)", "STUDY"},
    POPT_TABLEEND};

// Tokens of the text by the base model of the study.
static enum wl_status count_tokens(const char *model_path, const char *text, size_t *n,
                                   struct wl_err *err) {
    struct engine *engine;
    enum wl_status status = engine_start(NULL, &engine, err);
    if (status != WL_OK) {
        return status;
    }
    struct engine_load_options load = {.path = model_path, .n_ctx = 256};
    status = engine_load(engine, &load, NULL, NULL, err);
    if (status == WL_OK) {
        struct engine_tokenize_options options = {
            .text = text, .add_special = true, .is_template = true};
        status = engine_tokenize(engine, &options, n, NULL, err);
    }
    engine_stop(engine);
    return status;
}

// Where the energies of a model came from: "powercap, scope cpu, measured".
static enum wl_status energy_source(struct store *store, int64_t model_id, char *out, size_t size,
                                    struct wl_err *err) {
    struct record *records;
    size_t n;
    out[0] = '\0';
    enum wl_status status = store_record_list_model(store, model_id, &records, &n, err);
    if (status == WL_OK && n > 0 && records[n - 1].n_energies > 0) {
        const struct record_energy *e = &records[n - 1].energy[0];
        snprintf(out, size, "%s, scope %s, %s", e->source, e->scope, record_label_name(e->label));
    }
    if (status == WL_OK) {
        free(records);
    }
    return status;
}

static bool is_energy(const struct metric_info *info) {
    return strcmp(info->unit, "J") == 0;
}

static void print_row(const struct metric_info *info, const struct law_prediction *p,
                      const char *source) {
    char value[UNITS_TEXT_BYTES], low[UNITS_TEXT_BYTES], high[UNITS_TEXT_BYTES];
    printf("  %-16s %10s %-8s  95 %% of runs %s to %s", info->title, units_number(value, p->value),
           info->unit, units_number(low, p->pi95.low), units_number(high, p->pi95.high));
    if (is_energy(info)) {
        printf("  (%s)", source);
    }
    puts(p->is_extrapolated ? "  (extrapolated)" : "");
}

static json_t *row_json(const struct metric_info *info, const struct law_prediction *p,
                        const char *source) {
    return json_pack("{s:s, s:s, s:s?, s:o, s:[o,o], s:[o,o], s:b}", "metric", info->id, "unit",
                     info->unit, "source", is_energy(info) ? source : NULL, "value",
                     wl_json_real(p->value), "mean_ci95", wl_json_real(p->ci95.low),
                     wl_json_real(p->ci95.high), "run_pi95", wl_json_real(p->pi95.low),
                     wl_json_real(p->pi95.high), "is_extrapolated", p->is_extrapolated);
}

static enum wl_status predict_fit(const struct store_fit *fit, double prompt_tokens,
                                  double generated, struct law_prediction *out,
                                  struct wl_err *err) {
    json_t *json;
    struct law_fit law;
    enum wl_status status = wl_json_parse(fit->json, strlen(fit->json), &json, err);
    if (status == WL_OK) {
        status = law_from_json(json, &law, err);
    }
    json_decref(json);
    if (status == WL_OK) {
        law_predict(&law, prompt_tokens, generated, out);
    }
    return status;
}

struct answer {
    bool is_json;
    json_t *models;
    size_t n_rows;
};

static enum wl_status answer_model(struct answer *answer, struct store *store,
                                   const struct store_model *model, const struct store_fit *fits,
                                   size_t n_fits, double prompt_tokens, struct wl_err *err) {
    char source[160];
    bool has_energy = false;
    json_t *rows = json_array();
    enum wl_status status = energy_source(store, model->id, source, sizeof source, err);
    if (!answer->is_json) {
        printf("%s: %.0f prompt tokens, %d generated\n", model->label, prompt_tokens,
               given.generate);
    }
    for (size_t i = 0; i < n_fits && status == WL_OK; i++) {
        enum metric_id metric = metric_by_id(fits[i].metric);
        if (fits[i].model_id != model->id || metric == METRIC_COUNT) {
            continue;
        }
        struct law_prediction prediction;
        status = predict_fit(&fits[i], prompt_tokens, given.generate, &prediction, err);
        if (status == WL_OK) {
            answer->n_rows++;
            has_energy = has_energy || is_energy(metric_info(metric));
            json_array_append_new(rows, row_json(metric_info(metric), &prediction, source));
            if (!answer->is_json) {
                print_row(metric_info(metric), &prediction, source);
            }
        }
    }
    if (!answer->is_json && !has_energy && answer->n_rows) {
        printf("  %-16s unresolved (%s)\n", "Energy", source[0] ? source : "no source");
    }
    json_array_append_new(answer->models,
                          json_pack("{s:s, s:s, s:f, s:i, s:o}", "model", model->label, "role",
                                    model->role, "prompt_tokens", prompt_tokens, "generated_tokens",
                                    given.generate, "predictions", rows));
    return status;
}

static void print_json(json_t *models) {
    json_t *document = json_pack("{s:i, s:O}", "schema_version", 1, "models", models);
    struct buf text;
    buf_init(&text, 16 << 20);
    wl_json_write_pretty(&text, document);
    printf("%s\n", buf_text(&text));
    buf_release(&text);
    json_decref(document);
}

static enum wl_status predict(struct cli_context *context, struct store *store,
                              const struct store_study *study, struct wl_err *err) {
    struct store_model *models = NULL;
    struct store_fit *fits = NULL;
    size_t n_models = 0, n_fits = 0, n_tokens = (size_t)given.prompt_tokens;
    struct answer answer = {.is_json = context->common.json, .models = json_array()};
    enum wl_status status = store_model_list(store, study->id, &models, &n_models, err);
    if (status == WL_OK) {
        status = store_fit_list(store, study->id, &fits, &n_fits, err);
    }
    if (status == WL_OK && given.prompt && n_models) {
        status = count_tokens(models[0].path, given.prompt, &n_tokens, err);
    }
    for (size_t i = 0; i < n_models && status == WL_OK; i++) {
        status = answer_model(&answer, store, &models[i], fits, n_fits, (double)n_tokens, err);
    }
    if (status == WL_OK && answer.n_rows == 0) {
        status = wl_err_set(err, WL_NOT_FOUND,
                            "study %lld has no fitted laws (state: %s); run the same 'wattlaw "
                            "study' command to its end",
                            (long long)study->id, store_study_state_name(study->state));
    }
    if (status == WL_OK && answer.is_json) {
        print_json(answer.models);
    }
    json_decref(answer.models);
    store_fit_free_list(fits, n_fits);
    store_model_free_list(models, n_models);
    return status;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct store *store;
    struct store_study study;
    if (context->n_args || (given.prompt_tokens > 0) == (given.prompt != NULL) ||
        given.prompt_tokens < 0 || given.generate < 0) {
        return cli_usage(context, "give the prompt's length with -n N, or a text with -p TEXT");
    }
    os_catch_interrupts();
    enum wl_status status = study_store_open(context, STORE_READ_ONLY, &store, &err);
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    status = store_study_find(store, given.study ? given.study : "latest", &study, &err);
    if (status == WL_OK) {
        status = predict(context, store, &study, &err);
        store_study_release(&study);
    }
    store_close(store);
    return status == WL_OK ? 0 : cli_fail(status, &err);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw predict -n 700 -g 100", "a 700-token prompt with a 100-token answer"},
    {"wattlaw predict -p \"$(cat letter.txt)\" -g 200 --json", "your text, as JSON"},
    {NULL, NULL}};

const struct cli_command CMD_predict = {
    .name = "predict",
    .arguments = "-n TOKENS | -p TEXT [-g TOKENS] [--study STUDY]",
    .summary = "what a prompt that was not measured would cost",
    .description = "Uses the laws that a finished study fitted and kept. Each figure comes with "
                   "the interval in which 95 % of single runs are expected; lengths outside those "
                   "measured are marked as extrapolated.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
