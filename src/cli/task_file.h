// A task file by name: read, parsed, and the folder that its images are relative to.
#ifndef WATTLAW_CLI_TASK_FILE_H
#define WATTLAW_CLI_TASK_FILE_H

#include "base/err.h"
#include "eval/task.h"
#include "os/file.h"

// A path, or the name of one that came with the program ("panel", "text"). `out` is to be released
// whatever the status.
enum wl_status task_file_read(const char *name, struct task_set *out, char folder[OS_PATH_BYTES],
                              struct wl_err *err);
// Only where it is: `name` itself when it is no name of ours, whether there is such a file or not.
enum wl_status task_file_find(const char *name, char path[OS_PATH_BYTES], struct wl_err *err);

#endif
