#include "cli/watch_result.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/json.h"
#include "base/units.h"
#include "cli/term.h"
#include "os/clock.h"
#include "os/machine.h"
#include "os/process.h"
#include "series/series.h"

#define Z95 1.96

// --- text ---------------------------------------------------------------------------------------

static void print_end(FILE *out, const struct watch_result *r) {
    char time[UNITS_TEXT_BYTES], end[128];
    fprintf(out, "%s%s%s", term_bold(out), units_seconds(time, series_seconds(r->t0_ns, r->t1_ns)),
            term_reset(out));
    if (r->has_wait_status) {
        fprintf(out, ", the command %s", os_describe_exit(end, sizeof end, r->wait_status));
    } else if (r->end == WATCH_END_EXIT) {
        fprintf(out, ", the process has ended");
    } else if (r->end == WATCH_END_INTERRUPTED) {
        fprintf(out, ", interrupted");
    }
    fputc('\n', out);
}

static void print_processes(FILE *out, const struct watch_result *r) {
    char core[UNITS_TEXT_BYTES], peak[UNITS_TEXT_BYTES];
    fprintf(out, "  CPU      %s of core time, AUC %.4g %%\u00b7s",
            units_seconds(core, r->cpu_core_s), r->cpu_auc_pct_s);
    if (isfinite(r->machine_cpu_pct)) {
        fprintf(out, "; the whole machine %.1f %%", r->machine_cpu_pct);
    }
    fprintf(out, "\n  RAM      %s peak, AUC %.4g MiB\u00b7s%s\n",
            units_bytes(peak, r->ram_peak_mib * UNITS_BYTES_PER_MIB), r->ram_auc_mib_s,
            r->is_pss ? "" : " (RSS: shared pages counted for each process)");
    fprintf(out, "  tree     %u process%s, %u at once", r->n_seen, r->n_seen == 1 ? "" : "es",
            r->n_most);
    if (r->n_left && r->has_wait_status) {
        fprintf(out, ", %u still running", r->n_left);
    }
    fputc('\n', out);
}

// "12.3 mWh +- 0.4 mWh", or the word.
static void print_figure(FILE *out, double joules, double sd_j, enum record_label says) {
    char value[UNITS_TEXT_BYTES], error[UNITS_TEXT_BYTES];
    if (!isfinite(joules)) {
        fprintf(out, "%-26s", "not known");
    } else if (says == LABEL_UNRESOLVED) {
        fprintf(out, "%-26s", "unresolved");
    } else {
        char both[2 * UNITS_TEXT_BYTES + 8];
        snprintf(both, sizeof both, "%s \u00b1 %s", units_energy(value, joules),
                 units_energy(error, Z95 * sd_j));
        fprintf(out, "%-27s", both); // the sign is two bytes
    }
}

static void print_energy(FILE *out, const struct watch_energy *e, bool is_primary, bool has_rest) {
    char watts[UNITS_TEXT_BYTES], idle[UNITS_TEXT_BYTES], flags[128];
    fprintf(out, "  %-8s net ", is_primary ? "energy" : "");
    print_figure(out, e->net_j, e->net_sd_j, e->net_says);
    fputs("gross ", out);
    print_figure(out, e->gross_j, e->gross_sd_j, e->gross_says);
    fprintf(out, "%s, scope %s, %s\n", e->source, e->scope, record_label_name(e->label));
    fprintf(out, "           mean %s W", units_number(watts, e->mean_w));
    if (isfinite(e->idle_w)) {
        fprintf(out, ", at rest %s W", units_number(idle, e->idle_w));
    } else if (has_rest) {
        fputs(", the rest was too short for this source (--idle SECONDS)", out);
    }
    if (e->coverage < 0.9995) {
        fprintf(out, ", %.1f %% of the time covered", 100 * e->coverage);
    }
    if (e->flags) {
        fprintf(out, "  (%s)", record_flags_text(flags, sizeof flags, e->flags));
    }
    fputc('\n', out);
}

