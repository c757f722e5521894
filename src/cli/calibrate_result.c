#include "cli/calibrate_result.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "cli/term.h"
#include "os/clock.h"
#include "os/file.h"

static const double J_PER_GB = 1e9; // per byte -> per gigabyte, per operation -> per billion

enum wl_status calibrate_result_store(struct cli_context *context,
                                      const struct calibrate_result *result, const char *path,
                                      struct wl_err *err) {
    struct meter_calibration_set set;
    struct wl_err old_err = {0};
    enum wl_status status = meter_calibration_load(path, &set, &old_err);
    if (status != WL_OK && status != WL_NOT_FOUND) {
        cli_warn(context, "%s; it is replaced", old_err.message);
    }
    size_t n_before = set.n, n_calibrated = 0, n_new = 0;
    status = calibrate_claim(context->common.root, &set, err);
    if (status == WL_OK && set.n < n_before) {
        cli_warn(context, "calibrations of another machine or CPU governor were dropped");
    }
    for (size_t i = 0; i < result->n_findings && status == WL_OK; i++) {
        const struct calibrate_finding *f = &result->finding[i];
        if (f->is_trusted) {
            status = meter_calibration_put(&set, &f->item, err);
            n_calibrated += !f->item.is_lag_only;
            n_new++;
        }
    }
    if (status == WL_OK && n_new) {
        status = meter_calibration_save(path, &set, err);
    }
    if (status == WL_OK && n_calibrated == 0) {
        status = wl_err_set(err, WL_UNTRUSTED, "no source could be calibrated: %s",
                            result->n_findings ? result->finding[0].reason : "there is none");
    }
    return status;
}

// --- text ---------------------------------------------------------------------------------------

static void print_blocks(const struct calibrate_result *r) {
    printf("%s%-22s %8s %18s", term_bold(stdout), "block", "time", r->reference);
    for (size_t i = 0; i < r->n_targets; i++) {
        printf(" %12s", r->target[i]->name);
    }
    printf("%s\n", term_reset(stdout));
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct calibrate_block *b = &r->block[i];
        printf("%-22s %6.1f s ", calibrate_kind_name(b->kind),
               (double)(b->t1_ns - b->t0_ns) * 1e-9);
        if (b->reference.is_valid) {
            printf("%8.2f \u00b1 %-5.2f W", b->reference.power_w, 1.96 * b->reference.sd_w);
        } else {
            printf("%18s", "-");
        }
        for (size_t k = 0; k < r->n_targets; k++) {
            if (b->target[k].is_valid) {
                printf(" %10.2f W", b->target[k].power_w);
            } else {
                printf(" %12s", "-");
            }
        }
        putchar('\n');
    }
}

static void print_lag(const struct meter_calibration *item) {
    if (item->lag_sd_ns > 0) {
        printf("    lag %.2f \u00b1 %.2f s, smoothing %.2f s\n", (double)item->lag_ns * 1e-9,
               1.96 * (double)item->lag_sd_ns * 1e-9, (double)item->smoothing_ns * 1e-9);
    }
}

static void print_terms(const struct meter_terms *terms) {
    static const char *const NAMES[] = {"idle", "busy core", "memory", "arithmetic"};
    static const char *const UNITS[] = {"W", "W", "J per GB", "J per 10^9 operations"};
    for (int i = 0; i < METER_CALIBRATION_TERMS; i++) {
        double scale = i < 2 ? 1 : J_PER_GB;
        printf("    %-10s %9.3g \u00b1 %.2g %s%s\n", NAMES[i], scale * terms->value[i],
               1.96 * scale * sqrt(fmax(terms->covariance[i][i], 0)), UNITS[i],
               terms->is_fitted[i] ? "" : "  (the blocks tell little of it)");
    }
}

static void print_item(const struct meter_calibration *item) {
    if (item->is_model) {
        print_terms(&item->terms);
    } else if (!item->is_lag_only) {
        printf("    reference = %.4g (\u00b1 %.2g) x shown %+.3g (\u00b1 %.2g) W\n",
               item->gain.gain, 1.96 * item->gain.gain_sd, item->gain.offset_w,
               1.96 * item->gain.offset_sd_w);
    }
    print_lag(item);
    if (!item->is_lag_only) {
        printf("    r2 %.4f, residuals %.2g W, %u blocks\n", item->r2, item->residual_sd_w,
               item->n_blocks);
    }
}

