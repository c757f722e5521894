// An analysis asked for over the socket: text to calibrate with, then
// analysis.h.
#ifndef WATTLAW_COMPRESSOR_ANALYSIS_JOB_H
#define WATTLAW_COMPRESSOR_ANALYSIS_JOB_H

#include <jansson.h>

#include "base/err.h"
#include "worker/frame_io.h"

// The request is a JSON object:
//   path               the file, which is only read
//   text, tasks        calibration text (a file or a folder) and task file; ""
//   = none n_tokens           of calibration, 40960; a part of them is held out
//   n_tokens_kl        held-out tokens that divergences are of, at most; 1024
//   bonds              the spectra of tensor trains too
//   threads, seed, force, scratch (folder)
// *result: docs/protocol.md.
enum wl_status analysis_job_request(const struct reply *reply, const json_t *request,
                                    json_t **result, struct wl_err *err);

#endif
