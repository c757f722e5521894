// From the blocks to the calibrations.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "measure/calibrate.h"
#include "stats/calibration_line.h"
#include "stats/nonneg.h"

// A line is refused beyond these; so is a model whose net energy would stay this unsure.
static const double MIN_R2 = 0.9, MAX_GAIN_REL_SD = 0.2, MIN_GAIN = 0.1, MAX_GAIN = 10;
static const double MAX_MODEL_REL_SD = 0.3;
// Powers must differ by this share of idle, and by this many sds, to tell one block from another.
static const double MIN_SPAN_REL = 0.03, MIN_SPAN_SDS = 5;
// No model of four terms fits a machine better than this: what a block deviates by although the
// meters agree (share of its net power), and what other work deviates by, of which no block was
// (docs: published two- and three-term models err by 5 to 12 %).
static const double MODEL_MISFIT_REL = 0.03, MODEL_MIN_REL_SD = 0.05;
static const double FLOOR_REL = 0.002; // of a power, where a meter claims to have no noise
// Beforehand the terms are known to about their own size; idle is read off the blocks anyway.
static const double PRIOR_IDLE_SDS = 3, PRIOR_TERM_SDS = 1;

enum { TERMS = METER_CALIBRATION_TERMS };

static double idle_w(const struct calibrate_result *r,
                     const struct calibrate_power *(*power)(const struct calibrate_block *, size_t),
                     size_t index) {
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct calibrate_power *p = power(&r->block[i], index);
        if (calibrate_kind_is_idle(r->block[i].kind) && p->is_valid) {
            sum += p->power_w;
            n++;
        }
    }
    return n ? sum / (double)n : (double)NAN;
}

static const struct calibrate_power *reference_of(const struct calibrate_block *block,
                                                  size_t index) {
    (void)index;
    return &block->reference;
}

static const struct calibrate_power *target_of(const struct calibrate_block *block, size_t index) {
    return &block->target[index];
}

static double block_seconds(const struct calibrate_block *block) {
    return series_seconds(block->t0_ns, block->t1_ns);
}

// --- can anything be learnt? --------------------------------------------------------------------

static enum wl_status check_reference(const struct calibrate_result *r, struct wl_err *err) {
    double low = INFINITY, high = -INFINITY, sd = 0;
    size_t n_idle = 0, n_loaded = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct calibrate_power *p = &r->block[i].reference;
        if (!p->is_valid || !isfinite(p->power_w) || p->power_w < 0) {
            continue;
        }
        bool is_idle = calibrate_kind_is_idle(r->block[i].kind);
        n_idle += is_idle;
        n_loaded += !is_idle;
        low = fmin(low, p->power_w);
        high = fmax(high, p->power_w);
        sd = fmax(sd, p->sd_w);
    }
    if (n_idle < 1 || n_loaded < 2) {
        return wl_err_set(err, WL_UNTRUSTED,
                          "the reference '%s' gave a figure for %zu idle and %zu busy blocks, "
                          "expected 1 and 2 at least; longer blocks may help",
                          r->reference, n_idle, n_loaded);
    }
    if (high - low < MIN_SPAN_SDS * sd || high - low < MIN_SPAN_REL * low) {
        return wl_err_set(
            err, WL_UNTRUSTED,
            "the reference '%s' shows %.3g to %.3g W over all blocks (\u00b1 %.2g): too "
            "little to tell work from idle; does it meter this machine?",
            r->reference, low, high, sd);
    }
    return WL_OK;
}

// --- a measuring source -------------------------------------------------------------------------

static struct calibrate_finding begin_finding(const struct calibrate_result *r,
                                              const char *source) {
    struct calibrate_finding f = {
        .before_rel = NAN, .after_rel = NAN, .claimed_before_rel = NAN, .claimed_after_rel = NAN};
    str_copy(f.item.source, sizeof f.item.source, source);
    str_copy(f.item.reference, sizeof f.item.reference, r->reference);
    f.item.scope = r->scope;
    f.item.n_blocks = (uint32_t)r->n_blocks;
    f.item.wall_ns = r->wall_ns;
    return f;
}

static void refuse(struct calibrate_finding *f, const char *why) {
    f->is_trusted = false;
    str_copy(f->reason, sizeof f->reason, why);
}

