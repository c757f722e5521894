// What `compress` and `study --compress` share: asking wattlaw-compressor for a smaller model.
#ifndef WATTLAW_CLI_COMPRESS_RUN_H
#define WATTLAW_CLI_COMPRESS_RUN_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/command.h"
#include "os/file.h"

// The request (src/compressor/job.h tells its keys) has path, out and work. Both write to
// "<result>.unverified", in the folder "<result>.work", until all checks have passed.
struct compress_files {
    char unverified[OS_PATH_BYTES];         // of the text model
    char encoder_unverified[OS_PATH_BYTES]; // of the image encoder; "" without
    char work[OS_PATH_BYTES];
};
enum wl_status compress_files_of(const char *out, const char *mmproj_out,
                                 struct compress_files *files, struct wl_err *err);

// The plan alone: a result with "plan".
enum wl_status compress_plan(const json_t *request, json_t **result, struct wl_err *err);
// With progress on standard error. A missed floor is OK with is_written false.
enum wl_status compress_run(const struct cli_context *context, const json_t *request,
                            json_t **result, struct wl_err *err);
enum wl_status compress_certify(const char *path, const json_t *certificate, const char *work,
                                struct wl_err *err);

#endif
