#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/term.h"
#include "engine/client.h"
#include "measure/calibrate.h"
#include "measure/source_check.h"
#include "meter/estimate.h"
#include "meter/meter_set.h"
#include "os/clock.h"
#include "sampler/machine.h"

static char *meters;
static int is_quick;

static const struct poptOption OPTIONS[] = {
    {"meters", 'M', POPT_ARG_STRING, &meters, 0,
     "also look at these sources, comma-separated (external meters are not opened otherwise)",
     "LIST"},
    {"quick", 'q', POPT_ARG_NONE, &is_quick, 0, "do not read the sources, only say what is there",
     NULL},
    POPT_TABLEEND};

static const double LOOK_S = 1.2, SLOW_LOOK_S = 8;

// An open source and what it did while it was looked at.
struct looked {
    char name[METER_NAME_BYTES];
    struct meter_info info;
    struct source_check check;
    bool has_check;
};

struct findings {
    struct machine machine;
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n_verdicts;
    struct looked looked[RECORD_MAX_ENERGIES];
    size_t n_looked;
    struct meter_estimate_params estimate;
    struct meter_calibration_set calibrations;
    char calibration_warning[CALIBRATE_WARNING_BYTES];
    struct engine *engine;
    struct wl_err engine_err;
};

static enum wl_status look_at(struct meter *meter, struct looked *out, struct wl_err *err) {
    out->info = *meter_info(meter);
    str_copy(out->name, sizeof out->name, out->info.name);
    if (out->info.kind == METER_MODEL) {
        return WL_OK; // it says itself what it does
    }
    enum wl_status status =
        source_check(meter, out->info.may_block ? SLOW_LOOK_S : LOOK_S, &out->check, err);
    out->has_check = status == WL_OK;
    return status == WL_INTERRUPTED ? status : WL_OK;
}

// Those that are certain to meter this machine and those that the user named.
static enum wl_status look_at_sources(const struct cli_context *context, struct findings *f,
                                      struct wl_err *err) {
    struct meter_env env = {
        .root = context->common.root, .estimate = &f->estimate, .calibrations = &f->calibrations};
    struct meter_set set;
    enum wl_status status = meter_set_open(&env, meters, &set, err);
    if (status != WL_OK) {
        return meters ? status : WL_OK; // what is wrong with the others the verdicts say
    }
    for (size_t i = 0; i < set.n && status == WL_OK; i++) {
        if (!context->common.quiet && isatty(STDERR_FILENO)) {
            fprintf(stderr, "\rlooking at %s... \r", meter_info(set.meter[i])->name);
        }
        status = look_at(set.meter[i], &f->looked[f->n_looked++], err);
    }
    if (isatty(STDERR_FILENO)) {
        fputs("\033[K", stderr);
    }
    meter_set_close(&set);
    return status;
}

static enum wl_status examine(struct cli_context *context, struct findings *f, struct wl_err *err) {
    enum wl_status status = machine_read(context->common.root, &f->machine, err);
    if (status != WL_OK) {
        return status;
    }
    struct meter_env env = {.root = context->common.root};
    meter_probe_all(&env, f->verdicts, &f->n_verdicts);
    meter_estimate_params_for(context->common.root, &f->estimate);
    status = calibrate_load_for_machine(context->common.root, &f->calibrations,
                                        f->calibration_warning, sizeof f->calibration_warning, err);
    if (status != WL_OK) {
        return status;
    }
    meter_estimate_apply(meter_calibration_find(&f->calibrations, "estimate"), &f->estimate);
    if (!is_quick) {
        status = look_at_sources(context, f, err);
    }
    engine_start(NULL, &f->engine, &f->engine_err); // its absence is a finding, not a failure
    return status;
}

static void print_machine(const struct machine *m) {
    char text[512], ram[UNITS_TEXT_BYTES], free_ram[UNITS_TEXT_BYTES];
    printf("%smachine%s   %s\n", term_bold(stdout), term_reset(stdout),
           machine_describe(m, text, sizeof text));
    printf("  cpu       %s, %u cores\n", m->cpu_model, m->n_cores);
    printf("  memory    %s, %s free\n", units_bytes(ram, (double)m->ram_bytes),
           units_bytes(free_ram, (double)m->ram_available_bytes));
    printf("  governor  %s%s\n", m->governor[0] ? m->governor : "not visible",
           strcmp(m->governor, "performance") == 0 || !m->governor[0]
               ? ""
               : "  (speed follows load: short windows scatter more; 'performance' is steadier)");
    if (m->is_virtual) {
        printf(
            "  virtual   %s: no energy counter is passed through, and others may take CPU time\n",
            m->hypervisor[0] ? m->hypervisor : "yes");
    }
    for (size_t i = 0; i < m->n_zones; i++) {
        printf("  thermal   %s %.0f C\n", m->zone[i].type, m->zone[i].temp_c);
    }
    if (m->has_throttled_bits && m->throttled_bits) {
        printf("  throttled bits 0x%x: check supply and cooling before you trust a figure\n",
               m->throttled_bits);
    }
    if (strcmp(m->power_supply, "battery") == 0) {
        puts("  battery   running on battery: clocks may be lower than on mains");
    }
}

