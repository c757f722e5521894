#include "report/report.h"

#include <string.h>

#include "report/formats.h"

static const struct report_format_info FORMATS[REPORT_FORMAT_COUNT] = {
#define REPORT_FORMAT(name, extension, meaning) {#name, extension, meaning, report_format_##name},
#include "report/formats.def"
#undef REPORT_FORMAT
};

const struct report_format_info *report_format_info(enum report_format format) {
    return format < REPORT_FORMAT_COUNT ? &FORMATS[format] : NULL;
}

enum report_format report_format_by_name(const char *name) {
    unsigned i = 0;
    while (i < REPORT_FORMAT_COUNT && strcmp(FORMATS[i].name, name) != 0) {
        i++;
    }
    return (enum report_format)i;
}

enum wl_status report_write(const struct report_result *result, enum report_format format,
                            const struct report_options *options, struct buf *out,
                            struct wl_err *err) {
    static const struct report_options DEFAULTS = {.columns = 80};
    const struct report_format_info *info = report_format_info(format);
    if (!info) {
        return wl_err_set(err, WL_USAGE, "there is no report format number %d", (int)format);
    }
    bool is_written = info->write(result, options ? options : &DEFAULTS, out);
    if (is_written && !out->is_failed) {
        return WL_OK;
    }
    return wl_err_set(err, WL_LIMIT, "the %s report does not fit in %zu MiB: use the CSV format",
                      info->name, out->max_bytes >> 20);
}
