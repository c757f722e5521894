// What a compressed file says about itself (general.wattlaw.certificate): where it comes from, what
// was done, and what was found when it was checked. `wattlaw models --info` shows it.
#ifndef WATTLAW_CLI_COMPRESS_CERTIFICATE_H
#define WATTLAW_CLI_COMPRESS_CERTIFICATE_H

#include <jansson.h>

#include "base/err.h"
#include "cli/compress_result.h"
#include "report/result.h"

// `measured` is the study of both, or NULL. A new reference.
enum wl_status compress_certificate_make(const struct compress_view *view,
                                         const struct report_result *measured, json_t **out,
                                         struct wl_err *err);

#endif
