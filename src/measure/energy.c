#include "measure/energy.h"

#include <math.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "measure/settle.h"
#include "series/series.h"

double energy_traffic_bytes(const struct engine_model *model, uint32_t n_prompt,
                            uint32_t n_decode) {
    double weights = (double)model->bytes_per_token;
    double kv = (double)model->kv_bytes_per_token;
    uint32_t ubatch = model->n_ubatch ? model->n_ubatch : 512;
    double n_batches = ceil((double)n_prompt / ubatch);
    // Each decoded token reads the keys and values of all before it.
    double kv_read = kv * n_decode * (n_prompt + n_decode / 2.0);
    return weights * (n_batches + n_decode) + kv_read;
}

static double flops(const struct engine_model *model, uint32_t n_prompt, uint32_t n_decode) {
    return (double)model->flops_per_token * ((double)n_prompt + n_decode);
}

// A model is evaluated on the window's exact core-seconds; sampling it would only add error.
static void fill_from_model(const struct subject *subject, const struct record *record,
                            struct record_energy *out) {
    uint32_t n_decode = record->generated_tokens ? record->generated_tokens - 1 : 0;
    struct meter_estimate_energy e;
    meter_estimate_energy(&subject->estimate, record->value[METRIC_time_s],
                          record->value[METRIC_cpu_core_s],
                          energy_traffic_bytes(&subject->model, record->prompt_tokens, n_decode),
                          flops(&subject->model, record->prompt_tokens, n_decode), &e);
    out->gross_j = e.gross_j;
    out->net_j = e.net_j;
    // The model's error is the same in every window: systematic, repeats do not shrink it.
    out->gross_sd_j = out->net_sd_j = 0;
    out->systematic_rel = subject->estimate.net_rel_sd;
    out->idle_w = subject->estimate.idle_w;
    out->idle_sd_w = subject->estimate.idle_sd_w;
    out->coverage = 1;
}

// Net of idle power over the seconds of one request.
static void set_net(const struct meter_info *info, const struct series_baseline_level *idle,
                    double seconds, struct record_energy *e) {
    const struct meter_energy gross = {
        .gross_j = e->gross_j, .sd_j = e->gross_sd_j, .coverage = e->coverage};
    struct meter_net net;
    meter_energy_net(info, &gross, seconds, idle->value, idle->sd, &net);
    e->net_j = net.net_j;
    e->net_sd_j = net.sd_j;
    e->idle_w = idle->value;
    e->idle_sd_w = idle->sd;
}

static double request_s(const struct record *record) {
    return series_seconds(record->t0_ns, record->t1_ns) / record->n_requests;
}

// A window too short for a slow meter: what the meter smeared lies within its reach around the
// window, and nothing but idle power beside it. So the energy of the widened window, less the idle
// power of what was added, is the window's. 0: the window itself is long enough.
static double added_s(const struct meter_info *info, const struct record *record) {
    return record->flags & RECORD_SHORT ? 2 * (double)settle_reach_ns(info) * 1e-9 : 0;
}

static void use_widened(struct sampler *sampler, size_t index, const struct meter_info *info,
                        const struct series_baseline_level *idle, const struct record *record,
                        struct meter_energy *e) {
    int64_t reach_ns = settle_reach_ns(info);
    double extra_s = added_s(info, record);
    struct meter_energy wide;
    if (extra_s > 0 && isfinite(idle->value) &&
        sampler_energy(sampler, index, record->t0_ns - reach_ns, record->t1_ns + reach_ns, &wide,
                       NULL) == WL_OK) {
        e->gross_j = wide.gross_j - idle->value * extra_s;
        e->sd_j = hypot(wide.sd_j, idle->sd * extra_s);
        e->coverage = wide.coverage;
    }
}

static bool fill_from_meter(const struct subject *subject, size_t index, struct sampler *sampler,
                            const struct idle *before, struct record *record,
                            struct record_energy *out) {
    const struct meter_info *info = meter_info(subject->meters.meter[index]);
    struct meter_energy e;
    if (sampler_energy(sampler, index, record->t0_ns, record->t1_ns, &e, NULL) != WL_OK) {
        record->flags |= RECORD_GAP;
        return false;
    }
    struct series_baseline_level idle = idle_power_at(subject, index, before, NULL, record->t0_ns);
    record->flags |= e.flags;
    use_widened(sampler, index, info, &idle, record, &e);
    out->gross_j = e.gross_j / record->n_requests;
    out->gross_sd_j = e.sd_j / record->n_requests;
    out->systematic_rel = e.gain_error_rel;
    out->coverage = e.coverage;
    set_net(info, &idle, request_s(record), out);
    return true;
}

static void fill_phase_from_model(const struct subject *subject, const struct record *record,
                                  struct record_phase *phase) {
    bool is_prefill =
        strcmp(phase->name, "prefill") == 0 || strcmp(phase->name, "image_prefill") == 0;
    bool is_decode = strcmp(phase->name, "decode") == 0;
    uint32_t n_prompt = is_prefill ? phase->n_tokens : 0;
    uint32_t n_decode = is_decode ? phase->n_tokens : 0;
    double bytes = energy_traffic_bytes(&subject->model, n_prompt, n_decode);
    if (is_decode) {
        bytes += (double)subject->model.kv_bytes_per_token * n_decode * record->prompt_tokens;
    }
    struct meter_estimate_energy e;
    meter_estimate_energy(&subject->estimate, (double)phase->duration_ns * 1e-9,
                          (double)phase->cpu_ns * 1e-9, bytes,
                          flops(&subject->model, n_prompt, n_decode), &e);
    phase->gross_j = e.gross_j;
    phase->net_j = e.net_j;
}

