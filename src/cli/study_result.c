#include "cli/study_result.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "cli/term.h"
#include "measure/study.h"
#include "os/clock.h"
#include "os/file.h"
#include "report/report.h"
#include "stats/law_json.h"
#include "store/store_answer.h"
#include "store/store_fit.h"
#include "store/store_idle.h"
#include "store/store_record.h"

enum wl_status study_store_path(const struct cli_context *context, char out[OS_PATH_BYTES],
                                struct wl_err *err) {
    const char *path = context->common.store ? context->common.store : getenv("WATTLAW_STORE");
    if (path && path[0]) {
        return str_copy(out, OS_PATH_BYTES, path)
                   ? WL_OK
                   : wl_err_set(err, WL_LIMIT, "--store: path too long");
    }
    char dir[OS_PATH_BYTES];
    enum wl_status status = os_data_dir(dir, err);
    if (status == WL_OK) {
        status = os_make_dirs(dir, err);
    }
    return status == WL_OK ? os_path_join(out, dir, "store.db", err) : status;
}

// A store that an older version of wattlaw made: opening it for writing changes its tables.
static bool bring_up_to_date(const char *path) {
    uint64_t size;
    struct store *store;
    if (os_file_size(path, &size, NULL) != WL_OK || size == 0 ||
        store_open(path, STORE_READ_WRITE_CREATE, &store, NULL) != WL_OK) {
        return false;
    }
    store_close(store);
    return true;
}

enum wl_status study_store_open(const struct cli_context *context, enum store_mode mode,
                                struct store **out, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = study_store_path(context, path, err);
    if (status != WL_OK) {
        return status;
    }
    if (mode == STORE_READ_ONLY && !os_exists(path)) {
        return wl_err_set(err, WL_NOT_FOUND,
                          "there is no store '%s' yet: 'wattlaw study' makes one", path);
    }
    status = store_open(path, mode, out, err);
    if (status == WL_UNSUPPORTED && bring_up_to_date(path)) {
        status = store_open(path, mode, out, err);
    }
    return status;
}

// Everything that the result is built from, as the store gave it.
struct loaded {
    struct store_study study;
    struct store_model *models;
    size_t n_models;
    struct record *records[REPORT_MAX_MODELS];
    size_t n_records[REPORT_MAX_MODELS];
    struct store_idle *idles;
    size_t n_idles;
    struct store_fit *fits; // among them the exact token counts
    size_t n_fits;
    struct store_answer *answers; // of all models
    size_t n_answers;
    struct report_answer *answer_rows;
};

static void release(struct loaded *loaded) {
    for (size_t i = 0; i < REPORT_MAX_MODELS; i++) {
        free(loaded->records[i]);
    }
    free(loaded->answer_rows);
    store_answer_free_list(loaded->answers, loaded->n_answers);
    store_fit_free_list(loaded->fits, loaded->n_fits);
    store_idle_free_list(loaded->idles, loaded->n_idles);
    store_model_free_list(loaded->models, loaded->n_models);
    store_study_release(&loaded->study);
}

static enum wl_status load_answers(struct store *store, struct loaded *loaded, struct wl_err *err) {
    enum wl_status status =
        store_answer_list(store, loaded->study.id, &loaded->answers, &loaded->n_answers, err);
    if (status != WL_OK) {
        return status;
    }
    loaded->answer_rows = calloc(loaded->n_answers + 1, sizeof *loaded->answer_rows);
    if (!loaded->answer_rows) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < loaded->n_answers; i++) {
        const struct store_answer *from = &loaded->answers[i];
        loaded->answer_rows[i] = (struct report_answer){.record_id = from->record_id,
                                                        .item = from->item,
                                                        .kind = from->kind,
                                                        .defect = from->defect,
                                                        .is_right = from->is_right};
    }
    return WL_OK;
}

static enum wl_status load(struct store *store, const char *name, struct loaded *loaded,
                           struct wl_err *err) {
    enum wl_status status = name ? store_study_find(store, name, &loaded->study, err)
                                 : store_study_find_latest(store, &loaded->study, err);
    if (status != WL_OK) {
        return status;
    }
    int64_t id = loaded->study.id;
    status = store_model_list(store, id, &loaded->models, &loaded->n_models, err);
    if (status == WL_OK && loaded->n_models == 0) {
        status = wl_err_set(err, WL_INPUT, "study %lld stopped before it measured anything",
                            (long long)id);
    }
    for (size_t i = 0; i < loaded->n_models && i < REPORT_MAX_MODELS && status == WL_OK; i++) {
        status = store_record_list_model(store, loaded->models[i].id, &loaded->records[i],
                                         &loaded->n_records[i], err);
    }
    if (status == WL_OK) {
        status = store_idle_list(store, id, &loaded->idles, &loaded->n_idles, err);
    }
    if (status == WL_OK) {
        status = store_fit_list(store, id, &loaded->fits, &loaded->n_fits, err);
    }
    return status == WL_OK ? load_answers(store, loaded, err) : status;
}

