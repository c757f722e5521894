// Inside report only: the figures of the result model, from a model's records.
#ifndef WATTLAW_REPORT_SUMMARY_H
#define WATTLAW_REPORT_SUMMARY_H

#include "report/result.h"

// A record that the first law is fitted to: no warm-up, no paper check, no scored answer, and text
// alone.
bool summary_is_used(const struct record *record);

// Fills the cells, counts, sources, paper mode and, for each metric, the means of `model`, whose
// records are in place. `reference_cell` is a cell's number or SUMMARY_NO_CELL.
#define SUMMARY_NO_CELL UINT64_MAX
enum wl_status summary_count(struct report_model *model, struct wl_err *err);
enum wl_status summary_means(struct report_model *model, uint64_t reference_cell,
                             struct wl_err *err);
void summary_sources(struct report_model *model);
enum wl_status summary_paper_mode(struct report_model *model, struct wl_err *err);

// vs against base for one metric; over all cells with SUMMARY_NO_CELL, else in that cell.
enum wl_status summary_change(const struct report_model *base, const struct report_model *vs,
                              enum metric_id metric, uint64_t only_cell, struct report_change *out,
                              struct wl_err *err);

// Energy carries a source, a scope and a label; other metrics do not.
bool summary_is_energy(enum metric_id metric);

#endif
