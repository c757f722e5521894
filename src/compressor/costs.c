#include "compressor/costs.h"

#include <math.h>

#include "base/json.h"

enum { EVEN_WIDTH = 256 };

static double tokens_s(const struct cost_terms *terms, const struct plan *plan) {
    double sum = terms->base;
    for (uint32_t i = 0; i < plan->n_layer; i++) {
        const struct plan_layer *layer = &plan->layers[i];
        if (!layer->is_removed) {
            double slow = layer->n_ff % EVEN_WIDTH ? 1 + terms->slow_share : 1;
            sum += terms->block + terms->per_head_kv * layer->n_head_kv +
                   terms->per_neuron * slow * layer->n_ff;
        }
    }
    return sum;
}

double costs_prompt_s(const struct costs *costs, const struct plan *plan) {
    return tokens_s(&costs->prompt, plan);
}

double costs_decode_s(const struct costs *costs, const struct plan *plan) {
    return tokens_s(&costs->decode, plan);
}

// ---- as JSON ----

static json_t *terms_json(const struct cost_terms *t) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "base", wl_json_real(t->base), "block",
                     wl_json_real(t->block), "per_head_kv", wl_json_real(t->per_head_kv),
                     "per_neuron", wl_json_real(t->per_neuron), "slow_share",
                     wl_json_real(t->slow_share), "per_vocabulary", wl_json_real(t->per_vocabulary),
                     "residual_share", wl_json_real(t->residual_share));
}

json_t *costs_json(const struct costs *costs) {
    return json_pack("{s:o, s:o, s:I, s:o}", "prompt", terms_json(&costs->prompt), "decode",
                     terms_json(&costs->decode), "n_runs", (json_int_t)costs->n_runs, "seconds",
                     wl_json_real(costs->seconds));
}

static enum wl_status parse_terms(const json_t *json, const char *key, struct cost_terms *out,
                                  struct wl_err *err) {
    const struct {
        const char *name;
        double *value;
    } FIELDS[] = {
        {"base", &out->base},
        {"block", &out->block},
        {"per_head_kv", &out->per_head_kv},
        {"per_neuron", &out->per_neuron},
        {"slow_share", &out->slow_share},
        {"per_vocabulary", &out->per_vocabulary},
        {"residual_share", &out->residual_share},
    };
    const json_t *terms = json_object_get(json, key);
    enum wl_status status = WL_OK;
    for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0] && status == WL_OK; i++) {
        status = wl_json_get_double(terms, FIELDS[i].name, FIELDS[i].value, err);
        if (status == WL_OK && !(*FIELDS[i].value >= 0 && isfinite(*FIELDS[i].value))) {
            status = wl_err_set(err, WL_INPUT, "%s is %g, expected 0 or more", FIELDS[i].name,
                                *FIELDS[i].value);
        }
    }
    return status == WL_OK ? WL_OK : wl_err_prefix(err, "costs of '%s'", key);
}

enum wl_status costs_parse(const json_t *json, struct costs *out, struct wl_err *err) {
    int64_t n_runs = 0;
    enum wl_status status;
    *out = (struct costs){0};
    if ((status = parse_terms(json, "prompt", &out->prompt, err)) ||
        (status = parse_terms(json, "decode", &out->decode, err)) ||
        (status = wl_json_get_i64(json, "n_runs", &n_runs, err)) ||
        (status = wl_json_get_double(json, "seconds", &out->seconds, err))) {
        return status;
    }
    if (n_runs < 0 || n_runs > UINT32_MAX) {
        return wl_err_set(err, WL_INPUT, "costs: n_runs is %lld, expected 0 or more",
                          (long long)n_runs);
    }
    out->n_runs = (uint32_t)n_runs;
    return WL_OK;
}
