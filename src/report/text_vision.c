// The text report's second law: per budget the knee and what sizes cost, the law, right answers.
#include <math.h>
#include <stdio.h>

#include "base/units.h"
#include "report/text_page.h"
#include "report/vision_words.h"

#define TIMES "\xc3\x97"

// A paragraph after a label.
static void put_line(const struct text_page *page, const char *label, const char *text) {
    text_padded(page, label, TEXT_LABEL_COLUMNS, false);
    text_wrapped(page, text, TEXT_LABEL_COLUMNS);
}

static void put_line_if_any(const struct text_page *page, const char *text) {
    if (text[0]) {
        put_line(page, "", text);
    }
}

static char *budget_label(char out[FIGURE_BYTES], uint32_t image_max_tokens) {
    snprintf(out, FIGURE_BYTES, image_max_tokens == 0 ? "default" : "%u tok", image_max_tokens);
    return out;
}

// ---- budgets ----

// "1568 x 1568 px: 441 tokens, 1.20 s, 0.410 mWh."
static int put_point(char *out, size_t size, const struct report_image_point *point,
                     bool has_energy) {
    char time[FIGURE_BYTES], energy[FIGURE_BYTES] = "";
    const struct stats_summary *joules = &point->summary[REPORT_IMAGE_ENERGY];
    const struct stats_summary *seconds = &point->summary[REPORT_IMAGE_TIME];
    if (has_energy && joules->n > 0) {
        figure_text(energy, METRIC_image_net_j, joules->mean);
    }
    return snprintf(out, size, "%u " TIMES " %u px: %u tokens, %s%s%s.", point->width,
                    point->height, point->image_tokens,
                    seconds->n > 0 ? figure_text(time, METRIC_image_s, seconds->mean)
                                   : "time not measured",
                    energy[0] ? ", " : "", energy);
}

static void put_extremes(const struct text_page *page, const struct report_image_budget *budget,
                         bool has_energy) {
    char line[LAW_TEXT_BYTES];
    if (budget->n_points == 0) {
        return;
    }
    const struct report_image_point *last = &budget->point[budget->n_points - 1];
    int used = put_point(line, sizeof line - 1, last, has_energy);
    if (budget->n_points > 1 && used > 0 && (size_t)used < sizeof line - 2) {
        line[used++] = ' ';
        put_point(line + used, sizeof line - (size_t)used, &budget->point[0], has_energy);
    }
    put_line(page, "", line);
}

// Others on the machine disturb the time more than the CPU time: where no knee stands out of the
// one, the other may have it.
static enum report_image_law shown_law(const struct report_image_budget *budget) {
    bool has_time = budget->has_knee[REPORT_IMAGE_TIME] && budget->knee[REPORT_IMAGE_TIME].has_knee;
    bool has_cpu = budget->has_knee[REPORT_IMAGE_CPU] && budget->knee[REPORT_IMAGE_CPU].has_knee;
    return !has_time && has_cpu ? REPORT_IMAGE_CPU : REPORT_IMAGE_TIME;
}

static void put_budget(const struct text_page *page, const struct report_vision *vision,
                       size_t index) {
    const struct report_image_budget *budget = &vision->budget[index];
    char label[FIGURE_BYTES], text[LAW_TEXT_BYTES];
    enum report_image_law law = shown_law(budget);
    put_line(page, budget_label(label, budget->image_max_tokens),
             vision_knee_words(text, budget, law));
    put_line_if_any(page, vision_slope_words(text, budget, law));
    put_line_if_any(page, vision_move_words(text, vision, index, law));
    put_extremes(page, budget, vision->is_energy_resolved);
}

// ---- laws ----

static void put_law(const struct text_page *page, const struct report_vision *vision,
                    enum report_image_law law, const char *label) {
    char text[LAW_TEXT_BYTES], line[LAW_TEXT_BYTES + 64];
    if (!vision->has_law[law]) {
        text_padded(page, label, TEXT_LABEL_COLUMNS, false);
        text_paint(page, TEXT_DIM);
        text_wrapped(page, vision->law_reason[law] ? vision->law_reason[law] : "not measured",
                     TEXT_LABEL_COLUMNS);
        text_paint(page, TEXT_PLAIN);
        return;
    }
    const struct law_fit *fit = &vision->law[law];
    if (!fit->has_term[LAW_PROMPT]) {
        snprintf(line, sizeof line, "%s, whatever the size", vision_equation(text, vision, law));
        put_line(page, label, line);
        return;
    }
    snprintf(line, sizeof line, "%s   (R\xc2\xb2 %.4f%s)", vision_equation(text, vision, law),
             fit->r2, fit->has_term[LAW_QUADRATIC] ? ", not linear" : "");
    put_line(page, label, line);
}

