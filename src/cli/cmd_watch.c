// Any program and its descendants: what the machine spends while they run.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/watch_line.h"
#include "cli/watch_result.h"
#include "measure/calibrate.h"
#include "os/clock.h"
#include "os/file.h"
#include "report/prometheus.h"

static const int64_t PROMETHEUS_NS = 5000000000;

static struct {
    double rate_hz, idle_s;
    const char *meters, *csv, *prometheus, *output, *length, *record;
    int pid, windows;
} given = {.rate_hz = 10, .idle_s = (double)NAN};

static const struct poptOption OPTIONS[] = {
    {"pid", 'p', POPT_ARG_INT, &given.pid, 0,
     "watch a process that runs, and its descendants, until it ends or Ctrl-C", "PID"},
    {"for", 0, POPT_ARG_STRING, &given.length, 0, "end after so long: 90, 90s, 5m, 2h", "TIME"},
    {"rate", 'r', POPT_ARG_DOUBLE, &given.rate_hz, 0, "samples per second (default: 10)", "HZ"},
    {"meters", 0, POPT_ARG_STRING, &given.meters, 0,
     "energy sources, comma-separated, as 'wattlaw doctor' lists them (default: all found)",
     "LIST"},
    {"idle", 0, POPT_ARG_DOUBLE, &given.idle_s, 0,
     "seconds of rest before the command, for net energy (default: 3, more for slow meters; 0: "
     "none)",
     "S"},
    {"windows", 'w', POPT_ARG_NONE, &given.windows, 0,
     "split the time into requests by the CPU signal's gradient", NULL},
    {"output", 'o', POPT_ARG_STRING, &given.output, 0,
     "write the summary to this file instead of standard output", "FILE"},
    {"csv", 0, POPT_ARG_STRING, &given.csv, 0, "write every sample to this file", "FILE"},
    {"record", 0, POPT_ARG_STRING, &given.record, 0,
     "write what the first energy source reads as a trace, for --meters replay:FILE", "FILE"},
    {"prometheus", 0, POPT_ARG_STRING, &given.prometheus, 0,
     "keep this file up to date for node_exporter's textfile collector (name it *.prom)", "FILE"},
    POPT_TABLEEND};

// What the samples go to while the command runs.
struct outputs {
    struct cli_context *context;
    struct watch_line line;
    FILE *csv;
    bool has_csv_head, has_failed_prometheus;
    int64_t next_prometheus_ns;
    char target[128];
    double idle_j[RECORD_MAX_ENERGIES]; // counters: never fall, though the rest may be seen lower
};

// --- CSV ----------------------------------------------------------------------------------------

static void write_csv_head(FILE *csv, const struct meter_set *meters) {
    fputs("t_s,cpu_core_s,cpu_pct,machine_cpu_pct,ram_mib,n_processes", csv);
    for (size_t i = 0; i < meters->n; i++) {
        const struct meter_info *info = meter_info(meters->meter[i]);
        const char *scope = meter_scope_name(info->scope);
        fprintf(csv, ",%s_%s_w,%s_%s_j", info->name, scope, info->name, scope);
    }
    fputc('\n', csv);
}

// What is unknown is an empty field.
static void write_field(FILE *csv, double value) {
    fputc(',', csv);
    if (isfinite(value)) {
        fprintf(csv, "%.9g", value);
    }
}

static void write_csv(struct outputs *o, const struct watch_sample *s) {
    if (!o->has_csv_head) {
        write_csv_head(o->csv, s->meters);
        o->has_csv_head = true;
    }
    fprintf(o->csv, "%.3f,%.6f,%.2f,%.2f,%.3f,%u", s->seconds, s->cpu_core_s, s->cpu_pct,
            s->machine_cpu_pct, s->ram_bytes / UNITS_BYTES_PER_MIB, s->n_processes);
    for (size_t i = 0; i < s->meters->n; i++) {
        write_field(o->csv, s->power_w[i]);
        write_field(o->csv, s->gross_j[i]);
    }
    fputc('\n', o->csv);
}

// --- Prometheus ---------------------------------------------------------------------------------

