// The page that `compress --report` writes beside the report of the check.
#ifndef WATTLAW_CLI_COMPRESS_PAGE_H
#define WATTLAW_CLI_COMPRESS_PAGE_H

#include <stdbool.h>

#include "base/err.h"
#include "cli/compress_result.h"

#define COMPRESS_PAGE_NAME "compression.html"

// Into the folder, which is made where it is missing. `has_study`: report.html is in it, too.
enum wl_status compress_page_write(const struct compress_view *view, const char *dir,
                                   bool has_study, struct wl_err *err);

#endif
