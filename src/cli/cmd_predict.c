// What a prompt that was not measured would cost, from the laws that a study fitted.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/predict_image.h"
#include "cli/study_result.h"
#include "engine/client.h"
#include "os/process.h"
#include "record/record.h"
#include "stats/law_json.h"
#include "store/store_fit.h"
#include "store/store_record.h"

static struct {
    const char *study, *prompt, *image;
    int prompt_tokens, generate, image_max_tokens;
} given = {.generate = 32};

static const struct poptOption OPTIONS[] = {
    {"prompt-tokens", 'n', POPT_ARG_INT, &given.prompt_tokens, 0, "length of the prompt", "N"},
    {"prompt", 'p', POPT_ARG_STRING, &given.prompt, 0,
     "instead: a text, counted with the model's own tokenizer", "TEXT"},
    {"generate", 'g', POPT_ARG_INT, &given.generate, 0, "tokens of the answer (default: 32)", "N"},
    {"image", 0, POPT_ARG_STRING, &given.image, 0,
     "with a picture of this size; the study must have measured images", "WxH"},
    {"image-max-tokens", 0, POPT_ARG_INT, &given.image_max_tokens, 0,
     "budget of that picture (default: the model file's)", "N"},
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

// Where the energies of a model came from ("powercap, scope cpu, measured"), and what its images
// were measured under.
static enum wl_status look_at_records(struct store *store, int64_t model_id, char *source,
                                      size_t size, struct predict_image *image,
                                      struct wl_err *err) {
    struct record *records;
    size_t n;
    source[0] = '\0';
    enum wl_status status = store_record_list_model(store, model_id, &records, &n, err);
    if (status != WL_OK) {
        return status;
    }
    if (n > 0 && records[n - 1].n_energies > 0) {
        const struct record_energy *e = &records[n - 1].energy[0];
        snprintf(source, size, "%s, scope %s, %s", e->source, e->scope,
                 record_label_name(e->label));
    }
    image->idle_w = NAN;
    for (size_t i = 0; i < n; i++) {
        if (records[i].vision.n_images > 0) {
            image->image_min_tokens = records[i].vision.image_min_tokens;
            image->idle_w = records[i].n_energies ? records[i].energy[0].idle_w : (double)NAN;
        }
    }
    free(records);
    return WL_OK;
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
    struct store *store;
    const struct store_study *study;
    const struct store_fit *fits;
    size_t n_fits;
    double prompt_tokens;       // as given
    struct predict_image image; // width 0: none
    bool is_json;
    json_t *models;
    size_t n_rows;
};

// One model's answer on its way.
struct model_answer {
    const struct store_model *model;
    char source[160];
    double prompt_tokens; // with what stands around the image
    json_t *rows;
    bool has_energy;
};

static bool has_image(const struct answer *answer) {
    return answer->image.size.width > 0;
}

// Of the first law; those of images are under other metrics.
static bool is_text_law(enum metric_id metric) {
    int law = 0;
    while (law < REPORT_N_LAWS && report_law_metric((enum report_law)law) != metric) {
        law++;
    }
    return law < REPORT_N_LAWS;
}

static void print_head(const struct answer *answer, const struct model_answer *m) {
    const struct predict_image *image = &answer->image;
    char mpx[UNITS_TEXT_BYTES];
    printf("%s: %.0f prompt tokens, %d generated\n", m->model->label, m->prompt_tokens,
           given.generate);
    if (!has_image(answer)) {
        return;
    }
    double pixels = (double)image->count.effective_pixels;
    printf("  image of %ux%u: %u tokens, %u of text around them", image->size.width,
           image->size.height, image->count.image_tokens, image->count.text_tokens);
    if (pixels > 0) {
        printf("; the encoder sees %s Mpx", units_number(mpx, pixels / 1e6));
    }
    puts("");
}

static void add_row(struct answer *answer, struct model_answer *m, enum metric_id metric,
                    const struct law_prediction *prediction) {
    const struct metric_info *info = metric_info(metric);
    answer->n_rows++;
    json_array_append_new(m->rows, row_json(info, prediction, m->source));
    if (!answer->is_json) {
        print_row(info, prediction, m->source);
    }
}

// Text, and with it the image where there is one.
static enum wl_status answer_fits(struct answer *answer, struct model_answer *m,
                                  struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < answer->n_fits && status == WL_OK; i++) {
        const struct store_fit *fit = &answer->fits[i];
        enum metric_id metric = metric_by_id(fit->metric);
        struct law_prediction prediction;
        if (fit->model_id != m->model->id || !is_text_law(metric)) {
            continue;
        }
        status = predict_fit(fit, m->prompt_tokens, given.generate, &prediction, err);
        if (status == WL_OK &&
            (!has_image(answer) || predict_image_add(&answer->image, metric, &prediction))) {
            add_row(answer, m, metric, &prediction);
            m->has_energy = m->has_energy || is_energy(metric_info(metric));
        }
    }
    // The image's own part, which is in the others already.
    for (int law = 0; law < REPORT_IMAGE_WINDOW && status == WL_OK && has_image(answer); law++) {
        if (answer->image.has_law[law]) {
            add_row(answer, m, report_image_metric((enum report_image_law)law),
                    &answer->image.law[law]);
        }
    }
    return status;
}

