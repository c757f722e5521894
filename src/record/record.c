#include "record/record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"

static const struct metric_info METRICS[] = {
#define METRIC(id, unit, better, title, meaning) {#id, unit, better, title, meaning},
#include "record/metrics.def"
#undef METRIC
};

const struct metric_info *metric_info(enum metric_id id) {
    return id < METRIC_COUNT ? &METRICS[id] : NULL;
}

enum metric_id metric_by_id(const char *id) {
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        if (strcmp(METRICS[i].id, id) == 0) {
            return (enum metric_id)i;
        }
    }
    return METRIC_COUNT;
}

static const char *const LABELS[] = {"measured", "calibrated", "estimated", "unresolved"};

const char *record_label_name(enum record_label label) {
    return label <= LABEL_UNRESOLVED ? LABELS[label] : "unresolved";
}

enum record_label record_label_by_name(const char *name) {
    for (unsigned i = 0; i <= LABEL_UNRESOLVED; i++) {
        if (strcmp(LABELS[i], name) == 0) {
            return (enum record_label)i;
        }
    }
    return LABEL_UNRESOLVED;
}

bool record_is_resolved(double value, double sd, double systematic_rel) {
    return 2 * 1.96 * hypot(sd, systematic_rel * value) <= fabs(value); // false for NaN
}

enum record_label record_energy_label(const struct record_energy *energy) {
    bool is_resolved =
        record_is_resolved(energy->gross_j, energy->gross_sd_j, energy->systematic_rel);
    return is_resolved ? energy->label : LABEL_UNRESOLVED;
}

struct flag_row {
    uint32_t bit;
    const char *name;
};

static const struct flag_row FLAGS[] = {
#define X(suffix, bit, name, meaning) {1u << (bit), name},
    RECORD_FLAG_LIST(X)
#undef X
};
enum { N_FLAGS = sizeof FLAGS / sizeof FLAGS[0] };

char *record_flags_text(char *out, size_t size, uint32_t flags) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_FLAGS; i++) {
        if ((flags & FLAGS[i].bit) && used < size) {
            int n = snprintf(out + used, size - used, "%s%s", used ? "," : "", FLAGS[i].name);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    return out;
}

uint32_t record_flags_parse(const char *text) {
    uint32_t flags = 0;
    while (*text) {
        size_t len = strcspn(text, ",");
        for (size_t i = 0; i < N_FLAGS; i++) {
            if (strlen(FLAGS[i].name) == len && strncmp(FLAGS[i].name, text, len) == 0) {
                flags |= FLAGS[i].bit;
            }
        }
        text += len + (text[len] == ',');
    }
    return flags;
}

void record_init(struct record *record) {
    memset(record, 0, sizeof *record);
    record->n_requests = 1;
    for (int i = 0; i < METRIC_COUNT; i++) {
        record->value[i] = NAN;
    }
}

static json_t *energy_to_json(const struct record_energy *e) {
    bool is_resolved = record_energy_label(e) != LABEL_UNRESOLVED;
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", //
                     "source", e->source, "scope", e->scope, "label", record_label_name(e->label),
                     "is_resolved", is_resolved, "gross_j", wl_json_real(e->gross_j), "gross_sd_j",
                     wl_json_real(e->gross_sd_j), "net_j", wl_json_real(e->net_j), "net_sd_j",
                     wl_json_real(e->net_sd_j), "systematic_rel", wl_json_real(e->systematic_rel),
                     "coverage", wl_json_real(e->coverage), "idle_w", wl_json_real(e->idle_w),
                     "idle_sd_w", wl_json_real(e->idle_sd_w));
}

static json_t *phase_to_json(const struct record_phase *p) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "phase", p->name, "t0_ns",
                     (json_int_t)p->t0_ns, "t1_ns", (json_int_t)p->t1_ns, "duration_ns",
                     (json_int_t)p->duration_ns, "cpu_ns", (json_int_t)p->cpu_ns, "peak_rss_bytes",
                     (json_int_t)p->peak_rss_bytes, "n_tokens", (json_int_t)p->n_tokens, "gross_j",
                     wl_json_real(p->gross_j), "net_j", wl_json_real(p->net_j));
}

