// Makes the other sources as good as the best meter at hand.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "catalog/catalog.h"
#include "cli/calibrate_result.h"
#include "cli/command.h"
#include "cli/engine_options.h"
#include "cli/progress.h"
#include "cli/synth_model.h"
#include "measure/calibrate.h"
#include "measure/calibrate_engine.h"
#include "measure/typed_power.h"
#include "os/machine.h"
#include "os/process.h"

static struct {
    const char *model, *reference, *scope, *out;
    int typed, quick, show, forget;
    double typed_error_pct, block_s;
} given = {.scope = "wall", .typed_error_pct = 2};

static const double BLOCK_S = 60, QUICK_BLOCK_S = 20;

static const struct poptOption OPTIONS[] = {
    {"reference", 0, POPT_ARG_STRING, &given.reference, 0,
     "the better meter: any source that 'wattlaw doctor' lists, such as fnirsi or shelly:plug",
     "NAME"},
    {"typed", 0, POPT_ARG_NONE, &given.typed, 0,
     "instead: after each block you type what a display shows, such as 6.2 W or 0.104 Wh", NULL},
    {"typed-error", 0, POPT_ARG_DOUBLE, &given.typed_error_pct, 0,
     "how wrong that display may be, 1 sigma (default: 2)", "PCT"},
    {"scope", 0, POPT_ARG_STRING, &given.scope, 0,
     "what the display includes: wall (default), board, soc or cpu", "SCOPE"},
    {"model", 'm', POPT_ARG_STRING, &given.model, 0,
     "GGUF file, or a name that 'wattlaw models' lists (default: a built-in model of 135M "
     "parameters with random weights)",
     "MODEL"},
    {"quick", 0, POPT_ARG_NONE, &given.quick, 0, "blocks of 20 s instead of 60 s", NULL},
    {"block-s", 0, POPT_ARG_DOUBLE, &given.block_s, 0, "seconds of each block", "S"},
    {"out", 0, POPT_ARG_STRING, &given.out, 0,
     "the calibration file (default: machine.json in the data folder, which all commands use)",
     "FILE"},
    {"show", 0, POPT_ARG_NONE, &given.show, 0, "print the stored calibration", NULL},
    {"forget", 0, POPT_ARG_NONE, &given.forget, 0,
     "forget the calibration of the SOURCE named, or all", NULL},
    {NULL, 0, POPT_ARG_INCLUDE_TABLE, (void *)ENGINE_OPTIONS, 0, NULL, NULL},
    POPT_TABLEEND};

// --- what is stored -----------------------------------------------------------------------------

static int show(struct cli_context *context) {
    struct wl_err err = {0};
    struct meter_calibration_set set;
    char warning[CALIBRATE_WARNING_BYTES];
    enum wl_status status = meter_calibration_load(given.out, &set, &err);
    if (status == WL_NOT_FOUND || (status == WL_OK && set.n == 0)) {
        wl_err_set(&err, WL_NOT_FOUND, "nothing is calibrated; 'wattlaw calibrate' does it");
        return cli_fail(WL_NOT_FOUND, &err);
    }
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    if (!calibrate_is_current(context->common.root, &set, warning, sizeof warning)) {
        cli_warn(context, "%s", warning);
    }
    calibrate_result_show(&set, context->common.json);
    return 0;
}

static int forget(struct cli_context *context) {
    struct wl_err err = {0};
    struct meter_calibration_set set;
    const char *source = context->n_args ? context->args[0] : NULL;
    enum wl_status status = meter_calibration_load(given.out, &set, &err);
    if (source && status == WL_OK && !meter_calibration_remove(&set, source)) {
        status = wl_err_set(&err, WL_NOT_FOUND, "no calibration of '%s' is stored", source);
    }
    if (!source && status != WL_NOT_FOUND) { // a file that cannot be read is forgotten too
        set = (struct meter_calibration_set){0};
        status = WL_OK;
    }
    status = status == WL_OK ? meter_calibration_save(given.out, &set, &err) : status;
    return status == WL_OK ? 0 : cli_fail(status, &err);
}

// --- the run ------------------------------------------------------------------------------------

struct view {
    const struct cli_context *context;
    struct progress progress;
};

