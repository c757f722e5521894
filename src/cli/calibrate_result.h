// What a calibration found, for people, for programs, and for later.
#ifndef WATTLAW_CLI_CALIBRATE_RESULT_H
#define WATTLAW_CLI_CALIBRATE_RESULT_H

#include "cli/command.h"
#include "measure/calibrate.h"

// Puts what is trusted into the file at `path` (NULL: the default), beside what it has of this
// machine. UNTRUSTED when no source was calibrated.
enum wl_status calibrate_result_store(struct cli_context *context,
                                      const struct calibrate_result *result, const char *path,
                                      struct wl_err *err);
// On stdout: blocks, then each source before and after; or one JSON document.
void calibrate_result_print(const struct calibrate_result *result, const char *path, bool is_json);
// A stored set.
void calibrate_result_show(const struct meter_calibration_set *set, bool is_json);

#endif