// What the measuring side counted of the model's images; NULL for a text model.
static const char *image_tokens(const struct loaded *loaded, int64_t model_id) {
    for (size_t i = 0; i < loaded->n_fits; i++) {
        if (loaded->fits[i].model_id == model_id &&
            strcmp(loaded->fits[i].metric, STUDY_IMAGE_TOKENS) == 0) {
            return loaded->fits[i].json;
        }
    }
    return NULL;
}

static bool is_synthetic(const char *describe_json) {
    json_t *json = NULL;
    bool is_true = describe_json &&
                   wl_json_parse(describe_json, strlen(describe_json), &json, NULL) == WL_OK &&
                   wl_json_opt_bool(json, "is_synthetic", false);
    json_decref(json);
    return is_true;
}

// "wattlaw study ..." as the options JSON has it; what a reader types to repeat it.
static void command_line(const char *options_json, char *out, size_t size) {
    json_t *json = NULL;
    size_t used = (size_t)snprintf(out, size, "wattlaw study");
    if (wl_json_parse(options_json, strlen(options_json), &json, NULL) != WL_OK) {
        return;
    }
    const json_t *models = json_object_get(json, "models");
    for (size_t i = 0; i < json_array_size(models) && used < size; i++) {
        const char *path = wl_json_opt_string(json_array_get(models, i), "path", "?");
        used += (size_t)snprintf(out + used, size - used, " %s '%s'", i ? "--vs" : "-m", path);
    }
    const json_t *prompts = json_object_get(json, "prompts");
    for (size_t i = 0; i < json_array_size(prompts) && used < size; i++) {
        if (json_is_integer(json_array_get(prompts, i))) {
            used += (size_t)snprintf(out + used, size - used, "%s%lld", i ? "," : " --tokens ",
                                     (long long)json_integer_value(json_array_get(prompts, i)));
        }
    }
    if (used < size) {
        snprintf(out + used, size - used, " --generate %lld --seed %lld",
                 (long long)wl_json_opt_i64(json, "generate", 0),
                 (long long)wl_json_opt_i64(json, "seed", 0));
    }
    json_decref(json);
}

static char *engine_version(const char *engine_json) {
    json_t *json = NULL;
    if (wl_json_parse(engine_json, strlen(engine_json), &json, NULL) != WL_OK) {
        return strdup("");
    }
    char text[160];
    snprintf(text, sizeof text, "llama.cpp %.60s (wattlaw-engine %.60s)",
             wl_json_opt_string(json, "llama", "?"), wl_json_opt_string(json, "version", "?"));
    json_decref(json);
    return strdup(text);
}

static struct report_idle *idle_rows(const struct loaded *loaded) {
    struct report_idle *rows = calloc(loaded->n_idles + 1, sizeof *rows);
    for (size_t i = 0; rows && i < loaded->n_idles; i++) {
        const struct store_idle *from = &loaded->idles[i];
        rows[i] = (struct report_idle){.wall_ns = from->wall_ns,
                                       .duration_s = (double)(from->t1_ns - from->t0_ns) * 1e-9,
                                       .cpu_pct_mean = from->cpu_pct_mean,
                                       .cpu_pct_sd = from->cpu_pct_sd,
                                       .flags = from->flags,
                                       .n_powers = from->n_powers};
        for (uint32_t k = 0; k < from->n_powers; k++) {
            memcpy(rows[i].power[k].source, from->power[k].source, RECORD_NAME_BYTES);
            rows[i].power[k].mean_w = from->power[k].mean_w;
            rows[i].power[k].sd_w = from->power[k].sd_w;
        }
    }
    return rows;
}

static enum wl_status build(const struct loaded *loaded, const struct roi_rates *rates,
                            struct report_result **out, struct wl_err *err) {
    static const char *const TITLES[] = {"Cost of a local model", "Cost of two local models"};
    size_t n_models = loaded->n_models < REPORT_MAX_MODELS ? loaded->n_models : REPORT_MAX_MODELS;
    char command[4096];
    command_line(loaded->study.options_json, command, sizeof command);
    char *engine = engine_version(loaded->study.engine_json);
    struct report_idle *idles = idle_rows(loaded);
    struct report_input input = {.title = loaded->study.title[0] ? loaded->study.title
                                                                 : TITLES[n_models - 1],
                                 .study_uuid = loaded->study.uuid,
                                 .state = store_study_state_name(loaded->study.state),
                                 .created_wall_ns = loaded->study.created_wall_ns,
                                 .now_wall_ns = os_wall_ns(),
                                 .wattlaw_version = WATTLAW_VERSION,
                                 .engine_version = engine ? engine : "",
                                 .command_line = command,
                                 .machine_json = loaded->study.machine_json,
                                 .meters_json = loaded->study.meters_json,
                                 .options_json = loaded->study.options_json,
                                 .seed = loaded->study.seed,
                                 .n_models = n_models,
                                 .idles = idles,
                                 .n_idles = idles ? loaded->n_idles : 0,
                                 .rates = *rates};
    for (size_t i = 0; i < n_models; i++) {
        const struct store_model *model = &loaded->models[i];
        input.model[i] =
            (struct report_model_input){.name = model->label,
                                        .path = model->path,
                                        .hash = model->hash,
                                        .file_bytes = model->file_bytes,
                                        .describe_json = model->describe_json,
                                        .is_synthetic = is_synthetic(model->describe_json),
                                        .records = loaded->records[i],
                                        .n_records = loaded->n_records[i],
                                        .image_tokens_json = image_tokens(loaded, model->id),
                                        .answers = loaded->answer_rows,
                                        .n_answers = loaded->n_answers};
    }
    enum wl_status status = report_result_build(&input, out, err);
    free(idles);
    free(engine);
    return status;
}

