#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/result_field.h"

static const int64_t MAX_RSS_BYTES = INT64_C(1) << 60;
static const char *const STOPS[] = {"eos", "length", "context", "time", "cancel"};

const char *engine_stop_name(enum engine_stop stop) {
    return (size_t)stop < sizeof STOPS / sizeof STOPS[0] ? STOPS[stop] : "unknown";
}

const struct engine_phase *engine_result_phase(const struct engine_run_result *result,
                                               const char *name) {
    for (uint32_t i = 0; i < result->n_phases; i++) {
        if (strcmp(result->phases[i].name, name) == 0) {
            return &result->phases[i];
        }
    }
    return NULL;
}

void engine_run_result_release(struct engine_run_result *result) {
    free(result->text);
    free(result->token_t_ns);
    *result = (struct engine_run_result){0};
}

static enum wl_status phase_fields(const json_t *phase, const struct engine_bounds *bounds,
                                   struct engine_phase *out, struct wl_err *err) {
    enum wl_status status = field_object(phase, "phase", err);
    if (status == WL_OK) {
        status = field_word(phase, "phase", out->name, err);
    }
    if (status == WL_OK) {
        status = field_i64(phase, "t0_ns", bounds->t_min_ns, bounds->t_max_ns, &out->t0_ns, err);
    }
    if (status == WL_OK) {
        status = field_i64(phase, "t1_ns", out->t0_ns, bounds->t_max_ns, &out->t1_ns, err);
    }
    if (status == WL_OK) {
        status = field_i64(phase, "cpu0_ns", 0, INT64_MAX, &out->cpu0_ns, err);
    }
    if (status == WL_OK) {
        status = field_i64(phase, "cpu1_ns", out->cpu0_ns, INT64_MAX, &out->cpu1_ns, err);
    }
    if (status == WL_OK) {
        status = field_u32(phase, "n_tokens", ENGINE_MAX_TOKENS, &out->n_tokens, err);
    }
    if (status == WL_OK && json_object_get(phase, "peak_rss_bytes")) {
        status = field_i64(phase, "peak_rss_bytes", 0, MAX_RSS_BYTES, &out->peak_rss_bytes, err);
    }
    return status;
}

enum wl_status engine_phase_decode(const json_t *phase, const struct engine_bounds *bounds,
                                   struct engine_phase *out, struct wl_err *err) {
    *out = (struct engine_phase){0};
    enum wl_status status = phase_fields(phase, bounds, out, err);
    if (status != WL_OK) {
        wl_err_prefix(err, "phase '%.31s'", out->name);
        *out = (struct engine_phase){0};
    }
    return status;
}

static enum wl_status result_phases(const json_t *result, const struct engine_bounds *bounds,
                                    struct engine_run_result *out, struct wl_err *err) {
    const json_t *phases = json_object_get(result, "phases");
    size_t n = json_array_size(phases);
    if (!json_is_array(phases) || n > ENGINE_MAX_PHASES) {
        return wl_err_set(err, WL_PROTOCOL, "key 'phases': expected an array of at most %d",
                          ENGINE_MAX_PHASES);
    }
    for (size_t i = 0; i < n; i++) {
        struct engine_phase *phase = &out->phases[i];
        enum wl_status status = engine_phase_decode(json_array_get(phases, i), bounds, phase, err);
        if (status != WL_OK) {
            return status;
        }
        if (i > 0 && (phase->t0_ns < phase[-1].t1_ns || phase->cpu0_ns < phase[-1].cpu1_ns)) {
            return wl_err_set(err, WL_PROTOCOL, "phase '%s' begins before phase '%s' ends",
                              phase->name, phase[-1].name);
        }
        out->n_phases++;
    }
    return WL_OK;
}

// No phase can have seen more tokens than there were.
static enum wl_status result_sums(const struct engine_run_result *out, struct wl_err *err) {
    static const char *const NAMES[] = {"prefill", "image_prefill", "vision", "decode"};
    const uint64_t limits[] = {out->n_prompt, out->n_prompt, out->n_image_tokens, out->n_generated};
    uint64_t sums[sizeof NAMES / sizeof NAMES[0]] = {0};
    for (uint32_t i = 0; i < out->n_phases; i++) {
        for (size_t k = 0; k < sizeof NAMES / sizeof NAMES[0]; k++) {
            bool is_named = strcmp(out->phases[i].name, NAMES[k]) == 0;
            sums[k] += is_named ? out->phases[i].n_tokens : 0;
        }
    }
    for (size_t k = 0; k < sizeof NAMES / sizeof NAMES[0]; k++) {
        if (sums[k] > limits[k]) {
            return wl_err_set(err, WL_PROTOCOL, "phase '%s': n_tokens is %llu of %llu", NAMES[k],
                              (unsigned long long)sums[k], (unsigned long long)limits[k]);
        }
    }
    if (sums[0] + sums[1] > out->n_prompt) {
        return wl_err_set(err, WL_PROTOCOL,
                          "phases 'prefill' and 'image_prefill': n_tokens is %" PRIu64 " of %u",
                          sums[0] + sums[1], out->n_prompt);
    }
    return WL_OK;
}