static void on_progress(void *context, double done, double seconds_left, const char *what) {
    struct view *view = context;
    progress_update(&view->progress, done, seconds_left, what);
}

static void on_warning(void *context, const char *message) {
    struct view *view = context;
    progress_end(&view->progress);
    cli_warn(view->context, "%s", message);
}

static enum wl_status read_line(char *line, int size, const char *block, struct wl_err *err) {
    if (fgets(line, size, stdin)) {
        return WL_OK;
    }
    if (os_is_interrupted()) {
        return wl_err_set(err, WL_INTERRUPTED, "interrupted");
    }
    return wl_err_set(err, WL_INPUT,
                      "expected the figure of block '%s' on standard input, found "
                      "its end",
                      block);
}

// A person is asked again; a script that is wrong has failed.
static enum wl_status ask(void *context, const struct calibrate_block *block,
                          struct calibrate_power *out, struct wl_err *err) {
    struct view *view = context;
    const char *name = calibrate_kind_name(block->kind);
    double seconds = (double)(block->t1_ns - block->t0_ns) * 1e-9;
    progress_end(&view->progress);
    for (;;) {
        char line[128];
        fprintf(stderr,
                "Block '%s' took %.1f s. Its mean power or its energy (6.2 W, 0.104 Wh): ", name,
                seconds);
        enum wl_status status = read_line(line, sizeof line, name, err);
        if (status != WL_OK) {
            return status;
        }
        if (!isatty(STDIN_FILENO)) {
            fputc('\n', stderr);
        }
        struct wl_err wrong = {0};
        status = typed_power_parse(line, seconds, out, &wrong);
        if (status == WL_OK) {
            return WL_OK;
        }
        if (!isatty(STDIN_FILENO)) {
            return wl_err_set(err, status, "block '%s': %s", name, wrong.message);
        }
        fprintf(stderr, "%s\n", wrong.message);
    }
}

static enum wl_status find_model(const struct cli_context *context, char path[OS_PATH_BYTES],
                                 struct wl_err *err) {
    if (given.model) {
        return catalog_resolve(NULL, given.model, path, err);
    }
    struct progress progress;
    progress_begin(&progress, context->common.quiet);
    enum wl_status status = synth_model_make("smollm2-135m", "q8_0", NULL, &progress, path, err);
    progress_end(&progress);
    return status;
}

// The estimate of this machine is calibrated when it is among the sources asked for.
static bool has_model(const struct meter_set *meters) {
    for (size_t i = 0; i < meters->n; i++) {
        if (meter_info(meters->meter[i])->kind == METER_MODEL) {
            return true;
        }
    }
    return false;
}

static enum wl_status open_reference(const struct subject *subject, struct meter **out,
                                     struct wl_err *err) {
    *out = NULL;
    if (given.typed) {
        return WL_OK;
    }
    struct meter_env env = subject->meter_env;
    enum wl_status status = meter_open(&env, given.reference, out, err);
    if (status == WL_OK && meter_info(*out)->kind == METER_MODEL) {
        meter_close(*out);
        *out = NULL;
        status = wl_err_set(err, WL_USAGE, "--reference: '%s' is a model and not a meter",
                            given.reference);
    }
    return status;
}

static enum meter_scope scope_given(void) {
    for (int s = METER_SCOPE_CPU; s < METER_SCOPE_WALL; s++) {
        if (strcmp(meter_scope_name((enum meter_scope)s), given.scope) == 0) {
            return (enum meter_scope)s;
        }
    }
    return METER_SCOPE_WALL;
}