enum wl_status study_result_load(struct store *store, const char *name,
                                 const struct roi_rates *rates, struct report_result **out,
                                 struct wl_err *err) {
    struct loaded loaded = {0};
    struct roi_rates defaults;
    roi_rates_init(&defaults);
    enum wl_status status = load(store, name, &loaded, err);
    if (status == WL_OK) {
        status = build(&loaded, rates ? rates : &defaults, out, err);
    }
    release(&loaded);
    return status;
}

// Takes the reference.
static enum wl_status save_fit(struct store *store, const struct store_model *row,
                               enum metric_id metric, json_t *json, struct wl_err *err) {
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    enum wl_status status =
        text ? store_fit_put(store, row->study_id, row->id, metric_info(metric)->id, text, err)
             : wl_err_set(err, WL_MEMORY, "out of memory");
    free(text);
    json_decref(json);
    return status;
}

static enum wl_status save_model_fits(struct store *store, const struct store_model *row,
                                      const struct report_model *model, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int law = 0; law < REPORT_N_LAWS && status == WL_OK; law++) {
        if (model->has_law[law]) {
            status = save_fit(store, row, report_law_metric((enum report_law)law),
                              law_to_json(&model->law[law]), err);
        }
    }
    return status;
}

// The window's law is left out: its metric is that of the first law, and it holds for one prompt.
static enum wl_status save_image_fits(struct store *store, const struct store_model *row,
                                      const struct report_vision *vision, struct wl_err *err) {
    enum wl_status status = WL_OK;
    for (int law = 0; law < REPORT_IMAGE_WINDOW && status == WL_OK; law++) {
        if (vision->has_law[law]) {
            json_t *json = law_to_json(&vision->law[law]);
            json_object_set_new(
                json, STUDY_RESULT_LAW_X,
                json_string(vision->is_per_token ? STUDY_RESULT_PER_TOKEN : STUDY_RESULT_PER_KPX));
            status =
                save_fit(store, row, report_image_metric((enum report_image_law)law), json, err);
        }
    }
    return status;
}

enum wl_status study_result_save_fits(struct store *store, const char *name,
                                      const struct report_result *result, struct wl_err *err) {
    struct store_study study;
    enum wl_status status = name ? store_study_find(store, name, &study, err)
                                 : store_study_find_latest(store, &study, err);
    if (status != WL_OK) {
        return status;
    }
    struct store_model *models = NULL;
    size_t n = 0;
    status = store_model_list(store, study.id, &models, &n, err);
    for (size_t i = 0; i < n && i < result->n_models && status == WL_OK; i++) {
        status = save_model_fits(store, &models[i], &result->model[i], err);
        if (status == WL_OK) {
            status = save_image_fits(store, &models[i], &result->model[i].vision, err);
        }
    }
    store_model_free_list(models, n);
    store_study_release(&study);
    return status;
}

static enum wl_status write_format(const struct report_result *result, enum report_format format,
                                   const char *dir, const char *file, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    enum wl_status status = os_path_join(path, dir, file, err);
    if (status != WL_OK) {
        return status;
    }
    struct buf text;
    buf_init(&text, REPORT_MAX_BYTES);
    status = report_write(result, format, NULL, &text, err);
    if (status == WL_OK) {
        status = os_write_atomic(path, buf_text(&text), text.len, err);
    }
    buf_release(&text);
    return status;
}

enum wl_status study_result_write(const struct report_result *result, const char *dir,
                                  struct wl_err *err) {
    enum wl_status status = os_make_dirs(dir, err);
    if (status == WL_OK) {
        status = write_format(result, REPORT_FORMAT_html, dir, "report.html", err);
    }
    if (status == WL_OK) {
        status = write_format(result, REPORT_FORMAT_json, dir, "report.json", err);
    }
    return status == WL_OK ? write_format(result, REPORT_FORMAT_csv, dir, "records.csv", err)
                           : status;
}

enum wl_status study_result_print(const struct cli_context *context,
                                  const struct report_result *result, struct wl_err *err) {
    struct buf text;
    buf_init(&text, REPORT_MAX_BYTES);
    int columns = term_width();
    struct report_options options = {.use_color = term_has_color(stdout),
                                     .columns = columns > 100  ? 100
                                                : columns < 60 ? 60
                                                               : columns};
    enum wl_status status =
        report_write(result, context->common.json ? REPORT_FORMAT_json : REPORT_FORMAT_text,
                     &options, &text, err);
    if (status == WL_OK) {
        fwrite(buf_text(&text), 1, text.len, stdout);
    }
    buf_release(&text);
    return status;
}
