// What became of a model that was compressed: a page made of the document that `wattlaw compress
// --json` prints (docs/protocol.md, COMPRESS). PURE.
#ifndef WATTLAW_REPORT_COMPRESSION_H
#define WATTLAW_REPORT_COMPRESSION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

// The texts come from outside and are escaped.
struct report_compression_page {
    const char *title, *subtitle, *version;
    bool has_study; // report.html, the check of both models, lies beside the page
};
// Figures that are missing or out of range are shown as a dash, parts without any are left out.
// INPUT: no document of a compression, or lists longer than any compressor writes; LIMIT: the page
// does not fit into `out`.
enum wl_status report_compression_html(const json_t *document,
                                       const struct report_compression_page *page, struct buf *out,
                                       struct wl_err *err);

#endif