// What was found comes on top of what the source has stated, by which the readings were corrected.
static void set_lag(struct meter_calibration *item, const struct series_lag *lag,
                    const struct meter_info *info) {
    if (lag->is_found && lag->lag_sd_ns > 0) {
        item->lag_ns = info->lag_ns + lag->lag_ns;
        item->lag_sd_ns = lag->lag_sd_ns;
        item->smoothing_ns = info->smoothing_ns + lag->smoothing_ns;
    }
}

static size_t line_points(const struct calibrate_result *r, size_t index,
                          struct stats_line_point points[CALIBRATE_N_BLOCKS]) {
    size_t n = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct calibrate_power *shown = &r->block[i].target[index];
        const struct calibrate_power *reference = &r->block[i].reference;
        if (shown->is_valid && reference->is_valid) {
            points[n++] = (struct stats_line_point){
                .shown = shown->power_w,
                .shown_sd = fmax(shown->sd_w, FLOOR_REL * fabs(shown->power_w)),
                .reference = reference->power_w,
                .reference_sd = fmax(reference->sd_w, FLOOR_REL * reference->power_w)};
        }
    }
    return n;
}

// Root mean square of (gain * shown net) / (reference net) - 1 over the loaded blocks.
static double net_error(const struct calibrate_result *r, size_t index, double gain) {
    double shown_idle_w = idle_w(r, target_of, index);
    double reference_idle_w = idle_w(r, reference_of, 0);
    double squares = 0;
    size_t n = 0;
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct calibrate_block *block = &r->block[i];
        double net_w = block->reference.power_w - reference_idle_w;
        if (calibrate_kind_is_idle(block->kind) || !block->target[index].is_valid ||
            !block->reference.is_valid || !(net_w > 0)) {
            continue;
        }
        double error = gain * (block->target[index].power_w - shown_idle_w) / net_w - 1;
        squares += error * error;
        n++;
    }
    return n ? sqrt(squares / (double)n) : (double)NAN;
}

static void judge_line(const struct stats_line *line, struct calibrate_finding *f) {
    char why[sizeof f->reason];
    if (line->gain < MIN_GAIN || line->gain > MAX_GAIN) {
        snprintf(why, sizeof why, "a gain of %.3g: one of the two does not meter this machine",
                 line->gain);
        refuse(f, why);
    } else if (!(line->r2 >= MIN_R2)) {
        snprintf(why, sizeof why, "it follows the reference badly: r2 %.2f, expected %.1f",
                 line->r2, MIN_R2);
        refuse(f, why);
    } else if (line->gain_sd > MAX_GAIN_REL_SD * line->gain) {
        snprintf(why, sizeof why,
                 "its gain stays unsure: %.2f \u00b1 %.2f; longer blocks or a better reference",
                 line->gain, line->gain_sd);
        refuse(f, why);
    }
}

static struct calibrate_finding solve_line(const struct calibrate_result *r, size_t index) {
    const struct meter_info *info = r->target[index];
    struct calibrate_finding f = begin_finding(r, info->name);
    struct stats_line_point points[CALIBRATE_N_BLOCKS];
    struct stats_line line;
    struct wl_err err = {0};
    meter_calibration_device(info, f.item.device);
    f.is_trusted = true;
    f.scope_before = info->scope;
    f.claimed_before_rel = info->gain_error_rel;
    f.before_rel = net_error(r, index, 1);
    set_lag(&f.item, &r->target_lag[index], info);
    if (info->scope > r->scope) {
        refuse(&f, "it includes more of the machine than the reference does");
        return f;
    }
    size_t n = line_points(r, index, points);
    if (stats_calibration_line(points, n, &line, &err) != WL_OK) {
        refuse(&f, err.message);
        return f;
    }
    stats_calibration_line_widen(&line, r->reference_error_rel, r->reference_offset_error_w);
    f.item.gain = (struct meter_gain){.gain = line.gain,
                                      .offset_w = line.offset,
                                      .gain_sd = line.gain_sd,
                                      .offset_sd_w = line.offset_sd,
                                      .covariance = line.covariance};
    f.item.r2 = line.r2;
    f.item.residual_sd_w = line.residual_sd;
    f.item.n_blocks = (uint32_t)n;
    f.after_rel = net_error(r, index, line.gain);
    f.claimed_after_rel = line.gain_sd / line.gain;
    judge_line(&line, &f);
    return f;
}