static void print_idle(FILE *out, const struct watch_result *r) {
    char time[UNITS_TEXT_BYTES], flags[128];
    if (r->idle.t1_ns <= r->idle.t0_ns) {
        fputs("  at rest  not measured: net energy is not known (--idle SECONDS)\n", out);
        return;
    }
    fprintf(out, "  at rest  %s at %.1f %% CPU%s",
            units_seconds(time, series_seconds(r->idle.t0_ns, r->idle.t1_ns)), r->idle.cpu_pct,
            r->idle.t0_ns >= r->t0_ns ? ", the calmest stretch of the recording" : "");
    if (r->idle.flags) {
        fprintf(out, "  (%s)", record_flags_text(flags, sizeof flags, r->idle.flags));
    }
    fputc('\n', out);
}

static void print_window(FILE *out, const struct watch_result *r, const struct watch_window *window,
                         size_t number) {
    char net[UNITS_TEXT_BYTES], gross[UNITS_TEXT_BYTES], watts[UNITS_TEXT_BYTES];
    const struct watch_energy *e = &window->energy[0];
    bool is_resolved = e->net_says != LABEL_UNRESOLVED;
    fprintf(out, "  %4zu %9.2f %8.2f %9.3f %10.4g %10.4g %10.4g %11s %11s %7s\n", number,
            series_seconds(r->t0_ns, window->t0_ns), series_seconds(window->t0_ns, window->t1_ns),
            window->cpu_core_s, window->cpu_auc_pct_s, window->cpu_auc_paper_pct_s,
            window->ram_auc_mib_s,
            !isfinite(e->net_j) ? "-"
            : is_resolved       ? units_joules(net, e->net_j)
                                : "unresolved",
            !isfinite(e->gross_j)               ? "-"
            : e->gross_says != LABEL_UNRESOLVED ? units_joules(gross, e->gross_j)
                                                : "unresolved",
            units_number(watts, e->mean_w));
}

static void print_windows(FILE *out, const struct watch_result *r) {
    char time[UNITS_TEXT_BYTES];
    if (r->n_windows == 0) {
        fputs("\nno window of a second or more stands out in the CPU signal\n", out);
        return;
    }
    fprintf(out, "\n%swindows%s  CPU signal of the processes, gradient at 5 Hz", term_bold(out),
            term_reset(out));
    if (r->windows_from_ns > r->t0_ns) {
        fprintf(out, "; only after the first %s (older samples are not kept)",
                units_seconds(time, series_seconds(r->t0_ns, r->windows_from_ns)));
    }
    fprintf(out, "\n  %4s %9s %8s %9s %10s %10s %10s %11s %11s %7s\n", "", "start s", "time s",
            "core-s", "CPU %\u00b7s", "paper %\u00b7s", "MiB\u00b7s", "net", "gross", "W");
    for (size_t i = 0; i < r->n_windows; i++) {
        print_window(out, r, &r->window[i], i + 1);
    }
}

void watch_result_print(FILE *out, const struct watch_result *r) {
    char flags[256];
    print_end(out, r);
    print_processes(out, r);
    for (size_t i = 0; i < r->n_energies; i++) {
        print_energy(out, &r->energy[i], i == 0, r->idle.t1_ns > r->idle.t0_ns);
    }
    if (r->n_energies > 1) {
        fputs("           sources see different parts of the machine: do not add them\n", out);
    }
    print_idle(out, r);
    if (r->flags) {
        fprintf(out, "  flags    %s\n", record_flags_text(flags, sizeof flags, r->flags));
    }
    if (r->has_windows) {
        print_windows(out, r);
    }
}

// --- JSON ---------------------------------------------------------------------------------------

static json_t *figure_json(double joules, double sd_j, enum record_label says) {
    return json_pack("{s:o, s:o, s:s}", "j", wl_json_real(joules), "sd_j", wl_json_real(sd_j),
                     "label", record_label_name(says));
}

static json_t *flags_json(uint32_t flags) {
    char text[256];
    return json_string(record_flags_text(text, sizeof text, flags));
}

static json_t *energies_json(const struct watch_energy *energy, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct watch_energy *e = &energy[i];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:f, s:o}", "source",
                            e->source, "scope", e->scope, "label", record_label_name(e->label),
                            "gross", figure_json(e->gross_j, e->gross_sd_j, e->gross_says), "net",
                            figure_json(e->net_j, e->net_sd_j, e->net_says), "mean_w",
                            wl_json_real(e->mean_w), "idle_w", wl_json_real(e->idle_w), "idle_sd_w",
                            wl_json_real(e->idle_sd_w), "coverage", e->coverage, "flags",
                            flags_json(e->flags)));
    }
    return list;
}

