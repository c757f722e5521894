#include "measure/window.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "measure/energy.h"
#include "measure/paper.h"
#include "measure/pause.h"
#include "measure/settle.h"
#include "os/clock.h"
#include "os/machine.h"
#include "series/auc.h"

// A share of the machine used by others, or taken by the hypervisor, above which the window is
// flagged; below half a second the 10 ms ticks cannot tell.
#define MAX_OTHER_PCT 10.0
#define MAX_STEAL_PCT 2.0
#define MIN_TICKS_S 0.5

// What is known while the request runs.
struct watch {
    struct sampler *sampler;
    bool marks_phases; // a real meter is read at each phase border
    const struct engine_run_events *events;
};

static void on_phase(void *context, const char *phase, bool is_begin, int64_t t_ns,
                     int64_t cpu_ns) {
    struct watch *watch = context;
    if (watch->marks_phases && !is_begin) {
        sampler_mark(watch->sampler, NULL, NULL);
    }
    if (watch->events && watch->events->on_phase) {
        watch->events->on_phase(watch->events->context, phase, is_begin, t_ns, cpu_ns);
    }
}

static void on_token(void *context, int32_t id, const char *text, int64_t t_ns) {
    struct watch *watch = context;
    watch->events->on_token(watch->events->context, id, text, t_ns);
}

static bool has_real_meter(const struct subject *subject) {
    for (size_t i = 0; i < subject->meters.n; i++) {
        if (meter_info(subject->meters.meter[i])->kind != METER_MODEL) {
            return true;
        }
    }
    return false;
}

static enum wl_status pad(double seconds, struct wl_err *err) {
    return pause_until(os_now_ns() + (int64_t)(seconds * (double)UNITS_NS_PER_S), err);
}

// The record's phase of that name, made when it is new. With several images the text's prefill and
// the images' take turns: a phase is then the sum of its parts. NULL: too many.
static struct record_phase *phase_of(struct record *record, const char *name) {
    for (uint32_t i = 0; i < record->n_phases; i++) {
        if (strcmp(record->phase[i].name, name) == 0) {
            return &record->phase[i];
        }
    }
    if (record->n_phases == RECORD_MAX_PHASES) {
        return NULL;
    }
    struct record_phase *phase = &record->phase[record->n_phases++];
    str_copy(phase->name, sizeof phase->name, name);
    phase->gross_j = phase->net_j = NAN;
    return phase;
}

// Adds the phases of one request: begin, end and tokens of the first, durations and CPU time of
// all.
static void add_phases(struct record *record, const struct engine_run_result *result,
                       bool is_first) {
    for (uint32_t i = 0; i < result->n_phases; i++) {
        const struct engine_phase *from = &result->phases[i];
        struct record_phase *to = phase_of(record, from->name);
        if (!to) {
            continue;
        }
        if (is_first) {
            to->t0_ns = to->t0_ns ? to->t0_ns : from->t0_ns;
            to->t1_ns = from->t1_ns;
            to->n_tokens += from->n_tokens;
        }
        to->duration_ns += from->t1_ns - from->t0_ns;
        to->cpu_ns += from->cpu1_ns - from->cpu0_ns;
        if (from->peak_rss_bytes > to->peak_rss_bytes) {
            to->peak_rss_bytes = from->peak_rss_bytes;
        }
    }
}

// What the requests of a window took together; phases as spans, for their energies.
struct requests {
    struct energy_span *spans;
    size_t n_spans;
    int64_t cpu0_ns, cpu1_ns;
};

static bool keep_spans(struct requests *requests, struct record *record,
                       const struct engine_run_result *result) {
    size_t n = requests->n_spans + result->n_phases;
    struct energy_span *spans = realloc(requests->spans, n * sizeof *spans);
    if (!spans) {
        return false;
    }
    requests->spans = spans;
    for (uint32_t i = 0; i < result->n_phases; i++) {
        const struct engine_phase *phase = &result->phases[i];
        const struct record_phase *sum = phase_of(record, phase->name);
        if (sum) {
            spans[requests->n_spans++] =
                (struct energy_span){(uint32_t)(sum - record->phase), phase->t0_ns, phase->t1_ns};
        }
    }
    return true;
}