// --- the model ----------------------------------------------------------------------------------

struct model_data {
    double rows[CALIBRATE_N_BLOCKS * TERMS]; // per second
    double y[CALIBRATE_N_BLOCKS], sd[CALIBRATE_N_BLOCKS];
    bool is_loaded[CALIBRATE_N_BLOCKS];
    size_t n;
    double prior[TERMS], prior_sd[TERMS];
    double idle_w;
};

static void pose_model(const struct calibrate_result *r, const struct meter_estimate_params *prior,
                       struct model_data *d) {
    *d = (struct model_data){.prior = {prior->idle_w, prior->core_w, prior->byte_j, prior->flop_j},
                             .idle_w = idle_w(r, reference_of, 0)};
    static const double SMALLEST[TERMS] = {0.1, 0.1, 1e-12, 1e-13};
    for (size_t k = 0; k < TERMS; k++) {
        double sds = k == 0 ? PRIOR_IDLE_SDS : PRIOR_TERM_SDS;
        d->prior_sd[k] = fmax(sds * d->prior[k], SMALLEST[k]);
    }
    for (size_t i = 0; i < r->n_blocks; i++) {
        const struct calibrate_block *block = &r->block[i];
        double seconds = block_seconds(block), power_w = block->reference.power_w;
        if (!block->reference.is_valid || !(seconds > 0)) {
            continue;
        }
        double *row = d->rows + d->n * TERMS;
        row[0] = 1;
        row[1] = block->amounts.core_s / seconds;
        row[2] = block->amounts.bytes / seconds;
        row[3] = block->amounts.flops / seconds;
        d->y[d->n] = power_w;
        d->sd[d->n] = hypot(fmax(block->reference.sd_w, FLOOR_REL * power_w),
                            MODEL_MISFIT_REL * fmax(power_w - d->idle_w, 0));
        d->is_loaded[d->n++] = !calibrate_kind_is_idle(block->kind);
    }
}

static double predict(const struct model_data *d, size_t i, const double terms[TERMS]) {
    double sum = 0;
    for (size_t k = 0; k < TERMS; k++) {
        sum += d->rows[i * TERMS + k] * terms[k];
    }
    return sum;
}

// Sum of squared errors of net power over the loaded blocks, relative; `n` counts them.
static double model_squares(const struct model_data *d, const double terms[TERMS], size_t *n) {
    double squares = 0;
    *n = 0;
    for (size_t i = 0; i < d->n; i++) {
        double net_w = d->y[i] - d->idle_w;
        if (d->is_loaded[i] && net_w > 0) {
            double error = (predict(d, i, terms) - terms[0]) / net_w - 1;
            squares += error * error;
            ++*n;
        }
    }
    return squares;
}

static void fill_quality(const struct model_data *d, const double terms[TERMS],
                         struct meter_calibration *item) {
    double mean = 0, rest = 0, total = 0;
    for (size_t i = 0; i < d->n; i++) {
        mean += d->y[i] / (double)d->n;
    }
    for (size_t i = 0; i < d->n; i++) {
        double residual = d->y[i] - predict(d, i, terms);
        rest += residual * residual;
        total += (d->y[i] - mean) * (d->y[i] - mean);
    }
    item->r2 = total > 0 ? 1 - rest / total : (double)NAN;
    item->residual_sd_w = sqrt(rest / (double)d->n);
    item->n_blocks = (uint32_t)d->n;
}

// 1 sigma of a net energy from the terms' own errors, relative: the worst of the loaded blocks.
static double terms_rel_sd(const struct model_data *d, const struct meter_terms *terms) {
    double worst = 0;
    for (size_t b = 0; b < d->n; b++) {
        double variance = 0, net_w = predict(d, b, terms->value) - terms->value[0];
        for (size_t i = 1; i < TERMS && d->is_loaded[b]; i++) {
            for (size_t j = 1; j < TERMS; j++) {
                variance +=
                    d->rows[b * TERMS + i] * d->rows[b * TERMS + j] * terms->covariance[i][j];
            }
        }
        worst = net_w > 0 ? fmax(worst, sqrt(fmax(variance, 0)) / net_w) : worst;
    }
    return worst;
}

