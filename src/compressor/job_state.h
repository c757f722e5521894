// What the parts of a job (job*.c) share.
#ifndef WATTLAW_COMPRESSOR_JOB_STATE_H
#define WATTLAW_COMPRESSOR_JOB_STATE_H

#include <jansson.h>
#include <stdbool.h>

#include "compressor/allocate.h"
#include "compressor/analysis.h"
#include "compressor/calib.h"
#include "compressor/costs.h"
#include "compressor/job.h"
#include "compressor/plan.h"
#include "compressor/trim.h"
#include "compressor/verify.h"
#include "compressor/work.h"
#include "worker/interrupt.h"

enum job_stage {
    JOB_TEXT,
    JOB_VOCABULARY,
    JOB_ANALYSIS,
    JOB_COSTS,
    JOB_ENCODER,
    JOB_WALK,
    JOB_DISTILL,
    JOB_TYPES,
    JOB_VERIFY,
    JOB_RIVALS,
    JOB_SPEED,
    JOB_STAGES,
};

struct job_file {
    char path[OS_PATH_BYTES];
};

struct job {
    const struct reply *reply;
    const json_t *request;
    const char *path, *out;
    struct work work;
    struct interrupt interrupt;

    struct calib calib;        // tokens of the original; `calibration` follows a trimmed vocabulary
    float *changed_embeddings; // of held-out pictures, by the new image encoder; NULL: the same
    struct trim_result trim;   // new_ids is NULL while the vocabulary is whole
    struct job_file base;      // the original, or that with fewer tokens: what the walk begins with
    struct compress_source source; // of base
    struct analysis analysis;      // no layers: not needed
    struct costs costs;
    struct plan plan;
    struct job_file made; // what the last stage wrote
    uint32_t round;       // how often less was cut
    double eased;         // share of the cut that is left after easing: 1, 0.7, 0.49 ...
    struct verify_result verdict;

    enum job_stage stage; // for progress
    double begin, end;    // of the stage, in the whole
    double weights[JOB_STAGES], weight_done;
    int64_t begin_ns, told_ns;
    json_t *result;  // grows
    json_t *seconds; // of each stage
};

// ---- job.c
// Tells how far the stage is; false: stop.
bool job_go_on(void *context, double share_done);
enum wl_status job_interrupted(const struct job *job, struct wl_err *err);
// The name of a stage's result or file in this round: "walk-1.gguf".
const char *job_name(const struct job *job, const char *stem, const char *suffix, char out[64]);
bool job_is_asked(const struct job *job, const char *key); // there and not null

// ---- job_text.c
enum wl_status job_make_text(struct job *job, struct wl_err *err);
enum wl_status job_trim_vocabulary(struct job *job, struct wl_err *err);

// ---- job_export.c
enum wl_status job_export_text(struct job *job, struct wl_err *err);

// ---- job_plan.c
bool job_needs_analysis(const struct job *job);
bool job_needs_costs(const struct job *job);
enum wl_status job_analyse(struct job *job, struct wl_err *err);
enum wl_status job_measure_costs(struct job *job, struct wl_err *err);
enum wl_status job_make_plan(struct job *job, struct wl_err *err);
// Before any work: what the request alone decides.
enum wl_status job_check_request(struct job *job, struct wl_err *err);
json_t *job_plan_json(const struct job *job);

// ---- job_make.c
enum wl_status job_walk(struct job *job, struct wl_err *err);
enum wl_status job_distill(struct job *job, struct wl_err *err);
enum wl_status job_retype(struct job *job, struct wl_err *err);
enum wl_status job_verify(struct job *job, struct wl_err *err);
struct job_changed { // a file that is compared with the original
    const char *path;
    const int32_t *new_ids;  // NULL: the same tokens
    const float *embeddings; // of pictures; NULL: the same
    size_t n_answers;        // that both write, 0: none
};
// On the held-out text.
enum wl_status job_compare(struct job *job, const struct job_changed *changed,
                           bool (*go_on)(void *context, double share_done), void *context,
                           struct verify_result *out, struct wl_err *err);
json_t *job_verdict_json(const struct verify_result *verdict);

// ---- job_encoder.c
enum wl_status job_encoder(struct job *job, struct wl_err *err);

// ---- job_rivals.c
enum wl_status job_rivals(struct job *job, struct wl_err *err);

// ---- job_speed.c
enum wl_status job_speed(struct job *job, struct wl_err *err);

#endif
