// Inside report only: what the sections about images share: the words and colours of budgets, and
// which figures may be shown.
#ifndef WATTLAW_REPORT_HTML_VISION_H
#define WATTLAW_REPORT_HTML_VISION_H

#include <stdbool.h>

#include "base/buf.h"
#include "report/figures.h"
#include "report/result.h"

extern const char *const HTML_BUDGET[REPORT_MAX_BUDGETS]; // CSS classes

// The number of budgets to loop over, in plain sight no more than there are colours.
static inline size_t html_n_budgets(const struct report_vision *vision) {
    return vision->n_budgets < REPORT_MAX_BUDGETS ? vision->n_budgets : REPORT_MAX_BUDGETS;
}

// "the file's limit", "72 tokens".
char *html_budget_text(char out[FIGURE_BYTES], uint32_t image_max_tokens);
// "The file's limit", "At most 72 tokens".
char *html_budget_head(char out[FIGURE_BYTES], uint32_t image_max_tokens);
// "0.113 Mpx"; "336 x 336" of a square of that many pixels; "672 x 168".
char *html_mpx_text(char out[FIGURE_BYTES], double px);
char *html_square_text(char out[FIGURE_BYTES], double px);
char *html_size_text(char out[FIGURE_BYTES], uint32_t width, uint32_t height);

// Prose with figures in it, escaped.
void html_say(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

// The point has a figure of this cost: measured, and for energy no interval wider than its value.
bool html_is_known(const struct report_image_point *point, enum report_image_law law);
bool html_is_square(const struct report_image_point *point);
// What is charted beside time: net energy where it is resolved, else CPU time.
enum report_image_law html_second_cost(const struct report_vision *vision);
// Whether a meter spoke at all, resolved or not.
bool html_has_image_energy(const struct report_vision *vision);
// What the line of the second law runs over: effective kilopixels, or tokens where the family does
// not tell them.
double html_line_x(const struct report_vision *vision, const struct report_image_point *point);

// ---- the sentences under the charts (html_vision_words.c) ----

void html_say_cost(struct buf *out, const struct report_model *model, enum report_image_law law);
void html_say_stairs(struct buf *out, const struct report_vision *vision);
void html_say_line(struct buf *out, const struct report_vision *vision, enum report_image_law law);

// ---- the charts (html_vision_plots.c) and the tables (html_vision_tables.c) ----

// `m` is the model's number: ids must differ within the page.
void html_image_cost_plot(struct buf *out, const struct report_model *model, size_t m,
                          enum report_image_law law);
void html_stairs_plot(struct buf *out, const struct report_model *model, size_t m);
void html_line_plot(struct buf *out, const struct report_model *model, size_t m,
                    enum report_image_law law);

void html_knee_table(struct buf *out, const struct report_result *result);
void html_point_table(struct buf *out, const struct report_vision *vision,
                      enum report_image_law law);
void html_stairs_table(struct buf *out, const struct report_vision *vision);
void html_line_table(struct buf *out, const struct report_vision *vision);

// ---- right answers by kind (html_accuracy_tables.c) ----

void html_budget_kinds(struct buf *out, const struct report_result *result, size_t m);
void html_text_kinds(struct buf *out, const struct report_result *result, size_t m);

#endif
