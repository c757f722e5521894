// What a job will take, about, before it begins.
#ifndef WATTLAW_COMPRESSOR_JOB_ESTIMATE_H
#define WATTLAW_COMPRESSOR_JOB_ESTIMATE_H

#include <jansson.h>

#include "compressor/job_state.h"

// {seconds, rss_bytes, disk_bytes, gflops}: from the shapes, and from how fast this machine
// multiplies matrices right now (a tenth of a second is spent on that).
json_t *job_estimate_json(const struct job *job, const struct plan_sizes *before,
                          const struct plan_sizes *after);

#endif
