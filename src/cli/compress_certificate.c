#include "cli/compress_certificate.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "measure/fingerprint.h"
#include "record/record.h"

// What is measured of both, in the certificate's words.
static const struct {
    const char *key;
    enum metric_id metric;
} FIGURES[] = {{"prompt_tok_s", METRIC_prompt_tps},
               {"decode_tok_s", METRIC_decode_tps},
               {"cpu_auc_pct_s", METRIC_cpu_auc_pct_s},
               {"ram_auc_mib_s", METRIC_ram_auc_mib_s},
               {"energy_net_j", METRIC_energy_net_j}};

static json_t *figure_json(const struct report_result *r, enum metric_id metric) {
    const struct report_mean *before = &r->model[0].metric[metric].all;
    const struct report_mean *after = &r->model[1].metric[metric].all;
    const struct report_change *change = &r->change[metric];
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:b}", "before", wl_json_real(before->value),
                     "after", wl_json_real(after->value), "ratio", wl_json_real(change->ratio),
                     "low", wl_json_real(change->ci95.low), "high", wl_json_real(change->ci95.high),
                     "n", (json_int_t)change->n_pairs, "is_resolved", change->is_resolved);
}

static json_t *measured_json(const struct report_result *r) {
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof FIGURES / sizeof FIGURES[0]; i++) {
        json_object_set_new(out, FIGURES[i].key, figure_json(r, FIGURES[i].metric));
    }
    const struct report_model *changed = &r->model[1];
    if (changed->n_sources > 0) {
        json_object_set_new(json_object_get(out, "energy_net_j"), "label",
                            json_string(record_label_name(changed->source[0].label)));
    }
    if (r->right_change.n > 0) {
        json_object_set_new(out, "right_answers",
                            json_pack("{s:I, s:o, s:o, s:o}", "n", (json_int_t)r->right_change.n,
                                      "points", wl_json_real(r->right_change.points), "low",
                                      wl_json_real(r->right_change.ci95.low), "high",
                                      wl_json_real(r->right_change.ci95.high)));
    }
    json_object_set_new(out, "study", json_string(r->study_uuid));
    return out;
}

// Sizes and lists of blocks would not fit for large models: what they amount to does.
static json_t *plan_json(const json_t *plan) {
    static const char *const KEPT[] = {
        "arch",     "n_layer",  "n_ff_before", "block_weights_before", "block_weights_after",
        "is_mixed", "in_bytes", "n_tokens"};
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof KEPT / sizeof KEPT[0]; i++) {
        json_object_set(out, KEPT[i], json_object_get(plan, KEPT[i]));
    }
    return out;
}

static json_t *rivals_json(const json_t *rivals) {
    json_t *out = json_array();
    for (size_t i = 0; i < json_array_size(rivals); i++) {
        const json_t *rival = json_array_get(rivals, i);
        const json_t *verdict = json_object_get(rival, "verdict");
        const json_t *decode = json_object_get(json_object_get(rival, "speed"), "decode_ratio");
        json_array_append_new(out, json_pack("{s:O?, s:O?, s:O?, s:O?}", "name",
                                             json_object_get(rival, "name"), "bytes",
                                             json_object_get(rival, "bytes"), "kl_mean",
                                             json_object_get(verdict, "kl_mean"), "decode_ratio",
                                             json_object_get(decode, "median")));
    }
    return out;
}

enum wl_status compress_certificate_make(const struct compress_view *view,
                                         const struct report_result *measured, json_t **out,
                                         struct wl_err *err) {
    const char *path = wl_json_opt_string(view->request, "path", "");
    const char *slash = strrchr(path, '/');
    const json_t *r = view->result, *verdict = json_object_get(r, "verdict");
    char fingerprint[FINGERPRINT_BYTES];
    enum wl_status status = fingerprint_file(path, fingerprint, err);
    if (status != WL_OK) {
        return status;
    }
    *out = json_pack("{s:i, s:s, s:{s:s, s:s}, s:s, s:O?, s:O?, s:o, s:O?, s:s, s:O?, s:O?, s:o}",
                     "schema_version", 1, "made_by", "wattlaw " WATTLAW_VERSION, "source", "name",
                     slash ? slash + 1 : path, "fingerprint", fingerprint, "method",
                     wl_json_opt_string(view->request, "method", "repair"), "local_seconds",
                     json_object_get(view->request, "local_seconds"), "lora_seconds",
                     json_object_get(view->request, "lora_seconds"), "plan",
                     plan_json(json_object_get(r, "plan")), "text", json_object_get(r, "text"),
                     "grade", compress_grade(verdict), "verdict", verdict, "vocabulary",
                     json_object_get(r, "vocabulary"), "rivals",
                     rivals_json(json_object_get(r, "rivals")));
    if (*out && measured) {
        json_object_set_new(*out, "measured", measured_json(measured));
    }
    return *out ? WL_OK : wl_err_set(err, WL_MEMORY, "no memory for the certificate");
}
