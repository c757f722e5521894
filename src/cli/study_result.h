// From the store to the result model that every report is rendered from.
#ifndef WATTLAW_CLI_STUDY_RESULT_H
#define WATTLAW_CLI_STUDY_RESULT_H

#include "cli/command.h"
#include "os/file.h"
#include "report/result.h"
#include "store/store.h"
#include "store/store_study.h"

// --store, $WATTLAW_STORE or the default file; makes its folder.
enum wl_status study_store_path(const struct cli_context *context, char out[OS_PATH_BYTES],
                                struct wl_err *err);
// Opens it; a missing store is NOT_FOUND with the next step when `mode` is read-only.
enum wl_status study_store_open(const struct cli_context *context, enum store_mode mode,
                                struct store **out, struct wl_err *err);

// Reads the study (`name` as store_study_find takes it, NULL = latest), fits the laws, and builds
// the result. *out is the caller's (report_result_free).
enum wl_status study_result_load(struct store *store, const char *name,
                                 const struct roi_rates *rates, struct report_result **out,
                                 struct wl_err *err);
// Keeps the fitted laws in the store, for `predict`. Those of images say under this key what their
// prompt tokens stand for.
#define STUDY_RESULT_LAW_X "x"
#define STUDY_RESULT_PER_KPX "effective_kilopixels"
#define STUDY_RESULT_PER_TOKEN "image_tokens"
enum wl_status study_result_save_fits(struct store *store, const char *name,
                                      const struct report_result *result, struct wl_err *err);
// Writes report.html, report.json and records.csv into the folder, making it.
enum wl_status study_result_write(const struct report_result *result, const char *dir,
                                  struct wl_err *err);
// Prints text, or JSON when --json was given, on stdout.
enum wl_status study_result_print(const struct cli_context *context,
                                  const struct report_result *result, struct wl_err *err);

#endif