static enum wl_status write_prometheus(struct outputs *o, const struct watch_sample *s,
                                       struct wl_err *err) {
    struct prometheus_snapshot snapshot = {.target = o->target,
                                           .seconds = s->seconds,
                                           .cpu_core_s = s->cpu_core_s,
                                           .memory_bytes = s->ram_bytes,
                                           .is_pss = s->is_pss,
                                           .n_processes = s->n_processes};
    for (size_t i = 0; i < s->meters->n && i < PROMETHEUS_MAX_SOURCES; i++) {
        const struct meter_info *info = meter_info(s->meters->meter[i]);
        double idle_j = s->idle_w[i] * s->seconds;
        o->idle_j[i] = isfinite(idle_j) ? fmax(o->idle_j[i], idle_j) : o->idle_j[i];
        snapshot.source[snapshot.n_sources++] =
            (struct prometheus_source){.source = info->name,
                                       .scope = meter_scope_name(info->scope),
                                       .label = record_label_name(info->label),
                                       .gross_j = s->gross_j[i],
                                       .idle_j = isfinite(idle_j) ? o->idle_j[i] : (double)NAN,
                                       .power_w = s->power_w[i]};
    }
    struct buf text;
    buf_init(&text, PROMETHEUS_MAX_BYTES);
    enum wl_status status = prometheus_write(&snapshot, &text)
                                ? os_write_atomic(given.prometheus, buf_text(&text), text.len, err)
                                : wl_err_set(err, WL_LIMIT, "the Prometheus text is too long");
    buf_release(&text);
    return status;
}

static void update_prometheus(struct outputs *o, const struct watch_sample *s) {
    int64_t now_ns = os_now_ns();
    struct wl_err err = {0};
    if (!s->is_last && now_ns < o->next_prometheus_ns) {
        return;
    }
    o->next_prometheus_ns = now_ns + PROMETHEUS_NS;
    if (write_prometheus(o, s, &err) != WL_OK && !o->has_failed_prometheus) {
        o->has_failed_prometheus = true; // said once; the watching goes on
        watch_line_end(&o->line);
        cli_warn(o->context, "%s", err.message);
    }
}

static bool on_sample(void *context, const struct watch_sample *sample) {
    struct outputs *o = context;
    watch_line_update(&o->line, sample);
    if (!sample->is_idle_stage && o->csv) {
        write_csv(o, sample);
    }
    if (!sample->is_idle_stage && given.prometheus) {
        update_prometheus(o, sample);
    }
    return true;
}

// --- the command --------------------------------------------------------------------------------

static enum wl_status open_outputs(struct cli_context *context, struct outputs *o,
                                   struct wl_err *err) {
    *o = (struct outputs){.context = context};
    const char *name = given.pid ? NULL : strrchr(context->args[0], '/');
    if (given.pid) {
        snprintf(o->target, sizeof o->target, "pid %d", given.pid);
    } else {
        snprintf(o->target, sizeof o->target, "%s", name ? name + 1 : context->args[0]);
    }
    if (given.csv) {
        o->csv = fopen(given.csv, "we");
        if (!o->csv) {
            return wl_err_set(err, WL_IO, "cannot write '%s'", given.csv);
        }
    }
    watch_line_begin(&o->line, context->common.quiet);
    return WL_OK;
}

static enum wl_status close_outputs(struct outputs *o, struct wl_err *err) {
    watch_line_end(&o->line);
    bool is_written = !o->csv || (!ferror(o->csv) & !fclose(o->csv));
    return is_written ? WL_OK : wl_err_set(err, WL_IO, "cannot write all of '%s'", given.csv);
}

