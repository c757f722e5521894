#include "measure/study_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "measure/energy.h"
#include "measure/fingerprint.h"
#include "os/clock.h"
#include "sampler/machine.h"
#include "store/store_idle.h"
#include "store/store_record.h"
#include "store/store_study.h"

static char *dump(json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(value);
    return text;
}

// Stored text and our text name the same options when their JSON values are equal.
static bool is_same_json(const char *a, const json_t *b) {
    json_t *parsed = NULL;
    bool is_same =
        a && wl_json_parse(a, strlen(a), &parsed, NULL) == WL_OK && json_equal(parsed, b);
    json_decref(parsed);
    return is_same;
}

static bool find_unfinished(struct store *store, const json_t *options, int64_t *study_id) {
    struct store_study *studies;
    size_t n;
    if (store_study_list(store, &studies, &n, NULL) != WL_OK) {
        return false;
    }
    bool is_found = false;
    for (size_t i = 0; i < n && !is_found; i++) {
        if (studies[i].state != STORE_STUDY_DONE &&
            is_same_json(studies[i].options_json, options)) {
            *study_id = studies[i].id;
            is_found = true;
        }
    }
    store_study_free_list(studies, n);
    return is_found;
}

static enum wl_status create(struct store *store, const struct study_options *options,
                             const json_t *options_json, int64_t *study_id, struct wl_err *err) {
    char *text = json_dumps(options_json, JSON_COMPACT | JSON_SORT_KEYS);
    struct store_study study = {.title = (char *)(options->title ? options->title : ""),
                                .created_wall_ns = os_wall_ns(),
                                .seed = options->seed,
                                .options_json = text,
                                .state = STORE_STUDY_RUNNING};
    enum wl_status status =
        text ? store_study_create(store, &study, err) : wl_err_set(err, WL_MEMORY, "out of memory");
    *study_id = study.id;
    free(text);
    return status;
}

enum wl_status study_store_begin(struct store *store, const struct study_options *options,
                                 int64_t *study_id, bool *is_new, struct wl_err *err) {
    json_t *json = study_options_json(options, err);
    if (!json) {
        return err ? err->status : WL_FAILED;
    }
    *is_new = options->is_fresh || !find_unfinished(store, json, study_id);
    enum wl_status status = *is_new
                                ? create(store, options, json, study_id, err)
                                : store_study_set_state(store, *study_id, STORE_STUDY_RUNNING, err);
    json_decref(json);
    return status;
}

json_t *study_model_json(const struct engine_model *m) {
    json_t *types = json_object();
    for (uint32_t i = 0; i < m->n_types; i++) {
        json_object_set_new(types, m->types[i].name, json_integer(m->types[i].n_tensors));
    }
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, "
        "s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:s}",
        "arch", m->arch, "name", m->name, "description", m->description, "file_type", m->file_type,
        "n_params", (json_int_t)m->n_params, "file_bytes", (json_int_t)m->file_bytes,
        "tensor_bytes", (json_int_t)m->tensor_bytes, "n_layer", (json_int_t)m->n_layer, "n_embd",
        (json_int_t)m->n_embd, "n_head", (json_int_t)m->n_head, "n_head_kv",
        (json_int_t)m->n_head_kv, "n_ff", (json_int_t)m->n_ff, "n_vocab", (json_int_t)m->n_vocab,
        "n_ctx_train", (json_int_t)m->n_ctx_train, "n_ctx", (json_int_t)m->n_ctx, "types", types,
        "bytes_per_token", (json_int_t)m->bytes_per_token, "flops_per_token",
        (json_int_t)m->flops_per_token, "kv_bytes_per_token", (json_int_t)m->kv_bytes_per_token,
        "threads", (json_int_t)m->threads, "threads_batch", (json_int_t)m->threads_batch,
        "n_ubatch", (json_int_t)m->n_ubatch, "type_k", m->type_k, "type_v", m->type_v, "load_mode",
        m->load_mode, "flash_attn", m->flash_attn, "repack", m->repack, "is_synthetic",
        m->is_synthetic, "has_chat_template", m->has_chat_template, "chat_template",
        m->chat_template);
}

json_t *study_meters_json(const struct subject *subject) {
    json_t *meters = json_array();
    for (size_t i = 0; i < subject->meters.n; i++) {
        const struct meter_info *info = meter_info(subject->meters.meter[i]);
        json_array_append_new(
            meters,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:b, s:f, s:b}", "name", info->name,
                      "title", info->title, "kind", meter_kind_name(info->kind), "scope",
                      meter_scope_name(info->scope), "label", record_label_name(info->label),
                      "period_s", (double)info->native_period_ns * 1e-9, "quantum", info->quantum,
                      "includes_dram", info->includes_dram, "gain_error_rel", info->gain_error_rel,
                      "is_primary", i == 0));
    }
    return meters;
}

static bool find_model(struct store *store, int64_t study_id, const char *role, int64_t *model_id) {
    struct store_model *models;
    size_t n;
    bool is_found = false;
    if (store_model_list(store, study_id, &models, &n, NULL) != WL_OK) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(models[i].role, role) == 0) {
            *model_id = models[i].id;
            is_found = true;
        }
    }
    store_model_free_list(models, n);
    return is_found;
}

