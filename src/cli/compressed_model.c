#include "cli/compressed_model.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/compress_certificate.h"
#include "cli/compress_request.h"
#include "cli/compress_run.h"
#include "measure/fingerprint.h"

// "<cache>/compressed/<name>-<budget>-<fingerprint>.gguf", the budget without what a name may not
// have.
static enum wl_status place_of(const struct compressed_model *wanted, char out[OS_PATH_BYTES],
                               struct wl_err *err) {
    char cache[OS_PATH_BYTES], folder[OS_PATH_BYTES], print[FINGERPRINT_BYTES], name[256];
    const char *slash = strrchr(wanted->path, '/');
    enum wl_status status = os_cache_dir(cache, err);
    if (status == WL_OK) {
        status = os_path_join(folder, cache, "compressed", err);
    }
    if (status == WL_OK) {
        status = os_make_dirs(folder, err);
    }
    if (status == WL_OK) {
        status = fingerprint_file(wanted->path, print, err);
    }
    if (status != WL_OK) {
        return status;
    }
    const char *digits = strchr(print, ':');
    snprintf(name, sizeof name, "%.100s-%.40s-%zu-%.20s.gguf", slash ? slash + 1 : wanted->path,
             wanted->budget, wanted->n_tasks, digits ? digits + 1 : print);
    for (char *c = name; *c; c++) {
        *c = *c == '/' || *c == '%' || *c == ' ' ? '_' : *c;
    }
    return os_path_join(out, folder, name, err);
}

static json_t *request_of(const struct compressed_model *wanted,
                          const struct compress_files *files) {
    json_t *tasks = json_array();
    for (size_t i = 0; i < wanted->n_tasks; i++) {
        json_array_append_new(tasks, json_string(wanted->tasks[i]));
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:f, s:s?}", "path", wanted->path, "out",
                     files->unverified, "work", files->work, "budget", wanted->budget, "method",
                     "repair", "tasks", tasks, "floor", COMPRESS_GOOD_KL, "mmproj", wanted->mmproj);
}

static enum wl_status seal(const json_t *request, const json_t *result,
                           const struct compress_files *files, const char *out,
                           struct wl_err *err) {
    struct compress_view view = {request, result, out, NULL};
    json_t *certificate = NULL;
    if (!wl_json_opt_bool(result, "is_written", false)) {
        return wl_err_set(err, WL_GATE, "%s", wl_json_opt_string(result, "refusal", "refused"));
    }
    enum wl_status status = compress_certificate_make(&view, NULL, &certificate, err);
    if (status == WL_OK) {
        status = compress_certify(files->unverified, certificate, files->work, err);
    }
    json_decref(certificate);
    if (status == WL_OK && rename(files->unverified, out) != 0) {
        status = wl_err_errno(err, errno, "cannot rename '%s' to '%s'", files->unverified, out);
    }
    return status;
}

enum wl_status compressed_model_make(const struct cli_context *context,
                                     const struct compressed_model *wanted, char out[OS_PATH_BYTES],
                                     struct wl_err *err) {
    struct compress_files files;
    json_t *result = NULL;
    enum wl_status status = place_of(wanted, out, err);
    if (status != WL_OK || os_exists(out)) {
        return status;
    }
    status = compress_files_of(out, NULL, &files, err);
    json_t *request = status == WL_OK ? request_of(wanted, &files) : NULL;
    if (status == WL_OK && !request) {
        status = wl_err_set(err, WL_INPUT, "a file name is not UTF-8 text");
    }
    if (status == WL_OK) {
        status = compress_run(context, request, &result, err);
    }
    if (status == WL_OK) {
        status = seal(request, result, &files, out, err);
    }
    json_decref(request);
    json_decref(result);
    return status;
}
