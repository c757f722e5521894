// A file with the tables of an image encoder but without its weights: libmtmd loads it in
// milliseconds and counts tokens as with the whole file. The tensors of the blocks shrink to one
// value, the others become holes.
#ifndef WATTLAW_WORKER_VISION_SKELETON_H
#define WATTLAW_WORKER_VISION_SKELETON_H

#include "base/err.h"
#include "os/draft.h"

struct vision_skeleton {
    struct os_draft draft;
    char path[OS_PATH_BYTES]; // to open it by, as long as it is not discarded
};

// Of a file that vision_file_read has accepted. In $TMPDIR or /tmp; without a name on Linux.
enum wl_status vision_skeleton_make(struct vision_skeleton *out, const char *mmproj,
                                    struct wl_err *err);
void vision_skeleton_discard(struct vision_skeleton *skeleton);

#endif
