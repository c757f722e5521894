// Writes a model file of a true shape with random weights, or finds the one written before. What
// such a model costs is real (the work per token does not depend on the values); what it answers
// is noise.
#ifndef WATTLAW_CLI_SYNTH_MODEL_H
#define WATTLAW_CLI_SYNTH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/progress.h"
#include "os/file.h"
#include "plan/shapes.h"

enum { SYNTH_MODEL_SEED = 1, SYNTH_MODEL_NAME_BYTES = 64 };

struct synth_model_request {
    struct plan_shape shape; // shape.name becomes part of the file's name
    const char *type;        // "q8_0", "q4_k_m"; "q4_k" means q4_k_m
    uint64_t seed;
    const char *out_path; // NULL: <cache folder>/models/synth-<shape>-<type>.gguf
    bool is_forced;       // write although such a file exists, or another one is in its place
};

struct synth_model {
    char path[OS_PATH_BYTES];
    const char *type; // as the file says it
    uint64_t file_bytes;
    uint64_t n_params;
    bool is_reused;
    double seconds; // that writing took
};

// `progress` may be NULL; else begun by the caller, who ends it. USAGE for an unknown type or a
// file in the way that is no such model; LIMIT when the disk has no room.
enum wl_status synth_model_write(const struct synth_model_request *request,
                                 struct progress *progress, struct synth_model *out,
                                 struct wl_err *err);
// The same for a shape of plan/shapes.def and the default seed. NOT_FOUND has the nearest name.
enum wl_status synth_model_make(const char *like, const char *type, const char *out_path_or_null,
                                struct progress *progress, char path[OS_PATH_BYTES],
                                struct wl_err *err);

// NOT_FOUND with the nearest name.
enum wl_status synth_model_shape(const char *like, const struct plan_shape **out,
                                 struct wl_err *err);
// About how large the file gets: the output matrix is kept finer, as llama-quantize does. NaN for
// an unknown type.
double synth_model_bytes(const struct plan_shape *shape, const char *type);

#endif
