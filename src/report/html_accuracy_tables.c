// Right answers by kind of question: with images a column per budget, of text a row per kind.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/html_sections.h"
#include "report/html_vision.h"

static void put_share(struct buf *out, const struct report_accuracy *a) {
    char text[FIGURE_BYTES];
    if (a->n == 0) {
        buf_puts(out, "<td></td>");
        return;
    }
    buf_printf(out, "<td>%.1f\xc2\xa0%%<span class=\"ci\">",
               100 * (double)a->n_right / (double)a->n);
    html_figure(out, figure_interval(text, (struct figure_unit){100, ""}, a->ci95));
    buf_printf(out, "%sn = %zu</span></td>", text[0] ? ", " : "", a->n);
}

static void put_kind_name(struct buf *out, const char *kind) {
    buf_puts(out, "<th scope=\"row\">");
    html_text_cut(out, kind[0] ? kind : "(no kind)", 40);
    buf_puts(out, "</th>");
}

static void put_caption(struct buf *out, const struct report_result *result, size_t m,
                        const char *what) {
    buf_puts(out, "<h3 class=\"model\">");
    if (result->n_models == 2) {
        buf_printf(out, "<span class=\"swatch %s\"></span> ", HTML_ROLE[m]);
    }
    html_text(out, what);
    if (result->n_models == 2) {
        buf_puts(out, ", ");
        html_text_cut(out, result->model[m].name, 60);
    }
    buf_puts(out, "</h3>");
}

// ---- with images: kind x budget ----

static const struct report_accuracy *find_kind(const struct report_accuracy_group *group,
                                               const char *kind) {
    for (size_t i = 0; i < group->n_kinds; i++) {
        if (strcmp(group->kind[i].kind, kind) == 0) {
            return &group->kind[i];
        }
    }
    return NULL;
}

static void put_budget_heads(struct buf *out, const struct report_vision *vision) {
    char text[FIGURE_BYTES];
    for (size_t i = 0; i < vision->n_accuracies; i++) {
        const struct report_accuracy_group *group = &vision->accuracy[i];
        if (group->has_images) {
            buf_puts(out, "<th scope=\"col\">");
            html_text(out, html_budget_head(text, group->image_max_tokens));
            html_say(out, "%s", (int)i == vision->saving ? " (saving)" : "");
            if (isfinite(group->all.image_tokens.mean)) {
                buf_printf(out, "<span class=\"unit\">%.0f used</span>",
                           group->all.image_tokens.mean);
            }
            buf_puts(out, "</th>");
        }
    }
}

// Rows are the kinds of every group, each named once, in the order of their first appearance.
static void put_kind_rows(struct buf *out, const struct report_vision *vision) {
    static const struct report_accuracy NONE;
    for (size_t g = 0; g < vision->n_accuracies; g++) {
        for (size_t k = 0; vision->accuracy[g].has_images && k < vision->accuracy[g].n_kinds; k++) {
            const char *kind = vision->accuracy[g].kind[k].kind;
            bool is_new = true;
            for (size_t h = 0; h < g; h++) {
                is_new &= !vision->accuracy[h].has_images || !find_kind(&vision->accuracy[h], kind);
            }
            if (!is_new) {
                continue;
            }
            buf_puts(out, "<tr>");
            put_kind_name(out, kind);
            for (size_t i = 0; i < vision->n_accuracies; i++) {
                const struct report_accuracy *found = find_kind(&vision->accuracy[i], kind);
                if (vision->accuracy[i].has_images) {
                    put_share(out, found ? found : &NONE);
                }
            }
            buf_puts(out, "</tr>");
        }
    }
}

static void put_cost(struct buf *out, const struct report_accuracy_cost *cost,
                     enum metric_id metric, bool is_resolved) {
    char text[FIGURE_BYTES];
    if (!isfinite(cost->mean)) {
        buf_puts(out, "<td></td>");
        return;
    }
    if (!is_resolved) {
        buf_puts(out, "<td class=\"word\">unresolved</td>");
        return;
    }
    buf_puts(out, "<td>");
    html_figure(out, figure_text(text, metric, cost->mean));
    buf_puts(out, "<span class=\"ci\">");
    html_figure(out, figure_interval(text, figure_unit_for(metric, cost->mean), cost->ci95));
    buf_puts(out, "</span></td>");
}

