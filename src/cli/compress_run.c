#include "cli/compress_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/engine_options.h"
#include "cli/progress.h"
#include "engine/client.h"

static enum wl_status add(char out[OS_PATH_BYTES], const char *path, const char *suffix,
                          struct wl_err *err) {
    int n = snprintf(out, OS_PATH_BYTES, "%s%s", path, suffix);
    return n > 0 && n < OS_PATH_BYTES
               ? WL_OK
               : wl_err_set(err, WL_LIMIT, "path too long: '%.80s...'", path);
}

enum wl_status compress_files_of(const char *out, const char *mmproj_out,
                                 struct compress_files *files, struct wl_err *err) {
    *files = (struct compress_files){0};
    enum wl_status status = add(files->unverified, out, ".unverified", err);
    if (status == WL_OK) {
        status = add(files->work, out, ".work", err);
    }
    return status == WL_OK && mmproj_out
               ? add(files->encoder_unverified, mmproj_out, ".unverified", err)
               : status;
}

// A budget in speed or energy is worked out from timings as llama.cpp runs; rivals are timed as
// `wattlaw run` would run them. Else nothing is timed, and threads that spin would only be in each
// other's way on a busy machine.
static const char *wait_policy(const json_t *request) {
    const char *budget = wl_json_opt_string(request, "budget", "");
    if (getenv("OMP_WAIT_POLICY") || strstr(budget, "tok") || strpbrk(budget, "jJ")) {
        return NULL;
    }
    bool has_rivals = json_array_size(json_object_get(request, "rivals")) > 0;
    return has_rivals ? engine_options_wait_policy() : "passive";
}

static enum wl_status start(const json_t *request, struct engine **engine, struct wl_err *err) {
    struct engine_options options = {.program = ENGINE_PROGRAM_COMPRESSOR,
                                     .omp_wait_policy = wait_policy(request)};
    return engine_start(&options, engine, err);
}

enum wl_status compress_plan(const json_t *request, json_t **result, struct wl_err *err) {
    struct engine *engine = NULL;
    json_t *dry = json_deep_copy(request);
    enum wl_status status = dry && json_object_set_new(dry, "dry_run", json_true()) == 0
                                ? start(request, &engine, err)
                                : wl_err_set(err, WL_MEMORY, "no memory for the request");
    if (status == WL_OK) {
        status = engine_compress(engine, dry, NULL, NULL, result, err);
    }
    json_decref(dry);
    engine_stop(engine);
    return status;
}

static void show(void *context, const char *what, double done) {
    progress_update(context, done, -1, what);
}

enum wl_status compress_run(const struct cli_context *context, const json_t *request,
                            json_t **result, struct wl_err *err) {
    struct engine *engine = NULL;
    struct progress progress;
    enum wl_status status = start(request, &engine, err);
    if (status == WL_OK) {
        progress_begin(&progress, context->common.quiet);
        status = engine_compress(engine, request, show, &progress, result, err);
        progress_end(&progress);
    }
    engine_stop(engine);
    return status;
}

enum wl_status compress_certify(const char *path, const json_t *certificate, const char *work,
                                struct wl_err *err) {
    struct engine *engine = NULL;
    enum wl_status status = start(NULL, &engine, err);
    if (status == WL_OK) {
        status = engine_certify(engine, path, certificate, work, err);
    }
    engine_stop(engine);
    return status;
}