static enum wl_status calibrate(struct cli_context *context, struct subject *subject,
                                struct calibrate_result *result, struct wl_err *err) {
    struct meter *reference;
    enum wl_status status = open_reference(subject, &reference, err);
    if (status != WL_OK) {
        return status;
    }
    struct view view = {.context = context};
    struct calibrate_engine engine;
    struct calibrate_work work;
    calibrate_engine_init(&engine, subject, &work);
    double block_s = given.block_s > 0 ? given.block_s : given.quick ? QUICK_BLOCK_S : BLOCK_S;
    struct calibrate_options options = {
        .work = &work,
        .sampler = {.root = context->common.root},
        .reference = reference,
        .reference_name = reference ? meter_info(reference)->name : "typed",
        .asked_scope = scope_given(),
        .asked_error_rel = given.typed_error_pct / 100,
        .targets = subject->meters.meter,
        .n_targets = subject->meters.n,
        .prior = has_model(&subject->meters) ? &subject->estimate : NULL,
        .block_s = block_s,
        .ramp_s = fmin(block_s / 4, 5),
        .n_cores = os_n_cores(),
        .has_one_thread = engine.all_threads == 1,
        .is_pulsed = reference != NULL};
    struct calibrate_events events = {
        .on_progress = on_progress, .on_warning = on_warning, .ask = ask, .context = &view};
    progress_begin(&view.progress, context->common.quiet);
    status = calibrate_run(&options, &events, result, err);
    progress_end(&view.progress);
    if (status == WL_OK) {
        status = calibrate_result_store(context, result, given.out, err);
    }
    if (status == WL_OK || status == WL_UNTRUSTED) {
        calibrate_result_print(result, given.out, context->common.json);
    }
    meter_close(reference);
    return status;
}

static int run_on(struct cli_context *context, struct subject_options *options) {
    struct wl_err err = {0};
    struct subject subject;
    char path[OS_PATH_BYTES];
    struct calibrate_result *result = calloc(1, sizeof *result);
    if (!result) {
        wl_err_set(&err, WL_MEMORY, "out of memory");
        return cli_fail(WL_MEMORY, &err);
    }
    enum wl_status status = find_model(context, path, &err);
    options->model_path = path;
    options->calibrations = NULL; // the sources as they come
    if (status == WL_OK) {
        status = subject_open(&subject, options, &err);
        if (status == WL_OK) {
            status = calibrate(context, &subject, result, &err);
            subject_close(&subject);
        }
    }
    free(result);
    return status == WL_OK      ? 0
           : status == WL_USAGE ? cli_usage(context, "%s", err.message)
                                : cli_fail(status, &err);
}

static const char *wrong_option(const struct cli_context *context) {
    if (given.show && given.forget) {
        return "--show or --forget, not both";
    }
    if (context->n_args > (given.forget ? 1 : 0)) {
        return "unexpected argument; --forget alone takes a SOURCE";
    }
    if (given.show || given.forget) {
        return NULL;
    }
    if (!given.reference == !given.typed) {
        return "give the better meter with --reference NAME, or type its figures with --typed";
    }
    if (!(given.typed_error_pct >= 0 && given.typed_error_pct <= 50)) {
        return "--typed-error: expected 0 to 50 percent";
    }
    if (strcmp(given.scope, meter_scope_name(scope_given())) != 0) {
        return "--scope: expected wall, board, soc or cpu";
    }
    if (given.block_s < 0 || given.block_s > 3600 || (given.block_s > 0 && given.block_s < 0.5)) {
        return "--block-s: expected 0.5 to 3600 seconds";
    }
    return NULL;
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct subject_options options;
    const char *wrong = wrong_option(context);
    if (wrong) {
        return cli_usage(context, "%s", wrong);
    }
    if (given.show || given.forget) {
        return given.show ? show(context) : forget(context);
    }
    if (engine_options_get(context, &options, &err) != WL_OK) {
        return cli_usage(context, "%s", err.message);
    }
    os_catch_interrupts();
    return run_on(context, &options);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw calibrate --reference fnirsi", "against a USB power meter, in six minutes"},
    {"wattlaw calibrate --typed --quick", "against a plug with a display, in two"},
    {"wattlaw calibrate --show", "what is stored for this machine"},
    {NULL, NULL}};

const struct cli_command CMD_calibrate = {
    .name = "calibrate",
    .arguments = "--reference NAME | --typed | --show | --forget [SOURCE]",
    .summary = "make the other energy sources as good as the best meter at hand",
    .description =
        "Runs a model in blocks (idle, one thread, all threads, prompts, idle) while a better "
        "meter watches, and solves what every other source shows too little or too much: gain and "
        "offset of a meter, the terms of the energy model, the lag of an external meter. The "
        "result is stored for this machine and its CPU governor; from then on 'study', 'run' and "
        "'watch' use it and call their figures calibrated.\n\n"
        "Nothing else should run meanwhile. Ends with 3 when nothing could be learnt.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