static enum wl_status print_result(const struct cli_context *context,
                                   const struct watch_result *result, struct wl_err *err) {
    FILE *out = given.output ? fopen(given.output, "we") : stdout;
    if (!out) {
        return wl_err_set(err, WL_IO, "cannot write '%s'", given.output);
    }
    if (context->common.json) {
        json_t *object = watch_result_json(result);
        json_dumpf(object, out, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
        fputc('\n', out);
        json_decref(object);
    } else {
        watch_result_print(out, result);
    }
    bool is_written = fflush(out) == 0 && !ferror(out);
    if (given.output) {
        is_written = fclose(out) == 0 && is_written;
    }
    return is_written ? WL_OK : wl_err_set(err, WL_IO, "cannot write the summary");
}

// 130 when the command was interrupted with us, 1 when it failed by itself, 3 when the figures are
// not to be trusted.
static int exit_code_of(struct cli_context *context, const struct watch_result *r) {
    if (r->doubt) {
        cli_warn(context, "not trustworthy: %s", r->doubt);
    }
    bool has_failed =
        r->has_wait_status && !(WIFEXITED(r->wait_status) && WEXITSTATUS(r->wait_status) == 0);
    if (has_failed || (r->end == WATCH_END_INTERRUPTED && !given.pid)) {
        return wl_status_exit_code(r->was_interrupted ? WL_INTERRUPTED : WL_FAILED);
    }
    return r->doubt ? wl_status_exit_code(WL_UNTRUSTED) : 0;
}

// What 'wattlaw calibrate' stored for this machine, if it did.
static enum wl_status load_calibrations(struct cli_context *context, struct meter_env *env,
                                        struct wl_err *err) {
    static struct meter_calibration_set calibrations;
    char warning[CALIBRATE_WARNING_BYTES] = "";
    enum wl_status status =
        calibrate_load_for_machine(env->root, &calibrations, warning, sizeof warning, err);
    if (warning[0]) {
        cli_warn(context, "%s", warning);
    }
    env->calibrations = &calibrations;
    return status;
}

// Watches and prints; `result` is room for what is found.
static enum wl_status watch(struct cli_context *context, struct watch_options *options,
                            struct watch_result *result, struct wl_err *err) {
    struct outputs outputs;
    enum wl_status status = load_calibrations(context, &options->env, err);
    if (status == WL_OK) {
        status = open_outputs(context, &outputs, err);
    }
    if (status != WL_OK) {
        return status;
    }
    options->on_sample = on_sample;
    options->context = &outputs;
    status = watch_run(options, result, err);
    struct wl_err close_err = {0};
    enum wl_status close_status = close_outputs(&outputs, &close_err);
    if (status == WL_OK) {
        status = print_result(context, result, err);
    }
    if (status == WL_OK && close_status != WL_OK) {
        *err = close_err;
        status = close_status;
    }
    return status;
}

static int watch_and_judge(struct cli_context *context, struct watch_options *options) {
    struct wl_err err = {0};
    struct watch_result *result = malloc(sizeof *result);
    if (!result) {
        return cli_fail(wl_err_set(&err, WL_MEMORY, "out of memory"), &err);
    }
    enum wl_status status = watch(context, options, result, &err);
    int exit_code = status == WL_OK ? exit_code_of(context, result) : cli_fail(status, &err);
    free(result);
    return exit_code;
}

static int run(struct cli_context *context) {
    if ((given.pid != 0) == (context->n_args > 0)) {
        return cli_usage(context, "give either a command after -- or --pid N");
    }
    if (given.pid < 0) {
        return cli_usage(context, "--pid: expected a process number, found %d", given.pid);
    }
    if (!(given.rate_hz >= 0.1 && given.rate_hz <= 200)) {
        return cli_usage(context, "-r: expected 0.1 to 200 samples per second, found %g",
                         given.rate_hz);
    }
    if (isfinite(given.idle_s) && (given.idle_s < 0 || given.idle_s > 3600)) {
        return cli_usage(context, "--idle: expected 0 to 3600 seconds, found %g", given.idle_s);
    }
    struct watch_options options = {.pid = given.pid,
                                    .period_ns = (int64_t)((double)UNITS_NS_PER_S / given.rate_hz),
                                    .idle_s = given.idle_s,
                                    .finds_windows = given.windows,
                                    .env = {.root = context->common.root},
                                    .meters = given.meters,
                                    .trace_path = given.record};
    if (given.length && !(str_parse_seconds(given.length, &options.for_s) && options.for_s > 0)) {
        return cli_usage(context, "--for: expected a time like 90s or 5m, found '%s'",
                         given.length);
    }
    if (!given.pid) {
        options.argv = context->args;
    }
    return watch_and_judge(context, &options);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw watch -- python3 chat.py", "what one run of a script costs"},
    {"wattlaw watch --pid $(pidof ollama) --windows", "request by request, until Ctrl-C"},
    {"wattlaw watch -q -o cost.json --json -- llama-cli -m model.gguf -p Hello",
     "the figures as JSON, the program's output as ever"},
    {"wattlaw watch --pid 4711 --prometheus /var/lib/node_exporter/wattlaw.prom",
     "for a dashboard"},
    {NULL, NULL}};

const struct cli_command CMD_watch = {
    .name = "watch",
    .arguments = "[options] -- COMMAND [ARGS] | --pid N [--for TIME]",
    .summary = "measure any program: energy, CPU and RAM of it and its children",
    .description =
        "Runs COMMAND (its input, output and Ctrl-C are its own) or follows a process that runs, "
        "with all descendants. CPU time and RAM are those of the processes. Energy is that of the "
        "machine: gross, and net above the machine at rest, which is measured before the command "
        "starts or taken from the calmest stretch of the recording. No share of it is made up for "
        "the processes, so keep the machine quiet. On a terminal a line shows how things stand; -q "
        "keeps it out of the way of a program that talks.\n\n"
        "Exits with 0 when done, 1 when the command failed (its own code is shown), 3 when the "
        "figures are not to be trusted, 130 when the command was interrupted.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
