// Inside report only: parts of the page.
#ifndef WATTLAW_REPORT_ANALYSIS_PARTS_H
#define WATTLAW_REPORT_ANALYSIS_PARTS_H

#include "report/analysis.h"

// The sentences, and the four pictures of the whole model.
void analysis_overview(struct buf *out, const struct report_analysis *analysis);

void analysis_heat_plot(struct buf *out, const struct report_analysis *analysis);
void analysis_influence_plot(struct buf *out, const struct report_analysis *analysis);
void analysis_removal_plot(struct buf *out, const struct report_analysis *analysis);
void analysis_sensitivity_plot(struct buf *out, const struct report_analysis *analysis);
// Error and bound against neurons, of one block.
void analysis_curve_plot(struct buf *out, const struct report_analysis *analysis, uint32_t layer);

#endif