static void print_finding(const struct calibrate_finding *f) {
    printf("\n%s%s%s", term_bold(stdout), f->item.source, term_reset(stdout));
    if (f->item.is_lag_only) {
        puts(" (the reference)");
    } else if (f->is_trusted) {
        puts(": calibrated");
    } else {
        printf(": left as it is: %s\n", f->reason);
        return;
    }
    print_item(&f->item);
    if (isfinite(f->after_rel)) {
        printf("    net power off by %.1f %% before, %.1f %% now; stated error (1 sigma) %.1f %% "
               "before, %.1f %% now\n",
               100 * f->before_rel, 100 * f->after_rel, 100 * f->claimed_before_rel,
               100 * f->claimed_after_rel);
    }
    if (f->scope_before != f->item.scope && !f->item.is_lag_only) {
        printf("    speaks for the %s now, not only the %s\n", meter_scope_name(f->item.scope),
               meter_scope_name(f->scope_before));
    }
}

static void print_where(const char *path) {
    char dir[OS_PATH_BYTES];
    if (path) {
        printf("\nstored in %s; only --show and --forget with --out read it\n", path);
    } else if (os_data_dir(dir, NULL) == WL_OK) {
        printf("\nstored in %s/machine.json\n", dir);
    }
}

// --- JSON ---------------------------------------------------------------------------------------

static json_t *power_json(const struct calibrate_power *power) {
    return power->is_valid ? json_pack("{s:o, s:o}", "power_w", wl_json_real(power->power_w),
                                       "sd_w", wl_json_real(power->sd_w))
                           : json_null();
}

static json_t *blocks_json(const struct calibrate_result *r) {
    json_t *blocks = json_array();
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct calibrate_block *b = &r->block[i];
        json_t *targets = json_object();
        for (size_t k = 0; k < r->n_targets; k++) {
            json_object_set_new(targets, r->target[k]->name, power_json(&b->target[k]));
        }
        json_array_append_new(blocks, json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "block",
                                                calibrate_kind_name(b->kind), "seconds",
                                                (double)(b->t1_ns - b->t0_ns) * 1e-9, "core_s",
                                                b->amounts.core_s, "bytes", b->amounts.bytes,
                                                "flops", b->amounts.flops, "other_cpu_pct",
                                                b->other_cpu_pct, "reference",
                                                power_json(&b->reference), "sources", targets));
    }
    return blocks;
}

static json_t *findings_json(const struct calibrate_result *r) {
    json_t *findings = json_array();
    for (size_t i = 0; i < r->n_findings; i++) {
        const struct calibrate_finding *f = &r->finding[i];
        json_t *item = json_null();
        if (f->is_trusted) {
            struct meter_calibration_set one = {.n = 1, .item = {f->item}};
            json_t *set = meter_calibration_to_json(&one);
            item = json_incref(json_array_get(json_object_get(set, "calibrations"), 0));
            json_decref(set);
        }
        json_array_append_new(findings,
                              json_pack("{s:s, s:b, s:s, s:o, s:o, s:o, s:o, s:o}", "source",
                                        f->item.source, "is_trusted", f->is_trusted, "reason",
                                        f->reason, "net_error_before_rel",
                                        wl_json_real(f->before_rel), "net_error_after_rel",
                                        wl_json_real(f->after_rel), "stated_before_rel",
                                        wl_json_real(f->claimed_before_rel), "stated_after_rel",
                                        wl_json_real(f->claimed_after_rel), "calibration", item));
    }
    return findings;
}

static void print_json(json_t *document) {
    json_dumpf(document, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(document);
}

void calibrate_result_print(const struct calibrate_result *r, const char *path, bool is_json) {
    if (is_json) {
        print_json(json_pack("{s:i, s:s, s:s, s:f, s:o, s:o}", "schema_version", 1, "reference",
                             r->reference, "scope", meter_scope_name(r->scope),
                             "reference_error_rel", r->reference_error_rel, "blocks",
                             blocks_json(r), "findings", findings_json(r)));
        return;
    }
    bool is_stored = false;
    print_blocks(r);
    for (size_t i = 0; i < r->n_findings; i++) {
        print_finding(&r->finding[i]);
        is_stored = is_stored || r->finding[i].is_trusted;
    }
    if (is_stored) {
        print_where(path);
    }
}

void calibrate_result_show(const struct meter_calibration_set *set, bool is_json) {
    if (is_json) {
        print_json(meter_calibration_to_json(set));
        return;
    }
    printf("machine   %s\ngovernor  %s\nkernel    %s\n", set->machine,
           set->governor[0] ? set->governor : "not visible", set->kernel);
    for (size_t i = 0; i < set->n; i++) {
        const struct meter_calibration *item = &set->item[i];
        char when[32];
        printf("\n%s%s%s against %s, scope %s, %s\n", term_bold(stdout), item->source,
               term_reset(stdout), item->reference, meter_scope_name(item->scope),
               os_format_utc(when, sizeof when, item->wall_ns));
        print_item(item);
    }
}