static enum wl_status run_one(struct subject *subject, const struct window_options *options,
                              struct watch *watch, struct window *out, struct requests *requests,
                              struct wl_err *err) {
    struct engine_run_events events = {.on_phase = on_phase, .context = watch};
    if (options->events && options->events->on_token) {
        events.on_token = on_token;
    }
    engine_run_result_release(&out->result);
    enum wl_status status = engine_run(subject->engine, &options->run, &events, &out->result, err);
    if (status != WL_OK) {
        return status;
    }
    if (out->result.n_phases == 0) {
        return wl_err_set(err, WL_PROTOCOL, "the engine reported no phases");
    }
    add_phases(&out->record, &out->result, requests->n_spans == 0);
    const struct engine_phase *last = &out->result.phases[out->result.n_phases - 1];
    out->record.t1_ns = last->t1_ns;
    requests->cpu1_ns = last->cpu1_ns;
    return keep_spans(requests, &out->record, &out->result)
               ? WL_OK
               : wl_err_set(err, WL_MEMORY, "out of memory");
}

// The requests between two full samples, and the wait for meters that show power late.
static enum wl_status run_requests(struct subject *subject, const struct window_options *options,
                                   struct sampler *sampler, struct window *out,
                                   struct requests *requests, struct wl_err *err) {
    struct watch watch = {
        .sampler = sampler, .marks_phases = has_real_meter(subject), .events = options->events};
    enum wl_status status;
    if ((status = pad(options->pad_s, err)) ||
        (status = settle_begin(sampler, &subject->meters, err)) ||
        (status = sampler_mark(sampler, NULL, err)) ||
        (status = os_process_cpu_ns(engine_pid(subject->engine), &requests->cpu0_ns, err))) {
        return status;
    }
    out->record.n_requests = options->n_requests > 1 ? options->n_requests : 1;
    out->record.wall_ns = os_wall_ns();
    out->record.t0_ns = os_now_ns();
    for (uint32_t i = 0; i < out->record.n_requests && status == WL_OK; i++) {
        status = run_one(subject, options, &watch, out, requests, err);
    }
    if (status == WL_OK && (status = sampler_mark(sampler, NULL, err)) == WL_OK &&
        (status = pad(options->pad_s, err)) == WL_OK) {
        status = settle_end(sampler, &subject->meters, out->record.t1_ns, err);
    }
    return status;
}

static double phase_s(const struct record *record, const char *name) {
    double seconds = 0;
    for (uint32_t i = 0; i < record->n_phases; i++) {
        const struct record_phase *phase = &record->phase[i];
        seconds += strcmp(phase->name, name) == 0 ? (double)phase->duration_ns * 1e-9 : 0;
    }
    return seconds;
}

static double phase_core_s(const struct record *record, const char *name) {
    double seconds = 0;
    for (uint32_t i = 0; i < record->n_phases; i++) {
        const struct record_phase *phase = &record->phase[i];
        seconds += strcmp(phase->name, name) == 0 ? (double)phase->cpu_ns * 1e-9 : 0;
    }
    return seconds;
}

// Of the phases that a request has; the others' figures stay absent.
static void fill_phase_times(struct record *record, const struct engine_run_result *result) {
    double *value = record->value;
    double prefill_s = phase_s(record, "prefill");
    double decode_s = phase_s(record, "decode");
    double image_prefill_s = phase_s(record, "image_prefill");
    value[METRIC_prefill_s] = prefill_s;
    value[METRIC_prefill_core_s] = phase_core_s(record, "prefill");
    value[METRIC_prompt_tps] = result->n_prompt / (prefill_s + image_prefill_s);
    if (decode_s > 0) {
        value[METRIC_decode_s] = decode_s;
        value[METRIC_decode_core_s] = phase_core_s(record, "decode");
        if (result->n_generated > 1) {
            value[METRIC_decode_tps] = (result->n_generated - 1) / decode_s;
        }
    }
    if (result->n_images > 0) {
        value[METRIC_image_load_s] =
            phase_s(record, "image_decode") + phase_s(record, "preprocess");
        value[METRIC_vision_s] = phase_s(record, "vision");
        value[METRIC_image_prefill_s] = image_prefill_s;
        value[METRIC_image_s] = value[METRIC_vision_s] + image_prefill_s;
        value[METRIC_image_core_s] =
            phase_core_s(record, "vision") + phase_core_s(record, "image_prefill");
    }
    for (uint32_t i = 0; i < record->n_phases; i++) {
        const struct record_phase *phase = &record->phase[i];
        if (strcmp(phase->name, "vision") == 0 && phase->peak_rss_bytes > 0) {
            value[METRIC_vision_rss_mib] = (double)phase->peak_rss_bytes / UNITS_BYTES_PER_MIB;
        }
    }
}