// The sum over all requests; a span that the readings do not cover leaves the phase unknown.
static void fill_phase_from_meter(struct sampler *sampler, const struct energy_span *spans,
                                  size_t n_spans, uint32_t index, double idle_w,
                                  struct record *record) {
    struct record_phase *phase = &record->phase[index];
    double gross_j = 0, seconds = 0;
    for (size_t i = 0; i < n_spans; i++) {
        struct meter_energy e;
        if (spans[i].phase != index) {
            continue;
        }
        bool is_known =
            spans[i].t1_ns > spans[i].t0_ns &&
            sampler_energy(sampler, 0, spans[i].t0_ns, spans[i].t1_ns, &e, NULL) == WL_OK;
        gross_j += is_known ? e.gross_j : (double)NAN;
        seconds += series_seconds(spans[i].t0_ns, spans[i].t1_ns);
    }
    phase->gross_j = gross_j / record->n_requests;
    phase->net_j = (gross_j - idle_w * seconds) / record->n_requests;
}

static void note_phase_values(struct record *record) {
    double image_j = 0;
    for (uint32_t i = 0; i < record->n_phases; i++) {
        const struct record_phase *phase = &record->phase[i];
        if (strcmp(phase->name, "prefill") == 0) {
            record->value[METRIC_prefill_net_j] = phase->net_j;
        } else if (strcmp(phase->name, "decode") == 0) {
            record->value[METRIC_decode_net_j] = phase->net_j;
        } else if (strcmp(phase->name, "vision") == 0) {
            image_j += phase->net_j;
        } else if (strcmp(phase->name, "image_prefill") == 0) {
            image_j += phase->net_j;
        }
    }
    if (record->vision.n_images > 0) {
        record->value[METRIC_image_net_j] = image_j;
    }
}

static void fill_phases(const struct subject *subject, struct sampler *sampler,
                        const struct energy_span *spans, size_t n_spans, struct record *record) {
    bool is_model = meter_info(subject->meters.meter[0])->kind == METER_MODEL;
    for (uint32_t i = 0; i < record->n_phases; i++) {
        if (is_model) {
            fill_phase_from_model(subject, record, &record->phase[i]);
        } else {
            fill_phase_from_meter(sampler, spans, n_spans, i, record->energy[0].idle_w, record);
        }
    }
    note_phase_values(record);
}

static size_t meter_index(const struct subject *subject, const char *source) {
    size_t i = 0;
    while (i < subject->meters.n &&
           strcmp(meter_info(subject->meters.meter[i])->name, source) != 0) {
        i++;
    }
    return i;
}

bool energy_renew_net(const struct subject *subject, const struct idle *before,
                      const struct idle *after, struct record *record) {
    bool has_changed = false;
    double seconds = request_s(record);
    for (uint32_t i = 0; i < record->n_energies; i++) {
        struct record_energy *e = &record->energy[i];
        size_t index = meter_index(subject, e->source);
        if (index == subject->meters.n ||
            meter_info(subject->meters.meter[index])->kind == METER_MODEL) {
            continue;
        }
        struct series_baseline_level idle =
            idle_power_at(subject, index, before, after, record->t0_ns);
        if (!isfinite(idle.value)) {
            continue;
        }
        double change_w = idle.value - e->idle_w;
        const struct meter_info *info = meter_info(subject->meters.meter[index]);
        e->gross_j -= change_w * added_s(info, record) / record->n_requests;
        set_net(info, &idle, seconds, e);
        record->flags |= idle.has_moved ? RECORD_IDLE_DRIFT : 0u;
        has_changed = true;
        for (uint32_t k = 0; i == 0 && k < record->n_phases; k++) {
            struct record_phase *phase = &record->phase[k];
            phase->net_j -= change_w * (double)phase->duration_ns * 1e-9;
        }
    }
    if (has_changed) {
        record->value[METRIC_energy_gross_j] = record->energy[0].gross_j;
        record->value[METRIC_energy_net_j] = record->energy[0].net_j;
        note_phase_values(record);
    }
    return has_changed;
}

void energy_fill(const struct subject *subject, struct sampler *sampler, const struct idle *before,
                 const struct energy_span *spans, size_t n_spans, struct record *record) {
    uint32_t n_decode = record->generated_tokens ? record->generated_tokens - 1 : 0;
    record->value[METRIC_traffic_mib] =
        energy_traffic_bytes(&subject->model, record->prompt_tokens, n_decode) /
        UNITS_BYTES_PER_MIB;
    for (size_t i = 0; i < subject->meters.n; i++) {
        const struct meter_info *info = meter_info(subject->meters.meter[i]);
        struct record_energy *e = &record->energy[record->n_energies];
        *e = (struct record_energy){0};
        str_copy(e->source, sizeof e->source, info->name);
        str_copy(e->scope, sizeof e->scope, meter_scope_name(info->scope));
        if (info->kind == METER_MODEL) {
            fill_from_model(subject, record, e);
        } else if (!fill_from_meter(subject, i, sampler, before, record, e)) {
            continue;
        }
        e->label = info->label;
        record->n_energies++;
    }
    if (record->n_energies) {
        record->value[METRIC_energy_gross_j] = record->energy[0].gross_j;
        record->value[METRIC_energy_net_j] = record->energy[0].net_j;
        fill_phases(subject, sampler, spans, n_spans, record);
    }
}
