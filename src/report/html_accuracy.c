// Right answers: against the image budget beside what an answer costs, and by kind of question.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/html_sections.h"
#include "report/html_vision.h"
#include "report/svg.h"

enum { MAX_GROUPS = 16 };
// From this ratio of the most to the fewest tokens on, the axis is logarithmic.
#define LOG_FROM 4.0

static const char *const LINE_CLASS[REPORT_MAX_MODELS] = {"line base", "line vs"};

bool html_has_accuracy(const struct report_result *result) {
    for (size_t m = 0; m < html_n_models(result); m++) {
        if (result->model[m].vision.n_accuracies > 0) {
            return true;
        }
    }
    return false;
}

static double share_pct(const struct report_accuracy *a) {
    return a->n > 0 ? 100 * (double)a->n_right / (double)a->n : (double)NAN;
}

// The groups of one model that have images, by falling budget.
struct image_groups {
    const struct report_accuracy_group *at[MAX_GROUPS];
    size_t n;
    const struct report_accuracy_group *saving; // NULL: none
};

static struct image_groups image_groups(const struct report_vision *vision) {
    struct image_groups groups = {.n = 0};
    for (size_t i = 0; i < vision->n_accuracies && groups.n < MAX_GROUPS; i++) {
        const struct report_accuracy_group *group = &vision->accuracy[i];
        bool has_place = isfinite(group->all.image_tokens.mean) && group->all.image_tokens.mean > 0;
        if (group->has_images && group->all.n > 0 && has_place) {
            groups.saving = groups.n > 0 && vision->saving == (int)i ? group : groups.saving;
            groups.at[groups.n++] = group;
        }
    }
    return groups;
}

// ---- charts against the budget ----

enum answer_cost { RIGHT_PCT, COST_ENERGY, COST_TIME };

struct mark {
    double x, y;
    struct stats_interval ci95;
};

static struct mark mark_of(const struct report_accuracy_group *group, enum answer_cost what) {
    const struct report_accuracy *a = &group->all;
    if (what == RIGHT_PCT) {
        return (struct mark){
            a->image_tokens.mean, share_pct(a), {100 * a->ci95.low, 100 * a->ci95.high}};
    }
    const struct report_accuracy_cost *cost = what == COST_TIME ? &a->time_s : &a->net_j;
    return (struct mark){a->image_tokens.mean, cost->mean, cost->ci95};
}

static enum metric_id cost_metric(enum answer_cost what) {
    return what == COST_TIME ? METRIC_time_s : METRIC_energy_net_j;
}

// Energy where every group of every model resolves it.
static enum answer_cost cost_of(const struct report_result *result) {
    enum answer_cost what = COST_ENERGY;
    for (size_t m = 0; m < html_n_models(result); m++) {
        struct image_groups groups = image_groups(&result->model[m].vision);
        for (size_t i = 0; i < groups.n; i++) {
            if (!groups.at[i]->all.is_energy_resolved || !isfinite(groups.at[i]->all.net_j.mean)) {
                what = COST_TIME;
            }
        }
    }
    return what;
}

struct range {
    double x_min, x_max, y_max;
    double tick[SVG_MAX_TICKS];
    size_t n, n_ticks;
};

static void add_tick(struct range *range, double x) {
    size_t i = range->n_ticks;
    for (size_t k = 0; k < range->n_ticks; k++) {
        if (range->tick[k] == x) {
            return;
        }
    }
    if (i < SVG_MAX_TICKS) {
        for (; i > 0 && range->tick[i - 1] > x; i--) {
            range->tick[i] = range->tick[i - 1];
        }
        range->tick[i] = x;
        range->n_ticks++;
    }
}

