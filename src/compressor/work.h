// The folder beside the result in which a job keeps what it has finished, so that one that was
// interrupted, killed or has missed its floor goes on where it stopped:
//
//   job.json    the request, the source's size and time, and each finished stage with its result
//   *           files of the stages
//
// A stage is finished when job.json says so; what else lies there is begun anew.
#ifndef WATTLAW_COMPRESSOR_WORK_H
#define WATTLAW_COMPRESSOR_WORK_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "os/file.h"

struct work {
    char path[OS_PATH_BYTES];
    json_t *state;
};

// The folder is made, or gone on with when `identity` (the request and whatever else decides the
// outcome) is what it was made for; with another one its files are removed first. USAGE: it exists
// and was not made by this.
enum wl_status work_open(struct work *work, const char *path, const json_t *identity,
                         struct wl_err *err);
// Whatever it was made for. False: there is none.
bool work_find(struct work *work, const char *path);
void work_close(struct work *work);  // the folder stays; zeroed ones are fine
void work_remove(struct work *work); // the folder with all its files; closes it

// Of a finished stage: its result, borrowed; NULL when it is not finished.
const json_t *work_result(const struct work *work, const char *stage);
// Takes over `result`. On disk when it returns.
enum wl_status work_finish(struct work *work, const char *stage, json_t *result,
                           struct wl_err *err);
// A file, or a folder (which is made), of this name.
enum wl_status work_file(const struct work *work, const char *name, char out[OS_PATH_BYTES],
                         struct wl_err *err);
enum wl_status work_folder(const struct work *work, const char *name, char out[OS_PATH_BYTES],
                           struct wl_err *err);
// A file that no later stage needs.
void work_drop(const struct work *work, const char *name);

#endif
