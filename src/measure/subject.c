#include "measure/subject.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "meter/calibration.h"
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
        .mmproj = o->mmproj_path,
        .image_min_tokens = o->image_min_tokens,
        .image_max_tokens = o->image_max_tokens,
        .max_ram_bytes = os_ram_available_bytes(),
    };
    subject->empty_pss_mib = read_pss_mib(engine_pid(subject->engine));
    return engine_load(subject->engine, &load, &subject->model, &subject->load, err);
}

static enum wl_status open_meters(struct subject *subject, struct wl_err *err) {
    subject->meter_env = (struct meter_env){
        .root = subject->options.root,
        .pid = engine_pid(subject->engine),
        .estimate = &subject->estimate,
        .calibrations = subject->options.calibrations,
    };
    return meter_set_open(&subject->meter_env, subject->options.meters, &subject->meters, err);
}

// "estimate:mini-pc" among the meters: windows are computed with that class too.
static enum wl_status choose_estimate(struct subject *subject, struct wl_err *err) {
    static const char PREFIX[] = "estimate:";
    const struct subject_options *o = &subject->options;
    meter_estimate_params_for(o->root, &subject->estimate);
    meter_estimate_apply(meter_calibration_find(o->calibrations, "estimate"), &subject->estimate);
    const char *at = o->meters ? strstr(o->meters, PREFIX) : NULL;
    if (!at || (at != o->meters && at[-1] != ',')) {
        return WL_OK;
    }
    char name[METER_NAME_BYTES];
    const char *begin = at + sizeof PREFIX - 1;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(begin, ","), begin);
    return meter_estimate_params_by_class(name, (unsigned)os_n_cores(), &subject->estimate, err);
}

enum wl_status subject_open(struct subject *subject, const struct subject_options *options,
                            struct wl_err *err) {
    *subject = (struct subject){.options = *options};
    enum wl_status chosen = choose_estimate(subject, err);
    if (chosen != WL_OK) {
        return chosen;
    }
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
    meter_set_close(&subject->meters);
    enum wl_status status = engine_restart(subject->engine, err);
    if (status == WL_OK) {
        status = load_model(subject, err);
    }
    return status == WL_OK ? open_meters(subject, err) : status;
}

void subject_close(struct subject *subject) {
    meter_set_close(&subject->meters);
    engine_stop(subject->engine);
    subject->engine = NULL;
}