static struct range range_of(const struct report_result *result, enum answer_cost what) {
    struct range range = {.n = 0};
    for (size_t m = 0; m < html_n_models(result); m++) {
        struct image_groups groups = image_groups(&result->model[m].vision);
        for (size_t i = 0; i < groups.n; i++) {
            struct mark mark = mark_of(groups.at[i], what);
            if (!isfinite(mark.x) || !isfinite(mark.y) || !(mark.x > 0)) {
                continue;
            }
            double high = isfinite(mark.ci95.high) ? fmax(mark.ci95.high, mark.y) : mark.y;
            range.x_min = range.n ? fmin(range.x_min, mark.x) : mark.x;
            range.x_max = fmax(range.x_max, mark.x);
            range.y_max = fmax(range.y_max, fmin(high, 2 * mark.y));
            range.n++;
            add_tick(&range, round(mark.x));
        }
    }
    return range;
}

static struct svg_axis token_axis(const struct range *range) {
    bool is_log = range->x_max > LOG_FROM * range->x_min;
    double pad = (range->x_max - range->x_min) * 0.06 + 1;
    return (struct svg_axis){.title = is_log ? "Image tokens per answer (log scale)"
                                             : "Image tokens per answer",
                             .min = is_log ? range->x_min / 1.15 : fmax(0, range->x_min - pad),
                             .max = is_log ? range->x_max * 1.15 : range->x_max + pad,
                             .is_log = is_log,
                             .ticks = range->tick,
                             .n_ticks = range->n_ticks};
}

static void draw_groups(struct svg_plot *plot, const struct report_vision *vision, size_t m,
                        enum answer_cost what, struct figure_unit unit) {
    struct image_groups groups = image_groups(vision);
    double xs[MAX_GROUPS], ys[MAX_GROUPS];
    char css[32], tip[240], budget[FIGURE_BYTES], value[FIGURE_BYTES];
    for (size_t i = 0; i < groups.n; i++) {
        struct mark mark = mark_of(groups.at[i], what);
        xs[i] = mark.x > 0 ? mark.x : (double)NAN;
        ys[i] = mark.y * unit.factor;
    }
    svg_line(plot, HTML_ROLE[m], xs, ys, groups.n);
    for (size_t i = 0; i < groups.n; i++) {
        const struct report_accuracy_group *group = groups.at[i];
        struct mark mark = mark_of(group, what);
        if (what == RIGHT_PCT) {
            snprintf(value, sizeof value, "%.1f %% right", mark.y);
        } else {
            figure_text(value, cost_metric(what), mark.y);
        }
        snprintf(tip, sizeof tip, "%.40s: %.40s (n = %zu)%s",
                 html_budget_text(budget, group->image_max_tokens), value, group->all.n,
                 group == groups.saving ? ", the saving" : "");
        svg_whisker(plot, HTML_ROLE[m], xs[i], mark.ci95.low * unit.factor,
                    mark.ci95.high * unit.factor);
        snprintf(css, sizeof css, "dot %s", HTML_ROLE[m]);
        svg_dot(plot, css, xs[i], ys[i], 4.5, tip);
        if (group == groups.saving) {
            snprintf(css, sizeof css, "ring %s", HTML_ROLE[m]);
            svg_dot(plot, css, xs[i], ys[i], 9, "the saving");
        }
    }
}

static void put_plot(struct buf *out, const struct report_result *result, enum answer_cost what,
                     const char *title) {
    struct range range = range_of(result, what);
    char y_title[FIGURE_BYTES], id[32];
    struct svg_legend legend[REPORT_MAX_MODELS];
    if (range.n == 0) {
        return;
    }
    for (size_t m = 0; m < html_n_models(result); m++) {
        legend[m] = (struct svg_legend){LINE_CLASS[m], result->model[m].name, true};
    }
    struct figure_unit unit = what == RIGHT_PCT ? (struct figure_unit){1, "% right"}
                                                : figure_unit_for(cost_metric(what), range.y_max);
    snprintf(y_title, sizeof y_title, "%.40s%s", unit.text, what == RIGHT_PCT ? "" : " per answer");
    const struct svg_axis x = token_axis(&range);
    const struct svg_axis y = {.title = y_title,
                               .min = 0,
                               .max = what == RIGHT_PCT ? 100 : range.y_max * unit.factor,
                               .from_zero = true};
    struct svg_plot plot;
    snprintf(id, sizeof id, "answers-%d", (int)what);
    svg_open(&plot, out, id, title, "Against image tokens per answer, one point per budget", &x, &y,
             legend, result->n_models == 2 ? 2 : 0);
    for (size_t m = 0; m < html_n_models(result); m++) {
        struct image_groups groups = image_groups(&result->model[m].vision);
        if (groups.saving) {
            svg_vertical(&plot, "limit", groups.saving->all.image_tokens.mean);
        }
        draw_groups(&plot, &result->model[m].vision, m, what, unit);
    }
    svg_close(&plot);
}

