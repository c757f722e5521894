#include "measure/subject.h"

#include <math.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "os/machine.h"
#include "sampler/sampler.h"

// Pss of the engine before it loads anything; NaN where it cannot be read.
static double read_pss_mib(pid_t pid) {
    struct sampler_options options = {.pid = pid, .has_no_thread = true, .max_rows = 8};
    struct sampler *sampler;
    double pss_mib = NAN;
    if (sampler_start(&options, &sampler, NULL) != WL_OK) {
        return NAN;
    }
    struct sampler_row row;
    if (sampler_mark(sampler, &row, NULL) == WL_OK && (row.flags & SAMPLER_HAS_PSS)) {
        pss_mib = (double)row.pss_bytes / UNITS_BYTES_PER_MIB;
    }
    sampler_free(sampler);
    return pss_mib;
}

static enum wl_status load_model(struct subject *subject, struct wl_err *err) {
    const struct subject_options *o = &subject->options;
    struct engine_load_options load = {
        .path = o->model_path,
        .threads = o->threads,
        .threads_batch = o->threads_batch ? o->threads_batch : o->threads,
        .n_ctx = o->n_ctx,
        .n_ubatch = o->n_ubatch,
        .load_mode = o->load_mode,
        .max_ram_bytes = os_ram_available_bytes(),
    };
    subject->empty_pss_mib = read_pss_mib(engine_pid(subject->engine));
    return engine_load(subject->engine, &load, &subject->model, &subject->load, err);
}

static enum wl_status open_meter(struct subject *subject, const char *name, struct wl_err *err) {
    if (subject->n_meters == RECORD_MAX_ENERGIES) {
        return wl_err_set(err, WL_LIMIT, "at most %d energy sources at once", RECORD_MAX_ENERGIES);
    }
    enum wl_status status =
        meter_open(&subject->meter_env, name, &subject->meters[subject->n_meters], err);
    subject->n_meters += status == WL_OK;
    return status;
}

static enum wl_status open_named_meters(struct subject *subject, const char *names,
                                        struct wl_err *err) {
    while (*names) {
        char name[METER_NAME_BYTES * 2];
        size_t len = strcspn(names, ",");
        if (len >= sizeof name) {
            return wl_err_set(err, WL_USAGE, "energy source name too long: '%.40s...'", names);
        }
        memcpy(name, names, len);
        name[len] = '\0';
        enum wl_status status = open_meter(subject, name, err);
        if (status != WL_OK) {
            return status;
        }
        names += len + (names[len] == ',');
    }
    return WL_OK;
}

// Every source that works, best first; the model always comes last and is never missing.
static enum wl_status open_available_meters(struct subject *subject) {
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n;
    meter_probe_all(&subject->meter_env, verdicts, &n);
    for (size_t i = 0; i < n; i++) {
        if (verdicts[i].availability == METER_AVAILABLE) {
            open_meter(subject, verdicts[i].name, NULL); // one that vanished meanwhile is no loss
        }
    }
    return WL_OK;
}

static void close_meters(struct subject *subject) {
    for (size_t i = 0; i < subject->n_meters; i++) {
        meter_close(subject->meters[i]);
    }
    subject->n_meters = 0;
}

static enum wl_status open_meters(struct subject *subject, struct wl_err *err) {
    const char *names = subject->options.meters;
    subject->meter_env = (struct meter_env){
        .root = subject->options.root,
        .pid = engine_pid(subject->engine),
        .estimate = &subject->estimate,
    };
    if (names && strcmp(names, "auto") != 0) {
        return open_named_meters(subject, names, err);
    }
    return open_available_meters(subject);
}

enum wl_status subject_open(struct subject *subject, const struct subject_options *options,
                            struct wl_err *err) {
    *subject = (struct subject){.options = *options};
    meter_estimate_params_for(options->root, &subject->estimate);
    struct engine_options engine_options = {.path = options->engine_path,
                                            .omp_wait_policy = options->wait_policy};
    enum wl_status status = engine_start(&engine_options, &subject->engine, err);
    if (status == WL_OK) {
        status = load_model(subject, err);
    }
    if (status == WL_OK) {
        status = open_meters(subject, err);
    }
    if (status != WL_OK) {
        subject_close(subject);
    }
    return status;
}

enum wl_status subject_reopen(struct subject *subject, struct wl_err *err) {
    close_meters(subject);
    enum wl_status status = engine_restart(subject->engine, err);
    if (status == WL_OK) {
        status = load_model(subject, err);
    }
    return status == WL_OK ? open_meters(subject, err) : status;
}

void subject_close(struct subject *subject) {
    close_meters(subject);
    engine_stop(subject->engine);
    subject->engine = NULL;
}
