// One compression from the first look at the file to the verdict: plan, calibration text, the walk
// over the blocks, the new file, verification. Nothing is in place at `out` unless it passed.
#ifndef WATTLAW_COMPRESSOR_JOB_H
#define WATTLAW_COMPRESSOR_JOB_H

#include <jansson.h>

#include "base/err.h"
#include "worker/frame_io.h"

// The request is a JSON object:
//   path, out          files; path is never changed
//   cut                share of the block weights to take away, above 0 and below 1; or
//   n_ff               neurons of every block, instead
//   method             "repair" (default), "cut", "magnitude", "wanda"
//   heal_seconds       of each block, 0 (default): closed form only
//   text, tasks        calibration text (a file or a folder) and task file; "" = none
//   n_tokens           of calibration, 40960
//   floor              mean KL in nats that the result may have; absent: no floor
//   threads, seed, force, scratch (folder)
//   dry_run            only "plan" in the result, nothing is written
// *result: what was planned, done and found (docs/protocol.md). One that did not pass the floor has
// is_written false and a sentence in `refusal`, and there is no file.
enum wl_status job_request(const struct reply *reply, const json_t *request, json_t **result,
                           struct wl_err *err);

#endif