static void fill_terms(const struct calibrate_result *r, const struct model_data *d,
                       const struct stats_nonneg *fit, struct meter_terms *out) {
    for (size_t i = 0; i < TERMS; i++) {
        out->value[i] = fit->value[i];
        out->is_fitted[i] = fit->is_fitted[i];
        for (size_t j = 0; j < TERMS; j++) {
            out->covariance[i][j] = fit->covariance[i][j];
        }
    }
    // What all figures of the reference share: idle here, net energy in rel_sd.
    out->covariance[0][0] +=
        pow(r->reference_error_rel * out->value[0], 2) + pow(r->reference_offset_error_w, 2);
    size_t n;
    double squares = model_squares(d, out->value, &n);
    double dof = fmax((double)n - (fit->n_effective - 1), 1); // idle has its own blocks
    out->rel_sd = hypot(fmax(sqrt(squares / dof), MODEL_MIN_REL_SD), r->reference_error_rel);
}

static struct calibrate_finding solve_model(const struct calibrate_result *r,
                                            const struct meter_estimate_params *prior) {
    struct calibrate_finding f = begin_finding(r, "estimate");
    struct model_data d;
    struct stats_nonneg fit;
    struct wl_err err = {0};
    size_t n;
    pose_model(r, prior, &d);
    f.is_trusted = true;
    f.item.is_model = true;
    f.scope_before = prior->scope;
    f.claimed_before_rel = prior->net_rel_sd;
    double squares = model_squares(&d, d.prior, &n);
    f.before_rel = n ? sqrt(squares / (double)n) : (double)NAN;
    struct stats_nonneg_data data = {d.rows, d.y, d.sd, d.n, TERMS, d.prior, d.prior_sd};
    if (stats_nonneg_fit(&data, &fit, &err) != WL_OK) {
        refuse(&f, err.message);
        return f;
    }
    fill_terms(r, &d, &fit, &f.item.terms);
    fill_quality(&d, f.item.terms.value, &f.item);
    f.after_rel = n ? sqrt(model_squares(&d, f.item.terms.value, &n) / (double)n) : (double)NAN;
    f.claimed_after_rel = hypot(f.item.terms.rel_sd, terms_rel_sd(&d, &f.item.terms));
    if (!f.item.terms.is_fitted[0] || !(f.claimed_after_rel <= MAX_MODEL_REL_SD)) {
        char why[sizeof f.reason];
        snprintf(
            why, sizeof why,
            "net energy would stay unsure by %.0f %%, expected at most %.0f %%: longer blocks, "
            "an idle machine, or a better reference",
            100 * f.claimed_after_rel, 100 * MAX_MODEL_REL_SD);
        refuse(&f, why);
    }
    return f;
}

// --- all ----------------------------------------------------------------------------------------

static struct calibrate_finding reference_lag(const struct calibrate_result *r) {
    struct calibrate_finding f = begin_finding(r, r->reference);
    meter_calibration_device(r->reference_info, f.item.device);
    str_copy(f.item.reference, sizeof f.item.reference, "pulses");
    f.is_trusted = true;
    f.scope_before = r->scope;
    f.item.is_lag_only = true;
    f.item.r2 = r->reference_lag.correlation * r->reference_lag.correlation;
    set_lag(&f.item, &r->reference_lag, r->reference_info);
    return f;
}

enum wl_status calibrate_solve(const struct calibrate_options *options, struct calibrate_result *r,
                               struct wl_err *err) {
    r->n_findings = 0;
    enum wl_status status = check_reference(r, err);
    if (status != WL_OK) {
        return status;
    }
    for (size_t i = 0; i < r->n_targets; i++) {
        r->finding[r->n_findings++] = solve_line(r, i);
    }
    if (options->prior) {
        r->finding[r->n_findings++] = solve_model(r, options->prior);
    }
    if (r->reference_info && r->reference_lag.is_found) {
        r->finding[r->n_findings++] = reference_lag(r);
    }
    return WL_OK;
}
