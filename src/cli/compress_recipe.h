// --export-recipe: what somebody with a GPU needs to heal the compressed model further.
#ifndef WATTLAW_CLI_COMPRESS_RECIPE_H
#define WATTLAW_CLI_COMPRESS_RECIPE_H

#include "base/err.h"
#include "os/file.h"

// Makes the folder with heal.py and a README that has the command; `text` is where the training set
// is to be written.
enum wl_status compress_recipe_make(const char *folder, const char *original,
                                    const char *compressed, char text[OS_PATH_BYTES],
                                    struct wl_err *err);

#endif
