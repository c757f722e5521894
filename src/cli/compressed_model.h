// A compressed model for commands that compare one with its original: made once, then found again.
#ifndef WATTLAW_CLI_COMPRESSED_MODEL_H
#define WATTLAW_CLI_COMPRESSED_MODEL_H

#include <stddef.h>

#include "cli/command.h"
#include "os/file.h"

struct compressed_model {
    const char *path, *mmproj; // the original and its image encoder (NULL: none)
    const char *budget;        // as `compress --budget` takes it
    const char *const *tasks;  // paths of task files to calibrate with
    size_t n_tasks;
};

// The file lies in the user's cache folder, under a name that its making decides. With progress on
// standard error. GATE: it would be too far from the original (COMPRESS_GOOD_KL).
enum wl_status compressed_model_make(const struct cli_context *context,
                                     const struct compressed_model *wanted, char out[OS_PATH_BYTES],
                                     struct wl_err *err);

#endif