static enum wl_status answer_model(struct answer *answer, const struct store_model *model,
                                   size_t index, struct wl_err *err) {
    struct model_answer m = {.model = model, .prompt_tokens = answer->prompt_tokens};
    enum wl_status status =
        look_at_records(answer->store, model->id, m.source, sizeof m.source, &answer->image, err);
    if (status == WL_OK && has_image(answer)) {
        status = predict_image_fill(&answer->image, answer->study, model, index, answer->fits,
                                    answer->n_fits, err);
        m.prompt_tokens += answer->image.count.text_tokens;
    }
    if (status != WL_OK) {
        return status;
    }
    m.rows = json_array();
    if (!answer->is_json) {
        print_head(answer, &m);
    }
    status = answer_fits(answer, &m, err);
    if (!answer->is_json && !m.has_energy && answer->n_rows) {
        printf("  %-16s unresolved (%s)\n", "Energy", m.source[0] ? m.source : "no source");
    }
    json_t *object = json_pack("{s:s, s:s, s:f, s:i, s:o}", "model", model->label, "role",
                               model->role, "prompt_tokens", m.prompt_tokens, "generated_tokens",
                               given.generate, "predictions", m.rows);
    if (has_image(answer)) {
        json_object_set_new(object, "image", predict_image_json(&answer->image));
    }
    json_array_append_new(answer->models, object);
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

static double study_cores(const struct store_study *study) {
    json_t *machine = NULL;
    double n = 0;
    if (wl_json_parse(study->machine_json, strlen(study->machine_json), &machine, NULL) == WL_OK) {
        n = (double)wl_json_opt_i64(machine, "cores", 0);
    }
    json_decref(machine);
    return n;
}

static enum wl_status predict(struct cli_context *context, struct store *store,
                              const struct store_study *study, struct wl_err *err) {
    struct store_model *models = NULL;
    struct store_fit *fits = NULL;
    size_t n_models = 0, n_fits = 0, n_tokens = (size_t)given.prompt_tokens;
    struct answer answer = {
        .store = store, .study = study, .is_json = context->common.json, .models = json_array()};
    if (given.image && predict_image_parse(given.image, &answer.image.size)) {
        answer.image.image_max_tokens = (uint32_t)given.image_max_tokens;
        answer.image.n_cores = study_cores(study);
    }
    enum wl_status status = store_model_list(store, study->id, &models, &n_models, err);
    if (status == WL_OK) {
        status = store_fit_list(store, study->id, &fits, &n_fits, err);
    }
    if (status == WL_OK && given.prompt && n_models) {
        status = count_tokens(models[0].path, given.prompt, &n_tokens, err);
    }
    answer.fits = fits;
    answer.n_fits = n_fits;
    answer.prompt_tokens = (double)n_tokens;
    for (size_t i = 0; i < n_models && status == WL_OK; i++) {
        status = answer_model(&answer, &models[i], i, err);
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
    struct engine_image_size size;
    if (given.image && !predict_image_parse(given.image, &size)) {
        return cli_usage(context, "--image: expected WIDTHxHEIGHT such as 1024x768, found '%s'",
                         given.image);
    }
    if (given.image_max_tokens < 0 || (given.image_max_tokens > 0 && !given.image)) {
        return cli_usage(context, "--image-max-tokens is of a picture: give its size with --image");
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
    {"wattlaw predict -n 30 -g 20 --image 1024x768 --image-max-tokens 144",
     "a question about a picture under a smaller budget"},
    {NULL, NULL}};

const struct cli_command CMD_predict = {
    .name = "predict",
    .arguments = "-n TOKENS | -p TEXT [-g TOKENS] [--image WxH] [--study STUDY]",
    .summary = "what a prompt that was not measured would cost",
    .description = "Uses the laws that a finished study fitted and kept. Each figure comes with "
                   "the interval in which 95 % of single runs are expected; lengths outside those "
                   "measured are marked as extrapolated.\n\n"
                   "With --image the engine counts the picture's tokens and pixels exactly, "
                   "without weights, and the cost of encoding and prefill is added by the study's "
                   "second law. Reading the picture's file is not in it, and RAM AUC, which is no "
                   "sum of the two, is left out.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