static json_t *windows_json(const struct watch_result *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_windows; i++) {
        const struct watch_window *w = &r->window[i];
        json_array_append_new(list,
                              json_pack("{s:f, s:f, s:f, s:f, s:o, s:o, s:o}", "start_s",
                                        series_seconds(r->t0_ns, w->t0_ns), "seconds",
                                        series_seconds(w->t0_ns, w->t1_ns), "cpu_core_s",
                                        w->cpu_core_s, "cpu_auc_pct_s", w->cpu_auc_pct_s,
                                        "cpu_auc_paper_pct_s", wl_json_real(w->cpu_auc_paper_pct_s),
                                        "ram_auc_mib_s", wl_json_real(w->ram_auc_mib_s), "energy",
                                        energies_json(w->energy, r->n_energies)));
    }
    return list;
}

static json_t *command_json(const struct watch_result *r) {
    if (!r->has_wait_status) {
        return json_null();
    }
    bool has_exited = WIFEXITED(r->wait_status);
    return json_pack("{s:o, s:o}", "exit_code",
                     has_exited ? json_integer(WEXITSTATUS(r->wait_status)) : json_null(), "signal",
                     has_exited ? json_null() : json_integer(WTERMSIG(r->wait_status)));
}

static json_t *idle_json(const struct watch_result *r) {
    if (r->idle.t1_ns <= r->idle.t0_ns) {
        return json_null();
    }
    return json_pack("{s:f, s:o, s:o}", "seconds", series_seconds(r->idle.t0_ns, r->idle.t1_ns),
                     "cpu_pct", wl_json_real(r->idle.cpu_pct), "flags", flags_json(r->idle.flags));
}

static const char *const END_NAMES[] = {
    [WATCH_END_EXIT] = "exit", [WATCH_END_TIME] = "time", [WATCH_END_INTERRUPTED] = "interrupted"};

json_t *watch_result_json(const struct watch_result *r) {
    char start[32];
    json_t *object = json_pack(
        "{s:i, s:s, s:f, s:s, s:b, s:o, s:f, s:f, s:o, s:i, s:f, s:f, s:s}", "schema_version", 1,
        "start", os_format_utc(start, sizeof start, r->wall_ns), "seconds",
        series_seconds(r->t0_ns, r->t1_ns), "end", END_NAMES[r->end], "was_interrupted",
        r->was_interrupted, "command", command_json(r), "cpu_core_s", r->cpu_core_s,
        "cpu_auc_pct_s", r->cpu_auc_pct_s, "machine_cpu_pct", wl_json_real(r->machine_cpu_pct),
        "n_cores", os_n_cores(), "ram_auc_mib_s", r->ram_auc_mib_s, "ram_peak_mib", r->ram_peak_mib,
        "ram_kind", r->is_pss ? "pss" : "rss");
    json_t *more = json_pack(
        "{s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:f, s:b, s:o}", "n_processes",
        (int)r->n_seen, "n_processes_at_once", (int)r->n_most, "n_processes_left", (int)r->n_left,
        "freq_mhz", wl_json_real(r->freq_mhz), "temp_c", wl_json_real(r->temp_c), "steal_pct",
        wl_json_real(r->steal_pct), "flags", flags_json(r->flags), "idle", idle_json(r), "energy",
        energies_json(r->energy, r->n_energies), "n_samples", (json_int_t)r->n_samples,
        "n_missed_samples", (json_int_t)r->n_missed, "own_cpu_pct", r->own_cpu_pct,
        "is_trustworthy", r->doubt == NULL, "doubt",
        r->doubt ? json_string(r->doubt) : json_null());
    if (object && more && r->has_windows) {
        json_object_set_new(object, "windows", windows_json(r));
        json_object_set_new(object, "windows_from_s",
                            json_real(series_seconds(r->t0_ns, r->windows_from_ns)));
    }
    if (object && more) {
        json_object_update(object, more);
    }
    json_decref(more);
    return object;
}