static void put_laws(const struct text_page *page, const struct report_vision *vision) {
    char text[160];
    snprintf(text, sizeof text, "Law of an image: fixed part + cost per %s%s",
             vision_unit_words(vision), vision->is_per_token ? "" : " (kpx)");
    text_wrapped(page, text, 0);
    put_law(page, vision, REPORT_IMAGE_TIME, "Time");
    put_law(page, vision, REPORT_IMAGE_CPU, "CPU time");
    put_law(page, vision, REPORT_IMAGE_ENERGY, "Energy");
}

// ---- right answers ----

static void put_group(const struct text_page *page, const struct report_accuracy_group *group) {
    char label[FIGURE_BYTES], line[LAW_TEXT_BYTES], time[FIGURE_BYTES], energy[FIGURE_BYTES] = "";
    const struct report_accuracy *all = &group->all;
    int n = snprintf(line, sizeof line, "%.1f %% (%.1f to %.1f) of %zu",
                     100 * (double)all->n_right / (double)all->n, 100 * all->ci95.low,
                     100 * all->ci95.high, all->n);
    size_t used = n > 0 ? (size_t)n : 0;
    if (group->has_images) {
        used += (size_t)snprintf(line + used, sizeof line - used, " at %.0f tokens",
                                 all->image_tokens.mean);
    }
    if (isfinite(group->accuracy_change)) {
        used += (size_t)snprintf(line + used, sizeof line - used, ", %+.1f points (%+.1f to %+.1f)",
                                 group->accuracy_change, group->accuracy_change_ci95.low,
                                 group->accuracy_change_ci95.high);
    }
    if (all->is_energy_resolved) {
        figure_text(energy, METRIC_energy_net_j, all->net_j.mean);
    }
    used += (size_t)snprintf(line + used, sizeof line - used, "; %s%s%s each",
                             figure_text(time, METRIC_time_s, all->time_s.mean),
                             energy[0] ? ", " : "", energy);
    if (all->n_empty + all->n_looping > 0) {
        snprintf(line + used, sizeof line - used, " (%zu empty, %zu looping)", all->n_empty,
                 all->n_looping);
    }
    put_line(page, group->has_images ? budget_label(label, group->image_max_tokens) : "text", line);
}

static void put_answers(const struct text_page *page, const struct report_vision *vision) {
    char text[LAW_TEXT_BYTES];
    for (size_t i = 0; i < vision->n_accuracies; i++) {
        put_group(page, &vision->accuracy[i]);
    }
    vision_saving_words(text, vision);
    if (text[0]) {
        put_line(page, "Saving", text);
    }
}

// ---- both sections ----

static void put_model_name(const struct text_page *page, const struct report_result *result,
                           size_t i) {
    static const char *const ROLES[] = {"base", "vs"};
    if (result->n_models == 2) {
        text_padded(page, ROLES[i], TEXT_LABEL_COLUMNS, false);
        text_padded(page, result->model[i].name, page->columns - TEXT_LABEL_COLUMNS, false);
        text_end_line(page);
    }
}

static void put_images(const struct text_page *page, const struct report_result *result) {
    bool has_heading = false;
    for (size_t i = 0; i < result->n_models; i++) {
        const struct report_vision *vision = &result->model[i].vision;
        if (vision->n_budgets == 0) {
            continue;
        }
        if (!has_heading) {
            text_heading(page, "Images: encoding and prefill against size, and where that stops "
                               "growing");
            has_heading = true;
        }
        put_model_name(page, result, i);
        for (size_t b = 0; b < vision->n_budgets; b++) {
            put_budget(page, vision, b);
        }
        put_laws(page, vision);
    }
}

void text_vision(const struct text_page *page, const struct report_result *result) {
    bool has_heading = false;
    put_images(page, result);
    for (size_t i = 0; i < result->n_models; i++) {
        const struct report_vision *vision = &result->model[i].vision;
        if (vision->n_accuracies == 0) {
            continue;
        }
        if (!has_heading) {
            text_heading(page, "Right answers, by image budget");
            has_heading = true;
        }
        put_model_name(page, result, i);
        put_answers(page, vision);
    }
}