// All figures are per request.
static void fill_times(struct record *record, const struct engine_run_result *result,
                       const struct requests *requests, const struct idle *before) {
    double n = record->n_requests;
    double *value = record->value;
    record->prompt_tokens = result->n_prompt;
    record->generated_tokens = result->n_generated;
    double window_s = series_seconds(record->t0_ns, record->t1_ns) / n;
    double core_s = (double)(requests->cpu1_ns - requests->cpu0_ns) * 1e-9 / n;
    double idle_core_s = before ? before->engine_core_s_per_s * window_s : 0;
    value[METRIC_time_s] = window_s;
    value[METRIC_cpu_core_s] = core_s;
    value[METRIC_cpu_auc_pct_s] = 100 * (core_s - idle_core_s) / os_n_cores();
    value[METRIC_window_tps] = result->n_generated / window_s;
    for (uint32_t i = 0; i < record->n_phases; i++) {
        record->phase[i].duration_ns /= record->n_requests;
        record->phase[i].cpu_ns /= record->n_requests;
    }
    fill_phase_times(record, result);
}

static void fill_vision(const struct subject *subject, const struct engine_run_result *result,
                        struct record *record) {
    if (result->n_images == 0) {
        return;
    }
    record->vision = (struct record_vision){
        .n_images = result->n_images,
        .width = result->images[0].width,
        .height = result->images[0].height,
        .image_tokens = result->n_image_tokens,
        .image_min_tokens = (uint32_t)subject->model.vision.image_min_tokens,
        .image_max_tokens = (uint32_t)subject->model.vision.image_max_tokens,
    };
    for (uint32_t i = 0; i < result->n_images; i++) {
        record->vision.effective_pixels += result->images[i].effective_pixels;
        record->vision.n_views += result->images[i].n_views;
    }
}

static void fill_ram(struct record *record, const struct window *window, double empty_pss_mib) {
    struct series pss;
    series_init(&pss, window->n_rows + 1);
    for (size_t i = 0; i < window->n_rows; i++) {
        if (window->rows[i].flags & SAMPLER_HAS_PSS) {
            series_push(&pss, window->rows[i].t_ns,
                        (double)window->rows[i].pss_bytes / UNITS_BYTES_PER_MIB, NULL);
        }
    }
    double baseline = isfinite(empty_pss_mib) ? empty_pss_mib : 0;
    int64_t period_ns = series_median_period_ns(pss.points, pss.n);
    struct series_area area;
    if (pss.n >= 2 && period_ns > 0 &&
        series_auc(pss.points, pss.n, record->t0_ns, record->t1_ns, baseline, period_ns, &area,
                   NULL) == WL_OK) {
        record->value[METRIC_ram_auc_mib_s] = area.area_value_s / record->n_requests;
        record->value[METRIC_ram_peak_mib] = area.peak;
    }
    series_release(&pss);
}