static void put_change(struct buf *out, const struct report_accuracy_group *group) {
    char text[FIGURE_BYTES];
    if (!isfinite(group->accuracy_change)) {
        buf_puts(out, "<td></td>");
        return;
    }
    bool is_worse = group->accuracy_change_ci95.high < 0;
    bool is_better = group->accuracy_change_ci95.low > 0;
    buf_printf(out, "<td><b class=\"%s\">", is_worse ? "bad" : is_better ? "good" : "unclear");
    snprintf(text, sizeof text, "%+.1f points", group->accuracy_change);
    html_figure(out, text);
    buf_puts(out, "</b><span class=\"ci\">");
    snprintf(text, sizeof text, "%+.1f to %+.1f", group->accuracy_change_ci95.low,
             group->accuracy_change_ci95.high);
    bool is_known =
        isfinite(group->accuracy_change_ci95.low) && isfinite(group->accuracy_change_ci95.high);
    html_figure(out, is_known ? text : "");
    buf_puts(out, "</span></td>");
}

static void put_foot_rows(struct buf *out, const struct report_vision *vision) {
    static const char *const ROWS[] = {"All", "Change", "Net energy per answer", "Time per answer",
                                       "Empty / looping"};
    for (int row = 0; row < 5; row++) {
        buf_printf(out, "<tr class=\"change\"><th scope=\"row\">%s</th>", ROWS[row]);
        for (size_t i = 0; i < vision->n_accuracies; i++) {
            const struct report_accuracy_group *group = &vision->accuracy[i];
            const struct report_accuracy *all = &group->all;
            if (!group->has_images) {
                continue;
            }
            switch (row) {
            case 0: put_share(out, all); break;
            case 1: put_change(out, group); break;
            case 2: put_cost(out, &all->net_j, METRIC_energy_net_j, all->is_energy_resolved); break;
            case 3: put_cost(out, &all->time_s, METRIC_time_s, true); break;
            default: buf_printf(out, "<td>%zu / %zu</td>", all->n_empty, all->n_looping); break;
            }
        }
        buf_puts(out, "</tr>");
    }
}

void html_budget_kinds(struct buf *out, const struct report_result *result, size_t m) {
    const struct report_vision *vision = &result->model[m].vision;
    bool has_any = false;
    for (size_t i = 0; i < vision->n_accuracies; i++) {
        has_any |= vision->accuracy[i].has_images;
    }
    if (!has_any) {
        return;
    }
    put_caption(out, result, m, "Questions with images, by kind and budget");
    buf_puts(out, "<div class=\"scroll\"><table><thead><tr><th>Right answers</th>");
    put_budget_heads(out, vision);
    buf_puts(out, "</tr></thead><tbody>");
    put_kind_rows(out, vision);
    put_foot_rows(out, vision);
    buf_puts(out, "</tbody></table></div>");
}

// ---- of text: a row per kind ----

static void put_text_row(struct buf *out, const struct report_accuracy *a, const char *css,
                         const char *name) {
    buf_printf(out, "<tr%s>", css);
    put_kind_name(out, name);
    put_share(out, a);
    put_cost(out, &a->net_j, METRIC_energy_net_j, a->is_energy_resolved);
    put_cost(out, &a->time_s, METRIC_time_s, true);
    buf_printf(out, "<td>%zu / %zu</td></tr>", a->n_empty, a->n_looping);
}

void html_text_kinds(struct buf *out, const struct report_result *result, size_t m) {
    const struct report_vision *vision = &result->model[m].vision;
    for (size_t i = 0; i < vision->n_accuracies; i++) {
        const struct report_accuracy_group *group = &vision->accuracy[i];
        if (group->has_images) {
            continue;
        }
        put_caption(out, result, m, "Questions of text, by kind");
        buf_puts(out, "<div class=\"scroll\"><table><thead><tr><th>Kind</th><th>Right</th><th>Net "
                      "energy per answer</th><th>Time per answer</th><th>Empty / looping</th></tr>"
                      "</thead><tbody>");
        for (size_t k = 0; k < group->n_kinds; k++) {
            put_text_row(out, &group->kind[k], "", group->kind[k].kind);
        }
        put_text_row(out, &group->all, " class=\"change\"", "All");
        buf_puts(out, "</tbody></table></div>");
    }
}