static const struct looked *looked_at(const struct findings *f, const char *name) {
    for (size_t i = 0; i < f->n_looked; i++) {
        if (strcmp(f->looked[i].name, name) == 0) {
            return &f->looked[i];
        }
    }
    return NULL;
}

#define INDENT "                    "

static void print_look(const struct looked *l) {
    const struct meter_info *info = &l->info;
    char period[UNITS_TEXT_BYTES], read[UNITS_TEXT_BYTES], window[UNITS_TEXT_BYTES];
    if (!l->has_check || l->check.n_readings == 0) {
        puts(INDENT "gave no reading while it was looked at");
        return;
    }
    const struct source_check *c = &l->check;
    printf(INDENT "now %.3g W", c->power_w);
    if (c->period_ns > 0) {
        printf(", new every %s", units_seconds(period, (double)c->period_ns * 1e-9));
    } else {
        printf(", did not change (it says every %s)",
               units_seconds(period, (double)info->native_period_ns * 1e-9));
    }
    if (isfinite(c->noise_sd_w)) {
        printf(", scatter %.2g W", c->noise_sd_w);
    }
    printf(", a reading takes %s", units_seconds(read, (double)c->read_ns * 1e-9));
    if (c->n_gaps) {
        printf(", %zu of %zu readings failed", c->n_gaps, c->n_readings);
    }
    if (c->n_changes == 0) {
        puts("\n" INDENT "it stands still: nothing can be measured with it until it moves");
        return;
    }
    printf("\n" INDENT "expect windows from %s, joules within %.0f %%%s (95 %%)%s\n",
           units_seconds(window, (double)c->min_window_ns * 1e-9), 196 * info->gain_error_rel,
           info->offset_error_w > 0 ? " and its offset" : "",
           info->label == LABEL_CALIBRATED
               ? ", calibrated"
               : "; better after 'wattlaw calibrate' against a better meter");
}

