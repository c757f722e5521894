// The thing that is measured: an engine process with one model loaded, and the energy sources that
// watch it. Everything about one model of a study that outlives a single window.
#ifndef WATTLAW_MEASURE_SUBJECT_H
#define WATTLAW_MEASURE_SUBJECT_H

#include <stddef.h>

#include "base/err.h"
#include "engine/client.h"
#include "meter/estimate.h"
#include "meter/meter_set.h"
#include "record/record.h"

struct subject_options {
    const char *model_path;
    const char *mmproj_path;                    // image encoder; NULL = none
    int32_t image_min_tokens, image_max_tokens; // budget of one image; 0 = as the file says
    const char *engine_path;                    // NULL = engine_find()
    uint32_t threads;                           // 0 = usable cores
    uint32_t threads_batch;                     // 0 = as threads
    uint32_t n_ctx;                             // 0 = the engine's default
    uint32_t n_ubatch;                          // 0 = the engine's default
    const char *load_mode;                      // "mmap", "none"; NULL = mmap
    const char *wait_policy; // "passive", "active"; NULL = as the environment has it
    const char *root;        // of /proc and /sys for sources and machine facts; NULL = the machine
    const char *meters;      // "auto" (NULL) or names, comma-separated: "powercap,estimate"
    const struct meter_calibration_set *calibrations; // of this machine; NULL = none
};

struct subject {
    struct subject_options options; // texts borrowed from the caller
    struct engine *engine;
    struct engine_model model;
    struct engine_phase load;
    double empty_pss_mib; // Pss of the engine process before a model was loaded: the RAM baseline
    struct meter_estimate_params estimate;
    struct meter_env meter_env;
    struct meter_set meters;
};

// Starts the engine, reads the RAM baseline, loads the model, opens the sources. On failure the
// subject is released. MEMORY when the model would not fit in the RAM that is free now.
enum wl_status subject_open(struct subject *subject, const struct subject_options *options,
                            struct wl_err *err);
// After the engine died or was killed: a new process, the same model and sources.
enum wl_status subject_reopen(struct subject *subject, struct wl_err *err);
void subject_close(struct subject *subject); // a zeroed or closed one is fine

#endif
