// A model that sees images is two files: the text model and its image encoder (mmproj). Both are
// written into one folder, under names by which the catalogue pairs them.
#ifndef WATTLAW_CLI_SYNTH_PAIR_H
#define WATTLAW_CLI_SYNTH_PAIR_H

#include "base/err.h"
#include "cli/progress.h"
#include "cli/synth_model.h"

struct synth_pair_request {
    struct synth_model_request text; // with its vision; out_path is not used
    const char *mmproj_type;         // "f16", "q8_0", "f32"
    const char *folder;              // NULL: <cache folder>/models/synth-<shape>
};

struct synth_pair {
    struct synth_model text, encoder;
};

// As synth_model_write for each of them.
enum wl_status synth_pair_write(const struct synth_pair_request *request, struct progress *progress,
                                struct synth_pair *out, struct wl_err *err);

#endif