static json_t *vision_to_json(const struct record_vision *v) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", //
                     "n_images", (json_int_t)v->n_images, "width", (json_int_t)v->width, "height",
                     (json_int_t)v->height, "effective_pixels", (json_int_t)v->effective_pixels,
                     "image_tokens", (json_int_t)v->image_tokens, "n_views", (json_int_t)v->n_views,
                     "image_min_tokens", (json_int_t)v->image_min_tokens, "image_max_tokens",
                     (json_int_t)v->image_max_tokens);
}

json_t *record_to_json(const struct record *record) {
    char flags[256];
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", //
                  "id", (json_int_t)record->id, "model_id", (json_int_t)record->model_id, "seq",
                  (json_int_t)record->seq, "cell", (json_int_t)record->cell, "repeat",
                  (json_int_t)record->repeat, "prompt_tokens", (json_int_t)record->prompt_tokens,
                  "generated_tokens", (json_int_t)record->generated_tokens, "n_requests",
                  (json_int_t)record->n_requests, "t0_ns", (json_int_t)record->t0_ns, "t1_ns",
                  (json_int_t)record->t1_ns, "wall_ns", (json_int_t)record->wall_ns, "flags",
                  record_flags_text(flags, sizeof flags, record->flags));
    json_t *values = json_object();
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        json_object_set_new(values, METRICS[i].id, wl_json_real(record->value[i]));
    }
    json_object_set_new(object, "values", values);
    json_t *energies = json_array();
    for (uint32_t i = 0; i < record->n_energies; i++) {
        json_array_append_new(energies, energy_to_json(&record->energy[i]));
    }
    json_object_set_new(object, "energies", energies);
    json_t *phases = json_array();
    for (uint32_t i = 0; i < record->n_phases; i++) {
        json_array_append_new(phases, phase_to_json(&record->phase[i]));
    }
    json_object_set_new(object, "phases", phases);
    if (record->vision.n_images) {
        json_object_set_new(object, "vision", vision_to_json(&record->vision));
    }
    return object;
}

// A name that was cut could not be told from another one.
static enum wl_status get_name(const json_t *object, const char *key, char out[RECORD_NAME_BYTES],
                               struct wl_err *err) {
    const char *name;
    enum wl_status status = wl_json_get_string(object, key, &name, err);
    if (status == WL_OK && !str_copy(out, RECORD_NAME_BYTES, name)) {
        status = wl_err_set(err, WL_INPUT, "key '%s': '%.40s' is longer than %d bytes", key, name,
                            RECORD_NAME_BYTES - 1);
    }
    return status;
}

static enum wl_status get_u32(const json_t *object, const char *key, uint32_t *out,
                              struct wl_err *err) {
    int64_t value = 0;
    enum wl_status status = wl_json_get_i64(object, key, &value, err);
    if (status == WL_OK && (value < 0 || value > UINT32_MAX)) {
        status = wl_err_set(err, WL_INPUT, "key '%s' is out of range", key);
    }
    if (status == WL_OK) {
        *out = (uint32_t)value;
    }
    return status;
}

static enum wl_status energy_from_json(const json_t *object, struct record_energy *out,
                                       struct wl_err *err) {
    const char *label;
    if (get_name(object, "source", out->source, err) ||
        get_name(object, "scope", out->scope, err) ||
        wl_json_get_string(object, "label", &label, err) ||
        wl_json_get_double(object, "gross_j", &out->gross_j, err) ||
        wl_json_get_double(object, "net_j", &out->net_j, err)) {
        return err ? err->status : WL_INPUT;
    }
    out->label = record_label_by_name(label);
    out->gross_sd_j = wl_json_opt_double(object, "gross_sd_j", NAN);
    out->net_sd_j = wl_json_opt_double(object, "net_sd_j", NAN);
    out->systematic_rel = wl_json_opt_double(object, "systematic_rel", NAN);
    out->coverage = wl_json_opt_double(object, "coverage", NAN);
    out->idle_w = wl_json_opt_double(object, "idle_w", NAN);
    out->idle_sd_w = wl_json_opt_double(object, "idle_sd_w", NAN);
    return WL_OK;
}

