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
#include "plan/vision.h"

enum { SYNTH_MODEL_SEED = 1, SYNTH_MODEL_NAME_BYTES = 64 };

struct synth_model_request {
    struct plan_shape shape;          // shape.name becomes part of the file's name
    const struct plan_vision *vision; // of a model that sees images, else NULL
    bool is_encoder;                  // write its image encoder, not the text model
    const char *type;                 // "q8_0", "q4_k_m"; "q4_k" means q4_k_m
    uint64_t seed;
    const char *out_path; // NULL: [mmproj-]synth-<shape>-<type>.gguf in the folder
    const char *folder;   // NULL: <cache folder>/models
    bool is_own_folder;   // a part of our cache: what is in the way there may be replaced
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
// USAGE when there is no such type for the kind of file.
enum wl_status synth_model_check_type(const char *type, bool is_encoder, struct wl_err *err);
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
// The same for the image encoder, whose types are f16, q8_0 and f32.
double synth_model_encoder_bytes(const struct plan_vision *vision, uint32_t n_embd_out,
                                 const char *type);
// A part of a file name: lower case, everything unusual becomes '-'.
void synth_model_name_part(char *out, size_t size, const char *text);

#endif
