// The second law's section: what an image costs against its size, where that stops growing, and
// what another budget does to it.
#include "report/html_vision.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/units.h"
#include "report/html.h"
#include "report/html_sections.h"

#define TIMES "\xc2\xa0\xc3\x97\xc2\xa0"

const char *const HTML_BUDGET[REPORT_MAX_BUDGETS] = {"hue b0", "hue b1", "hue b2", "hue b3",
                                                     "hue b4", "hue b5", "hue b6", "hue b7"};

// ---- words ----

char *html_budget_text(char out[FIGURE_BYTES], uint32_t image_max_tokens) {
    if (image_max_tokens == 0) {
        snprintf(out, FIGURE_BYTES, "the file\xe2\x80\x99s limit");
    } else {
        snprintf(out, FIGURE_BYTES, "%u tokens", image_max_tokens);
    }
    return out;
}

char *html_budget_head(char out[FIGURE_BYTES], uint32_t image_max_tokens) {
    if (image_max_tokens == 0) {
        snprintf(out, FIGURE_BYTES, "The file\xe2\x80\x99s limit");
    } else {
        snprintf(out, FIGURE_BYTES, "At most %u tokens", image_max_tokens);
    }
    return out;
}

char *html_mpx_text(char out[FIGURE_BYTES], double px) {
    char number[UNITS_TEXT_BYTES];
    snprintf(out, FIGURE_BYTES, "%s\xc2\xa0Mpx", units_number(number, px / 1e6));
    return out;
}

char *html_square_text(char out[FIGURE_BYTES], double px) {
    double side = isfinite(px) && px > 0 ? round(sqrt(px)) : 0;
    snprintf(out, FIGURE_BYTES, "%.0f" TIMES "%.0f", side, side);
    return out;
}

char *html_size_text(char out[FIGURE_BYTES], uint32_t width, uint32_t height) {
    snprintf(out, FIGURE_BYTES, "%u" TIMES "%u", width, height);
    return out;
}

void html_say(struct buf *out, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    html_text(out, text);
}

// ---- what may be shown ----

bool html_is_square(const struct report_image_point *point) {
    return point->width == point->height;
}

bool html_is_known(const struct report_image_point *point, enum report_image_law law) {
    const struct stats_summary *s = &point->summary[law];
    if (s->n == 0 || !isfinite(s->median)) {
        return false;
    }
    // An end that is not a number: one or two windows, of which nothing can be said.
    return law != REPORT_IMAGE_ENERGY || s->ci95_mean.high - s->ci95_mean.low <= fabs(s->mean);
}

static bool is_any_known(const struct report_vision *vision, enum report_image_law law) {
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        for (size_t i = 0; i < vision->budget[b].n_points; i++) {
            if (html_is_known(&vision->budget[b].point[i], law)) {
                return true;
            }
        }
    }
    return false;
}

enum report_image_law html_second_cost(const struct report_vision *vision) {
    return vision->is_energy_resolved && is_any_known(vision, REPORT_IMAGE_ENERGY)
               ? REPORT_IMAGE_ENERGY
               : REPORT_IMAGE_CPU;
}

bool html_has_image_energy(const struct report_vision *vision) {
    for (size_t b = 0; b < html_n_budgets(vision); b++) {
        for (size_t i = 0; i < vision->budget[b].n_points; i++) {
            if (vision->budget[b].point[i].summary[REPORT_IMAGE_ENERGY].n > 0) {
                return true;
            }
        }
    }
    return false;
}

double html_line_x(const struct report_vision *vision, const struct report_image_point *point) {
    return vision->is_per_token ? point->image_tokens : point->effective_px / 1e3;
}

bool html_has_images(const struct report_result *result) {
    for (size_t m = 0; m < html_n_models(result); m++) {
        if (result->model[m].vision.n_budgets > 0) {
            return true;
        }
    }
    return false;
}

// ---- the section ----

static void put_model_name(struct buf *out, const struct report_result *result, size_t m) {
    if (result->n_models == 2) {
        buf_printf(out, "<h3 class=\"model\"><span class=\"swatch %s\"></span> ", HTML_ROLE[m]);
        html_text_cut(out, result->model[m].name, 90);
        buf_puts(out, "</h3>");
    }
}

static void put_charts(struct buf *out, const struct report_result *result, size_t m) {
    const struct report_model *model = &result->model[m];
    enum report_image_law second = html_second_cost(&model->vision);
    put_model_name(out, result, m);
    buf_puts(out, "<div class=\"grid\">");
    html_image_cost_plot(out, model, m, REPORT_IMAGE_TIME);
    html_image_cost_plot(out, model, m, second);
    html_stairs_plot(out, model, m);
    html_line_plot(out, model, m, REPORT_IMAGE_TIME);
    buf_puts(out, "</div>");
}

static void put_lead(struct buf *out) {
    buf_puts(out,
             "<p class=\"lead\">In most families of models preprocessing shrinks a picture to "
             "a limit, so from some size on more pixels cost nothing more: the knee. A smaller "
             "limit (a budget of image tokens) moves it. The cost of an image is its encoding "
             "and the prefill of its tokens.</p>");
    buf_puts(out, "<p class=\"lead\">Dot: the median at one size, with the 95&nbsp;% interval of "
                  "the mean. Diamond: an elongated picture, not in the fit. Line: the fitted law; "
                  "ring and strip: its knee with the 95&nbsp;% interval. Dashed: where the token "
                  "count settles, exactly.</p>");
}

void html_vision(struct buf *out, const struct report_result *result) {
    if (!html_has_images(result)) {
        return;
    }
    buf_puts(out, "<h2 id=\"images\">Images: cost against size</h2>");
    put_lead(out);
    html_knee_table(out, result);
    for (size_t m = 0; m < html_n_models(result); m++) {
        if (result->model[m].vision.n_budgets > 0) {
            put_charts(out, result, m);
        }
    }
}