// ---- the sentences ----

static void say_points(struct buf *out, double points, struct stats_interval ci95) {
    char text[FIGURE_BYTES];
    if (!isfinite(points)) {
        buf_puts(out, "an unknown change");
        return;
    }
    snprintf(text, sizeof text, "%+.1f", points);
    html_figure(out, text);
    buf_puts(out, " points");
    if (isfinite(ci95.low) && isfinite(ci95.high)) {
        snprintf(text, sizeof text, " (%+.1f to %+.1f)", ci95.low, ci95.high);
        html_figure(out, text);
    }
}

static void say_ratio(struct buf *out, double ratio, struct stats_interval ci95, const char *what) {
    char text[FIGURE_BYTES];
    if (!isfinite(ratio)) {
        return;
    }
    buf_puts(out, " and ");
    html_figure(out, figure_change(text, ratio));
    html_say(out, " %s", what);
    if (figure_change_interval(text, ci95)[0]) {
        buf_puts(out, " (");
        html_figure(out, text);
        buf_puts(out, ")");
    }
}

static double tokens_of(const struct report_accuracy_group *group) {
    return group->all.image_tokens.mean;
}

// The next group with fewer tokens than `group`; NULL when there is none.
static const struct report_accuracy_group *next_below(const struct image_groups *groups,
                                                      const struct report_accuracy_group *group) {
    const struct report_accuracy_group *next = NULL;
    for (size_t i = 0; i < groups->n; i++) {
        double tokens = tokens_of(groups->at[i]);
        if (tokens < tokens_of(group) && (!next || tokens > tokens_of(next))) {
            next = groups->at[i];
        }
    }
    return next;
}

static void say_saving(struct buf *out, const struct image_groups *groups) {
    const struct report_accuracy_group *saving = groups->saving;
    html_say(out, "%.0f image tokens instead of %.0f are the fewest that lost at most %.0f point: ",
             tokens_of(saving), tokens_of(groups->at[0]), REPORT_SAVING_POINTS);
    say_points(out, saving->accuracy_change, saving->accuracy_change_ci95);
    bool has_energy = saving->all.is_energy_resolved && isfinite(saving->net_j_ratio);
    say_ratio(out, has_energy ? saving->net_j_ratio : saving->time_ratio,
              has_energy ? saving->net_j_ratio_ci95 : saving->time_ratio_ci95,
              has_energy ? "net energy per answer" : "time per answer");
    if (!(saving->accuracy_change_ci95.low > -REPORT_SAVING_EXCLUDES)) {
        html_say(out, ". A loss of %.0f points is not excluded: more questions would tell",
                 REPORT_SAVING_EXCLUDES);
    }
    const struct report_accuracy_group *next = next_below(groups, saving);
    if (next) {
        html_say(out, "; at %.0f tokens it is ", tokens_of(next));
        say_points(out, next->accuracy_change, next->accuracy_change_ci95);
    }
}

static void say_model(struct buf *out, const struct image_groups *groups) {
    if (groups->n == 1) {
        html_say(out,
                 "%.1f\xc2\xa0%% of %zu questions with images were answered right, at %.0f "
                 "image tokens; no other budget was tried",
                 share_pct(&groups->at[0]->all), groups->at[0]->all.n, tokens_of(groups->at[0]));
        return;
    }
    if (groups->saving) {
        say_saving(out, groups);
        return;
    }
    const struct report_accuracy_group *next = next_below(groups, groups->at[0]);
    html_say(out, "No smaller budget kept the accuracy within %.0f point", REPORT_SAVING_POINTS);
    if (next) {
        html_say(out, ": %.0f tokens instead of %.0f change it by ", tokens_of(next),
                 tokens_of(groups->at[0]));
        say_points(out, next->accuracy_change, next->accuracy_change_ci95);
    }
}