static enum wl_status result_stop(const json_t *result, struct engine_run_result *out,
                                  struct wl_err *err) {
    const char *name;
    enum wl_status status = field_protocol(wl_json_get_string(result, "stop", &name, err), err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < sizeof STOPS / sizeof STOPS[0]; i++) {
        if (strcmp(STOPS[i], name) == 0) {
            out->stop = (enum engine_stop)i;
            return WL_OK;
        }
    }
    return wl_err_set(err, WL_PROTOCOL,
                      "key 'stop': expected eos, length, context, time or cancel, found '%.40s'",
                      name);
}

static enum wl_status result_counts(const json_t *result, const struct engine_bounds *bounds,
                                    struct engine_run_result *out, struct wl_err *err) {
    enum wl_status status = field_u32(result, "n_prompt", ENGINE_MAX_TOKENS, &out->n_prompt, err);
    if (status == WL_OK) {
        status = field_u32(result, "n_generated", bounds->n_predict, &out->n_generated, err);
    }
    if (status == WL_OK && bounds->n_prompt && out->n_prompt != bounds->n_prompt) {
        status = wl_err_set(err, WL_PROTOCOL, "key 'n_prompt': expected %u as asked for, found %u",
                            bounds->n_prompt, out->n_prompt);
    }
    return status;
}

static enum wl_status result_text(const json_t *result, struct engine_run_result *out,
                                  struct wl_err *err) {
    const char *text;
    enum wl_status status = field_protocol(wl_json_get_string(result, "text", &text, err), err);
    if (status != WL_OK) {
        return status;
    }
    out->text_bytes = strlen(text);
    if (out->text_bytes > ENGINE_MAX_TEXT_BYTES) {
        return wl_err_set(err, WL_PROTOCOL, "key 'text': %zu bytes, at most %d expected",
                          out->text_bytes, ENGINE_MAX_TEXT_BYTES);
    }
    out->text = strdup(text);
    return out->text ? WL_OK : wl_err_set(err, WL_MEMORY, "out of memory");
}

enum wl_status engine_run_result_decode(const json_t *result, const struct engine_bounds *bounds,
                                        struct engine_run_result *out, struct wl_err *err) {
    *out = (struct engine_run_result){0};
    enum wl_status status = field_object(result, "result", err);
    if (status == WL_OK) {
        status = result_counts(result, bounds, out, err);
    }
    if (status == WL_OK) {
        status = result_stop(result, out, err);
    }
    if (status == WL_OK) {
        status = field_run_images(result, bounds, out, err);
    }
    if (status == WL_OK) {
        status = result_phases(result, bounds, out, err);
    }
    if (status == WL_OK) {
        status = result_sums(out, err);
    }
    if (status == WL_OK) {
        status = result_text(result, out, err);
    }
    if (status != WL_OK) {
        engine_run_result_release(out);
    }
    return status;
}

// In [t_min_ns, t_max_ns] and not falling.
static enum wl_status check_times(const int64_t *t_ns, size_t n, const struct engine_bounds *bounds,
                                  struct wl_err *err) {
    int64_t previous = bounds->t_min_ns;
    for (size_t i = 0; i < n; i++) {
        if (t_ns[i] < previous || t_ns[i] > bounds->t_max_ns) {
            return wl_err_set(err, WL_PROTOCOL,
                              "token-times: entry %zu is %lld, expected %lld to %lld", i,
                              (long long)t_ns[i], (long long)previous, (long long)bounds->t_max_ns);
        }
        previous = t_ns[i];
    }
    return WL_OK;
}

enum wl_status engine_token_times_decode(const void *payload, size_t len,
                                         const struct engine_bounds *bounds,
                                         struct engine_run_result *out, struct wl_err *err) {
    size_t n = len / sizeof(int64_t);
    if (len % sizeof(int64_t) || n != out->n_generated) {
        return wl_err_set(err, WL_PROTOCOL,
                          "token-times: %zu bytes, expected 8 for each of %u generated tokens", len,
                          out->n_generated);
    }
    int64_t *t_ns = malloc(n ? len : 1);
    if (!t_ns) {
        return wl_err_set(err, WL_MEMORY, "out of memory");
    }
    const unsigned char *bytes = payload;
    for (size_t i = 0; i < n; i++) {
        t_ns[i] = (int64_t)field_little_endian(bytes + i * 8, 8);
    }
    enum wl_status status = check_times(t_ns, n, bounds, err);
    if (status != WL_OK) {
        free(t_ns);
        return status;
    }
    free(out->token_t_ns);
    out->token_t_ns = t_ns;
    return WL_OK;
}