enum wl_status study_store_model(struct store *store, int64_t study_id,
                                 const struct study_options *options, size_t index,
                                 const struct subject *subject, int64_t *model_id,
                                 struct wl_err *err) {
    struct store_model model = {.study_id = study_id,
                                .label = (char *)options->label[index],
                                .path = (char *)options->model_path[index],
                                .file_bytes = (uint64_t)subject->model.file_bytes};
    str_copy(model.role, sizeof model.role, index == 0 ? "base" : "vs");
    if (find_model(store, study_id, model.role, model_id)) {
        return WL_OK;
    }
    char fingerprint[FINGERPRINT_BYTES];
    enum wl_status status = fingerprint_file(options->model_path[index], fingerprint, err);
    if (status != WL_OK) {
        return status;
    }
    model.hash = fingerprint;
    model.describe_json = dump(study_model_json(&subject->model));
    status = store_model_add(store, &model, err);
    *model_id = model.id;
    free(model.describe_json);
    return status;
}

enum wl_status study_store_facts(struct store *store, int64_t study_id,
                                 const struct subject *subject, struct wl_err *err) {
    struct machine machine;
    enum wl_status status = machine_read(subject->options.root, &machine, err);
    if (status != WL_OK) {
        return status;
    }
    char *texts[] = {dump(machine_to_json(&machine)), dump(study_meters_json(subject)),
                     json_dumps(engine_hello(subject->engine), JSON_COMPACT)};
    static const char *const NAMES[] = {"machine", "meters", "engine"};
    for (size_t i = 0; i < 3; i++) {
        if (status == WL_OK && texts[i]) {
            status = store_study_set_json(store, study_id, NAMES[i], texts[i], err);
        }
        free(texts[i]);
    }
    return status;
}

enum wl_status study_store_renew_net(struct store *store, int64_t model_id,
                                     const struct subject *subject, const struct idle *before,
                                     const struct idle *after, struct wl_err *err) {
    struct record *records;
    size_t n;
    enum wl_status status = store_record_list_model(store, model_id, &records, &n, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < n && status == WL_OK; i++) {
        // By the wall clock: what ran before a reboot has another monotonic one.
        bool is_between =
            records[i].wall_ns >= before->wall_ns && records[i].wall_ns <= after->wall_ns;
        if (is_between && energy_renew_net(subject, before, after, &records[i])) {
            status = store_record_renew_energies(store, &records[i], err);
        }
    }
    free(records);
    return status;
}

static int64_t optional(bool has, int64_t value) {
    return has ? value : STORE_ABSENT;
}

static struct store_sample sample_of(const struct sampler_row *row) {
    static const double TICKS_PER_S = 100; // as /proc/stat has them; the store keeps ticks
    struct store_sample sample;
    store_sample_init(&sample);
    bool has_machine = row->flags & SAMPLER_HAS_MACHINE;
    bool has_process = row->flags & SAMPLER_HAS_PROCESS;
    sample.t_ns = row->t_ns;
    sample.cpu_ns = optional(has_process, row->process_cpu_ns);
    sample.rss_kib = optional(has_process, row->rss_bytes / 1024);
    sample.pss_kib = optional(row->flags & SAMPLER_HAS_PSS, row->pss_bytes / 1024);
    double total_s = row->machine_busy_s + row->machine_idle_s + row->machine_steal_s;
    sample.machine_busy_ticks = optional(has_machine, llround(row->machine_busy_s * TICKS_PER_S));
    sample.machine_total_ticks = optional(has_machine, llround(total_s * TICKS_PER_S));
    sample.steal_ticks = optional(has_machine, llround(row->machine_steal_s * TICKS_PER_S));
    sample.freq_mhz = row->flags & SAMPLER_HAS_FREQ ? row->freq_mhz : NAN;
    sample.temp_c = row->flags & SAMPLER_HAS_TEMP ? row->temp_c : NAN;
    sample.joules = row->energy_j[0];
    return sample;
}

enum wl_status study_store_window(struct store *store, struct window *window, struct wl_err *err) {
    struct store_sample *samples = malloc((window->n_rows + 1) * sizeof *samples);
    if (!samples) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    for (size_t i = 0; i < window->n_rows; i++) {
        samples[i] = sample_of(&window->rows[i]);
    }
    enum wl_status status = store_record_add(store, &window->record, samples, window->n_rows, err);
    free(samples);
    return status;
}

enum wl_status study_store_idle(struct store *store, int64_t study_id, const struct idle *idle,
                                const char *model_label, const char *when, struct wl_err *err) {
    struct store_idle row = {.study_id = study_id,
                             .wall_ns = idle->wall_ns,
                             .t0_ns = idle->t0_ns,
                             .t1_ns = idle->t1_ns,
                             .cpu_pct_mean = idle->cpu_pct.level,
                             .cpu_pct_sd = idle->cpu_pct.sd,
                             .flags = idle->flags};
    for (size_t i = 0; i < idle->n_powers; i++) {
        if (idle->power[i].is_valid) {
            struct store_idle_power *power = &row.power[row.n_powers++];
            str_copy(power->source, sizeof power->source, idle->power[i].source);
            power->mean_w = idle->power[i].watts.level;
            power->sd_w = idle->power[i].watts.sd_of_level;
        }
    }
    row.doc_json = dump(json_pack("{s:s, s:s, s:f}", "model", model_label, "when", when,
                                  "engine_core_s_per_s", idle->engine_core_s_per_s));
    enum wl_status status = store_idle_add(store, &row, NULL, 0, err);
    free(row.doc_json);
    return status;
}