static void say_accuracy(struct buf *out, const struct report_result *result) {
    bool has_saving = false;
    for (size_t m = 0; m < html_n_models(result); m++) {
        struct image_groups groups = image_groups(&result->model[m].vision);
        if (groups.n > 0) {
            html_say(out, "%s%s%s", m > 0 ? " " : "", result->n_models == 2 ? HTML_ROLE[m] : "",
                     result->n_models == 2 ? ": " : "");
            say_model(out, &groups);
            buf_puts(out, ".");
            has_saving |= groups.saving != NULL;
        }
    }
    buf_puts(out, has_saving ? " Ring: the saving." : "");
}

static void say_cost(struct buf *out, const struct report_result *result, enum answer_cost what) {
    char high[FIGURE_BYTES], low[FIGURE_BYTES];
    for (size_t m = 0; m < html_n_models(result); m++) {
        struct image_groups groups = image_groups(&result->model[m].vision);
        if (groups.n == 0) {
            continue;
        }
        const struct report_accuracy_group *last = groups.at[groups.n - 1];
        html_say(out, "%s%s%sn answer costs %s at %.0f image tokens", m > 0 ? " " : "",
                 result->n_models == 2 ? HTML_ROLE[m] : "", result->n_models == 2 ? ": a" : "A",
                 figure_text(high, cost_metric(what), mark_of(groups.at[0], what).y),
                 tokens_of(groups.at[0]));
        if (groups.n > 1) {
            html_say(out, " and %s at %.0f",
                     figure_text(low, cost_metric(what), mark_of(last, what).y), tokens_of(last));
        }
        buf_puts(out, ".");
    }
    if (what == COST_TIME) {
        buf_puts(out, " Time stands in for energy, which is unresolved or was not measured.");
    } else {
        char source[4 * RECORD_NAME_BYTES];
        figure_source(source, sizeof source, &result->model[0]);
        html_say(out, " Net of the idle machine%s%s.", source[0] ? "; source: " : "", source);
    }
}

static bool has_several_budgets(const struct report_result *result) {
    for (size_t m = 0; m < html_n_models(result); m++) {
        if (image_groups(&result->model[m].vision).n > 1) {
            return true;
        }
    }
    return false;
}

static void put_charts(struct buf *out, const struct report_result *result) {
    enum answer_cost what = cost_of(result);
    const char *title = what == COST_TIME ? "Time per answer" : "Net energy per answer";
    buf_puts(out, "<div class=\"grid\"><figure>");
    html_element(out, "h3", NULL, "Right answers against the image budget");
    put_plot(out, result, RIGHT_PCT, "Right answers against the image budget");
    buf_puts(out, "<figcaption>");
    say_accuracy(out, result);
    buf_puts(out, "</figcaption></figure><figure>");
    html_element(out, "h3", NULL, title);
    put_plot(out, result, what, title);
    buf_puts(out, "<figcaption>");
    say_cost(out, result, what);
    buf_puts(out, "</figcaption></figure></div>");
}

void html_accuracy(struct buf *out, const struct report_result *result) {
    if (!html_has_accuracy(result)) {
        return;
    }
    buf_puts(out, "<h2 id=\"accuracy\">Right answers</h2><p class=\"lead\">Questions with known "
                  "answers. Whiskers and small figures are 95&nbsp;% intervals (Wilson&#39;s for "
                  "shares); changes are over the questions that both answered.</p>");
    if (has_several_budgets(result)) {
        put_charts(out, result);
    }
    for (size_t m = 0; m < html_n_models(result); m++) {
        html_budget_kinds(out, result, m);
        html_text_kinds(out, result, m);
    }
}
