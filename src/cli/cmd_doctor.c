#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "cli/command.h"
#include "cli/term.h"
#include "engine/client.h"
#include "meter/estimate.h"
#include "meter/meter.h"
#include "sampler/machine.h"

static const struct poptOption OPTIONS[] = {POPT_TABLEEND};

struct findings {
    struct machine machine;
    struct meter_verdict verdicts[METER_MAX_SOURCES];
    size_t n_verdicts;
    struct meter_estimate_params estimate;
    struct engine *engine;
    struct wl_err engine_err;
};

static enum wl_status examine(struct cli_context *context, struct findings *f, struct wl_err *err) {
    enum wl_status status = machine_read(context->common.root, &f->machine, err);
    if (status != WL_OK) {
        return status;
    }
    struct meter_env env = {.root = context->common.root};
    meter_probe_all(&env, f->verdicts, &f->n_verdicts);
    meter_estimate_params_for(context->common.root, &f->estimate);
    engine_start(NULL, &f->engine, &f->engine_err); // its absence is a finding, not a failure
    return WL_OK;
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

static void print_verdict(const struct meter_verdict *v) {
    const char *mark = v->availability == METER_AVAILABLE ? "yes" : "no ";
    printf("  %s %-10s %s", mark, v->name, v->title);
    if (v->availability == METER_AVAILABLE) {
        printf(" (scope %s, %s)", meter_scope_name(v->scope), record_label_name(v->label));
    }
    printf("\n                 %s\n", v->reason);
    for (const char *line = v->fix; *line;) {
        size_t len = strcspn(line, "\n");
        printf("                 -> %.*s\n", (int)len, line);
        line += len + (line[len] == '\n');
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
    printf("\n%senergy sources%s, best first\n", term_bold(stdout), term_reset(stdout));
    for (size_t i = 0; i < f->n_verdicts; i++) {
        print_verdict(&f->verdicts[i]);
    }
    printf("\n  the model takes this machine for %s (%s):\n"
           "  idle %.1f W, %.2f J per core-second, net energy \u00b1 %.0f %% (1 sigma)\n",
           f->estimate.class_name, f->estimate.reason, f->estimate.idle_w, f->estimate.core_w,
           100 * f->estimate.net_rel_sd);
    print_engine(f);
}

static json_t *verdicts_json(const struct findings *f) {
    json_t *list = json_array();
    for (size_t i = 0; i < f->n_verdicts; i++) {
        const struct meter_verdict *v = &f->verdicts[i];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "name", v->name, "title",
                            v->title, "availability", meter_availability_name(v->availability),
                            "scope", meter_scope_name(v->scope), "label",
                            record_label_name(v->label), "reason", v->reason, "fix", v->fix));
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
    {"wattlaw doctor", "what works here, and the command that enables the rest"}, {NULL, NULL}};

const struct cli_command CMD_doctor = {
    .name = "doctor",
    .arguments = "[--json]",
    .summary = "what this machine can measure, and how to enable the rest",
    .description = "Lists the machine, every energy source with the reason why it cannot be used "
                   "and the command that fixes it, what the energy model assumes where there is no "
                   "meter, and the engine.",
    .options = OPTIONS,
    .examples = EXAMPLES,
    .run = run,
};
