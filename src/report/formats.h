// Inside report only: the writers that formats.def names.
#ifndef WATTLAW_REPORT_FORMATS_H
#define WATTLAW_REPORT_FORMATS_H

#include "report/report.h"

#define REPORT_FORMAT(name, extension, meaning)                                                    \
    bool report_format_##name(const struct report_result *result,                                  \
                              const struct report_options *options, struct buf *out);
#include "report/formats.def"
#undef REPORT_FORMAT

#endif
