// Inside report only: the parts of the HTML report, in the order of the page.
#ifndef WATTLAW_REPORT_HTML_SECTIONS_H
#define WATTLAW_REPORT_HTML_SECTIONS_H

#include "base/buf.h"
#include "report/result.h"

// Names and CSS classes of the two models.
extern const char *const HTML_ROLE[REPORT_MAX_MODELS]; // "base", "vs"

// The number of models to loop over, in plain sight no more than the arrays with a place per model
// have: what built the result checked that, far from the loops that rely on it.
static inline size_t html_n_models(const struct report_result *result) {
    return result->n_models < REPORT_MAX_MODELS ? result->n_models : REPORT_MAX_MODELS;
}

void html_tiles(struct buf *out, const struct report_result *result);
void html_study_table(struct buf *out, const struct report_result *result);
void html_all_figures(struct buf *out, const struct report_result *result);
void html_cost_plots(struct buf *out, const struct report_result *result);
void html_fits(struct buf *out, const struct report_result *result);
void html_residual_plots(struct buf *out, const struct report_result *result);
void html_phase_plots(struct buf *out, const struct report_result *result);
void html_image_phase_plots(struct buf *out, const struct report_result *result);
void html_vision(struct buf *out, const struct report_result *result);
void html_accuracy(struct buf *out, const struct report_result *result);
void html_paper_mode(struct buf *out, const struct report_result *result);
void html_quality(struct buf *out, const struct report_result *result); // idle baseline and flags
void html_method(struct buf *out, const struct report_result *result);
void html_roi(struct buf *out, const struct report_result *result);
void html_records(struct buf *out, const struct report_result *result);
void html_reproduce(struct buf *out, const struct report_result *result);

// Whether the two sections above have something to show.
bool html_has_images(const struct report_result *result);
bool html_has_accuracy(const struct report_result *result);

// "1234.5" with thousands apart by a narrow space, "-" for NaN; the calculator's figures. Exposed
// so that a test can compare the page with plan/roi.h. `out` has room for 64 bytes.
char *html_roi_number(char out[64], double value);

#endif