static enum wl_status phase_from_json(const json_t *object, struct record_phase *out,
                                      struct wl_err *err) {
    if (get_name(object, "phase", out->name, err) ||
        wl_json_get_i64(object, "t0_ns", &out->t0_ns, err) ||
        wl_json_get_i64(object, "t1_ns", &out->t1_ns, err) ||
        wl_json_get_i64(object, "cpu_ns", &out->cpu_ns, err) ||
        get_u32(object, "n_tokens", &out->n_tokens, err)) {
        return err ? err->status : WL_INPUT;
    }
    out->duration_ns = wl_json_opt_i64(object, "duration_ns", out->t1_ns - out->t0_ns);
    out->peak_rss_bytes = wl_json_opt_i64(object, "peak_rss_bytes", 0);
    out->gross_j = wl_json_opt_double(object, "gross_j", NAN);
    out->net_j = wl_json_opt_double(object, "net_j", NAN);
    return WL_OK;
}

static enum wl_status vision_from_json(const json_t *object, struct record_vision *out,
                                       struct wl_err *err) {
    static const char *const NAMES[] = {"n_images",        "width",   "height",
                                        "image_tokens",    "n_views", "image_min_tokens",
                                        "image_max_tokens"};
    uint32_t *const fields[] = {&out->n_images,        &out->width,   &out->height,
                                &out->image_tokens,    &out->n_views, &out->image_min_tokens,
                                &out->image_max_tokens};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        enum wl_status status = get_u32(object, NAMES[i], fields[i], err);
        if (status != WL_OK) {
            return wl_err_prefix(err, "vision");
        }
    }
    int64_t pixels = wl_json_opt_i64(object, "effective_pixels", 0);
    out->effective_pixels = pixels > 0 ? (uint64_t)pixels : 0;
    return WL_OK;
}

static enum wl_status lists_from_json(const json_t *object, struct record *out,
                                      struct wl_err *err) {
    const json_t *energies = json_object_get(object, "energies");
    const json_t *phases = json_object_get(object, "phases");
    if (json_array_size(energies) > RECORD_MAX_ENERGIES ||
        json_array_size(phases) > RECORD_MAX_PHASES) {
        return wl_err_set(err, WL_INPUT, "more than %d energies or %d phases", RECORD_MAX_ENERGIES,
                          RECORD_MAX_PHASES);
    }
    for (size_t i = 0; i < json_array_size(energies); i++) {
        enum wl_status status = energy_from_json(json_array_get(energies, i), &out->energy[i], err);
        if (status != WL_OK) {
            return status;
        }
        out->n_energies++;
    }
    for (size_t i = 0; i < json_array_size(phases); i++) {
        enum wl_status status = phase_from_json(json_array_get(phases, i), &out->phase[i], err);
        if (status != WL_OK) {
            return status;
        }
        out->n_phases++;
    }
    return WL_OK;
}

enum wl_status record_from_json(const json_t *object, struct record *out, struct wl_err *err) {
    record_init(out);
    static const char *const NAMES[] = {"seq", "cell", "repeat", "prompt_tokens",
                                        "generated_tokens"};
    uint32_t *const fields[] = {&out->seq, &out->cell, &out->repeat, &out->prompt_tokens,
                                &out->generated_tokens};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        enum wl_status status = get_u32(object, NAMES[i], fields[i], err);
        if (status != WL_OK) {
            return status;
        }
    }
    int64_t n_requests = wl_json_opt_i64(object, "n_requests", 1);
    out->n_requests = n_requests >= 1 && n_requests <= UINT32_MAX ? (uint32_t)n_requests : 1;
    out->id = wl_json_opt_i64(object, "id", 0);
    out->model_id = wl_json_opt_i64(object, "model_id", 0);
    out->t0_ns = wl_json_opt_i64(object, "t0_ns", 0);
    out->t1_ns = wl_json_opt_i64(object, "t1_ns", 0);
    out->wall_ns = wl_json_opt_i64(object, "wall_ns", 0);
    out->flags = record_flags_parse(wl_json_opt_string(object, "flags", ""));
    const json_t *values = json_object_get(object, "values");
    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        out->value[i] = wl_json_opt_double(values, METRICS[i].id, NAN);
    }
    const json_t *vision = json_object_get(object, "vision");
    enum wl_status status = vision ? vision_from_json(vision, &out->vision, err) : WL_OK;
    return status == WL_OK ? lists_from_json(object, out, err) : status;
}
