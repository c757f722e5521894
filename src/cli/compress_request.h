// The options of `compress`, and the request that they make.
#ifndef WATTLAW_CLI_COMPRESS_REQUEST_H
#define WATTLAW_CLI_COMPRESS_REQUEST_H

#include <jansson.h>
#include <popt.h>

#include "base/err.h"
#include "cli/compress_run.h"
#include "os/file.h"

// Mean KL divergence in nats per token up to which a result is called so.
#define COMPRESS_TRANSPARENT_KL 0.05
#define COMPRESS_GOOD_KL 0.15

// As popt fills them; -1 and NULL: not given.
struct compress_given {
    const char *out, *mmproj, *mmproj_out, *budget, *plan, *shapes, *vocabulary, *type;
    const char *encoder_type, *calib, *heal, *floor, *method, *rivals, *report, *recipe, *check;
    char **tasks, **check_tasks;
    double cut, encoder_cut, minutes, check_drop;
    int width, drop, encoder_drop, image_tokens, n_tokens, threads, task_limit;
    long long seed;
    int force, accept, dry_run, fresh;
};
extern struct compress_given compress_given;
extern const struct poptOption COMPRESS_OPTIONS[];

// What the names in the options stand for.
struct compress_paths {
    char model[OS_PATH_BYTES], mmproj[OS_PATH_BYTES]; // mmproj: "" = none
    struct compress_files files;
};

// USAGE: options that contradict each other or are out of range.
enum wl_status compress_request_check(struct wl_err *err);
// *request is a new reference. Files that are named are there.
enum wl_status compress_request_make(const struct cli_context *context,
                                     const struct compress_paths *paths, json_t **request,
                                     struct wl_err *err);
// Whether --rivals wants types that suit the result's size.
bool compress_request_chooses_rivals(void);

#endif
