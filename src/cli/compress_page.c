#include "cli/compress_page.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/json.h"
#include "cli/model_label.h"
#include "os/file.h"
#include "report/compression.h"

enum { MAX_PAGE_BYTES = 64 << 20 };

static enum wl_status make_page(const struct compress_view *view, bool has_study, struct buf *text,
                                struct wl_err *err) {
    const char *path = wl_json_opt_string(view->request, "path", "");
    char *original = model_label(path), *result = model_label(view->out);
    char title[2 * OS_PATH_BYTES + 16], subtitle[2 * OS_PATH_BYTES + 16];
    snprintf(title, sizeof title, "%s out of %s", result ? result : "", original ? original : "");
    snprintf(subtitle, sizeof subtitle, "%s out of %s", view->out, path);
    const struct report_compression_page page = {
        .title = title, .subtitle = subtitle, .version = WATTLAW_VERSION, .has_study = has_study};
    json_t *document = compress_result_json(view);
    enum wl_status status = document ? report_compression_html(document, &page, text, err)
                                     : wl_err_set(err, WL_MEMORY, "no memory for the page");
    json_decref(document);
    free(original);
    free(result);
    return status;
}

enum wl_status compress_page_write(const struct compress_view *view, const char *dir,
                                   bool has_study, struct wl_err *err) {
    char path[OS_PATH_BYTES];
    struct buf text;
    buf_init(&text, MAX_PAGE_BYTES);
    enum wl_status status = os_make_dirs(dir, err);
    if (status == WL_OK &&
        snprintf(path, sizeof path, "%s/%s", dir, COMPRESS_PAGE_NAME) >= (int)sizeof path) {
        status = wl_err_set(err, WL_LIMIT, "path too long: '%.80s...'", dir);
    }
    if (status == WL_OK) {
        status = make_page(view, has_study, &text, err);
    }
    if (status == WL_OK) {
        status = os_write_atomic(path, text.data, text.len, err);
    }
    buf_release(&text);
    return status;
}
