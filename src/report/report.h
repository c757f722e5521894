// From a result to bytes. A new format is one format_<name>.c and one line in formats.def.
#ifndef WATTLAW_REPORT_REPORT_H
#define WATTLAW_REPORT_REPORT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "report/result.h"

enum { REPORT_SCHEMA_VERSION = 1, REPORT_MAX_BYTES = 256 << 20 }; // buf_init with this

struct report_options {
    bool use_color; // text only
    int columns;    // text only: 60..200; 0 means 80
};

enum report_format {
#define REPORT_FORMAT(name, extension, meaning) REPORT_FORMAT_##name,
#include "report/formats.def"
#undef REPORT_FORMAT
    REPORT_FORMAT_COUNT
};

struct report_format_info {
    const char *name;      // "html"
    const char *extension; // ".html"
    const char *meaning;   // one sentence for --help
    bool (*write)(const struct report_result *result, const struct report_options *options,
                  struct buf *out);
};

const struct report_format_info *report_format_info(enum report_format format);
// REPORT_FORMAT_COUNT when there is none of that name.
enum report_format report_format_by_name(const char *name);

// Appends to `out`; `options` may be NULL. LIMIT or MEMORY when it does not fit.
enum wl_status report_write(const struct report_result *result, enum report_format format,
                            const struct report_options *options, struct buf *out,
                            struct wl_err *err);

#endif
