#include "report/prometheus.h"

#include <math.h>

#include "report/clean.h"

static void write_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

// Backslash, quote and line feed are escaped, as the format asks; what is not text becomes '?'.
static void write_label(struct buf *out, const char *name, const char *value) {
    buf_printf(out, "%s=\"", name);
    while (value && *value) {
        size_t len = clean_char_length(value);
        if (*value == '\n') {
            buf_puts(out, "\\n");
            len = 1;
        } else if (len == 0) {
            buf_puts(out, "?");
            len = clean_skip_length(value);
        } else {
            if (*value == '\\' || *value == '"') {
                buf_puts(out, "\\");
            }
            buf_append(out, value, len);
        }
        value += len;
    }
    buf_puts(out, "\"");
}

static void write_plain(const struct prometheus_snapshot *s, struct buf *out, const char *name,
                        const char *type, const char *help, double value) {
    if (!isfinite(value)) {
        return;
    }
    write_head(out, name, type, help);
    buf_printf(out, "%s{", name);
    write_label(out, "target", s->target);
    buf_printf(out, "} %.15g\n", value);
}

// The same help text whatever the kind: several files must agree on it.
static void write_memory(const struct prometheus_snapshot *s, struct buf *out) {
    if (!isfinite(s->memory_bytes)) {
        return;
    }
    write_head(out, "wattlaw_memory_bytes", "gauge",
               "Memory of the watched processes: pss divides shared pages, rss repeats them.");
    buf_puts(out, "wattlaw_memory_bytes{");
    write_label(out, "target", s->target);
    buf_printf(out, ",kind=\"%s\"} %.15g\n", s->is_pss ? "pss" : "rss", s->memory_bytes);
}

enum figure { GROSS, IDLE, POWER };

static double figure_of(const struct prometheus_source *source, enum figure figure) {
    switch (figure) {
    case GROSS: return source->gross_j;
    case IDLE: return source->idle_j;
    default: return source->power_w;
    }
}

// One family with a line for each source that knows the figure; none at all writes nothing.
static void write_sources(const struct prometheus_snapshot *s, struct buf *out, const char *name,
                          const char *type, const char *help, enum figure figure) {
    bool has_head = false;
    for (size_t i = 0; i < s->n_sources && i < PROMETHEUS_MAX_SOURCES; i++) {
        double value = figure_of(&s->source[i], figure);
        if (!isfinite(value)) {
            continue;
        }
        if (!has_head) {
            write_head(out, name, type, help);
            has_head = true;
        }
        buf_printf(out, "%s{", name);
        write_label(out, "target", s->target);
        buf_puts(out, ",");
        write_label(out, "source", s->source[i].source);
        buf_puts(out, ",");
        write_label(out, "scope", s->source[i].scope);
        buf_puts(out, ",");
        write_label(out, "label", s->source[i].label);
        buf_printf(out, "} %.15g\n", value);
    }
}

bool prometheus_write(const struct prometheus_snapshot *s, struct buf *out) {
    write_sources(s, out, "wattlaw_energy_joules_total", "counter",
                  "Energy of the machine since the watching began; never add different scopes.",
                  GROSS);
    write_sources(s, out, "wattlaw_idle_joules_total", "counter",
                  "Energy that the machine at rest would have taken in the same time.", IDLE);
    write_sources(s, out, "wattlaw_power_watts", "gauge", "Power of the machine, last second.",
                  POWER);
    write_plain(s, out, "wattlaw_cpu_seconds_total", "counter",
                "CPU time of the watched processes, user and system, all cores.", s->cpu_core_s);
    write_plain(s, out, "wattlaw_watched_seconds_total", "counter", "Time watched.", s->seconds);
    write_memory(s, out);
    write_plain(s, out, "wattlaw_processes", "gauge", "Watched processes alive.", s->n_processes);
    return !out->is_failed;
}