static void print_fix(const char *fix) {
    for (const char *line = fix; *line;) {
        size_t len = strcspn(line, "\n");
        printf(INDENT "-> %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static void print_verdict(const struct findings *f, const struct meter_verdict *v) {
    bool is_there = v->availability == METER_AVAILABLE;
    printf("  %s %-13s %s", is_there ? "yes" : "no ", v->name, v->title);
    if (is_there) {
        printf(" (scope %s, %s)", meter_scope_name(v->scope), record_label_name(v->label));
    }
    printf("\n" INDENT "%s\n", v->reason);
    if (is_there && (v->is_external || v->is_slow)) {
        printf(INDENT "used when named, because it %s: --meters %s\n",
               v->is_external ? "may feed another machine" : "is slow", v->name);
    }
    const struct looked *l = looked_at(f, v->name);
    if (l && l->info.kind != METER_MODEL) {
        print_look(l);
    }
    print_fix(v->fix);
}

// The sources that need to be told where to look come last, in short.
static void print_sources(const struct findings *f) {
    printf("\n%senergy sources%s, best first\n", term_bold(stdout), term_reset(stdout));
    for (size_t i = 0; i < f->n_verdicts; i++) {
        if (f->verdicts[i].availability != METER_ON_REQUEST) {
            print_verdict(f, &f->verdicts[i]);
        }
    }
    printf("\n%smeters to add%s, with --meters NAME:WHERE\n", term_bold(stdout),
           term_reset(stdout));
    for (size_t i = 0; i < f->n_verdicts; i++) {
        const struct meter_verdict *v = &f->verdicts[i];
        if (v->availability == METER_ON_REQUEST) {
            printf("      %-13s %s\n" INDENT "%s\n", v->name, v->title, v->reason);
            const struct looked *l = looked_at(f, v->name);
            if (l) {
                print_look(l);
            }
        }
    }
}

static void print_calibrations(const struct findings *f) {
    printf("\n%scalibrated%s\n", term_bold(stdout), term_reset(stdout));
    for (size_t i = 0; i < f->calibrations.n; i++) {
        const struct meter_calibration *c = &f->calibrations.item[i];
        char when[32];
        printf("  yes %-13s against %s on %.10s, R2 %.3f\n", c->source, c->reference,
               os_format_utc(when, sizeof when, c->wall_ns), c->r2);
    }
    if (f->calibrations.n == 0) {
        printf("  no  %s\n",
               f->calibration_warning[0]
                   ? f->calibration_warning
                   : "nothing: 'wattlaw calibrate' compares the sources with a better "
                     "meter, or with watts that you read from a display");
    }
}

static void print_engine(const struct findings *f) {
    printf("\n%sengine%s\n", term_bold(stdout), term_reset(stdout));
    if (!f->engine) {
        printf("  no  %s\n", f->engine_err.message);
        return;
    }
    const json_t *hello = engine_hello(f->engine);
    printf("  yes llama.cpp %s", wl_json_opt_string(hello, "llama", "?"));
    const json_t *backends = json_object_get(hello, "backends");
    for (size_t i = 0; i < json_array_size(backends); i++) {
        const char *name = json_string_value(json_array_get(backends, i));
        printf("%s%s", i ? ", " : ", back ends: ", name ? name : "?");
    }
    putchar('\n');
}

static void print_text(const struct findings *f) {
    print_machine(&f->machine);
    print_sources(f);
    printf("\n  the model takes this machine for %s (%s):\n"
           "  idle %.1f W, %.2f J per core-second, net energy \u00b1 %.0f %% (1 sigma)\n",
           f->estimate.class_name, f->estimate.reason, f->estimate.idle_w, f->estimate.core_w,
           100 * f->estimate.net_rel_sd);
    print_calibrations(f);
    print_engine(f);
}

static json_t *look_json(const struct looked *l) {
    const struct meter_info *info = &l->info;
    const struct source_check *c = &l->check;
    json_t *object =
        json_pack("{s:s, s:s, s:b, s:f, s:f, s:f}", "kind", meter_kind_name(info->kind), "label",
                  record_label_name(info->label), "includes_dram", info->includes_dram,
                  "gain_error_rel", info->gain_error_rel, "offset_error_w", info->offset_error_w,
                  "stated_period_s", (double)info->native_period_ns * 1e-9);
    if (l->has_check) {
        json_object_set_new(object, "n_readings", json_integer((json_int_t)c->n_readings));
        json_object_set_new(object, "n_gaps", json_integer((json_int_t)c->n_gaps));
        json_object_set_new(object, "period_s",
                            c->period_ns ? json_real((double)c->period_ns * 1e-9) : json_null());
        json_object_set_new(object, "read_s", json_real((double)c->read_ns * 1e-9));
        json_object_set_new(object, "power_w", wl_json_real(c->power_w));
        json_object_set_new(object, "noise_sd_w", wl_json_real(c->noise_sd_w));
        json_object_set_new(object, "min_window_s", json_real((double)c->min_window_ns * 1e-9));
    }
    return object;
}

static json_t *verdicts_json(const struct findings *f) {
    json_t *list = json_array();
    for (size_t i = 0; i < f->n_verdicts; i++) {
        const struct meter_verdict *v = &f->verdicts[i];
        const struct looked *l = looked_at(f, v->name);
        json_t *object = json_pack(
            "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b}", "name", v->name, "title", v->title,
            "availability", meter_availability_name(v->availability), "scope",
            meter_scope_name(v->scope), "label", record_label_name(v->label), "reason", v->reason,
            "fix", v->fix, "is_external", v->is_external, "is_slow", v->is_slow);
        if (l) {
            json_object_set_new(object, "look", look_json(l));
        }
        json_array_append_new(list, object);
    }
    return list;
}

static void print_json(const struct findings *f) {
    const struct meter_estimate_params *e = &f->estimate;
    json_t *document =
        json_pack("{s:i, s:o, s:o, s:{s:s, s:s, s:f, s:f, s:f, s:b}}", "schema_version", 1,
                  "machine", machine_to_json(&f->machine), "sources", verdicts_json(f), "estimate",
                  "class", e->class_name, "reason", e->reason, "idle_w", e->idle_w, "core_w",
                  e->core_w, "net_rel_sd", e->net_rel_sd, "is_class_known", e->is_class_known);
    if (f->engine) {
        json_object_set(document, "engine", (json_t *)engine_hello(f->engine));
    } else {
        json_object_set_new(document, "engine", json_null());
        json_object_set_new(document, "engine_error", json_string(f->engine_err.message));
    }
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

static int run(struct cli_context *context) {
    struct wl_err err = {0};
    struct findings findings = {0};
    if (context->n_args) {
        return cli_usage(context, "unexpected argument '%s'", context->args[0]);
    }
    enum wl_status status = examine(context, &findings, &err);
    if (status != WL_OK) {
        return cli_fail(status, &err);
    }
    if (context->common.json) {
        print_json(&findings);
    } else {
        print_text(&findings);
    }
    bool has_engine = findings.engine != NULL;
    engine_stop(findings.engine);
    return has_engine ? 0 : wl_status_exit_code(WL_NOT_FOUND);
}

static const struct cli_example EXAMPLES[] = {
    {"wattlaw doctor", "what works here, and the command that enables the rest"},
    {"wattlaw doctor -M shelly:plug.local", "how often and how steadily that plug shows power"},
    {NULL, NULL}};

const struct cli_command CMD_doctor = {
    .name = "doctor",
    .arguments = "[-M LIST] [--quick] [--json]",
    .summary = "what this machine can measure, and how to enable the rest",
    .description =
        "Lists the machine, every energy source with the reason why it cannot be used "
        "and the command that fixes it, and what the energy model assumes where there is no "
        "meter, and the engine.\n\n"
        "Sources that work are read for a second each (slow ones for eight): how often "
        "they really change, how much they scatter, what a reading costs, and what "
        "accuracy to expect of them.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
