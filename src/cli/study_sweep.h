// The options of `study` that say what is swept besides prompt lengths: image sizes and budgets.
#ifndef WATTLAW_CLI_STUDY_SWEEP_H
#define WATTLAW_CLI_STUDY_SWEEP_H

#include "base/err.h"
#include "measure/study_images.h"

// "56,112,640x480": squares by their side, or width x height.
enum wl_status study_sweep_sizes(const char *text, struct study_image_options *images,
                                 struct wl_err *err);
// "0,128,64": tokens; 0 is the file's own.
enum wl_status study_sweep_budgets(const char *text, uint32_t budgets[STUDY_MAX_BUDGETS], size_t *n,
                                   struct wl_err *err);

#endif