// Conditions: what others did, how fast and hot the CPU was.
static void fill_conditions(struct record *record, const struct window *window) {
    double freq_sum = 0, temp_max = NAN;
    size_t n_freq = 0;
    const struct sampler_row *first = NULL, *last = NULL;
    for (size_t i = 0; i < window->n_rows; i++) {
        const struct sampler_row *row = &window->rows[i];
        if (row->t_ns < record->t0_ns - 20000000 || row->t_ns > record->t1_ns + 20000000) {
            continue;
        }
        if (row->flags & SAMPLER_HAS_MACHINE) {
            first = first ? first : row;
            last = row;
        }
        if (row->flags & SAMPLER_HAS_FREQ) {
            freq_sum += row->freq_mhz;
            n_freq++;
        }
        if (row->flags & SAMPLER_HAS_TEMP) {
            temp_max = fmax(temp_max, row->temp_c);
        }
        record->flags |= row->flags & SAMPLER_IS_THROTTLED ? RECORD_THROTTLED : 0u;
        record->flags |= row->flags & SAMPLER_IS_UNDERVOLT ? RECORD_UNDERVOLT : 0u;
    }
    record->value[METRIC_temp_c] = temp_max;
    record->value[METRIC_freq_mhz] = n_freq ? freq_sum / (double)n_freq : NAN;
    if (!first || !last) {
        return;
    }
    double seconds = series_seconds(first->t_ns, last->t_ns);
    if (seconds < MIN_TICKS_S) {
        return;
    }
    double core_seconds = seconds * os_n_cores();
    double busy_s = last->machine_busy_s - first->machine_busy_s;
    double engine_s = (double)(last->process_cpu_ns - first->process_cpu_ns) * 1e-9;
    double other_pct = 100 * (busy_s - engine_s) / core_seconds;
    double steal_pct = 100 * (last->machine_steal_s - first->machine_steal_s) / core_seconds;
    record->value[METRIC_other_cpu_pct] = fmax(other_pct, 0);
    record->value[METRIC_steal_pct] = steal_pct;
    record->flags |= other_pct > MAX_OTHER_PCT ? RECORD_BUSY : 0u;
    record->flags |= steal_pct > MAX_STEAL_PCT ? RECORD_STEAL : 0u;
}

static enum wl_status copy_rows(struct sampler *sampler, struct window *out, struct wl_err *err) {
    const struct sampler_row *rows;
    size_t n;
    enum wl_status status = sampler_rows(sampler, &rows, &n, err);
    if (status != WL_OK) {
        return status;
    }
    out->rows = malloc((n ? n : 1) * sizeof *rows);
    if (!out->rows) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    memcpy(out->rows, rows, n * sizeof *rows);
    out->n_rows = n;
    return WL_OK;
}

static void fill_record(struct subject *subject, const struct window_options *options,
                        struct sampler *sampler, const struct idle *before,
                        const struct requests *requests, struct window *out) {
    struct record *record = &out->record;
    fill_times(record, &out->result, requests, before);
    fill_vision(subject, &out->result, record);
    fill_ram(record, out, subject->empty_pss_mib);
    fill_conditions(record, out);
    record->flags |= before ? before->flags & (RECORD_IDLE_DRIFT | RECORD_BUSY) : 0u;
    record->value[METRIC_sampler_pct] = sampler_cost_pct(sampler);
    record->value[METRIC_load_s] = series_seconds(subject->load.t0_ns, subject->load.t1_ns);
    energy_fill(subject, sampler, before, requests->spans, requests->n_spans, record);
    if (options->pad_s > 0) {
        struct paper_result paper;
        if (paper_cpu_auc(out->rows, out->n_rows, os_n_cores(), record->t0_ns, record->t1_ns,
                          &paper, NULL) == WL_OK) {
            record->value[METRIC_cpu_auc_paper_pct_s] = paper.auc_pct_s / record->n_requests;
        }
    }
}

enum wl_status window_run(struct subject *subject, const struct window_options *options,
                          const struct idle *before, struct window *out, struct wl_err *err) {
    memset(out, 0, sizeof *out);
    record_init(&out->record);
    struct sampler_options sampler_options = {.pid = engine_pid(subject->engine),
                                              .period_ns = options->sample_period_ns,
                                              .meters = subject->meters.meter,
                                              .n_meters = subject->meters.n};
    struct sampler *sampler;
    struct requests requests = {0};
    enum wl_status status = sampler_start(&sampler_options, &sampler, err);
    if (status != WL_OK) {
        return status;
    }
    status = run_requests(subject, options, sampler, out, &requests, err);
    sampler_stop(sampler);
    if (status == WL_OK) {
        status = copy_rows(sampler, out, err);
    }
    if (status == WL_OK) {
        fill_record(subject, options, sampler, before, &requests, out);
    } else {
        window_release(out);
    }
    sampler_free(sampler);
    free(requests.spans);
    return status;
}

void window_release(struct window *window) {
    engine_run_result_release(&window->result);
    free(window->rows);
    window->rows = NULL;
    window->n_rows = 0;
}
