// A file that appears whole or not at all: written without a name, named when it is finished. When
// the process dies before, even by kill -9, the file system forgets it. (Where it cannot make
// files without a name, the draft is "<path>.tmp-<pid>" and a killed process leaves it behind.)
#ifndef WATTLAW_OS_DRAFT_H
#define WATTLAW_OS_DRAFT_H

#include "base/err.h"
#include "os/file.h"

struct os_draft {
    int fd; // to write to; -1 when closed
    bool is_named;
    char path[OS_PATH_BYTES];
    char temp_path[OS_PATH_BYTES];
};

// In the folder of `path`, which an existing file keeps until publication.
enum wl_status os_draft_open(struct os_draft *draft, const char *path, struct wl_err *err);
// Writes back to the disk, then replaces what was at `path`. Closes the draft in any case.
enum wl_status os_draft_publish(struct os_draft *draft, struct wl_err *err);
void os_draft_discard(struct os_draft *draft); // nothing after publication

#endif
